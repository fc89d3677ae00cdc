package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestAzureCLIResources(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	a.prints(t, "Succeeded", "group create -n cli -l westeurope --query properties.provisioningState")
	a.prints(t, "cli\nrg", "group list --query [].name")
	a.prints(t, "b", "group update -n cli --set tags.a=b --query tags.a")
	a.prints(t, "true", "group exists -n cli")

	a.az(t, "identity create -g cli -n worker")
	a.prints(t, "worker", "identity list -g cli --query [].name")
	principal := a.az(t, "identity show -g cli -n worker --query principalId")

	a.prints(t, "https://clivault.vault.azure.net/", "keyvault create -g cli -n clivault -l westeurope --enable-rbac-authorization true --enable-purge-protection true --query properties.vaultUri")
	a.prints(t, "true", "keyvault show -n clivault --query properties.enablePurgeProtection")
	a.az(t, "keyvault create -g cli -n clipolicies -l westeurope --enable-rbac-authorization false --no-self-perms true")
	a.prints(t, principal, "keyvault set-policy -n clipolicies --object-id "+principal+" --key-permissions get wrapKey unwrapKey --query properties.accessPolicies[0].objectId")
	a.prints(t, "", "keyvault delete-policy -n clipolicies --object-id "+principal+" --query properties.accessPolicies[].objectId")
	a.prints(t, "192.0.2.1/32", "keyvault network-rule add -g cli -n clipolicies --ip-address 192.0.2.1 --query properties.networkAcls.ipRules[].value")
	a.az(t, "keyvault delete -n clipolicies")
	a.prints(t, "clipolicies", "keyvault list-deleted --resource-type vault --query [].name")
	a.prints(t, "Succeeded", "keyvault recover -n clipolicies --query properties.provisioningState")
	a.az(t, "keyvault delete -n clipolicies")
	a.az(t, "keyvault purge -n clipolicies")

	a.prints(t, "Microsoft.KeyVault/vaults\nMicrosoft.ManagedIdentity/userAssignedIdentities", "resource list -g cli --query [].type")
	a.prints(t, "Registered", "provider show -n Microsoft.Media --query registrationState")
	if log := a.az(t, "monitor activity-log list -g cli --offset 1h --query [].authorization.action --caller "+a.adminID(t)); !strings.Contains(log, "Microsoft.KeyVault/vaults/delete") {
		t.Errorf("the activity log does not tell of the deleted vault: %q", log)
	}
	a.fails(t, "ResourceNotFound", "keyvault network-rule add -g cli -n nothere --ip-address 192.0.2.1")
	a.fails(t, "ResourceGroupNotFound", "group show -n nothere")
	a.az(t, "group delete -n cli -y")
	a.prints(t, "false", "group exists -n cli")
}

