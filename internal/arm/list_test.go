package arm

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// grant assigns a role under a new name.
func (w *world) grant(scope, role, principal string) {
	w.t.Helper()
	a := rbac.Assignment{ID: azure.NewGUID(), Scope: scope, RoleID: role, PrincipalID: principal, PrincipalType: azure.TypeUser}
	if err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return w.m.o.RBAC.Assign(w.t.Context(), tx, a) }); err != nil {
		w.t.Fatal(err)
	}
}

// all returns the names on all pages of a list.
func (w *world) all(caller, path string) []string {
	w.t.Helper()
	names := []string{}
	for pages := 0; path != "" && pages < 100; pages++ {
		a := w.do(caller, "GET", path, "")
		names = append(names, a.names()...)
		next, _ := a.at("nextLink").(string)
		path = strings.TrimPrefix(next, "https://management.keyreel.localhost:8443")
	}
	return names
}

// TestThinnedLists: who may not read all of a scope is shown what it may read of it, page by page.
func TestThinnedLists(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		for _, g := range []string{"g1-b", "g2", "g3"} {
			w.do(owner, "PUT", subPath+"/resourceGroups/"+g+groupV, `{"location":"westeurope"}`).want(201)
		}
		put := func(group, name string) string {
			t.Helper()
			id := subPath + "/resourceGroups/" + group + "/providers/Test.Things/widgets/" + name
			w.do(owner, "PUT", id+sync1, `{"location":"westeurope"}`).want(201)
			return id
		}
		for i := range 5 {
			put("g1", fmt.Sprint("a", i))
			put("g2", fmt.Sprint("b", i))
		}
		put("g1-b", "hidden")
		// The reader of g1 may also read one resource of g2, and one of g3 by a role that says nothing of widgets.
		w.grant(put("g2", "B-Mine"), readerRole, reader)
		const blobReaderRole = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
		w.grant(put("g3", "c"), blobReaderRole, reader)
		w.grant(subPath, blobReaderRole, builder) // Contributor of g1 has a role above too, which reads no widget

		for _, c := range []struct {
			caller, path string
			want         []string
		}{
			{reader, subPath + "/resourceGroups" + groupV, []string{"g1"}},
			{builder, subPath + "/resourceGroups" + groupV, []string{"g1"}},
			{owner, subPath + "/resourceGroups" + groupV, []string{"g1", "g1-b", "g2", "g3"}},
			{reader, subPath + "/resources" + groupV, []string{"a0", "a1", "a2", "a3", "a4", "B-Mine"}},
			{reader, subPath + "/resources" + groupV + "&$top=3", []string{"a0", "a1", "a2"}},
			{builder, subPath + "/resources" + groupV, []string{"a0", "a1", "a2", "a3", "a4"}},
			{reader, subPath + "/resourceGroups/g2/resources" + groupV, []string{"B-Mine"}},
			{reader, subPath + "/resourceGroups/g3/resources" + groupV, []string{}},
			{reader, subPath + "/providers/Test.Things/widgets" + sync1, []string{"a0", "a1", "a2", "a3", "a4", "B-Mine"}},
			{reader, subPath + "/resourceGroups/G2/providers/Test.Things/widgets" + sync1, []string{"B-Mine"}},
			{reader, subPath + "/providers/Test.Things/rigs" + sync1, []string{}},
		} {
			if d := cmp.Diff(c.want, w.all(c.caller, c.path)); d != "" {
				t.Errorf("%s %s (-want +got):\n%s", c.caller, c.path, d)
			}
		}
		for _, path := range []string{
			subPath + "/resourceGroups" + groupV, subPath + "/resources" + groupV, subPath + "/providers/Test.Things/widgets" + sync1,
			subPath + "/resourceGroups/none/resources" + groupV,
		} {
			w.do(stranger, "GET", path, "").fails(403, "AuthorizationFailed")
		}
		w.do(reader, "GET", subPath+"/resourceGroups/g1-b/resources"+groupV, "").fails(403, "AuthorizationFailed")
		w.do(reader, "GET", "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups"+groupV, "").fails(403, "AuthorizationFailed")
	})
}

