package conformance

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestDenialsSayWhatExplainSays: who is refused, by whichever service, is told the same as who asks for an explanation:
// the principal, the action, the scope, and the role that would do. And that role does.
func TestDenialsSayWhatExplainSays(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "denystore", nil)
	vault := s.newVault(t, "denyvault", nil)
	s.createAccount(t, "denymedia", storage)
	media := s.groupID() + "/providers/Microsoft.Media/mediaservices/denymedia"
	app := s.application(t, nil)
	cred, err := s.Credential(app.clientID, app.secret)
	check(t, err)

	urls := s.URLs()
	const management = "https://management.azure.com"
	for name, tt := range map[string]struct {
		method, url, resource, body string
		action, scope               string
		data                        bool
	}{
		"resource group": {
			"GET", urls.Management() + s.groupID() + "?api-version=2021-04-01", management, "",
			"Microsoft.Resources/subscriptions/resourceGroups/read", s.groupID(), false,
		},
		"storage account's keys": {
			"POST", urls.Management() + storage + "/listKeys?api-version=2022-09-01", management, "",
			"Microsoft.Storage/storageAccounts/listkeys/action", storage, false,
		},
		"role assignment": {
			"PUT", urls.Management() + s.groupID() + "/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555?api-version=2022-04-01", management,
			`{"properties":{"roleDefinitionId":"/subscriptions/` + s.sub + `/providers/Microsoft.Authorization/roleDefinitions/` + reader + `","principalId":"` + s.adminID(t) + `"}}`,
			"Microsoft.Authorization/roleAssignments/write", s.groupID(), false,
		},
		"blob": {
			"GET", urls.Blob("denystore") + "/films/a", "https://storage.azure.com", "",
			"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", storage + "/blobServices/default/containers/films", true,
		},
		"key": {
			"GET", urls.Vault("denyvault") + "/keys/k?api-version=7.4", "https://vault.azure.net", "",
			"Microsoft.KeyVault/vaults/keys/read", vault + "/keys/k", true,
		},
		"asset": {
			"GET", urls.Management() + media + "/assets/a?api-version=2023-01-01", management, "",
			"Microsoft.Media/mediaservices/assets/read", media + "/assets/a", false,
		},
		"user": {
			"POST", urls.Graph() + "/v1.0/users", "https://graph.microsoft.com", `{}`,
			"Microsoft.Authorization/roleAssignments/write", "/", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, text := s.raw(t, tt.method, tt.url, s.token(t, cred, tt.resource), tt.body, "Content-Type", "application/json", "X-Ms-Version", "2021-08-06")
			if resp.StatusCode != http.StatusForbidden {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			question, err := json.Marshal(map[string]any{
				"Subject": map[string]any{"Attributes": map[string]any{"ObjectId": app.principal}},
				"Actions": []any{map[string]any{"Id": tt.action, "IsDataAction": tt.data}},
			})
			check(t, err)
			resp, answer := s.raw(t, "POST", urls.Management()+strings.TrimSuffix(tt.scope, "/")+"/providers/Microsoft.Authorization/explain?api-version=2018-09-01-preview",
				s.token(t, s.Admin, management), string(question), "Content-Type", "application/json")
			var explained struct {
				Value []struct {
					AccessDecision string
					Reason         string
					Roles          []string `json:"rolesThatWould"`
				}
			}
			if err := json.Unmarshal([]byte(answer), &explained); err != nil || resp.StatusCode != http.StatusOK || len(explained.Value) != 1 {
				t.Fatalf("%d %s %v", resp.StatusCode, answer, err)
			}
			e := explained.Value[0]
			if e.AccessDecision != "NotAllowed" || len(e.Roles) == 0 {
				t.Fatalf("explained as %+v", e)
			}
			for _, both := range []string{app.principal, tt.action, tt.scope, e.Roles[0]} {
				for what, said := range map[string]string{"the refusal": text, "the explanation": e.Reason} {
					if !strings.Contains(strings.ToLower(said), strings.ToLower(both)) {
						t.Errorf("%s does not name %s: %s", what, both, said)
					}
				}
			}
			at, _, _ := strings.Cut(tt.scope, "/assets/") // a role is given at what is there
			grant := s.assign(t, at, s.roleNamed(t, e.Roles[0]), app.principal)
			if resp, text := s.raw(t, tt.method, tt.url, s.token(t, cred, tt.resource), tt.body, "Content-Type", "application/json", "X-Ms-Version", "2021-08-06"); slices.Contains([]int{401, 403}, resp.StatusCode) {
				t.Errorf("with role '%s' still %d %s", e.Roles[0], resp.StatusCode, text)
			}
			s.unassign(t, at, grant)
		})
	}
}

// roleNamed returns the GUID of a built-in role.
func (s *server) roleNamed(t testing.TB, name string) string {
	t.Helper()
	resp, text := s.raw(t, "GET", s.URLs().Management()+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName%20eq%20'"+strings.ReplaceAll(name, " ", "%20")+"'",
		s.token(t, s.Admin, "https://management.azure.com"), "")
	var page struct {
		Value []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Value) != 1 {
		t.Fatalf("%d %s %v", resp.StatusCode, text, err)
	}
	return page.Value[0].Name
}
