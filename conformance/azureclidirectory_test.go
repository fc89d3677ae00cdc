package conformance

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// TestAzureCLIDirectory: what `az ad` does in Microsoft Graph counts at the resource manager with the next request.
func TestAzureCLIDirectory(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	made := strings.Fields(a.az(t, "ad sp create-for-rbac -n ci --query [appId,password]"))
	if len(made) != 2 {
		t.Fatalf("create-for-rbac printed %d words", len(made))
	}
	appID := made[0]
	oid := a.az(t, "ad sp show --query id --id "+appID)
	a.prints(t, appID, "ad sp list --display-name ci --query [].appId")
	a.prints(t, appID, "ad app list --display-name ci --query [].appId")
	a.prints(t, "rbac", "ad app credential list --query [].displayName --id "+appID)
	a.prints(t, "Keyreel administrator", "ad sp list --all --query", "[?displayName=='Keyreel administrator'].displayName")

	group := a.az(t, "ad group create --display-name team --mail-nickname team --query id")
	cred, err := a.Credential(appID, made[1])
	check(t, err)
	groups, err := armresources.NewResourceGroupsClient(a.sub, cred, a.options())
	check(t, err)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed")
	a.az(t, "ad group member add -g "+group+" --member-id "+oid)
	a.prints(t, oid, "ad group member list --query [].id -g "+group)
	a.prints(t, "true", "ad group member check --query value -g "+group+" --member-id "+oid)
	a.az(t, "rest -m put -u "+a.groupID()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-000000000001?api-version=2022-04-01 -b",
		`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/`+reader+`","principalId":"`+group+`","principalType":"Group"}}`)
	_, err = groups.Get(t.Context(), a.group, nil)
	check(t, err)
	a.az(t, "ad group member remove -g "+group+" --member-id "+oid)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusForbidden, "AuthorizationFailed")

	a.prints(t, "ada@example.org", "ad user create --display-name Ada --user-principal-name ada@example.org --password Secret-secret1 --query userPrincipalName")
	a.prints(t, "Ada", "ad user show --id ada@example.org --query displayName")
	a.az(t, "ad user delete --id ada@example.org")
	a.prints(t, "", "ad user list --upn ada@example.org --query [].id")

	a.az(t, "ad app delete --id "+appID)
	a.fails(t, "does not exist", "ad sp show --id "+oid)
	_, err = groups.Get(t.Context(), a.group, nil)
	refused(t, err, http.StatusUnauthorized, "")
}