// TestThinnedPages: a page of any size ends where the next begins, whatever is left out between.
func TestThinnedPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", subPath+"/resourceGroups/g2"+groupV, `{"location":"westeurope"}`).want(201)
	var want []string
	for i := range 260 {
		group := "g1"
		if i >= 130 {
			group = "g2"
		}
		name := fmt.Sprintf("w%03d", i)
		id := subPath + "/resourceGroups/" + group + "/providers/Test.Things/widgets/" + name
		w.do(owner, "PUT", id+sync1, `{"location":"westeurope"}`).want(201)
		if i < 130 {
			want = append(want, name)
		} else if i%10 == 0 {
			want = append(want, name)
			w.grant(id, readerRole, reader)
		}
	}
	got := w.all(reader, subPath+"/providers/Test.Things/widgets"+sync1) // pages of 100
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
}

// TestResourceQueries: what the list of resources understands besides, and what it refuses.
func TestResourceQueries(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/alpha"+sync1, `{"location":"westeurope","tags":{"env":"test","x":"1"},"identity":{"type":"SystemAssigned"}}`).want(201)
		w.do(owner, "PUT", widgets+"/beta"+sync1, `{"location":"northeurope","tags":{"env":"live"},"kind":"big"}`).want(201)
		principal := w.do(owner, "GET", widgets+"/alpha"+sync1, "").at("identity.principalId").(string)
		list := func(caller, path string, query ...string) *answer {
			t.Helper()
			q := url.Values{"api-version": {"2021-04-01"}}
			for i := 0; i < len(query); i += 2 {
				q.Set(query[i], query[i+1])
			}
			return w.do(caller, "GET", path+"?"+q.Encode(), "")
		}
		for filter, want := range map[string][]string{
			"tagName eq 'env' and tagValue eq 'TEST'": {"alpha"}, "resourceType eq 'test.things/widgets'": {"alpha", "beta"},
			"location eq 'northeurope'": {"beta"}, "substringof('eta', name)": {"beta"}, "startswith(name, 'AL')": {"alpha"},
			"identity/principalId eq '" + principal + "'": {"alpha"}, "kind eq 'big' or name eq 'alpha'": {"alpha", "beta"},
			"resourceGroup eq 'G1' and not (name eq 'beta')": {"alpha"}, "startswith(tagName, 'x')": {"alpha"},
		} {
			if d := cmp.Diff(want, list(owner, subPath+"/resources", "$filter", filter).names()); d != "" {
				t.Errorf("%s:\n%s", filter, d)
			}
		}
		w.do(owner, "PATCH", g1+groupV, `{"tags":{"team":"a"}}`).want(200)
		for filter, n := range map[string]int{"tagName eq 'team'": 1, "tagname eq 'team' and tagvalue eq 'b'": 0} {
			if got := len(list(owner, subPath+"/resourceGroups", "$filter", filter).names()); got != n {
				t.Errorf("%s: %d groups", filter, got)
			}
		}
		expanded := list(owner, g1+"/resources", "$expand", "createdTime,changedTime, provisioningState", "$filter", "name eq 'alpha'").want(200)
		item := expanded.json()["value"].([]any)[0]
		if at(item, "provisioningState") != "Succeeded" || at(item, "createdTime") != at(item, "systemData.createdAt") || at(item, "changedTime") == nil {
			t.Errorf("expanded: %s", expanded.Body)
		}
		plain := list(owner, g1+"/resources").want(200).json()["value"].([]any)[0]
		if at(plain, "createdTime") != nil || at(plain, "properties") != nil {
			t.Errorf("plain: %v", plain)
		}
		for _, bad := range [][]string{
			{"$expand", "secrets", "InvalidExpand"},
			{"$filter", "properties/x eq 1", "InvalidFilterInQueryString"},
			{"$top", "0", "InvalidTopValue"},
			{"$top", "x", "InvalidTopValue"},
			{"$skiptoken", "!", "InvalidSkipToken"},
			{"$orderby", "location desc", "InvalidOrderBy"},
		} {
			list(owner, subPath+"/resources", bad[0], bad[1]).fails(400, bad[2])
		}
		list(owner, subPath+"/resourceGroups", "$filter", "location eq 'x'").fails(400, "InvalidFilterInQueryString")
		if got := w.all(owner, subPath+"/resources"+groupV+"&$top=1"); !slices.Equal(got, []string{"alpha"}) {
			t.Errorf("$top: %v", got)
		}
	})
}
