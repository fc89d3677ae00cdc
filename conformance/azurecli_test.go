package conformance

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keyreel/keyreel/keyreeltest"
)

// azureCLI is Debian's az, which runs many command lines in one process.
type azureCLI struct {
	*foreign
	commands *json.Encoder
	answers  *json.Decoder
}

func (f *foreign) azureCLI(t testing.TB) azureCLI {
	t.Helper()
	script, err := filepath.Abs("testdata/python/azsession.py")
	check(t, err)
	cmd := exec.Command("/usr/bin/python3", script) // the one that Debian's az runs with
	cmd.Dir, cmd.Env, cmd.Stderr = f.dir, f.env, os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("azsession.py: %v", err)
		}
	})
	return azureCLI{foreign: f, commands: json.NewEncoder(in), answers: json.NewDecoder(out)}
}

// newAzureCLI starts a server and an az that is signed in as its administrator.
func newAzureCLI(t *testing.T) azureCLI {
	t.Helper()
	a := start(t).foreign(t).azureCLI(t)
	a.login(t)
	return a
}

func (a azureCLI) login(t testing.TB) {
	t.Helper()
	a.prints(t, a.sub, "login --service-principal --tenant "+a.admin.TenantID+" -u "+a.admin.ClientID+" -p "+a.admin.ClientSecret+" --query [].id")
}

func (a azureCLI) try(t testing.TB, line string, rest ...string) (out, errOut string, code int) {
	t.Helper()
	check(t, a.commands.Encode(append(append(strings.Fields(line), rest...), "-o", "tsv")))
	var answer struct {
		Code     int
		Out, Err string
	}
	check(t, a.answers.Decode(&answer))
	return strings.TrimSpace(answer.Out), answer.Err, answer.Code
}

// az runs a command line; spaces separate its words, rest holds words with spaces in them. It returns tab-separated
// values.
func (a azureCLI) az(t testing.TB, line string, rest ...string) string {
	t.Helper()
	out, errOut, code := a.try(t, line, rest...)
	if code != 0 {
		t.Fatalf("az %s: %d\n%s%s", line, code, out, errOut)
	}
	return out
}

// prints checks what a command prints.
func (a azureCLI) prints(t testing.TB, want, line string, rest ...string) {
	t.Helper()
	if got := a.az(t, line, rest...); got != want {
		t.Errorf("az %s printed %q, want %q", line, got, want)
	}
}

// fails checks that a command is refused, with an error that mentions something.
func (a azureCLI) fails(t testing.TB, mention, line string, rest ...string) {
	t.Helper()
	out, errOut, code := a.try(t, line, rest...)
	if code == 0 || !strings.Contains(errOut, mention) {
		t.Errorf("az %s: %d, error output does not mention %q:\n%s%s", line, code, mention, out, errOut)
	}
}

// grant assigns a role with `az rest`: Debian's `az role assignment create` breaks on its own before it sends a thing.
func (a azureCLI) grant(t testing.TB, scope, role, principal string) {
	t.Helper()
	a.az(t, "rest -m put -u "+scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01 -b",
		`{"properties":{"roleDefinitionId":"/subscriptions/`+a.sub+`/providers/Microsoft.Authorization/roleDefinitions/`+role+
			`","principalId":"`+principal+`","principalType":"ServicePrincipal"}}`)
}

