package directory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	owner       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

// graph is Microsoft Graph with callers whose tokens are their object ids; a user's may have scopes behind, else it has all.
type graph struct {
	t       *testing.T
	d       *directory.Directory
	r       *rbac.RBAC
	handler http.Handler
	admin   directory.Principal // Owner at "/"
	revoked revoked
}

// passwords locks nothing but the name "locked".
type passwords struct{ d *directory.Directory }

func (p passwords) ProvePassword(ctx context.Context, name string, password seal.Secret, clientIP string) error {
	if clientIP == "" || strings.HasPrefix(name, "locked") {
		return azure.Errorf(http.StatusBadRequest, "invalid_grant", "The account is locked.")
	}
	_, err := p.d.VerifyPassword(ctx, name, password)
	return err
}

func newGraph(t *testing.T, db *store.DB) *graph {
	t.Helper()
	d, r := open(t, db)
	log, err := audit.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &graph{t: t, d: d, r: r}
	g.handler = (&directory.Graph{
		SignIns: &g.revoked, Directory: d, RBAC: r, Audit: log, Passwords: passwords{d}, Hosts: azure.Hosts{Domain: "keyreel.localhost", Port: "8443"},
		Verify: func(ctx context.Context, raw string, accepts func(string) bool) (*azure.Caller, error) {
			if !accepts("https://graph.microsoft.com/") || accepts("https://vault.azure.net") {
				t.Error("the audience is not checked")
			}
			id, scopes, some := strings.Cut(raw, " ")
			if !some {
				scopes = "Directory.AccessAsUser.All"
			}
			p, err := d.Principal(ctx, id)
			if err != nil {
				return nil, &azure.TokenError{Problem: azure.TokenPrincipal, Detail: "no such principal"}
			}
			groups, err := d.Groups(ctx, id)
			return &azure.Caller{ObjectID: p.ID, Type: p.Type(), Name: p.Name, Groups: groups, Scopes: strings.Fields(scopes)}, err
		},
	}).Handler()
	update(t, d, func(ctx context.Context, tx *store.Tx) (err error) {
		g.admin, _, err = d.CreateApplication(ctx, tx, "administrator")
		if err != nil {
			return err
		}
		return r.Assign(ctx, tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/", RoleID: owner, PrincipalID: g.admin.ID})
	})
	return g
}

func (g *graph) request(caller, method, path, body string) *http.Request {
	if base, query, ok := strings.Cut(path, "?"); ok {
		path = base + "?" + strings.NewReplacer(" ", "%20", "'", "%27").Replace(query)
	}
	if !strings.HasPrefix(path, "https://") {
		path = "https://graph.keyreel.localhost:8443" + path
	}
	r := httptest.NewRequestWithContext(g.t.Context(), method, path, bytes.NewReader([]byte(body)))
	if caller != "" {
		r.Header.Set("Authorization", "Bearer "+caller)
	}
	return r
}

func (g *graph) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return w
}

func (g *graph) as(caller, method, path, body string) (int, map[string]any) {
	g.t.Helper()
	w := g.serve(g.request(caller, method, path, body))
	answer := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			g.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w.Code, answer
}

func (g *graph) do(method, path, body string, want int) map[string]any {
	g.t.Helper()
	status, answer := g.as(g.admin.ID, method, path, body)
	if status != want {
		g.t.Fatalf("%s %s %s: %d %v, want %d", method, path, body, status, answer, want)
	}
	return answer
}

func (g *graph) refused(caller, method, path, body string, status int, code string) {
	g.t.Helper()
	got, answer := g.as(caller, method, path, body)
	e, _ := answer["error"].(map[string]any)
	if got != status || e["code"] != code {
		g.t.Errorf("%s %s %s: %d %v, want %d %s", method, path, body, got, answer, status, code)
	}
}

// ids lists the ids of an answer's value.
func idsOf(answer map[string]any) []string {
	list := []string{}
	for _, v := range answer["value"].([]any) {
		list = append(list, v.(map[string]any)["id"].(string))
	}
	return list
}

var graphSchemas = append([]store.Schema{audit.Schema}, schemas...)

