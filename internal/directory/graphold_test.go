package directory_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// What clients of before Microsoft Graph do with applications, users and groups, in Azure AD Graph's words.
func TestAzureADGraphObjects(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		at := func(path string) string {
			mark := "?"
			if strings.Contains(path, "?") {
				mark = "&"
			}
			return "https://graph.windows.net/" + tenant + path + mark + "api-version=1.6"
		}
		old := func(method, path, body string, want int) map[string]any {
			t.Helper()
			return g.do(method, at(path), body, want)
		}
		objectIDs := func(answer map[string]any) (list []string) {
			for _, v := range answer["value"].([]any) {
				list = append(list, v.(map[string]any)["objectId"].(string))
			}
			return list
		}
		app := old("POST", "/applications", `{"displayName":"old","homepage":"https://a.example","replyUrls":["https://a.example/cb"],"identifierUris":["api://old"],
			"availableToOtherTenants":false,"publicClient":true,"oauth2AllowImplicitFlow":true}`, 201)
		id, appID := app["objectId"].(string), app["appId"].(string)
		if app["objectType"] != "Application" || app["publicClient"] != true || app["availableToOtherTenants"] != false || !cmp.Equal(app["replyUrls"], []any{"https://a.example/cb"}) || app["id"] != nil {
			t.Errorf("application: %v", app)
		}
		fresh := g.do("GET", "/v1.0/applications/"+id, "", 200)
		if web := fresh["web"].(map[string]any); web["homePageUrl"] != "https://a.example" || fresh["isFallbackPublicClient"] != true {
			t.Errorf("as Microsoft Graph shows it: %v", fresh)
		}
		old("PATCH", "/applications/"+id, `{"homepage":"https://b.example"}`, 204)
		if got := old("GET", "/applications/"+id, "", 200); got["homepage"] != "https://b.example" || !cmp.Equal(got["replyUrls"], []any{"https://a.example/cb"}) {
			t.Errorf("changed: %v", got)
		}
		status, answer := g.as(g.admin.ID, "POST", at("/applications"), `{"displayName":"x","passwordCredentials":[{"value":"chosen"}]}`)
		if e, _ := answer["odata.error"].(map[string]any); status != 400 || e["code"] != "Request_BadRequest" {
			t.Errorf("a secret of the client's choice: %d %v", status, answer)
		}
		sp := old("POST", "/servicePrincipals", `{"appId":"`+appID+`","accountEnabled":true}`, 201)["objectId"].(string)
		if got := objectIDs(old("GET", "/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq 'api://old')", "", 200)); !cmp.Equal(got, []string{sp}) {
			t.Errorf("by name: %v", got)
		}
		user := old("POST", "/users", `{"accountEnabled":true,"displayName":"Ada","mailNickname":"ada","userPrincipalName":"ada@example.org","mobile":"1",
			"passwordProfile":{"password":"Correct horse 1","forceChangePasswordNextLogin":true}}`, 201)["objectId"].(string)
		if must, err := g.d.MustChangePassword(t.Context(), user); err != nil || !must {
			t.Errorf("must change: %v %v", must, err)
		}
		if got := old("GET", "/users/ada@example.org", "", 200); got["mobile"] != "1" || got["objectId"] != user || got["mobilePhone"] != nil {
			t.Errorf("user: %v", got)
		}
		group := old("POST", "/groups", `{"displayName":"team","mailEnabled":false,"mailNickname":"team","securityEnabled":true}`, 201)["objectId"].(string)
		old("POST", "/groups/"+group+"/$links/members", `{"url":"https://graph.windows.net/`+tenant+`/directoryObjects/`+user+`"}`, 204)
		if got := old("GET", "/groups/"+group+"/members", "", 200); !cmp.Equal(objectIDs(got), []string{user}) || got["value"].([]any)[0].(map[string]any)["objectType"] != "User" {
			t.Errorf("members: %v", got)
		}
		if got := old("GET", "/groups/"+group+"/$links/members", "", 200)["value"].([]any); len(got) != 1 || !strings.HasSuffix(got[0].(map[string]any)["url"].(string), user) {
			t.Errorf("links: %v", got)
		}
		if got := old("POST", "/isMemberOf", `{"groupId":"`+group+`","memberId":"`+user+`"}`, 200); got["value"] != true {
			t.Errorf("isMemberOf: %v", got)
		}
		got := old("POST", "/getObjectsByObjectIds", `{"objectIds":["`+user+`","`+sp+`","`+group+`"],"types":["User","ServicePrincipal"],"includeDirectoryObjectReferences":true}`, 200)
		if len(got["value"].([]any)) != 2 {
			t.Errorf("getObjectsByObjectIds: %v", got)
		}
		if got := objectIDs(old("GET", "/groups?$filter=objectId eq '"+group+"'", "", 200)); !cmp.Equal(got, []string{group}) {
			t.Errorf("by objectId: %v", got)
		}
		old("DELETE", "/groups/"+group+"/$links/members/"+user, "", 204)
		if status, me := g.as(user, "GET", at("/me"), ""); status != 200 || me["objectId"] != user {
			t.Errorf("me: %d %v", status, me)
		}

		status, _ = g.as(user, "DELETE", at("/applications/"+id), "")
		if status != 403 {
			t.Errorf("who may not write there may here: %d", status)
		}
		old("DELETE", "/applications/"+id, "", 204)
		old("GET", "/servicePrincipals/"+sp, "", 404)
		old("GET", "/applications/"+id+"/nothing", "", 400)
		if status, _ := g.as(g.admin.ID, "GET", "https://graph.windows.net/"+owner+"/users?api-version=1.6", ""); status != 400 {
			t.Errorf("another tenant's users: %d", status)
		}
		page := old("GET", "/servicePrincipals?$top=2", "", 200)
		next, ok := page["odata.nextLink"].(string)
		if !ok || strings.Contains(next, "api-version") {
			t.Fatalf("next page: %v", page["odata.nextLink"])
		}
		if got := old("GET", "/"+next, "", 200); len(got["value"].([]any)) == 0 || cmp.Equal(objectIDs(got), objectIDs(page)) {
			t.Errorf("the next page: %v", objectIDs(got))
		}
	})
}
