//go:build azcopy

package conformance

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAzCopy moves folders with AzCopy through `keyreel run`, by each way to sign in. AzCopy takes minutes to compile, so
// it is not part of every run: `make conformance-azcopy`.
func TestAzCopy(t *testing.T) {
	t.Parallel()
	const account = "system:serviceaccount:batch:copy"
	c := newCluster(t)
	s := start(t, c.trusted)
	id := s.storage(t, "azcopystore", nil)
	s.assign(t, id, blobContributor, s.adminID(t))
	r := s.keyreelRun(t, "worker", blobContributor)
	s.federate(t, "worker", c, account)
	admin := s.foreign(t).admin
	for name, env := range map[string][]string{
		"managed-identity": nil, // as `keyreel run` leaves it
		"client-secret": {
			"AZCOPY_AUTO_LOGIN_TYPE=SPN", "AZCOPY_TENANT_ID=" + admin.TenantID, "AZCOPY_SPA_APPLICATION_ID=" + admin.ClientID,
			"AZCOPY_SPA_CLIENT_SECRET=" + admin.ClientSecret,
		},
		"workload-identity": {
			"AZCOPY_AUTO_LOGIN_TYPE=WORKLOAD", "AZURE_TENANT_ID=" + admin.TenantID, "AZURE_CLIENT_ID=" + *s.identity(t, "worker").Properties.ClientID,
			"AZURE_FEDERATED_TOKEN_FILE=" + c.project(t, account),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testAzCopy(t, r, append(env, "AZCOPY_LOG_LOCATION="+t.TempDir(), "AZCOPY_JOB_PLAN_LOCATION="+t.TempDir()), "https://azcopystore.blob.core.windows.net/"+name)
		})
	}
}

func testAzCopy(t *testing.T, r *runner, env []string, container string) {
	azcopy := func(args ...string) string { t.Helper(); return r.run(t, env, "azcopy", args...) }
	local, back := t.TempDir(), t.TempDir()
	large := make([]byte, 20_000_000)
	rand.Read(large)
	files := map[string]string{
		"a.txt": "one", "empty": "", "folder/b c.txt": "two", "folder/ü/%41+&=.txt": "three", "folder/#1?x;y": "four", "large": string(large),
	}
	for path, content := range files {
		write(t, filepath.Join(local, path), content)
	}
	azcopy("make", container)
	azcopy("copy", local+"/*", container, "--recursive", "--put-md5", "--block-size-mb", "4")
	if got, want := azcopyList(azcopy("list", container)), keys(files); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	azcopy("copy", container+"/*", back, "--recursive", "--check-md5", "FailIfDifferentOrMissing")
	same(t, local, back)

	// What has changed and what is gone, in both directions.
	write(t, filepath.Join(local, "a.txt"), "another")
	write(t, filepath.Join(local, "new"), "new")
	check(t, os.Remove(filepath.Join(local, "empty")))
	azcopy("sync", local, container, "--recursive", "--delete-destination=true", "--put-md5")
	azcopy("sync", container, back, "--recursive", "--delete-destination=true", "--check-md5", "FailIfDifferentOrMissing")
	same(t, local, back)

	azcopy("copy", filepath.Join(local, "a.txt"), container+"/meta.txt", "--metadata", "a=b;c=d", "--content-type", "text/plain", "--block-blob-tier", "Cool")
	azcopy("set-properties", container+"/meta.txt", "--block-blob-tier", "Hot", "--metadata", "x=y")
	if out := azcopy("list", container, "--properties", "ContentType;BlobAccessTier;ContentMD5"); !strings.Contains(out, "meta.txt; ContentType: text/plain; BlobAccessTier: Hot;") {
		t.Errorf("properties: %s", out)
	}
	azcopy("remove", container+"/folder", "--recursive")
	if got := azcopyList(azcopy("list", container)); slices.ContainsFunc(got, func(name string) bool { return strings.HasPrefix(name, "folder/") }) {
		t.Errorf("after remove: %q", got)
	}

	azcopy("remove", container, "--recursive")
	if out, _, err := r.try(env, "azcopy", "copy", container+"/a.txt", back, "--recursive"); err == nil {
		t.Errorf("a blob that is gone was copied: %s", out)
	}
}

// TestAzCopyRefused: AzCopy shows the refusal of an identity without a role.
func TestAzCopyRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.storage(t, "azcopynone", nil)
	r := s.keyreelRun(t, "nobody")
	out, errOut, err := r.try(nil, "azcopy", "make", "https://azcopynone.blob.core.windows.net/box")
	if err == nil || !strings.Contains(out+errOut, "AuthorizationPermissionMismatch") {
		t.Errorf("%v: %s%s", err, out, errOut)
	}
}

func keys(files map[string]string) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// azcopyList reads the names from lines such as "a.txt; Content Length: 3.00 B".
func azcopyList(out string) []string {
	var names []string
	for line := range strings.Lines(out) {
		if name, _, ok := strings.Cut(line, "; Content Length:"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// same compares the files of two folders.
func same(t testing.TB, a, b string) {
	t.Helper()
	read := func(root string) map[string]string {
		files := map[string]string{}
		check(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			name, _ := filepath.Rel(root, path)
			files[name] = string(data)
			return err
		}))
		return files
	}
	left, right := read(a), read(b)
	if !slices.Equal(keys(left), keys(right)) {
		t.Errorf("files %q and %q", keys(left), keys(right))
	}
	for name, content := range left {
		if right[name] != content {
			t.Errorf("%s differs: %d and %d bytes", name, len(content), len(right[name]))
		}
	}
}