// TestGraphApplications walks the way of "az ad sp create-for-rbac".
func TestGraphApplications(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		app := g.do("POST", "/v1.0/applications", `{"displayName":"rbac's","identifierUris":["api://x"],"web":{"redirectUris":["https://r"]}}`, 201)
		id, appID := app["id"].(string), app["appId"].(string)
		secret := g.do("POST", "/v1.0/applications/"+id+"/addPassword", `{"passwordCredential":{"displayName":"rbac","endDateTime":"2099-01-01T00:00:00Z"}}`, 200)
		text := seal.Secret(secret["secretText"].(string))
		if _, err := g.d.VerifySecret(t.Context(), appID, text); err == nil {
			t.Error("an application without a service principal signs in")
		}
		if got := g.do("GET", "/v1.0/servicePrincipals?$filter=appId eq '"+appID+"'", "", 200); len(idsOf(got)) != 0 {
			t.Errorf("a service principal before it was made: %v", got)
		}
		sp := g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`","accountEnabled":true}`, 201)
		spID := sp["id"].(string)
		g.refused(g.admin.ID, "POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 409, "Request_MultipleObjectsWithSameKeyValue")
		p, err := g.d.VerifySecret(t.Context(), appID, text)
		if err != nil || p.ID != spID || p.Name != "rbac's" {
			t.Errorf("signing in: %+v, %v", p, err)
		}
		for _, path := range []string{
			"/v1.0/servicePrincipals?$filter=appId eq '" + appID + "'",
			"/v1.0/servicePrincipals?$filter=displayName eq 'RBAC''s'",
			"/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '" + appID + "')",
			"/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq 'api://x') and accountEnabled eq true",
			"/v1.0/servicePrincipals?$filter=startswith(displayName,'Rb') or id eq 'x'",
			"/v1.0/servicePrincipals?$filter=id in ('" + spID + "','y')&$select=id",
		} {
			if got := idsOf(g.do("GET", path, "", 200)); !cmp.Equal(got, []string{spID}) {
				t.Errorf("%s: %v", path, got)
			}
		}
		for _, path := range []string{"/v1.0/servicePrincipals(appId='" + appID + "')", "/v1.0/servicePrincipals/" + strings.ToUpper(spID), "/v1.0/directoryObjects/" + spID} {
			if got := g.do("GET", path, "", 200); got["id"] != spID {
				t.Errorf("%s: %v", path, got)
			}
		}
		stubs := g.do("POST", "/v1.0/directoryObjects/getByIds", `{"ids":["`+spID+`","`+tenant+`"],"types":["user","group","servicePrincipal","directoryObjectPartnerReference"]}`, 200)
		if v := stubs["value"].([]any); len(v) != 1 || v[0].(map[string]any)["@odata.type"] != "#microsoft.graph.servicePrincipal" {
			t.Errorf("getByIds: %v", stubs)
		}

		got := g.do("GET", "/v1.0/applications/"+id, "", 200)
		creds := got["passwordCredentials"].([]any)
		c := creds[0].(map[string]any)
		if len(creds) != 1 || c["secretText"] != nil || c["hint"] != string(text[:3]) || c["keyId"] != secret["keyId"] || c["endDateTime"] != "2099-01-01T00:00:00Z" {
			t.Errorf("credentials: %v", creds)
		}
		g.do("PATCH", "/v1.0/applications/"+id, `{"displayName":"new","identifierUris":null}`, 204)
		if got := g.do("GET", "/v1.0/applications/"+id+"?$select=displayName,identifierUris", "", 200); got["displayName"] != "new" || len(got["identifierUris"].([]any)) != 0 || got["id"] != nil {
			t.Errorf("changed: %v", got)
		}
		fics := "/v1.0/applications/" + id + "/federatedIdentityCredentials"
		const fic = `{"name":"Hub","issuer":"https://i.example","subject":"S","audiences":["api://AzureADTokenExchange"]}`
		g.do("POST", fics, fic, 201)
		g.refused(g.admin.ID, "POST", fics, fic, 409, "Request_MultipleObjectsWithSameKeyValue")
		g.refused(g.admin.ID, "POST", fics, `{"name":"two","issuer":"i"}`, 400, "BadRequest")
		listed := idsOf(g.do("GET", fics, "", 200))
		if len(listed) != 1 {
			t.Fatalf("federated credentials: %v", listed)
		}
		g.do("PATCH", fics+"/"+listed[0], `{"subject":"T","description":"d"}`, 204)
		g.refused(g.admin.ID, "PATCH", fics+"/hub", `{"issuer":"http://i"}`, 400, "BadRequest")
		for _, name := range []string{"/hub", "/" + listed[0], "(name='Hub')"} {
			if got := g.do("GET", fics+name, "", 200); got["id"] != listed[0] || got["subject"] != "T" || got["description"] != "d" || got["name"] != "Hub" {
				t.Errorf("federated credential: %v", got)
			}
		}
		g.do("DELETE", fics+"/hub", "", 204)
		g.do("DELETE", fics+"/hub", "", 404)
		g.do("PATCH", "/v1.0/servicePrincipals/"+spID, `{"accountEnabled":false}`, 204)
		if p, err := g.d.Principal(t.Context(), spID); err != nil || p.Enabled || p.Name != "new" {
			t.Errorf("disabled: %+v, %v", p, err)
		}
		g.do("PATCH", "/v1.0/servicePrincipals/"+spID, `{"accountEnabled":true}`, 204)
		g.do("POST", "/v1.0/applications/"+id+"/removePassword", `{"keyId":"`+secret["keyId"].(string)+`"}`, 204)
		if _, err := g.d.VerifySecret(t.Context(), appID, text); err == nil {
			t.Error("a removed password is good")
		}

		g.do("DELETE", "/v1.0/servicePrincipals/"+spID, "", 204)
		g.do("GET", "/v1.0/servicePrincipals/"+spID, "", 404)
		if got := g.do("GET", "/v1.0/applications/"+id, "", 200); got["displayName"] != "new" || got["web"] == nil {
			t.Errorf("the application without its service principal: %v", got)
		}
		again := g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 201)
		if again["id"] == spID {
			t.Error("a service principal made again has its old id, and would have its old roles")
		}
		g.do("DELETE", "/v1.0/applications/"+id, "", 204)
		g.do("GET", "/v1.0/servicePrincipals/"+again["id"].(string), "", 404)
		g.do("GET", "/v1.0/applications/"+id, "", 404)
	})
}

