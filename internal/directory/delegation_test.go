package directory_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestDelegation follows what a client may do at a resource through Microsoft Graph: every change is seen at once.
func TestDelegation(t *testing.T) {
	t.Parallel()
	const read, write = "11111111-2222-4333-8444-555555555551", "11111111-2222-4333-8444-555555555552"
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		ada, err := g.d.CreateUser(t.Context(), "ada@example.org", "Correct horse")
		if err != nil {
			t.Fatal(err)
		}
		application := func(body string) (objectID, appID, sp string) {
			app := g.do("POST", "/v1.0/applications", body, 201)
			appID = app["appId"].(string)
			made := g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 201)
			return app["id"].(string), appID, made["id"].(string)
		}
		scope := func(id, value string) string {
			return `{"id":"` + id + `","value":"` + value + `","type":"User","isEnabled":true,"adminConsentDisplayName":"a","adminConsentDescription":"a","userConsentDisplayName":"As the user ` + value + `s"}`
		}
		apiObject, api, apiSP := application(`{"displayName":"api","identifierUris":["api://orders"],"api":{"oauth2PermissionScopes":[` + scope(read, "read") + `,` + scope(write, "write") + `]}}`)
		clientObject, client, clientSP := application(`{"displayName":"client","requiredResourceAccess":[{"resourceAppId":"` + api + `","resourceAccess":[{"id":"` + write + `","type":"Scope"}]}]}`)
		missing := func(resource, user string, scopes ...string) string {
			t.Helper()
			d, err := g.d.Delegation(t.Context(), client, resource, user)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(d.Missing(scopes), " ")
		}
		if got := missing("api://orders/", ada.ID, "read", "write"); got != "read write" {
			t.Errorf("nothing is granted, and there misses %q", got)
		}
		d, err := g.d.Delegation(t.Context(), client, api, ada.ID)
		if err != nil || strings.Join(d.Default(), " ") != "write" || d.Offers("delete") || !d.Offers("read") || d.Offered[0].Name != "As the user reads" {
			t.Errorf("%+v %v", d, err)
		}

		grant := g.do("POST", "/v1.0/oauth2PermissionGrants", `{"clientId":"`+clientSP+`","resourceId":"`+apiSP+`","consentType":"Principal","principalId":"`+ada.ID+`","scope":"read"}`, 201)
		if got := missing(api, ada.ID, "read", "write"); got != "write" {
			t.Errorf("granted, and there misses %q", got)
		}
		if got := missing(api, g.admin.ID, "read"); got != "read" {
			t.Errorf("another's grant counts: %q", got)
		}
		g.do("PATCH", "/v1.0/oauth2PermissionGrants/"+grant["id"].(string), `{"scope":"write"}`, 204)
		if got := missing(api, ada.ID, "read", "write"); got != "read" {
			t.Errorf("changed, and there misses %q", got)
		}
		g.do("DELETE", "/v1.0/oauth2PermissionGrants/"+grant["id"].(string), "", 204)
		if got := missing(api, ada.ID, "read", "write"); got != "read write" {
			t.Errorf("deleted, and there misses %q", got)
		}
		g.do("POST", "/v1.0/oauth2PermissionGrants", `{"clientId":"`+clientSP+`","resourceId":"`+apiSP+`","consentType":"AllPrincipals","scope":"read"}`, 201)
		if got := missing(api, ada.ID, "read"); got != "" {
			t.Errorf("granted for all, and there misses %q", got)
		}
		g.do("PATCH", "/v1.0/applications/"+apiObject, `{"api":{"oauth2PermissionScopes":[`+scope(read, "read")+`,`+scope(write, "write")+`],"preAuthorizedApplications":[{"appId":"`+client+`","delegatedPermissionIds":["`+write+`"]}]}}`, 204)
		if got := missing(api, ada.ID, "read", "write"); got != "" {
			t.Errorf("pre-authorized, and there misses %q", got)
		}

		// What the user agrees to is added to what there is.
		update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
			d, err := directory.ReadDelegation(ctx, tx, client, "00000003-0000-0000-c000-000000000000", ada.ID)
			if err != nil {
				return err
			}
			for _, s := range []string{"User.Read", "Group.Read.All", "User.Read"} {
				if err := g.d.Consent(ctx, tx, d, ada.ID, []string{s}); err != nil {
					return err
				}
			}
			return nil
		})
		own := g.do("GET", "/v1.0/users/"+ada.ID+"/oauth2PermissionGrants", "", 200)["value"].([]any)
		if len(own) != 1 || own[0].(map[string]any)["scope"] != "User.Read Group.Read.All" {
			t.Errorf("%v", own)
		}

		g.do("PATCH", "/v1.0/servicePrincipals/"+clientSP, `{"accountEnabled":false}`, 204)
		if d, err := g.d.Delegation(t.Context(), client, api, ada.ID); err != nil || d.Client.Enabled {
			t.Errorf("disabled: %+v %v", d.Client, err)
		}
		g.do("DELETE", "/v1.0/applications/"+clientObject, "", 204)
		if _, err := g.d.Delegation(t.Context(), client, api, ada.ID); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("deleted: %v", err)
		}
		for _, pair := range [][2]string{{api, "api://nothing"}, {api, "\x00"}, {"\xff", api}, {"", ""}} {
			if _, err := g.d.Delegation(t.Context(), pair[0], pair[1], ada.ID); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%q: %v", pair, err)
			}
		}
	})
}