func TestAzureCLIStorage(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	id := a.az(t, "storage account create -g rg -n clistore -l westeurope --sku Standard_LRS --query id")
	a.prints(t, "https://clistore.blob.core.windows.net/", "storage account show -g rg -n clistore --query primaryEndpoints.blob")
	a.prints(t, "clistore", "storage account list -g rg --query [].name")
	a.prints(t, "AlreadyExists", "storage account check-name -n clistore --query reason")
	key := a.az(t, "storage account keys list -g rg -n clistore --query [0].value")
	withKey, withLogin := " --account-name clistore --account-key "+key, " --account-name clistore --auth-mode login"

	content := bytes.Repeat([]byte("Keyreel\n"), 40_000)
	file, back := filepath.Join(a.dir, "content"), filepath.Join(a.dir, "back")
	check(t, os.WriteFile(file, content, 0o600))
	a.prints(t, "true", "storage container create -n films --query created"+withLogin)
	a.fails(t, "You do not have the required permissions", "storage blob upload -c films -n a -f "+file+withLogin)
	a.grant(t, id, blobContributor, a.adminID(t))

	for auth, name := range map[string]string{withKey: "key/one two.txt", withLogin: "login/ü.txt"} {
		a.az(t, "storage blob upload -c films --content-type text/plain --metadata a=b -f "+file+auth, "-n", name)
		a.prints(t, "text/plain\nb", "storage blob show -c films --query [properties.contentSettings.contentType,metadata.a]"+auth, "-n", name)
		a.az(t, "storage blob download -c films -f "+back+auth, "-n", name)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s came back as %d bytes, want %d: %v", name, len(got), len(content), err)
		}
	}
	a.prints(t, "key/one two.txt\nlogin/ü.txt", "storage blob list -c films --query [].name"+withLogin)
	a.prints(t, "False", "storage blob exists -c films -n none"+withLogin)
	a.az(t, "storage blob delete -c films -n login/ü.txt"+withLogin)
	a.prints(t, "key/one two.txt", "storage blob list -c films --query [].name"+withKey)
	a.az(t, "storage account keys renew -g rg -n clistore --key key1")
	a.fails(t, "Authentication failure", "storage container list"+withKey)
	a.prints(t, "films", "storage container list --query [].name"+withLogin)
	a.prints(t, "true", "storage container delete -n films --query deleted"+withLogin)
}