func TestGraphUsersAndGroups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		const ada = `{"accountEnabled":true,"displayName":"Ada","mailNickname":"ada","userPrincipalName":"Ada@example.org","passwordProfile":{"password":"Correct horse 1"}}`
		user := g.do("POST", "/v1.0/users", ada, 201)
		id := user["id"].(string)
		g.refused(g.admin.ID, "POST", "/v1.0/users", strings.ToLower(ada), 400, "Request_BadRequest")
		if _, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Correct horse 1"); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"/v1.0/users/ada@example.org", "/v1.0/users/" + id, "/v1.0/users('ada@example.org')"} {
			if got := g.do("GET", path, "", 200); got["id"] != id || got["displayName"] != "Ada" || got["passwordProfile"] != nil {
				t.Errorf("%s: %v", path, got)
			}
		}
		if got := idsOf(g.do("GET", "/v1.0/users?$filter=userPrincipalName eq 'ada@example.org'", "", 200)); !cmp.Equal(got, []string{id}) {
			t.Errorf("by name: %v", got)
		}
		if status, got := g.as(id, "GET", "/v1.0/me", ""); status != 200 || got["id"] != id {
			t.Errorf("me: %d %v", status, got)
		}
		g.refused(g.admin.ID, "GET", "/v1.0/me", "", 400, "BadRequest")
		g.do("PATCH", "/v1.0/users/"+id, `{"passwordProfile":{"password":"Other-horse-2"},"jobTitle":"Countess"}`, 204)
		if _, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Other-horse-2"); err != nil {
			t.Error(err)
		}

		group := g.do("POST", "/v1.0/groups", `{"displayName":"team","mailEnabled":false,"mailNickname":"team","securityEnabled":true}`, 201)["id"].(string)
		outer := g.do("POST", "/v1.0/groups", `{"displayName":"all","mailNickname":"all","members@odata.bind":["https://graph.microsoft.com/v1.0/groups/`+group+`"]}`, 201)["id"].(string)
		ref := `{"@odata.id":"https://graph.keyreel.localhost:8443/v1.0/directoryObjects/` + id + `"}`
		g.do("POST", "/v1.0/groups/"+group+"/members/$ref", ref, 204)
		g.refused(g.admin.ID, "POST", "/v1.0/groups/"+group+"/members/$ref", ref, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "POST", "/v1.0/groups/"+tenant+"/members/$ref", ref, 404, "Request_ResourceNotFound")
		if got := idsOf(g.do("GET", "/v1.0/groups/"+group+"/members", "", 200)); !cmp.Equal(got, []string{id}) {
			t.Errorf("members: %v", got)
		}
		if got := idsOf(g.do("GET", "/v1.0/users/"+id+"/memberOf", "", 200)); !cmp.Equal(got, []string{group}) {
			t.Errorf("memberOf: %v", got)
		}
		if got := g.do("POST", "/v1.0/users/"+id+"/getMemberGroups", `{"securityEnabledOnly":true}`, 200)["value"].([]any); len(got) != 2 {
			t.Errorf("getMemberGroups: %v", got)
		}

		if got := g.do("POST", "/v1.0/directoryObjects/"+id+"/checkMemberGroups", `{"groupIds":["`+outer+`","`+tenant+`"]}`, 200)["value"].([]any); !cmp.Equal(got, []any{outer}) {
			t.Errorf("checkMemberGroups: %v", got)
		}

		// A role of the outer group is the member's, until the member leaves.
		g.refused(id, "DELETE", "/v1.0/users/"+tenant, "", 403, "Authorization_RequestDenied")
		update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
			return g.r.Assign(ctx, tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/", RoleID: owner, PrincipalID: outer, PrincipalType: azure.TypeGroup})
		})
		g.refused(id, "DELETE", "/v1.0/users/"+tenant, "", 404, "Request_ResourceNotFound")
		g.do("DELETE", "/v1.0/groups/"+group+"/members/"+id+"/$ref", "", 204)
		g.refused(id, "DELETE", "/v1.0/users/"+tenant, "", 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "DELETE", "/v1.0/groups/"+group+"/members/"+id+"/$ref", "", 404, "Request_ResourceNotFound")

		g.do("DELETE", "/v1.0/users/"+id, "", 204)
		if status, _ := g.as(id, "GET", "/v1.0/me", ""); status != 401 {
			t.Errorf("a deleted user's token: %d", status)
		}
		g.do("DELETE", "/v1.0/groups/"+outer, "", 204)
	})
}