// TestAzureCLIResourceManager drives groups, resources, tags and locks with Debian's az: list, export, move and what goes
// with them.
func TestAzureCLIResourceManager(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	a.prints(t, a.sub, "account list --query [].id")
	a.prints(t, a.sub+"\nEnabled", "account show --query [id,state]")
	a.prints(t, "westeurope", "account list-locations --query", "[?displayName=='West Europe'].name")
	a.prints(t, "Bearer\n"+a.sub, "account get-access-token --query [tokenType,subscription]")

	a.az(t, "group create -n one -l westeurope --tags env=test")
	a.az(t, "group create -n two -l westeurope")
	a.az(t, "group wait -n two --exists")
	a.prints(t, "one", "group list --tag env=test --query [].name")
	a.prints(t, "test", "group show -n one --query tags.env")
	a.az(t, "group lock create -g one -n keep --lock-type ReadOnly --notes why")
	a.prints(t, "ReadOnly\nwhy", "group lock show -g one -n keep --query [level,notes]")
	a.fails(t, "ScopeLocked", "identity create -g one -n nothere")
	a.prints(t, "CanNotDelete", "group lock update -g one -n keep --lock-type CanNotDelete --query level")
	a.prints(t, "keep", "group lock list -g one --query [].name")
	id := a.az(t, "identity create -g one -n worker --tags a=b --query id")
	a.fails(t, "ScopeLocked", "identity delete -g one -n worker")
	a.az(t, "group lock delete -g one -n keep")

	a.prints(t, "federated", "identity federated-credential create -g one --identity-name worker -n federated --issuer https://issuer.example --subject s --audiences api://AzureADTokenExchange --query name")
	a.prints(t, "https://issuer.example", "identity federated-credential list -g one --identity-name worker --query [].issuer")
	a.prints(t, "other", "identity federated-credential update -g one --identity-name worker -n federated --issuer https://issuer.example --subject other --audiences api://AzureADTokenExchange --query subject")
	a.az(t, "identity federated-credential delete -g one --identity-name worker -n federated -y")
	a.prints(t, "true", "identity list-operations --query", "length(@) > `0`")

	a.prints(t, "worker", "resource show --ids "+id+" --query name")
	a.prints(t, "c", "resource tag --ids "+id+" --tags b=c --query tags.b")
	a.prints(t, "worker", "resource list --tag b=c --query [].name")
	a.prints(t, "worker", "resource list -g one --resource-type Microsoft.ManagedIdentity/userAssignedIdentities --query [].name")
	a.prints(t, "worker", "resource list -n worker -l westeurope --query [].name")
	a.prints(t, "d", "resource update --ids "+id+" --set tags.b=d --query tags.b")
	a.az(t, "resource wait --ids "+id+" --exists")
	a.prints(t, "made", "resource create -g one -n made --resource-type Microsoft.ManagedIdentity/userAssignedIdentities -l westeurope -p {} --query name")
	a.az(t, "resource delete -g one -n made --resource-type Microsoft.ManagedIdentity/userAssignedIdentities")
	a.az(t, "resource lock create -g one -n keep --lock-type CanNotDelete --resource-name worker --resource-type Microsoft.ManagedIdentity/userAssignedIdentities")
	a.prints(t, "keep", "resource lock list -g one --resource-name worker --resource-type Microsoft.ManagedIdentity/userAssignedIdentities --query [].name")
	a.prints(t, "keep", "lock list --query [].name")
	a.az(t, "resource lock delete -g one -n keep --resource-name worker --resource-type Microsoft.ManagedIdentity/userAssignedIdentities")

	a.prints(t, "d", "tag list --resource-id "+id+" --query properties.tags.b")
	a.az(t, "tag create --resource-id "+id+" --tags x=y")
	a.prints(t, "", "tag delete --resource-id "+id+" -y --query properties.tags")
	a.prints(t, "env", "tag list --query [].tagName")

	vault := a.az(t, "keyvault create -g one -n movedvault -l westeurope --enable-rbac-authorization true --query id")
	storage := a.az(t, "storage account create -g one -n movedstore -l westeurope --sku Standard_LRS --query id")
	a.prints(t, "2", "resource invoke-action --action listKeys --ids "+storage+" --api-version 2023-01-01 --query length(keys)")
	a.grant(t, storage, blobContributor, a.adminID(t))
	a.prints(t, "true", "storage container create -n films --account-name movedstore --auth-mode login --query created")
	a.az(t, "storage blob upload --account-name movedstore --auth-mode login -c films -n a --data hello")
	a.az(t, "resource move --destination-group two --ids "+vault+" "+storage)
	a.prints(t, "movedstore\nmovedvault", "resource list -g two --query", "sort([].name)")
	a.prints(t, "https://movedvault.vault.azure.net/", "keyvault show -g two -n movedvault --query properties.vaultUri")
	a.fails(t, "You do not have the required permissions", "storage blob show --account-name movedstore --auth-mode login -c films -n a") // roles stay behind
	a.grant(t, strings.Replace(storage, "/one/", "/two/", 1), blobContributor, a.adminID(t))
	a.prints(t, "5", "storage blob show --account-name movedstore --auth-mode login -c films -n a --query properties.contentLength")
	a.az(t, "keyvault delete -g two -n movedvault")
	a.prints(t, "movedvault", "keyvault list-deleted --query [].name")
	a.prints(t, "false", "keyvault check-name -n anyname --query nameAvailable")
	a.fails(t, "ResourceMoveNotSupported", "resource move --destination-group two --ids "+id)

	exported := a.az(t, "group export -n two --include-parameter-default-value --query", "resources[].type")
	if !strings.Contains(exported, "Microsoft.Storage/storageAccounts") {
		t.Errorf("the exported template has %q", exported)
	}
	a.prints(t, "Microsoft.Storage", "provider operation show --namespace Microsoft.Storage --query name")
	if all := a.az(t, "provider operation list --query [].name"); !strings.Contains(all, "Microsoft.KeyVault") || !strings.Contains(all, "Microsoft.Authorization") {
		t.Errorf("provider operations: %q", all)
	}
	if log := a.az(t, "monitor activity-log list -g one --offset 1h --query [].authorization.action --max-events 1000"); !strings.Contains(log, "moveResources/action") {
		t.Errorf("the activity log does not tell of the move: %q", log)
	}
	a.az(t, "group delete -n two -y --no-wait")
	a.az(t, "group wait -n two --deleted")
}