// TestAzureCLIApplications: every command of `az ad app` and `az ad sp` that Debian's az can run.
func TestAzureCLIApplications(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		check(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	roles := file("roles.json", `[{"allowedMemberTypes":["Application"],"description":"d","displayName":"Reads","id":"00000000-0000-4000-8000-00000000000a","isEnabled":true,"value":"reads"}]`)
	needs := file("needs.json", `[{"resourceAppId":"00000003-0000-0000-c000-000000000000","resourceAccess":[{"id":"e1fe6dd8-ba31-4d61-89e7-88639da4683d","type":"Scope"}]}]`)
	made := strings.Fields(a.az(t, "ad app create --display-name shop --identifier-uris api://shop --sign-in-audience AzureADMyOrg --enable-id-token-issuance true"+
		" --web-redirect-uris https://shop.example/cb http://localhost:8080/cb --public-client-redirect-uris http://localhost --web-home-page-url https://shop.example"+
		" --app-roles @"+roles+" --required-resource-accesses @"+needs+" --query [id,appId]"))
	if len(made) != 2 {
		t.Fatalf("ad app create printed %v", made)
	}
	id, appID := made[0], made[1]
	a.prints(t, "https://shop.example/cb", "ad app show --query web.redirectUris[0] --id api://shop")
	a.prints(t, "reads", "ad app show --query appRoles[0].value --id "+appID)
	a.fails(t, "api://shop", "ad app create --display-name other --identifier-uris api://shop")
	a.fails(t, "http://shop.example", "ad app update --web-redirect-uris http://shop.example/cb --id "+id)
	a.fails(t, "disabled first", "ad app update --set appRoles=[] --id "+id)
	a.az(t, "ad app update --is-fallback-public-client true --set notes=mine --id "+id)
	a.prints(t, "mine\ntrue\nhttps://shop.example", "ad app show --query [notes,isFallbackPublicClient,web.homePageUrl] --id "+id)
	a.prints(t, appID, "ad app list --identifier-uri api://shop --query [].appId")
	a.prints(t, appID, "ad app list --app-id "+appID+" --query [].appId")

	a.az(t, "ad app permission add --api 797f4846-ba00-4fd7-ba43-dac1f8f63013 --api-permissions 41094075-9dad-400e-a0bd-54e686782033=Scope --id "+id)
	a.prints(t, "2", "ad app permission list --query length(@) --id "+id)
	a.az(t, "ad app permission delete --api 797f4846-ba00-4fd7-ba43-dac1f8f63013 --id "+id)
	spID := a.az(t, "ad sp create --query id --id "+appID)
	a.fails(t, "already in use", "ad sp create --id "+appID)
	a.az(t, "ad app permission grant --api 00000003-0000-0000-c000-000000000000 --scope User.Read --id "+appID)
	a.prints(t, "User.Read", "ad app permission list-grants --query [].scope --id "+appID)

	secret := a.az(t, "ad app credential reset --append --display-name one --query password --id "+id)
	_, err := a.clientToken(t, appID, secret)
	check(t, err)
	keyID := a.az(t, "ad app credential list --query [0].keyId --id "+id)
	a.az(t, "ad app credential delete --key-id "+keyID+" --id "+id)
	if _, err = a.clientToken(t, appID, secret); err == nil {
		t.Error("a deleted secret still signs in")
	}
	a.az(t, "ad app credential reset --create-cert --query fileWithCertAndPrivateKey --id "+id)
	a.prints(t, "1", "ad app credential list --cert --query length(@) --id "+id)
	spSecret := a.az(t, "ad sp credential reset --query password --id "+spID)
	_, err = a.clientToken(t, appID, spSecret)
	check(t, err)
	a.prints(t, "1", "ad sp credential list --query length(@) --id "+spID)

	fic := file("fic.json", `{"name":"hub","issuer":"https://i.example","subject":"S","audiences":["api://AzureADTokenExchange"],"description":"one"}`)
	a.az(t, "ad app federated-credential create --parameters @"+fic+" --id "+id)
	changed := file("changed.json", `{"issuer":"https://i.example","subject":"T","audiences":["api://AzureADTokenExchange"]}`)
	a.az(t, "ad app federated-credential update --federated-credential-id hub --parameters @"+changed+" --id "+id)
	a.prints(t, "T", "ad app federated-credential show --federated-credential-id hub --query subject --id "+id)
	a.prints(t, "hub", "ad app federated-credential list --query [].name --id "+id)
	a.az(t, "ad app federated-credential delete --federated-credential-id hub --id "+id)

	owner := a.az(t, "ad user create --display-name Owner --user-principal-name owner@example.org --password Secret-secret1 --query id")
	a.az(t, "ad app owner add --owner-object-id "+owner+" --id "+id)
	a.prints(t, owner, "ad app owner list --query [].id --id "+id)
	a.az(t, "ad app owner remove --owner-object-id "+owner+" --id "+id)
	a.prints(t, "", "ad sp owner list --query [].id --id "+spID)
	a.az(t, "ad sp update --set tags=[\"x\"] --id "+spID)
	a.prints(t, "x", "ad sp show --query tags[0] --id api://shop")
	a.prints(t, "Microsoft Graph", "ad sp show --query displayName --id 00000003-0000-0000-c000-000000000000")
	a.prints(t, "Azure Key Vault", "ad sp show --query displayName --id cfa8b339-82a2-471a-a3c9-0fc0be7a4093")
	a.prints(t, spID, "ad sp list --spn api://shop --query [].id")
	a.prints(t, spID, "ad sp list --filter", "displayName eq 'shop'", "--query", "[].id")

	a.az(t, "ad sp delete --id "+spID)
	if _, err = a.clientToken(t, appID, spSecret); err == nil {
		t.Error("a deleted service principal still signs in")
	}
	a.az(t, "ad app delete --id "+id)
	graph := "rest --resource https://graph.microsoft.com -u https://graph.microsoft.com/v1.0"
	a.prints(t, id, graph+"/directory/deletedItems/microsoft.graph.application --query value[].id")
	a.az(t, graph+"/directory/deletedItems/"+id+"/restore -m post")
	a.prints(t, appID, "ad app show --query appId --id "+id)
	a.az(t, "ad app delete --id "+id)
	a.az(t, graph+"/directory/deletedItems/"+id+" -m delete")
	a.prints(t, "", graph+"/directory/deletedItems/microsoft.graph.application --query value[].id")
}

// TestAzureCLIGroups: every command of `az ad group` and `az ad user`.
func TestAzureCLIGroups(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	user := a.az(t, "ad user create --display-name Ada --user-principal-name ada@example.org --password Secret-secret1 --force-change-password-next-sign-in true"+
		" --mail-nickname ada --query id")
	a.fails(t, "complexity", "ad user create --display-name B --user-principal-name b@example.org --password short")
	a.fails(t, "already exists", "ad user create --display-name B --user-principal-name ADA@example.org --password Secret-secret1")
	a.az(t, "ad user update --id ada@example.org --display-name Countess --account-enabled false --mail-nickname countess")
	a.prints(t, "Countess", "ad user list --upn ada@example.org --query [].displayName")
	a.prints(t, "Countess", "ad user list --display-name Count --query [].displayName")
	a.prints(t, "false", "ad user list --filter", "startswith(mailNickname,'count')", "--query", "[0].accountEnabled")

	inner := a.az(t, "ad group create --display-name inner --mail-nickname inner --description d --query id")
	outer := a.az(t, "ad group create --display-name outer --mail-nickname outer --query id")
	a.prints(t, inner, "ad group create --display-name inner --mail-nickname inner --query id") // az finds the one that is there
	a.az(t, "ad group member add -g inner --member-id "+user)
	a.az(t, "ad group member add -g outer --member-id "+inner)
	a.fails(t, "already exist", "ad group member add -g outer --member-id "+inner)
	a.prints(t, "d", "ad group show -g inner --query description")
	a.prints(t, outer, "ad group get-member-groups -g inner")
	a.prints(t, "2", "ad user get-member-groups --id ada@example.org --query length(@)")
	a.prints(t, "Countess", "ad group member list -g inner --query [].displayName")
	a.prints(t, "true", "ad group member check -g outer --query value --member-id "+user)
	a.az(t, "ad group owner add -g inner --owner-object-id "+user)
	a.prints(t, user, "ad group owner list -g inner --query [].id")
	a.fails(t, "at least one owner", "ad group owner remove -g inner --owner-object-id "+user)
	a.az(t, "ad group member remove -g inner --member-id "+user)
	a.prints(t, "inner", "ad group list --filter", "startswith(displayName,'in')", "--query", "[].displayName")
	a.az(t, "ad group delete -g inner")
	a.prints(t, "outer", "ad group list --query [].displayName")
	a.fails(t, "delegated", "ad signed-in-user show")
	a.az(t, "ad user delete --id "+user)
}

// clientToken asks for a token with a client secret of an application.
func (a azureCLI) clientToken(t testing.TB, appID, secret string) (azcore.AccessToken, error) {
	t.Helper()
	cred, err := a.Credential(appID, secret)
	check(t, err)
	return cred.GetToken(t.Context(), tokenFor(managementAudience))
}
