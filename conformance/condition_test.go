package conformance

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/google/uuid"
)

// TestConditions: a condition set with the official client binds the official blob client, a role's own condition binds
// whoever writes role assignments, and checkAccess says the same beforehand.
func TestConditions(t *testing.T) {
	t.Parallel()
	s := start(t)
	worker := s.workload(t, "worker")
	account := s.storage(t, "store1", nil)
	for _, name := range []string{"logs", "other"} {
		_, err := s.blobs(t, "store1", s.Admin).CreateContainer(t.Context(), name, nil)
		check(t, err)
	}

	assign := func(as azcore.TokenCredential, name, role, condition string) error {
		c, err := armauthorization.NewRoleAssignmentsClient(s.sub, as, s.options())
		check(t, err)
		p := &armauthorization.RoleAssignmentProperties{
			RoleDefinitionID: to.Ptr("/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role), PrincipalID: &worker.id,
		}
		if condition != "" {
			p.Condition, p.ConditionVersion = &condition, to.Ptr("2.0")
		}
		got, err := c.Create(t.Context(), account, name, armauthorization.RoleAssignmentCreateParameters{Properties: p}, nil)
		if err == nil && condition != "" && (got.Properties.Condition == nil || *got.Properties.Condition != condition || *got.Properties.ConditionVersion != "2.0") {
			t.Errorf("the condition came back as %v", got.Properties.Condition)
		}
		return err
	}
	const (
		blobs     = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
		condition = "((!(ActionMatches{'" + blobs + "read'} AND SubOperationMatches{'Blob.List'})) OR (@Request[" +
			"Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix] StringStartsWith 'mine/')) AND " +
			"((!(ActionMatches{'" + blobs + "write'}) AND !(ActionMatches{'" + blobs + "add/action'})) OR (@Resource[" +
			"Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'logs'))"
	)
	grant := uuid.NewString()
	refused(t, assign(s.Admin, grant, blobContributor, condition+" OR"), http.StatusBadRequest, "InvalidRoleAssignmentCondition", "position")
	check(t, assign(s.Admin, grant, blobContributor, condition))

	client := s.blobs(t, "store1", worker)
	upload := func(name string) error {
		_, err := client.NewContainerClient(name).NewBlockBlobClient("mine/a").UploadBuffer(t.Context(), []byte("x"), nil)
		return err
	}
	check(t, upload("logs"))
	refused(t, upload("other"), http.StatusForbidden, "AuthorizationPermissionMismatch")
	list := func(prefix string) error {
		_, err := client.NewContainerClient("logs").NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix}).NextPage(t.Context())
		return err
	}
	check(t, list("mine/"))
	refused(t, list("m"), http.StatusForbidden, "AuthorizationPermissionMismatch")
	check(t, assign(s.Admin, grant, blobContributor, strings.ReplaceAll(condition, "'logs'", "'other'"))) // takes effect at once
	refused(t, upload("logs"), http.StatusForbidden, "AuthorizationPermissionMismatch")
	check(t, upload("other"))

	const vaultAccessAdministrator, vaultSecretsUser = "8b54135c-b56d-4d72-a534-26097cfdc8d8", "4633458b-17de-408a-b874-0445c86b69e6"
	check(t, assign(s.Admin, uuid.NewString(), vaultAccessAdministrator, ""))
	check(t, assign(worker, uuid.NewString(), vaultSecretsUser, ""))
	refused(t, assign(worker, uuid.NewString(), contributor, ""), http.StatusForbidden, "AuthorizationFailed", "Key Vault Data Access Administrator", "condition")

	denied, err := armauthorization.NewDenyAssignmentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	for pager := denied.NewListForScopePager(account, nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		check(t, err)
		if len(page.Value) != 0 {
			t.Errorf("%d deny assignments", len(page.Value))
		}
	}

	question := `{"Subject":{"Attributes":{"ObjectId":"` + worker.id + `"}},"Resource":{"Id":"` + account + `","Attributes":{"Microsoft.Storage/storageAccounts/blobServices/containers:name":"other"}},` +
		`"Environment":{"Attributes":null},"Actions":[{"Id":"` + blobs + `write","IsDataAction":true,"Attributes":null},{"Id":"Microsoft.Storage/storageAccounts/write","Attributes":null}]}`
	for _, token := range []string{s.token(t, s.Admin, "https://management.azure.com"), s.token(t, worker, "https://management.azure.com")} {
		resp, body := s.raw(t, http.MethodPost, s.URLs().Management()+"/providers/Microsoft.Authorization/checkAccess?api-version=2021-06-01-preview", token, question, "Content-Type", "application/json")
		var answer struct {
			Value []struct{ ActionID, AccessDecision string }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != http.StatusOK || len(answer.Value) != 2 ||
			answer.Value[0].AccessDecision != "Allowed" || answer.Value[1].AccessDecision != "NotAllowed" {
			t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
	}
}