// TestAzureCLIThinnedLists: who has a role on one group alone is shown that group.
func TestAzureCLIThinnedLists(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	a.az(t, "group create -n hidden -l westeurope")
	a.az(t, "identity create -g hidden -n unseen")
	a.az(t, "identity create -g rg -n seen")
	app := strings.Fields(a.az(t, "ad sp create-for-rbac -n narrow --years 1 --query [appId,password]"))
	a.grant(t, a.groupID(), reader, a.az(t, "ad sp show --id "+app[0]+" --query id"))
	narrow := a.server.foreign(t).azureCLI(t)
	narrow.prints(t, a.sub, "login --service-principal --tenant "+a.admin.TenantID+" -u "+app[0]+" -p "+app[1]+" --query [].id")
	narrow.prints(t, "rg", "group list --query [].name")
	narrow.prints(t, "seen", "resource list --query [].name")
	narrow.prints(t, "seen", "identity list --query [].name")
	narrow.prints(t, "", "storage account list --query [].name")
	narrow.fails(t, "AuthorizationFailed", "group show -n hidden")
	narrow.fails(t, "AuthorizationFailed", "resource list -g hidden")
}

// TestAzureCLIDeployments: deployments at groups and at the subscription, from validation to export.
func TestAzureCLIDeployments(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	write := func(name string, v any) string {
		text, err := json.Marshal(v)
		check(t, err)
		file := filepath.Join(a.dir, name)
		check(t, os.WriteFile(file, text, 0o600))
		return file
	}
	const schema = "https://schema.management.azure.com/schemas/"
	bicep := write("main.json", map[string]any{ // as Bicep writes it
		"$schema": schema + "2019-04-01/deploymentTemplate.json#", "languageVersion": "2.0", "contentVersion": "1.0.0.0",
		"definitions": map[string]any{"names": map[string]any{"type": "array", "items": map[string]any{"type": "string", "minLength": 3}}},
		"parameters":  map[string]any{"names": map[string]any{"$ref": "#/definitions/names", "defaultValue": []string{"first", "second"}}},
		"functions": []any{map[string]any{"namespace": "__bicep", "members": map[string]any{"full": map[string]any{
			"parameters": []any{map[string]any{"type": "string", "name": "name"}}, "output": map[string]any{"type": "string", "value": "[format('id-{0}', parameters('name'))]"},
		}}}},
		"resources": map[string]any{"ids": map[string]any{
			"copy": map[string]any{"name": "ids", "count": "[length(parameters('names'))]"}, "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
			"apiVersion": "2023-01-31", "name": "[__bicep.full(parameters('names')[copyIndex()])]", "location": "[resourceGroup().location]",
		}},
		"outputs": map[string]any{"principals": map[string]any{"type": "array", "value": "[map(references('ids'), lambda('i', lambdaVariables('i').principalId))]"}},
	})
	a.prints(t, "Succeeded", "deployment group validate -g rg -f "+bicep+" --query properties.provisioningState")
	a.prints(t, "Create\nCreate", "deployment group what-if -g rg -f "+bicep+" --no-pretty-print --query changes[].changeType")
	a.prints(t, "2", "deployment group create -g rg -n bicep -f "+bicep+" --query", "length(properties.outputs.principals.value)")
	a.prints(t, "bicep", "deployment group list -g rg --query [].name")
	a.prints(t, "Succeeded\nIncremental", "deployment group show -g rg -n bicep --query properties.[provisioningState,mode]")
	a.prints(t, "2", "deployment operation group list -g rg -n bicep --query length(@)")
	if text := a.az(t, "deployment group export -g rg -n bicep"); !strings.Contains(text, "__bicep") {
		t.Errorf("the exported template is %s", text)
	}
	a.fails(t, "minLength", "deployment group create -g rg -f "+bicep+" -p", `{"names":{"value":["x"]}}`)
	a.fails(t, "not running", "deployment group cancel -g rg -n bicep")
	a.az(t, "deployment group wait -g rg -n bicep --created")

	sub := write("sub.json", map[string]any{
		"$schema": schema + "2018-05-01/subscriptionDeploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"resources": []any{map[string]any{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2021-04-01", "name": "fromsub", "location": "westeurope"}},
	})
	a.prints(t, "Succeeded", "deployment sub validate -l westeurope -f "+sub+" --query properties.provisioningState")
	a.prints(t, "Succeeded", "deployment sub create -n atsub -l westeurope -f "+sub+" --query properties.provisioningState")
	a.prints(t, "westeurope", "deployment sub show -n atsub --query location")
	a.prints(t, "atsub", "deployment sub list --query [].name")
	a.prints(t, "true", "group exists -n fromsub")
	a.prints(t, "1", "deployment operation sub list -n atsub --query length(@)")
	if text := a.az(t, "deployment sub export -n atsub"); !strings.Contains(text, "fromsub") {
		t.Errorf("the exported template is %s", text)
	}
	a.az(t, "deployment sub delete -n atsub")
	a.fails(t, "InvalidResource", "deployment mg create -m root -l westeurope -f "+sub)
}

