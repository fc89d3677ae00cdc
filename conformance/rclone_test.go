//go:build rclone

package conformance

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
)

// TestRclone copies, compares and synchronises folders with rclone, by each way to sign in. rclone takes minutes to
// compile, so it is not part of every run: `make conformance-rclone`.
func TestRclone(t *testing.T) {
	t.Parallel()
	s := start(t)
	f := s.foreign(t)
	id := s.storage(t, "rclonestore", nil)
	s.assign(t, id, blobContributor, s.adminID(t))
	worker := s.identity(t, "worker")
	s.assign(t, id, blobContributor, *worker.Properties.PrincipalID)
	identity, err := s.RegisterWorkload(t.Context(), "worker", *worker.ID)
	check(t, err)
	accounts, err := armstorage.NewAccountsClient(s.sub, s.Admin, s.options())
	check(t, err)
	keys, err := accounts.ListKeys(t.Context(), s.group, "rclonestore", nil)
	check(t, err)

	for name, env := range map[string][]string{
		"key":               {"RCLONE_AZUREBLOB_KEY=" + *keys.Keys[0].Value},
		"service-principal": {"RCLONE_AZUREBLOB_TENANT=" + f.admin.TenantID, "RCLONE_AZUREBLOB_CLIENT_ID=" + f.admin.ClientID, "RCLONE_AZUREBLOB_CLIENT_SECRET=" + f.admin.ClientSecret},
		"managed-identity":  append(identity, "RCLONE_AZUREBLOB_USE_MSI=true", "RCLONE_AZUREBLOB_MSI_CLIENT_ID="+*worker.Properties.ClientID),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(env, "RCLONE_AZUREBLOB_ACCOUNT=rclonestore", "RCLONE_AZUREBLOB_CHUNK_SIZE=4Mi", "RCLONE_CONFIG=/dev/null")
			rclone := func(args ...string) string { return f.run(t, env, "rclone", args...) }
			remote, local, back := ":azureblob:"+name, t.TempDir(), t.TempDir()
			large := make([]byte, 19<<20)
			rand.Read(large)
			for path, content := range map[string]string{
				"a.txt": "one", "empty": "", "folder/b c.txt": "two", "folder/ü/%41+&=.txt": "three", "folder/../large": string(large),
			} {
				path = filepath.Join(local, path)
				check(t, os.MkdirAll(filepath.Dir(path), 0o700))
				check(t, os.WriteFile(path, []byte(content), 0o600))
			}
			rclone("mkdir", remote)
			rclone("copy", local, remote)
			rclone("check", "--download", local, remote)
			rclone("check", local, remote)
			files := strings.Split(rclone("lsf", "-R", "--files-only", remote), "\n")
			sort.Strings(files)
			if got, want := strings.Join(files, "|"), "a.txt|empty|folder/b c.txt|folder/ü/%41+&=.txt|large"; got != want {
				t.Errorf("listed %s, want %s", got, want)
			}
			if got := rclone("cat", "--offset", "1", "--count", "1", remote+"/a.txt"); got != "n" {
				t.Errorf("a range: %q", got)
			}
			rclone("copy", remote, back)
			rclone("check", local, back)
			check(t, os.Remove(filepath.Join(local, "a.txt")))
			check(t, os.WriteFile(filepath.Join(local, "empty"), []byte("no more"), 0o600))
			rclone("sync", local, remote)
			rclone("check", local, remote)
			if out, _, err := f.try(env, "rclone", "lsf", remote+"/a.txt"); err == nil && out != "" {
				t.Errorf("sync left %q", out)
			}
			rclone("purge", remote)
			if got := rclone("lsd", ":azureblob:"); strings.Contains(got, name) {
				t.Errorf("purge left %q", got)
			}
		})
	}
}
