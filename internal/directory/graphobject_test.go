package directory_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// app registers an application with a service principal and a secret, and returns their ids.
func (g *graph) app(name string) (id, appID, spID string, secret seal.Secret) {
	g.t.Helper()
	made := g.do("POST", "/v1.0/applications", `{"displayName":"`+name+`"}`, 201)
	id, appID = made["id"].(string), made["appId"].(string)
	spID = g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 201)["id"].(string)
	return id, appID, spID, seal.Secret(g.do("POST", "/v1.0/applications/"+id+"/addPassword", `{}`, 200)["secretText"].(string))
}

func (g *graph) user(name string) string {
	g.t.Helper()
	return g.do("POST", "/v1.0/users", `{"displayName":"`+name+`","userPrincipalName":"`+name+`@example.org","passwordProfile":{"password":"Correct horse 1"}}`, 201)["id"].(string)
}

// What an application may not have is refused by the property's name, when it is made and when it is changed.
func TestGraphApplicationRules(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	id := g.do("POST", "/v1.0/applications", `{"displayName":"a"}`, 201)["id"].(string)
	g.do("POST", "/v1.0/applications", `{"displayName":"b","identifierUris":["api://Taken"]}`, 201)
	const guid = `"00000000-0000-4000-8000-00000000000a"`
	role := `{"id":` + guid + `,"displayName":"d","value":"v","allowedMemberTypes":["User"]}`
	for _, c := range []struct{ body, mention string }{
		{`{"web":{"redirectUris":["http://a.example/cb"]}}`, "web.redirectUris"},
		{`{"web":{"redirectUris":["https://a.example/cb#f"]}}`, "fragment"},
		{`{"web":{"redirectUris":["https://*.example/cb"]}}`, "wildcard"},
		{`{"web":{"redirectUris":["https://user@a.example"]}}`, "names a user"},
		{`{"web":{"redirectUris":["/cb"]}}`, "absolute"},
		{`{"web":{"redirectUris":["app://cb"]}}`, "must start with https"},
		{`{"web":{"redirectUris":["https://a.example","https://a.example"]}}`, "twice"},
		{`{"web":{"redirectUris":["https://a.example/` + strings.Repeat("a", 256) + `"]}}`, "longer"},
		{`{"web":{"redirectUris":"https://a.example"}}`, "redirectUris"},
		{`{"web":{"redirectUris":[7]}}`, "redirectUris"},
		{`{"web":[]}`, "web"},
		{`{"spa":{"redirectUris":["app://cb"]}}`, "spa.redirectUris"},
		{`{"publicClient":{"redirectUris":["javascript:alert(1)"]}}`, "scheme"},
		{`{"identifierUris":["shop"]}`, "identifierUris"},
		{`{"identifierUris":["api://taken"]}`, "identifierUris"},
		{`{"identifierUris":["https://Vault.azure.net/"]}`, "identifierUris"},
		{`{"signInAudience":"All"}`, "signInAudience"},
		{`{"api":{"requestedAccessTokenVersion":3}}`, "requestedAccessTokenVersion"},
		{`{"api":{"oauth2PermissionScopes":[{"id":"x","value":"v"}]}}`, "oauth2PermissionScopes"},
		{`{"api":{"oauth2PermissionScopes":[{"id":` + guid + `,"value":"a b"}]}}`, "oauth2PermissionScopes"},
		{`{"api":{"preAuthorizedApplications":[{"appId":` + guid + `,"delegatedPermissionIds":[` + guid + `]}]}}`, "preAuthorizedApplications"},
		{`{"appRoles":[` + role + `,` + role + `]}`, "twice"},
		{`{"appRoles":[{"id":` + guid + `,"value":"v"}]}`, "appRoles"},
		{`{"appRoles":{}}`, ""}, // an empty object is no list
		{`{"requiredResourceAccess":[{"resourceAppId":` + guid + `,"resourceAccess":[{"id":` + guid + `,"type":"Other"}]}]}`, "requiredResourceAccess"},
		{`{"tags":[1]}`, "tags"},
		{`{"notes":1}`, "notes"},
		{`{"notes":"\u0000"}`, "notes"},
		{`{"displayName":null}`, "displayName"},
		{`{"displayName":"` + strings.Repeat("a", 257) + `"}`, "displayName"},
		{`{"appId":"` + tenant + `"}`, "appId"},
		{`{"id":"` + tenant + `"}`, "id"},
		{`{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Sign","key":"AAAA"}]}`, "keyCredentials"},
	} {
		status, answer := g.as(g.admin.ID, "PATCH", "/v1.0/applications/"+id, c.body)
		message, _ := json.Marshal(answer)
		if status != 400 || !strings.Contains(string(message), c.mention) {
			t.Errorf("%s: %d %s", c.body, status, message)
		}
	}
	if got := g.do("GET", "/v1.0/applications/"+id, "", 200); got["displayName"] != "a" || len(got["tags"].([]any)) != 0 {
		t.Errorf("something of what was refused is kept: %v", got)
	}
	for _, body := range []string{
		`{"web":{"redirectUris":["http://localhost:1/cb","http://127.0.0.1/","https://a.example"],"homePageUrl":"https://a.example"}}`,
		`{"web":{"logoutUrl":"https://a.example/out"}}`, // the rest of web stays
		`{"publicClient":{"redirectUris":["http://localhost","app://cb","urn:ietf:wg:oauth:2.0:oob"]}}`,
		`{"appRoles":[` + role + `]}`,
	} {
		g.do("PATCH", "/v1.0/applications/"+id, body, 204)
	}
	web := g.do("GET", "/v1.0/applications/"+id, "", 200)["web"].(map[string]any)
	if len(web["redirectUris"].([]any)) != 3 || web["homePageUrl"] != "https://a.example" || web["logoutUrl"] != "https://a.example/out" {
		t.Errorf("a change of a part: %v", web)
	}
	g.refused(g.admin.ID, "PATCH", "/v1.0/applications/"+id, `{"appRoles":[]}`, 400, "CannotDeleteOrUpdateEnabledEntitlement")
	g.do("PATCH", "/v1.0/applications/"+id, `{"appRoles":[`+strings.Replace(role, `"value"`, `"isEnabled":false,"value"`, 1)+`]}`, 204)
	g.do("PATCH", "/v1.0/applications/"+id, `{"appRoles":[]}`, 204)
}