// TestAzureCLIRoles makes and assigns a role with `az rest`: Debian's `az role` breaks before it sends a thing.
func TestAzureCLIRoles(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	const v = "?api-version=2022-04-01"
	role, base := uuid.NewString(), a.groupID()+"/providers/Microsoft.Authorization/"
	body := `{"properties":{"roleName":"Identity reader","type":"CustomRole","assignableScopes":["` + a.groupID() + `"],"permissions":[{"actions":["Microsoft.ManagedIdentity/*/read"]}]}}`
	a.prints(t, "Identity reader", "rest -m put -u "+base+"roleDefinitions/"+role+v+" --query properties.roleName -b", body)
	a.prints(t, role, "rest -m get --query value[].name -u", base+"roleDefinitions"+v+"&$filter=roleName eq 'Identity reader'")
	principal := a.az(t, "identity create -g rg -n worker --query principalId")
	a.grant(t, a.groupID(), role, principal)
	a.prints(t, "ServicePrincipal", "rest -m get --query value[].properties.principalType -u", base+"roleAssignments"+v+"&$filter=principalId eq '"+principal+"'")
	a.prints(t, "*", "rest -m get --query value[0].actions[0] -u "+base+"permissions"+v)
	a.prints(t, "", "rest -m get --query value -u /subscriptions/"+a.sub+"/providers/Microsoft.Authorization/classicAdministrators?api-version=2015-06-01")
	a.az(t, "rest -m post -u /providers/Microsoft.Authorization/elevateAccess?api-version=2016-07-01")
}
