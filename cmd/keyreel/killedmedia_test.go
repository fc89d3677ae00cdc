package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// account is a media account on a server that is killed now and then.
type account struct {
	t     *testing.T
	p     *process
	group string
	token map[string]string
}

func (a *account) use(p *process) {
	a.p, a.token = p, map[string]string{}
	a.group = "/subscriptions/" + p.creds.SubscriptionID + "/resourceGroups/rg"
}

func (a *account) call(method, host, path, resource, body string, header ...string) (int, string) {
	a.t.Helper()
	if a.token[resource] == "" {
		a.token[resource] = a.p.token(a.t, resource)
	}
	status, answer, err := a.p.do(method, a.p.url(host, path), a.token[resource], body, append(header, "Content-Type", "application/json")...)
	if err != nil {
		return 0, err.Error()
	}
	return status, string(answer)
}

// arm calls the resource manager, whose api-version is one with synchronous or asynchronous accounts.
func (a *account) arm(method, path, version, body string) (int, string) {
	a.t.Helper()
	return a.call(method, "management", path+"?api-version="+version, "https://management.azure.com/", body)
}

func (a *account) must(status int, text string) string {
	a.t.Helper()
	if status < 200 || status > 299 {
		a.t.Fatalf("%d %s", status, text)
	}
	return text
}

func (a *account) grant(scope, role, principal string) {
	a.t.Helper()
	a.must(a.arm("PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+azure.NewGUID(), "2022-04-01", fmt.Sprintf(
		`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`, role, principal)))
}

const media = "/providers/Microsoft.Media/mediaservices/killaccount"

// TestKilledInTheMiddle kills the server in the middle of a change of the customer's key and of an encoding job:
// afterwards the account is on its old key or on the new one, what is sealed under its account key opens, and the job
// finishes.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	a := &account{t: t}
	a.use(startProcess(t, data))
	a.make()
	a.must(a.arm("PATCH", a.group+media, "2021-06-01", a.encryption("k0")))
	job := a.group + media + "/transforms/t/jobs/j"
	a.must(a.arm("PUT", job, "2022-07-01", `{"properties":{"input":{"@odata.type":"#Microsoft.Media.JobInputAsset","assetName":"in","files":["m.mp4"]},
		"outputs":[{"@odata.type":"#Microsoft.Media.JobOutputAsset","assetName":"out"}]}}`))
	a.must(a.arm("PATCH", a.group+media, "2023-01-01", a.encryption("k1")))
	for range 3 {
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond) // any moment will do
		a.p.cmd.Process.Kill()
		a.p.cmd.Wait()
		a.use(startProcess(t, data))
		a.opens()
	}
	// What the last node that died had claimed waits for the end of its lease.
	a.within(90*time.Second, func() error {
		a.opens()
		var got struct {
			Properties struct {
				ProvisioningState string
				Encryption        struct {
					KeyVaultProperties struct{ KeyIdentifier, CurrentKeyIdentifier string }
				}
			}
		}
		text := a.must(a.arm("GET", a.group+media, "2023-01-01", ""))
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			return err
		}
		kv := got.Properties.Encryption.KeyVaultProperties
		if !strings.HasPrefix(kv.CurrentKeyIdentifier, kv.KeyIdentifier) {
			t.Fatalf("between two keys: %s", text)
		}
		if got.Properties.ProvisioningState != "Succeeded" || !strings.HasSuffix(kv.KeyIdentifier, "/k1") {
			return fmt.Errorf("still %s", text)
		}
		return nil
	})
	a.within(90*time.Second, func() error {
		if text := a.must(a.arm("GET", job, "2022-07-01", "")); !strings.Contains(text, `"state":"Finished","`) {
			return fmt.Errorf("still %s", text)
		}
		return nil
	})
}

