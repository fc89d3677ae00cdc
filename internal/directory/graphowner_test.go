package directory_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestGraphOwners: owners are named when an object is made and changed after that; an application has others than its
// service principal, and keeps them when that goes.
func TestGraphOwners(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		user := g.do("POST", "/v1.0/users", `{"userPrincipalName":"o@x","displayName":"O","passwordProfile":{"password":"correct horse 9"}}`, 201)["id"].(string)
		other := g.do("POST", "/v1.0/users", `{"userPrincipalName":"p@x","displayName":"P","passwordProfile":{"password":"correct horse 9"}}`, 201)["id"].(string)
		ref := func(id string) string { return `"https://graph.microsoft.com/v1.0/directoryObjects/` + id + `"` }
		owners := func(path string, want ...string) {
			t.Helper()
			slices.Sort(want)
			if d := cmp.Diff(append([]string{}, want...), idsOf(g.do("GET", path+"/owners", "", 200))); d != "" {
				t.Errorf("owners of %s: %s", path, d)
			}
		}
		made := g.do("POST", "/v1.0/applications", `{"displayName":"a","owners@odata.bind":[`+ref(user)+`]}`, 201)
		app := "/v1.0/applications/" + made["id"].(string)
		sp := "/v1.0/servicePrincipals/" + g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+made["appId"].(string)+`","owners@odata.bind":[`+ref(g.admin.ID)+`]}`, 201)["id"].(string)
		group := "/v1.0/groups/" + g.do("POST", "/beta/groups", `{"displayName":"g","owners@odata.bind":[`+ref(g.admin.ID)+`]}`, 201)["id"].(string)
		owners(app, user)
		owners(sp, g.admin.ID)
		owners(group, g.admin.ID)

		for _, path := range []string{app, sp, group} {
			body := `{"@odata.id":` + ref(user) + `}`
			if path != app {
				g.do("POST", path+"/owners/$ref", body, 204)
				owners(path, g.admin.ID, user)
			}
			g.refused(g.admin.ID, "POST", path+"/owners/$ref", body, 400, "Request_BadRequest")
			g.refused(g.admin.ID, "POST", path+"/owners/$ref", `{"@odata.id":`+ref(g.d.TenantID)+`}`, 404, "Request_ResourceNotFound")
			g.refused(g.admin.ID, "POST", path+"/owners/$ref", `{`, 400, "Request_BadRequest")
			g.refused(user, "POST", path+"/owners/$ref", body, 400, "Request_BadRequest") // an owner may try
			g.refused(other, "POST", path+"/owners/$ref", body, 403, "Authorization_RequestDenied")
			g.refused(g.admin.ID, "DELETE", path+"/owners/"+g.d.TenantID+"/$ref", "", 404, "Request_ResourceNotFound")
		}
		g.refused(g.admin.ID, "GET", "/v1.0/applications/none/owners", "", 404, "Request_ResourceNotFound")
		g.refused(g.admin.ID, "POST", "/v1.0/groups", `{"displayName":"h","owners@odata.bind":[`+ref(g.d.TenantID)+`]}`, 404, "Request_ResourceNotFound")

		g.do("DELETE", group+"/owners/"+user+"/$ref", "", 204)
		owners(group, g.admin.ID)
		g.do("DELETE", sp, "", 204)
		owners(app, user)
		g.do("DELETE", "/v1.0/users/"+user, "", 204)
		owners(app)
	})
}

// TestGraphAsTerraformWrites: what Terraform's provider sends beside what it was told, and reads beside what is kept.
func TestGraphAsTerraformWrites(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		user := g.do("POST", "/v1.0/users", `{"@odata.type":"#microsoft.graph.user","userPrincipalName":"t@x","displayName":"T","ageGroup":null,"unknown":null,
			"employeeOrgData":{"costCenter":null},"imAddresses":[],"passwordProfile":{"password":"correct horse 9"}}`, 201)
		path := "/v1.0/users/" + user["id"].(string)
		g.do("PATCH", path, `{"userPrincipalName":"T@x","showInAddressList":true,"faxNumber":"1"}`, 204)
		g.do("PATCH", path, `{"userPrincipalName":"other@x"}`, 204)
		g.refused(g.admin.ID, "PATCH", path, `{"imAddresses":["a"]}`, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "PATCH", path, `{"unknown":{"a":[0]}}`, 400, "Request_BadRequest")
		if got := g.do("GET", path+"?$select=id,faxNumber,employeeHireDate,onPremisesImmutableId", "", 200); got["faxNumber"] != "1" {
			t.Errorf("a user: %v", got)
		}
		g.refused(g.admin.ID, "GET", path+"?$select=nonsense", "", 400, "Request_UnsupportedQuery")
		g.refused(g.admin.ID, "GET", path+"/manager", "", 404, "Request_ResourceNotFound")
		g.refused(g.admin.ID, "GET", "/v1.0/users/none/manager", "", 404, "Request_ResourceNotFound")

		app := g.do("POST", "/v1.0/applications", `{"displayName":"a"}`, 201)
		group := g.do("POST", "/v1.0/groups", `{"displayName":"g"}`, 201)
		for object, names := range map[*map[string]any][]string{&app: {"groupMembershipClaims", "optionalClaims"}, &group: {"membershipRule"}} {
			for _, name := range names {
				if value, ok := (*object)[name]; !ok || value != nil {
					t.Errorf("%s is %v, %v: without null Terraform sees a change in each plan", name, value, ok)
				}
			}
		}
		fics := "/v1.0/applications/" + app["id"].(string) + "/federatedIdentityCredentials"
		fic := g.do("POST", fics, `{"name":"hub","description":"one","issuer":"https://i.example","subject":"S","audiences":["a"]}`, 201)
		one := fics + "/" + fic["id"].(string)
		g.do("PATCH", one, `{"name":"hub","description":"two","subject":"T"}`, 204)
		want := map[string]any{"id": fic["id"], "name": "hub", "description": "two", "issuer": "https://i.example", "subject": "T", "audiences": []any{"a"}}
		if d := cmp.Diff(want, g.do("GET", one, "", 200)); d != "" {
			t.Errorf("a changed federated credential: %s", d)
		}
		g.refused(g.admin.ID, "PATCH", one, `{"name":"other"}`, 400, "Request_BadRequest")
		g.refused(g.admin.ID, "PATCH", one, `{"issuer":"http://i.example"}`, 400, "BadRequest")
		g.refused(g.admin.ID, "PATCH", fics+"/none", `{"subject":"T"}`, 404, "Request_ResourceNotFound")
		g.do("DELETE", one, "", 204)

		domains := g.do("GET", "/v1.0/domains", "", 200)
		if got := idsOf(domains); !cmp.Equal(got, []string{"keyreel.localhost"}) {
			t.Errorf("domains: %v", got)
		}
	})
}