// Deleted objects can do nothing, are restored with what they had, and go for good when they are deleted again.
func TestGraphDeletedItems(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		id, appID, spID, secret := g.app("shop")
		g.do("PATCH", "/v1.0/applications/"+id, `{"identifierUris":["api://shop"],"notes":"n"}`, 204)
		ada := g.user("ada")
		group := g.do("POST", "/v1.0/groups", `{"displayName":"team","members@odata.bind":["x/`+ada+`","x/`+spID+`"],"owners@odata.bind":["x/`+ada+`"]}`, 201)["id"].(string)
		signsIn := func(step string, want bool) {
			t.Helper()
			if _, err := g.d.VerifySecret(t.Context(), appID, secret); (err == nil) != want {
				t.Errorf("%s: %v", step, err)
			}
		}
		items := "/v1.0/directory/deletedItems/"
		signsIn("made", true)
		g.do("DELETE", "/v1.0/applications/"+id, "", 204)
		signsIn("deleted", false)
		g.do("GET", "/v1.0/servicePrincipals/"+spID, "", 404)
		if got := idsOf(g.do("GET", items+"microsoft.graph.application?$filter=appId eq '"+appID+"'", "", 200)); !cmp.Equal(got, []string{id}) {
			t.Errorf("deleted applications: %v", got)
		}
		if got := g.do("GET", items+id, "", 200); got["notes"] != "n" || got["deletedDateTime"] == nil {
			t.Errorf("deleted: %v", got)
		}
		g.refused(ada, "POST", items+id+"/restore", "", 403, "Authorization_RequestDenied")
		other := g.do("POST", "/v1.0/applications", `{"displayName":"other","identifierUris":["api://SHOP"]}`, 201)["id"].(string)
		g.refused(g.admin.ID, "POST", items+id+"/restore", "", 400, "Request_BadRequest") // its name is taken
		g.do("PATCH", "/v1.0/applications/"+other, `{"identifierUris":[]}`, 204)
		g.do("POST", items+id+"/restore", "", 200)
		signsIn("restored", true)
		if got := g.do("GET", "/v1.0/groups/"+group+"/members", "", 200)["value"].([]any); len(got) != 2 {
			t.Errorf("members after restoring: %v", got)
		}

		g.do("DELETE", "/v1.0/users/"+ada, "", 204)
		if _, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Correct horse 1"); err == nil {
			t.Error("a deleted user signs in")
		}
		second := g.user("ada")
		g.refused(g.admin.ID, "POST", items+ada+"/restore", "", 400, "Request_BadRequest")
		g.do("DELETE", "/v1.0/users/"+second, "", 204)
		g.do("POST", items+ada+"/restore", "", 200)
		if p, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Correct horse 1"); err != nil || p.ID != ada {
			t.Errorf("a restored user: %v %v", p, err)
		}
		g.do("DELETE", "/v1.0/groups/"+group, "", 204)
		if groups, err := g.d.Groups(t.Context(), ada); err != nil || len(groups) != 0 {
			t.Errorf("a deleted group has members: %v %v", groups, err)
		}
		g.do("POST", items+group+"/restore", "", 200)
		if groups, err := g.d.Groups(t.Context(), ada); err != nil || !cmp.Equal(groups, []string{group}) {
			t.Errorf("a restored group: %v %v", groups, err)
		}
		if got := idsOf(g.do("GET", "/v1.0/groups/"+group+"/owners", "", 200)); !cmp.Equal(got, []string{ada}) {
			t.Errorf("owners of a restored group: %v", got)
		}

		g.do("DELETE", "/v1.0/servicePrincipals/"+spID, "", 204)
		again := g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 201)["id"].(string)
		signsIn("with another service principal", true) // the secret is the application's
		g.refused(g.admin.ID, "POST", items+spID+"/restore", "", 409, "Request_MultipleObjectsWithSameKeyValue")
		g.do("DELETE", "/v1.0/applications/"+id, "", 204)
		g.do("DELETE", items+id, "", 204)
		for _, gone := range []string{id, spID, again} {
			g.refused(g.admin.ID, "POST", items+gone+"/restore", "", 404, "Request_ResourceNotFound")
		}
		g.refused(g.admin.ID, "GET", items+"microsoft.graph.device", "", 400, "BadRequest")
		var left int
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM directory_secrets`).Scan(&left)
		}); err != nil || left != 1 { // the administrator's
			t.Errorf("%d secrets are left, %v", left, err)
		}
	})
}

// Owners manage what they own, and nothing else.
func TestGraphOwnersManage(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	id, appID, spID, _ := g.app("shop")
	ada, bob := g.user("ada"), g.user("bob")
	group := g.do("POST", "/v1.0/groups", `{"displayName":"team"}`, 201)["id"].(string)
	app := "/v1.0/applications/" + id
	const deny = "Authorization_RequestDenied"
	g.refused(ada, "POST", app+"/addPassword", `{}`, 403, deny)
	for _, path := range []string{app, "/v1.0/groups/" + group} {
		g.do("POST", path+"/owners/$ref", `{"@odata.id":"https://graph.microsoft.com/v1.0/users/`+ada+`"}`, 204)
	}
	allowed := func(method, path, body string, want int) {
		t.Helper()
		if status, got := g.as(ada, method, path, body); status != want {
			t.Errorf("%s %s: %d %v", method, path, status, got)
		}
	}
	allowed("POST", app+"/addPassword", `{}`, 200)
	allowed("PATCH", "/v1.0/applications(appId='"+appID+"')", `{"notes":"n"}`, 204)
	allowed("POST", app+"/federatedIdentityCredentials", `{"name":"hub","issuer":"https://i.example","subject":"S","audiences":["a"]}`, 201)
	allowed("POST", "/v1.0/groups/"+group+"/members/$ref", `{"@odata.id":"x/`+bob+`"}`, 204)
	allowed("POST", app+"/owners/$ref", `{"@odata.id":"x/`+bob+`"}`, 204)
	allowed("DELETE", app+"/owners/"+bob+"/$ref", "", 204)
	if got := g.do("GET", "/v1.0/users/"+ada+"/ownedObjects", "", 200)["value"].([]any); len(got) != 2 {
		t.Errorf("owned: %v", got)
	}
	if status, got := g.as(ada, "GET", "/v1.0/me/ownedObjects/microsoft.graph.group", ""); status != 200 || !cmp.Equal(idsOf(got), []string{group}) {
		t.Errorf("my own groups: %d %v", status, got)
	}
	g.refused(bob, "PATCH", app, `{"notes":"b"}`, 403, deny)
	g.refused(ada, "POST", "/v1.0/servicePrincipals/"+spID+"/addPassword", `{}`, 403, deny) // that is another object
	g.refused(ada, "POST", "/v1.0/applications", `{"displayName":"x"}`, 403, deny)
	g.refused(ada, "PATCH", "/v1.0/applications/"+tenant, `{}`, 403, deny)
	g.refused(ada, "PATCH", "/v1.0/users/"+ada, `{"jobTitle":"x"}`, 403, deny)
	g.refused(g.admin.ID, "DELETE", "/v1.0/groups/"+group+"/owners/"+ada+"/$ref", "", 400, "Request_BadRequest")
	allowed("DELETE", app, "", 204)
	g.refused(g.admin.ID, "POST", "/v1.0/groups/"+group+"/owners/$ref", `{"@odata.id":"x/`+group+`"}`, 400, "Request_BadRequest")
}

func TestGraphPasswords(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		ada := g.user("ada")
		must := func(want bool) {
			t.Helper()
			if got, err := g.d.MustChangePassword(t.Context(), ada); err != nil || got != want {
				t.Errorf("must change: %v %v", got, err)
			}
		}
		must(false)
		g.do("PATCH", "/v1.0/users/"+ada, `{"passwordProfile":{"password":"Another horse 2","forceChangePasswordNextSignIn":true}}`, 204)
		must(true)
		for body, mention := range map[string]string{
			`{"currentPassword":"Correct horse 1","newPassword":"Third horse 3"}`: "currentPassword",
			`{"currentPassword":"Another horse 2","newPassword":"horse"}`:         "complexity",
			`{}`: "complexity",
		} {
			status, answer := g.as(ada, "POST", "/v1.0/me/changePassword", body)
			if text, _ := json.Marshal(answer); status != 400 || !strings.Contains(string(text), mention) {
				t.Errorf("%s: %d %s", body, status, text)
			}
		}
		if status, got := g.as(ada, "POST", "/v1.0/me/changePassword", `{"currentPassword":"Another horse 2","newPassword":"Third horse 3"}`); status != 204 {
			t.Errorf("changing: %d %v", status, got)
		}
		must(false)
		if _, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Third horse 3"); err != nil {
			t.Error(err)
		}
		g.refused(g.admin.ID, "POST", "/v1.0/me/changePassword", `{}`, 400, "BadRequest")
		g.refused(g.user("locked"), "POST", "/v1.0/me/changePassword", `{"currentPassword":"Correct horse 1","newPassword":"Third horse 3"}`, 429, "TooManyRequests")
		g.do("PATCH", "/v1.0/users/"+ada, `{"userPrincipalName":"Lovelace@example.org"}`, 204)
		if p, err := g.d.VerifyPassword(t.Context(), "lovelace@example.org", "Third horse 3"); err != nil || p.Name != "Lovelace@example.org" {
			t.Errorf("under another name: %v %v", p, err)
		}
		bob := g.user("bob")
		g.refused(g.admin.ID, "PATCH", "/v1.0/users/"+bob, `{"userPrincipalName":"LOVELACE@example.org"}`, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "PATCH", "/v1.0/users/"+bob, `{"userPrincipalName":"bob"}`, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "PATCH", "/v1.0/users/"+bob, `{"usageLocation":"Germany"}`, 400, "Request_BadRequest")
		g.do("PUT", "/v1.0/users/"+bob+"/manager/$ref", `{"@odata.id":"https://graph.microsoft.com/v1.0/users/`+ada+`"}`, 204)
		if got := g.do("GET", "/v1.0/users/"+bob+"/manager", "", 200); got["id"] != ada {
			t.Errorf("manager: %v", got)
		}
		g.do("DELETE", "/v1.0/users/"+bob+"/manager/$ref", "", 204)
		g.refused(g.admin.ID, "GET", "/v1.0/users/"+bob+"/manager", "", 404, "Request_ResourceNotFound")
		if _, err := g.d.MustChangePassword(t.Context(), tenant); err == nil {
			t.Error("nobody has a password")
		}
	})
}

// Microsoft's own service principals are there, and nobody can make them their own.
func TestGraphFirstParty(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		const ofGraph = "00000003-0000-0000-c000-000000000000"
		sp := g.do("GET", "/v1.0/servicePrincipals(appId='"+ofGraph+"')", "", 200)
		id := sp["id"].(string)
		if sp["displayName"] != "Microsoft Graph" || len(sp["appRoles"].([]any)) == 0 || sp["appOwnerOrganizationId"] == tenant {
			t.Errorf("Microsoft Graph: %v", sp)
		}
		if got := idsOf(g.do("GET", "/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(n:n eq 'https://graph.microsoft.com')", "", 200)); !cmp.Equal(got, []string{id}) {
			t.Errorf("by name: %v", got)
		}
		path := "/v1.0/servicePrincipals/" + id
		g.refused(g.admin.ID, "DELETE", path, "", 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "POST", path+"/addPassword", `{}`, 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "PATCH", path, `{"accountEnabled":false}`, 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "PATCH", path, `{"keyCredentials":[]}`, 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "POST", path+"/owners/$ref", `{"@odata.id":"x/`+g.admin.ID+`"}`, 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "POST", "/v1.0/servicePrincipals", `{"appId":"`+ofGraph+`"}`, 409, "Request_MultipleObjectsWithSameKeyValue")
		g.do("PATCH", path, `{"accountEnabled":true,"tags":["x"]}`, 204)
		p, err := g.d.ByAppID(t.Context(), ofGraph)
		if err != nil || p.Kind != directory.FirstParty || p.Type() != "ServicePrincipal" {
			t.Errorf("%+v %v", p, err)
		}
		if _, _, err := g.d.Certificates(t.Context(), ofGraph); err == nil {
			t.Error("Microsoft Graph can sign in with a certificate")
		}
	})
}

func TestGraphGrants(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		_, _, spID, _ := g.app("shop")
		ofGraph := g.do("GET", "/v1.0/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", "", 200)["id"].(string)
		const userRead, nothing = "df021288-bdef-4463-88db-98f22de89214", "00000000-0000-4000-8000-000000000001"
		body := func(role string) string {
			return `{"principalId":"` + spID + `","resourceId":"` + ofGraph + `","appRoleId":"` + role + `"}`
		}
		to, of := "/v1.0/servicePrincipals/"+ofGraph+"/appRoleAssignedTo", "/v1.0/servicePrincipals/"+spID+"/appRoleAssignments"
		g.refused(g.admin.ID, "POST", to, body(nothing), 400, "Request_BadRequest")
		g.refused(g.admin.ID, "POST", to, `{"principalId":"`+spID+`","resourceId":"`+spID+`","appRoleId":"`+userRead+`"}`, 400, "Request_BadRequest")
		made := g.do("POST", to, body(userRead), 201)["id"].(string)
		g.refused(g.admin.ID, "POST", of, body(userRead), 400, "Request_BadRequest")
		for _, path := range []string{to, of} {
			if got := idsOf(g.do("GET", path, "", 200)); !cmp.Equal(got, []string{made}) {
				t.Errorf("%s: %v", path, got)
			}
			if got := g.do("GET", path+"/"+made, "", 200); got["principalType"] != "ServicePrincipal" || got["resourceDisplayName"] != "Microsoft Graph" {
				t.Errorf("%s: %v", path, got)
			}
		}
		g.do("DELETE", of+"/"+made, "", 204)
		g.do("DELETE", of+"/"+made, "", 404)

		const grants = "/v1.0/oauth2PermissionGrants"
		grant := g.do("POST", grants, `{"clientId":"`+spID+`","consentType":"AllPrincipals","resourceId":"`+ofGraph+`","scope":"User.Read","startTime":null}`, 201)["id"].(string)
		g.refused(g.admin.ID, "POST", grants, `{"clientId":"`+spID+`","consentType":"AllPrincipals","resourceId":"`+ofGraph+`","scope":"x"}`, 409, "Request_MultipleObjectsWithSameKeyValue")
		g.refused(g.admin.ID, "POST", grants, `{"clientId":"`+tenant+`","consentType":"AllPrincipals","resourceId":"`+ofGraph+`"}`, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "POST", grants, `{"clientId":"`+spID+`","consentType":"Principal","resourceId":"`+ofGraph+`"}`, 400, "Request_BadRequest")
		g.do("PATCH", grants+"/"+grant, `{"scope":"openid"}`, 204)
		if got := g.do("GET", grants+"?$filter=clientId eq '"+spID+"'", "", 200)["value"].([]any); len(got) != 1 || got[0].(map[string]any)["scope"] != "openid" {
			t.Errorf("grants: %v", got)
		}
		g.do("DELETE", "/v1.0/oAuth2PermissionGrants/"+grant, "", 204)
		g.do("GET", grants+"/"+grant, "", 404)
	})
}

func TestGraphQueries(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	for _, name := range []string{"Beta team", "alpha", "Gamma team", "delta"} {
		group(t, g.d, name)
	}
	names := func(answer map[string]any) (list []string) {
		for _, v := range answer["value"].([]any) {
			list = append(list, v.(map[string]any)["displayName"].(string))
		}
		return list
	}
	sorted := []string{}
	path := "/v1.0/groups?$orderby=displayName desc&$top=3&$select=displayName"
	for path != "" {
		answer := g.do("GET", path, "", 200)
		sorted = append(sorted, names(answer)...)
		path, _ = answer["@odata.nextLink"].(string)
	}
	if diff := cmp.Diff([]string{"Gamma team", "delta", "Beta team", "alpha"}, sorted); diff != "" {
		t.Errorf("sorted pages: %s", diff)
	}
	next := g.do("GET", "/v1.0/groups?$top=1", "", 200)["@odata.nextLink"].(string)
	_, token, _ := strings.Cut(next, "skiptoken=")
	token, _, _ = strings.Cut(token, "&")
	for _, other := range []string{"/v1.0/groups?$top=2&$skiptoken=", "/v1.0/users?$top=1&$skiptoken=", "/v1.0/groups?$top=1&$filter=id ne 'x'&$skiptoken="} {
		g.refused(g.admin.ID, "GET", other+token, "", 400, "Directory_ExpiredPageToken")
	}
	g.refused(g.admin.ID, "GET", "/v1.0/groups?$skiptoken=x", "", 400, "Directory_ExpiredPageToken")
	beta := g.do("GET", "/beta/groups?$top=1", "", 200)
	if link := beta["@odata.nextLink"].(string); !strings.Contains(link, "/beta/groups?") {
		t.Errorf("next page of beta: %s", link)
	}
	g.refused(g.admin.ID, "GET", "/v1.0/groups?$search=%22displayName:team%22", "", 400, "Request_UnsupportedQuery") // without its header
	g.refused(g.admin.ID, "GET", "/v1.0/groups?$orderby=description", "", 400, "Request_UnsupportedQuery")
	g.refused(g.admin.ID, "GET", "/v1.0/groups/$count", "", 400, "Request_UnsupportedQuery")

	eventual := func(path string) (int, string) {
		r := g.request(g.admin.ID, "GET", path, "")
		r.Header.Set("ConsistencyLevel", "eventual")
		w := g.serve(r)
		return w.Code, w.Body.String()
	}
	if status, body := eventual("/v1.0/groups/$count?$filter=startswith(displayName,'a')"); status != 200 || body != "1" {
		t.Errorf("count: %d %s", status, body)
	}
	for search, want := range map[string]int{
		`"displayName:team"`: 2, `"displayName:ea"`: 0, `"displayName:GAM"`: 1, `"displayName:alpha" OR "displayName:delta"`: 2, `"displayName:team" AND "displayName:beta"`: 1,
	} {
		status, body := eventual("/v1.0/groups?$search=" + strings.NewReplacer(`"`, "%22", " ", "%20").Replace(search))
		var answer map[string]any
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || len(answer["value"].([]any)) != want {
			t.Errorf("$search=%s: %d %s", search, status, body)
		}
	}
	if status, _ := eventual("/v1.0/groups?$search=team"); status != 400 {
		t.Error("a $search without quotes is taken")
	}
	ada := g.user("ada")
	team := idsOf(g.do("GET", "/v1.0/groups?$filter=displayName eq 'alpha'", "", 200))[0]
	g.do("PATCH", "/v1.0/groups/"+team, `{"members@odata.bind":["x/`+ada+`"]}`, 204)
	if got := g.do("GET", "/v1.0/groups/"+team+"?$expand=members($select=id)&$select=id", "", 200); len(got["members"].([]any)) != 1 {
		t.Errorf("expanded: %v", got)
	}
	if got := g.do("GET", "/v1.0/groups/"+team+"/members/microsoft.graph.servicePrincipal", "", 200)["value"].([]any); len(got) != 0 {
		t.Errorf("members that are service principals: %v", got)
	}
	bob := g.user("bob")
	g.do("PATCH", "/v1.0/groups/"+team, `{"members@odata.bind":["x/`+bob+`"]}`, 204)
	members := map[string]bool{}
	for path = "/v1.0/groups/" + team + "/members?$top=1"; path != ""; {
		answer := g.do("GET", path, "", 200)
		for _, id := range idsOf(answer) {
			members[id] = true
		}
		path, _ = answer["@odata.nextLink"].(string)
	}
	if !cmp.Equal(members, map[string]bool{ada: true, bob: true}) {
		t.Errorf("members on pages: %v", members)
	}
	g.do("DELETE", "/v1.0/groups/"+team+"/members/"+bob+"/$ref", "", 204)
	if got := g.do("GET", "/v1.0/groups/"+team+"/members/$ref", "", 200)["value"].([]any); len(got) != 1 {
		t.Errorf("references: %v", got)
	}
	for path, want := range map[string]int{"/v1.0/organization": 1, "/v1.0/domains": 1, "/v1.0/directoryRoles": 0} {
		if got := g.do("GET", path, "", 200)["value"].([]any); len(got) != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestGraphBatch(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	ada := g.user("ada")
	answers := func(caller, body string) []any {
		t.Helper()
		status, answer := g.as(caller, "POST", "/v1.0/$batch", body)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		return answer["responses"].([]any)
	}
	const make = `{"id":"1","method":"POST","url":"/groups","headers":{"Content-Type":"application/json","Authorization":"Bearer forged"},"body":{"displayName":"g"}}`
	got := answers(g.admin.ID, `{"requests":[`+make+`,{"id":"2","method":"GET","url":"/groups?$filter=displayName eq 'g'","dependsOn":["1"]},
		{"id":"3","method":"GET","url":"/users/`+tenant+`"},{"id":"4","method":"GET","url":"/users","dependsOn":["3"]},{"id":"5","method":"POST","url":"/$batch"}]}`)
	for i, want := range []float64{201, 200, 404, 424, 400} {
		if one := got[i].(map[string]any); one["status"] != want {
			t.Errorf("request %d: %v", i+1, one)
		}
	}
	if one := answers(ada, `{"requests":[`+make+`]}`)[0].(map[string]any); one["status"] != 403.0 {
		t.Errorf("a batch of somebody without the right: %v", one)
	}
	for _, body := range []string{
		`{"requests":[]}`, `{"requests":[{"id":"1","method":"TRACE","url":"/me"}]}`, `{"requests":[{"method":"GET","url":"/me"}]}`,
		`{"requests":[{"id":"1","method":"GET","url":"/me","dependsOn":["2"]}]}`, `{`,
		`{"requests":[{"id":"1","method":"GET","url":"/me"},{"id":"1","method":"GET","url":"/me"}]}`,
	} {
		g.refused(g.admin.ID, "POST", "/v1.0/$batch", body, 400, "BadRequest")
	}
	g.refused("", "POST", "/v1.0/$batch", `{}`, http.StatusUnauthorized, "InvalidAuthenticationToken")
}
