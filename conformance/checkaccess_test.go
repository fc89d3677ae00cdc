package conformance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	pdp "github.com/Azure/checkaccess-v2-go-sdk/client"
	"github.com/google/uuid"
)

// attempt is something that a principal may try, and what decides on it.
type attempt struct {
	action     string
	data       bool
	scope      string
	attributes pdp.Attributes // of the resource
	audience   string
	request    [4]string // method, URL, body, headers
}

// TestCheckAccess asks the policy decision point with Microsoft's own client about random principals, groups, roles,
// assignments and conditions. Its answers are those of explain, and what the services really do.
func TestCheckAccess(t *testing.T) {
	t.Parallel()
	s := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	const blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
	const containerName = "Microsoft.Storage/storageAccounts/blobServices/containers:name"

	account := s.storage(t, "decided", nil)
	vault := s.newVault(t, "decided-vault", nil)
	me := s.adminID(t)
	s.assign(t, account, blobContributor, me)
	s.assign(t, vault, cryptoOfficer, me)
	for _, name := range []string{"logs", "other"} {
		_, err := s.blobs(t, "decided", s.Admin).CreateContainer(t.Context(), name, nil)
		check(t, err)
		_, err = s.blobs(t, "decided", s.Admin).NewContainerClient(name).NewBlockBlobClient("a").UploadBuffer(t.Context(), []byte("x"), nil)
		check(t, err)
	}
	key, err := s.keys(t, "decided-vault", s.Admin).CreateKey(t.Context(), "k", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
	check(t, err)

	management, u := s.URLs().Management(), s.URLs()
	logs, other := account+"/blobServices/default/containers/logs", account+"/blobServices/default/containers/other"
	digest := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	attempts := []attempt{
		{"Microsoft.Resources/subscriptions/resourceGroups/read", false, s.groupID(), nil, managementAudience, [4]string{"GET", management + s.groupID() + "?api-version=2021-04-01"}},
		{"Microsoft.Storage/storageAccounts/read", false, account, nil, managementAudience, [4]string{"GET", management + account + "?api-version=2023-01-01"}},
		{"Microsoft.Storage/storageAccounts/write", false, account, nil, managementAudience, [4]string{"PATCH", management + account + "?api-version=2023-01-01", `{"tags":{"a":"b"}}`}},
		{"Microsoft.Storage/storageAccounts/listKeys/action", false, account, nil, managementAudience, [4]string{"POST", management + account + "/listKeys?api-version=2023-01-01"}},
		{"Microsoft.KeyVault/vaults/read", false, vault, nil, managementAudience, [4]string{"GET", management + vault + "?api-version=2023-07-01"}},
		{"Microsoft.Authorization/roleAssignments/read", false, vault, nil, managementAudience, [4]string{"GET", management + vault + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01"}},
		{blobs + "read", true, logs, pdp.Attributes{containerName: "logs"}, storageAudience, [4]string{"GET", u.Blob("decided") + "/logs/a"}},
		{blobs + "read", true, other, pdp.Attributes{containerName: "other"}, storageAudience, [4]string{"GET", u.Blob("decided") + "/other/a"}},
		{blobs + "write", true, other, pdp.Attributes{containerName: "other"}, storageAudience, [4]string{"PUT", u.Blob("decided") + "/other/a", "y"}},
		{"Microsoft.KeyVault/vaults/keys/read", true, vault + "/keys/k", nil, vaultAudience, [4]string{"GET", string(*key.Key.KID) + "?api-version=7.4"}},
		{"Microsoft.KeyVault/vaults/keys/sign/action", true, vault + "/keys/k", nil, vaultAudience, [4]string{"POST", string(*key.Key.KID) + "/sign?api-version=7.4", `{"alg":"RS256","value":"` + digest + `"}`}},
	}

	var workloads []*workload
	var principals []string
	for i := range 5 {
		w := s.workload(t, fmt.Sprint("worker", i))
		workloads, principals = append(workloads, w), append(principals, w.id)
	}
	inner := s.newGroup(t, "inner", principals[0], principals[1])
	principals = append(principals, inner, s.newGroup(t, "outer", inner, principals[2]))

	roles := []string{reader, contributor, blobReader, blobContributor, cryptoOfficer, cryptoService, "81a9662b-bebf-436f-a333-f67b29880f12"}
	definitions, err := armauthorization.NewRoleDefinitionsClient(s.Admin, s.options())
	check(t, err)
	for i := range 5 {
		p := armauthorization.Permission{}
		for _, a := range attempts {
			action := a.action
			if random.IntN(4) == 0 {
				action = action[:strings.LastIndexByte(action, '/')+1] + "*"
			}
			list := []*[]*string{&p.Actions, &p.NotActions}
			if a.data {
				list = []*[]*string{&p.DataActions, &p.NotDataActions}
			}
			switch random.IntN(4) {
			case 0:
				*list[0] = append(*list[0], &action)
			case 1:
				*list[1] = append(*list[1], &action)
			}
		}
		name := uuid.NewString()
		_, err := definitions.CreateOrUpdate(t.Context(), s.groupID(), name, armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
			RoleName: to.Ptr(fmt.Sprint("random ", i)), RoleType: to.Ptr("CustomRole"), AssignableScopes: []*string{to.Ptr(s.groupID())}, Permissions: []*armauthorization.Permission{&p},
		}}, nil)
		check(t, err)
		roles = append(roles, name)
	}
	assignments, err := armauthorization.NewRoleAssignmentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	scopes := []string{s.groupID(), account, vault, vault + "/keys/k", logs, other}
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	grant := func() (scope, name string) {
		scope, name = pick(scopes), uuid.NewString()
		p := &armauthorization.RoleAssignmentProperties{
			RoleDefinitionID: to.Ptr("/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + pick(roles)), PrincipalID: to.Ptr(pick(principals)),
		}
		if random.IntN(3) == 0 {
			p.Condition = to.Ptr("!(ActionMatches{'" + blobs + "read'}) OR @Resource[" + containerName + "] StringEquals 'logs'")
			p.ConditionVersion = to.Ptr("2.0")
		}
		if _, err := assignments.Create(t.Context(), scope, name, armauthorization.RoleAssignmentCreateParameters{Properties: p}, nil); err != nil {
			refused(t, err, http.StatusConflict, "RoleAssignmentExists")
			return "", ""
		}
		return scope, name
	}

	options := s.ClientOptions()
	options.Retry = policy.RetryOptions{MaxRetries: -1}
	decide := func(as azcore.TokenCredential, w *workload, a attempt) pdp.AccessDecision {
		t.Helper()
		client, err := pdp.NewRemotePDPClient(u.Authorization("westeurope")+"/providers/Microsoft.Authorization/checkAccess?api-version=2021-06-01-preview",
			pdpAudience+"/.default", as, &options)
		check(t, err)
		question, err := client.CreateAuthorizationRequest(a.scope, []string{a.action}, w.tokens[managementAudience])
		check(t, err)
		question.Actions[0].IsDataAction, question.Resource.Attributes = a.data, a.attributes
		answer, err := client.CheckAccess(t.Context(), *question)
		check(t, err)
		if len(answer.Value) != 1 || answer.Value[0].ActionId != a.action || answer.Value[0].IsDataAction != a.data {
			t.Fatalf("%s: %+v", a.action, answer)
		}
		if got := answer.Value[0]; got.AccessDecision == pdp.Allowed && got.RoleAssignment.RoleDefinitionId == "" {
			t.Errorf("%s is allowed by no role: %+v", a.action, got)
		}
		return answer.Value[0].AccessDecision
	}
	explain := func(w *workload, a attempt) string {
		t.Helper()
		question, err := json.Marshal(map[string]any{
			"Subject": map[string]any{"Attributes": map[string]any{"ObjectId": w.id}}, "Resource": map[string]any{"Id": a.scope, "Attributes": a.attributes},
			"Actions": []any{map[string]any{"Id": a.action, "IsDataAction": a.data}},
		})
		check(t, err)
		resp, body := s.raw(t, http.MethodPost, management+"/providers/Microsoft.Authorization/explain?api-version=2018-09-01-preview",
			s.token(t, s.Admin, managementAudience), string(question), "Content-Type", "application/json")
		var answer struct {
			Value []struct{ AccessDecision string }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusOK || len(answer.Value) != 1 {
			t.Fatalf("explain: %d %s", resp.StatusCode, body)
		}
		return answer.Value[0].AccessDecision
	}

	counts := map[pdp.AccessDecision]int{}
	var last [][2]string
	for round := range 4 {
		for range 8 {
			if scope, name := grant(); name != "" {
				last = append(last, [2]string{scope, name})
			}
		}
		if round == 3 { // what is taken away is gone with the next question
			for _, a := range last[:len(last)/2] {
				s.unassign(t, a[0], a[1])
			}
		}
		for _, w := range workloads {
			for _, a := range attempts {
				resp, body := s.raw(t, a.request[0], a.request[1], w.tokens[a.audience], a.request[2],
					"Content-Type", "application/json", "x-ms-version", "2021-12-02", "x-ms-blob-type", "BlockBlob")
				does := pdp.NotAllowed
				if resp.StatusCode < 300 {
					does = pdp.Allowed
				} else if resp.StatusCode != http.StatusForbidden {
					t.Fatalf("%s: %d %s", a.request[1], resp.StatusCode, body)
				}
				counts[does]++
				if mine, admins, why := decide(w, w, a), decide(s.Admin, w, a), explain(w, a); mine != does || admins != does || why != string(does) {
					t.Errorf("round %d, %s at %s: the service says %s, checkAccess to itself %s and to an administrator %s, explain %s",
						round, a.action, a.scope, does, mine, admins, why)
				}
			}
		}
	}
	if counts[pdp.Allowed] < 20 || counts[pdp.NotAllowed] < 20 {
		t.Errorf("the draw is one-sided: %v", counts)
	}

	// Who may not read others' access may ask about itself alone; tokens for another service are refused.
	stranger := s.workload(t, "stranger")
	foreign := func(as azcore.TokenCredential, scope, token string) error {
		client, err := pdp.NewRemotePDPClient(u.Authorization("eastus")+"/providers/Microsoft.Authorization/checkAccess?api-version=2021-06-01-preview", scope, as, &options)
		check(t, err)
		question, err := client.CreateAuthorizationRequest(account, []string{"Microsoft.Storage/storageAccounts/read"}, token)
		check(t, err)
		_, err = client.CheckAccess(t.Context(), *question)
		return err
	}
	check(t, foreign(stranger, pdpAudience+"/.default", stranger.tokens[pdpAudience]))
	refused(t, foreign(stranger, pdpAudience+"/.default", workloads[0].tokens[pdpAudience]), http.StatusForbidden, "403")
	refused(t, foreign(stranger, managementAudience+"/.default", stranger.tokens[pdpAudience]), http.StatusUnauthorized, "401")
	resp, body := s.raw(t, http.MethodGet, u.Authorization("eastus")+s.groupID()+"?api-version=2021-04-01", stranger.tokens[pdpAudience], "")
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a group at the decision point: %d %s", resp.StatusCode, body)
	}
}