// TestAzureCLIMedia goes the way of a whole video by command line. The account itself is made with `az rest`:
// Debian's `az ams account create` calls a method that its version of azure-mgmt-media does not have.
func TestAzureCLIMedia(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	storage := a.az(t, "storage account create -g rg -n climediastore -l westeurope --sku Standard_LRS --query id")
	account := a.groupID() + "/providers/Microsoft.Media/mediaservices/climedia?api-version=2020-05-01"
	a.az(t, "rest -m put -u "+account+" -b", `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":"`+storage+`"}]}}`)
	principal := a.az(t, "ams account identity show -g rg -n climedia --query principalId")
	a.grant(t, storage, blobContributor, principal)
	a.grant(t, storage, blobContributor, a.adminID(t))
	a.grant(t, storage, reader, principal)
	a.az(t, "rest -m patch -u "+account+" -b", `{"properties":{"storageAuthentication":"ManagedIdentity"}}`)
	a.prints(t, "climedia\nManagedIdentity", "ams account show -g rg -n climedia --query [name,storageAuthentication]")
	a.prints(t, "climedia", "ams account list -g rg --query [].name")
	a.prints(t, "SystemKey", "ams account encryption show -g rg -a climedia --query type")

	in := " -g rg -a climedia"
	a.prints(t, "films", "ams asset create -n in --description films --query description"+in)
	a.prints(t, "in", "ams asset list --query [].name"+in)
	a.az(t, "ams asset create -n out"+in)
	file := filepath.Join(a.dir, "film.mp4")
	check(t, os.WriteFile(file, movie(t, 2, "320x180"), 0o600))
	container := a.az(t, "ams asset show -n in --query container"+in)
	a.az(t, "storage blob upload --account-name climediastore --auth-mode login -n film.mp4 -f "+file+" -c "+container)

	a.prints(t, "AdaptiveStreaming", "ams transform create -n ladder --preset AdaptiveStreaming --query outputs[].preset.presetName"+in)
	a.az(t, "ams job start -n one --transform-name ladder --input-asset-name in --files film.mp4 --output-assets out="+in)
	keyreeltest.Within(t, 30*time.Second, func() error {
		if state := a.az(t, "ams job show -n one --transform-name ladder --query state"+in); state != "Finished" {
			return &unfinished{state}
		}
		return nil
	})
	a.prints(t, "one", "ams job list --transform-name ladder --query [].name"+in)

	a.az(t, "ams streaming-locator create -n clear --asset-name out --streaming-policy-name Predefined_ClearStreamingOnly"+in)
	a.prints(t, "clear", "ams asset list-streaming-locators -n out --query streamingLocators[].name"+in)
	a.prints(t, "Running", "ams streaming-endpoint start -n default --query resourceState"+in)
	host := a.az(t, "ams streaming-endpoint show -n default --query hostName"+in)
	paths := a.az(t, "ams streaming-locator get-paths -n clear --query streamingPaths[].paths[]"+in)
	if len(strings.Fields(paths)) == 0 {
		t.Error("the locator has no paths")
	}
	for _, path := range strings.Fields(paths) {
		if resp, body := a.raw(t, "GET", "https://"+host+path, "", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}

	a.az(t, "ams content-key-policy create -n viewers --policy-option-name all --open-restriction --clear-key-configuration"+in)
	a.prints(t, "all", "ams content-key-policy show -n viewers --query options[].name"+in)
	a.prints(t, "true\ntrue", "ams streaming-policy create -n both --no-encryption-protocols HLS Dash --query noEncryption.enabledProtocols.[hls,dash]"+in)
	for _, line := range []string{
		"ams streaming-locator delete -n clear", "ams content-key-policy delete -n viewers", "ams streaming-policy delete -n both",
		"ams job delete -n one --transform-name ladder", "ams transform delete -n ladder", "ams asset delete -n out",
	} {
		a.az(t, line+in)
	}
	a.prints(t, "in", "ams asset list --query [].name"+in)
	a.fails(t, "NotImplemented", "ams asset get-sas-urls -n in"+in)
	a.az(t, "ams account delete -g rg -n climedia")
	a.prints(t, "", "ams account list -g rg --query [].name")
}

type unfinished struct{ state string }

func (u *unfinished) Error() string { return "the job is " + u.state }

// TestAzureCLIIdentity: a program signs in as its managed identity, without a credential, and may do what the
// identity's roles say.
func TestAzureCLIIdentity(t *testing.T) {
	t.Parallel()
	f := start(t).foreign(t)
	id := f.identity(t, "worker")
	env, err := f.RegisterWorkload(t.Context(), "worker", *id.ID)
	check(t, err)
	endpoint, _ := strings.CutPrefix(env[0], "IDENTITY_ENDPOINT=")
	f.env = append(f.env, "MSI_ENDPOINT="+strings.TrimSuffix(endpoint, "/token")+"/oauth2/token") // which az before 2.74 reads
	a := f.azureCLI(t)
	grant := a.assign(t, a.groupID(), reader, *id.Properties.PrincipalID)
	a.prints(t, "MSIClient-"+*id.Properties.ClientID, "login --identity -u "+*id.Properties.ClientID+" --query [].user.assignedIdentityInfo")
	a.prints(t, "rg", "group show -n rg --query name")
	a.fails(t, "AuthorizationFailed", "group update -n rg --set tags.a=b")
	a.unassign(t, a.groupID(), grant)
	a.fails(t, "AuthorizationFailed", "group show -n rg")
}

// TestAzureCLIOwnCloud: a cloud under the server's own names, registered or taken from its metadata. Azure CLI 2.45 asks
// login.microsoftonline.com about every authority but AD FS's; under the former it needs no answer from there.
func TestAzureCLIOwnCloud(t *testing.T) {
	t.Parallel()
	s := start(t)
	u := s.URLs()
	registered := s.foreign(t).azureCLI(t)
	registered.az(t, "cloud register -n keyreel --endpoint-resource-manager "+u.Management()+" --endpoint-active-directory "+u.Login()+"/adfs"+
		" --endpoint-active-directory-resource-id https://management.azure.com/ --endpoint-active-directory-graph-resource-id https://graph.windows.net/"+
		" --suffix-storage-endpoint "+u.BlobSuffix()+" --suffix-keyvault-dns ."+u.VaultSuffix())
	registered.az(t, "cloud set -n keyreel")
	registered.login(t)
	registered.prints(t, "rg", "group list --query [].name")
	registered.az(t, "storage account create -g rg -n ownstore -l westeurope --sku Standard_LRS")
	registered.prints(t, u.Blob("ownstore")+"/", "storage account show -g rg -n ownstore --query primaryEndpoints.blob")
	registered.prints(t, "true", "storage container create -n films --account-name ownstore --auth-mode login --query created")

	f := s.foreign(t)
	check(t, os.Mkdir(filepath.Join(f.dir, ".azure"), 0o700)) // which az does not make before it writes there
	f.env = append(f.env, "ARM_CLOUD_METADATA_URL="+u.Management()+"/metadata/endpoints?api-version=2019-05-01")
	described := f.azureCLI(t)
	described.az(t, "cloud set -n Keyreel")
	described.login(t)
	described.prints(t, "rg", "group list --query [].name")
	described.prints(t, u.Vault("ownvault")+"/", "keyvault create -g rg -n ownvault -l westeurope --enable-rbac-authorization true --query properties.vaultUri")
	described.prints(t, "films", "storage container list --account-name ownstore --auth-mode login --query [].name")
}