func TestGraphRefusals(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	nobody, _ := assignSystem(t, g.d, account(t))
	builder, _ := assignSystem(t, g.d, resourceID(t, account(t).String()+"2"))
	update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
		return g.r.Assign(ctx, tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/", RoleID: contributor, PrincipalID: builder})
	})
	// Who may assign some roles only might give itself the others by way of a principal that has them.
	constrained, _ := assignSystem(t, g.d, resourceID(t, account(t).String()+"3"))
	update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
		return g.r.Assign(ctx, tx, rbac.Assignment{
			ID: azure.NewGUID(), Scope: "/", RoleID: "f58310d9-a9f6-439a-9e8d-f62e7b41a168", PrincipalID: constrained,
			Condition: "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'}) OR " +
				"@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAllValues:GuidNotEquals {" + owner + "}",
		})
	})
	admin := g.do("GET", "/v1.0/applications?$filter=appId eq '"+g.admin.AppID+"'", "", 200)
	app := "/v1.0/applications/" + idsOf(admin)[0]
	const deny, bad, query = "Authorization_RequestDenied", "Request_BadRequest", "Request_UnsupportedQuery"
	for _, c := range []struct {
		caller, method, path, body string
		status                     int
		code                       string
	}{
		{"", "GET", "/v1.0/users", "", 401, "InvalidAuthenticationToken"},
		{tenant, "GET", "/v1.0/users", "", 401, "InvalidAuthenticationToken"},
		{nobody, "POST", "/v1.0/applications", `{"displayName":"a"}`, 403, deny},
		{nobody, "POST", app + "/addPassword", `{}`, 403, deny},
		{builder, "POST", app + "/addPassword", `{}`, 403, deny}, // or a Contributor would become Owner
		{builder, "DELETE", "/v1.0/servicePrincipals/" + g.admin.ID, "", 403, deny},
		{constrained, "POST", app + "/addPassword", `{}`, 403, deny},
		{g.admin.ID, "DELETE", "/v1.0/servicePrincipals/" + nobody, "", 400, bad}, // goes with its resource
		{g.admin.ID, "POST", "/v1.0/servicePrincipals/" + nobody + "/addPassword", `{}`, 400, bad},
		{g.admin.ID, "POST", app + "/addPassword", `{"passwordCredential":{"endDateTime":"2001-01-01T00:00:00Z"}}`, 400, bad},
		{g.admin.ID, "POST", app + "/addPassword", `{"passwordCredential":{"startDateTime":"2099-01-01T00:00:00Z","endDateTime":"2098-01-01T00:00:00Z"}}`, 400, bad},
		{g.admin.ID, "POST", app + "/removePassword", `{"keyId":"` + tenant + `"}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/applications", `{"displayName":"a","keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"AAAA"}]}`, 400, "KeyCredentialsInvalidKey"},
		{g.admin.ID, "PATCH", app, `{"passwordCredentials":[{}]}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/applications", `{"displayName":"a\u0000"}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/applications", `{"displayName":7}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/applications", `[]`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/applications", ``, 400, bad},
		{g.admin.ID, "POST", "/v1.0/servicePrincipals", `{"appId":"` + tenant + `"}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/users", `{"displayName":"a","userPrincipalName":"a@b"}`, 400, bad},
		{g.admin.ID, "POST", "/v1.0/directoryObjects/getByIds", `{"ids":[]}`, 400, bad},
		{g.admin.ID, "GET", "/v1.0/users/" + tenant, "", 404, "Request_ResourceNotFound"},
		{g.admin.ID, "GET", "/v1.0/users/%00", "", 404, "Request_ResourceNotFound"},
		{g.admin.ID, "GET", "/v1.0/users/" + g.admin.ID, "", 404, "Request_ResourceNotFound"}, // of another kind
		{g.admin.ID, "GET", "/v1.0/users?$filter=nothing eq 'x'", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/users?$filter=displayName eq", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/users?$filter=displayName gt 'x'", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/users?$select=nothing", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/users?$top=0", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/users?$expand=manager", "", 400, query},
		{g.admin.ID, "GET", "/v1.0/nothing", "", 400, "BadRequest"},
		{g.admin.ID, "PUT", "/v1.0/users", "", 405, bad},
	} {
		g.refused(c.caller, c.method, c.path, c.body, c.status, c.code)
	}
	if status, got := g.as(nobody, "GET", "/v1.0/servicePrincipals/"+builder, ""); status != 200 || got["servicePrincipalType"] != "ManagedIdentity" {
		t.Errorf("every principal may read: %d %v", status, got)
	}
}

func TestGraphPaging(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	for _, name := range []string{"a1", "b", "a2", "a3", "a4", "a5"} {
		group(t, g.d, name)
	}
	seen := map[string]bool{}
	path := "/v1.0/groups?$filter=startswith(displayName,'a') and securityEnabled eq true&$top=2&$count=true"
	pages := 0
	for ; path != ""; pages++ {
		answer := g.do("GET", path, "", 200)
		if answer["@odata.count"] != 5.0 {
			t.Errorf("count: %v", answer["@odata.count"])
		}
		for _, id := range idsOf(answer) {
			seen[id] = true
		}
		path, _ = answer["@odata.nextLink"].(string)
		if path != "" {
			u, err := url.Parse(path)
			if err != nil {
				t.Fatal(err)
			}
			path = u.String()
		}
	}
	if len(seen) != 5 || pages < 3 || pages > 4 {
		t.Errorf("%d groups on %d pages", len(seen), pages)
	}
}

// Azure AD Graph 1.6, as the tutorial on customer-managed keys looks a service principal up.
func TestAzureADGraph(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	got := g.do("GET", "https://graph.windows.net/"+tenant+"/servicePrincipals?$filter=appId eq '"+g.admin.AppID+"'&api-version=1.6", "", 200)
	if v := got["value"].([]any); len(v) != 1 || v[0].(map[string]any)["objectId"] != g.admin.ID {
		t.Errorf("got %v", got)
	}
	status, got := g.as("", "GET", "https://graph.windows.net/"+tenant+"/servicePrincipals?api-version=1.6", "")
	if e, _ := got["odata.error"].(map[string]any); status != 401 || e["code"] != "InvalidAuthenticationToken" {
		t.Errorf("without a token: %d %v", status, got)
	}
}

func TestExpiredSecret(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	var secret seal.Secret
	update(t, g.d, func(ctx context.Context, tx *store.Tx) (err error) {
		_, secret, err = g.d.AddNamedSecret(ctx, tx, g.admin.ID, "old", time.Now().Add(-time.Second))
		return err
	})
	if _, err := g.d.VerifySecret(t.Context(), g.admin.AppID, secret); err != directory.ErrExpiredSecret {
		t.Errorf("an expired secret: %v", err)
	}
}