// make makes the account, on the system key, with storage, a vault with two keys, an input and a policy with a secret.
func (a *account) make() {
	a.t.Helper()
	oid := claimOf(a.t, a.p.token(a.t, "https://management.azure.com/"), "oid")
	a.must(a.arm("PUT", a.group, "2021-04-01", `{"location":"westeurope"}`))
	store := a.group + "/providers/Microsoft.Storage/storageAccounts/killstore"
	a.must(a.arm("PUT", store, "2023-05-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`))
	vault := a.group + "/providers/Microsoft.KeyVault/vaults/killvault"
	a.must(a.arm("PUT", vault, "2023-07-01", fmt.Sprintf(
		`{"location":"westeurope","properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true,"enablePurgeProtection":true}}`, a.p.creds.TenantID)))
	a.grant(vault, roleCryptoOfficer, oid)
	for _, k := range []string{"k0", "k1"} {
		a.must(a.call("POST", "killvault.vault", "/keys/"+k+"/create?api-version=7.4", "https://vault.azure.net", `{"kty":"RSA"}`))
	}
	text := a.must(a.arm("PUT", a.group+media, "2021-06-01", fmt.Sprintf(
		`{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":%q,"type":"Primary"}]}}`, store)))
	var made struct{ Identity struct{ PrincipalID string } }
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		a.t.Fatal(err)
	}
	a.grant(vault, roleCryptoService, made.Identity.PrincipalID)
	for _, role := range []string{roleBlobContributor, roleReader} {
		a.grant(store, role, made.Identity.PrincipalID)
	}
	a.grant(store, roleBlobContributor, oid)
	a.must(a.arm("PATCH", a.group+media, "2021-06-01", `{"properties":{"storageAuthentication":"ManagedIdentity"}}`))
	for _, asset := range []string{"in", "out"} {
		a.must(a.arm("PUT", a.group+media+"/assets/"+asset, "2022-08-01", `{"properties":{"container":"`+asset+`-files"}}`))
	}
	a.must(a.call("PUT", "killstore.blob", "/in-files/m.mp4", "https://storage.azure.com/", string(testVideo(a.t)), "X-Ms-Version", "2024-11-04", "X-Ms-Blob-Type", "BlockBlob"))
	a.must(a.arm("PUT", a.group+media+"/transforms/t", "2022-07-01",
		`{"properties":{"outputs":[{"preset":{"@odata.type":"#Microsoft.Media.BuiltInStandardEncoderPreset","presetName":"H264SingleBitrateSD"}}]}}`))
	a.must(a.arm("PUT", a.group+media+"/contentKeyPolicies/p", "2022-08-01", `{"properties":{"options":[{"configuration":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration"},
		"restriction":{"@odata.type":"#Microsoft.Media.ContentKeyPolicyTokenRestriction","issuer":"i","audience":"a","restrictionTokenType":"Jwt",
		"primaryVerificationKey":{"@odata.type":"#Microsoft.Media.ContentKeyPolicySymmetricTokenKey","keyValue":"`+killSecret+`"}}}]}}`))
}

var killSecret = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("seal"), 8))

func (a *account) encryption(key string) string {
	return `{"properties":{"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://killvault.vault.azure.net/keys/` + key + `"}}}}`
}

// opens checks that what is sealed under the account key can be read.
func (a *account) opens() {
	a.t.Helper()
	if text := a.must(a.arm("POST", a.group+media+"/contentKeyPolicies/p/getPolicyPropertiesWithSecrets", "2022-08-01", "{}")); !strings.Contains(text, killSecret) {
		a.t.Fatalf("the secret is lost: %s", text)
	}
}

func (a *account) within(limit time.Duration, check func() error) {
	a.t.Helper()
	deadline := time.Now().Add(limit)
	for err := check(); err != nil; err = check() {
		if time.Now().After(deadline) {
			a.t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func testVideo(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	video, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return video
}

func claimOf(t *testing.T, token, name string) string {
	t.Helper()
	value, err := claim(token, name)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
