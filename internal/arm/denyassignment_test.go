package arm

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// deny takes deletions at a scope from everyone but the builder.
func (w *world) deny(n int, scope, name string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		return w.m.o.RBAC.Deny(w.t.Context(), tx, rbac.DenyAssignment{
			ID: azureID(n), Scope: scope, Name: name, SystemProtected: true, Permissions: []rbac.Permission{{Actions: []string{"*/delete"}}},
			Principals: []rbac.Principal{{ID: rbac.Everyone, Type: "SystemDefined"}}, Excluded: []rbac.Principal{{ID: builder, Type: "User"}},
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestDenyAssignments(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		const list = "/providers/Microsoft.Authorization/denyAssignments"
		const v = "?api-version=2022-04-01"
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
		w.deny(1, g1, "Keep it")
		w.deny(2, widgets+"/w", "Keep the widget")

		w.do(owner, "DELETE", widgets+"/w"+sync1, "").fails(403, "AuthorizationFailed")
		a := w.do(owner, "GET", g1+list+"/"+azureID(1)+v, "").want(200)
		for path, want := range map[string]any{
			"id": g1 + list + "/" + azureID(1), "name": azureID(1), "type": "Microsoft.Authorization/denyAssignments",
			"properties.denyAssignmentName": "Keep it", "properties.scope": g1, "properties.doNotApplyToChildScopes": false, "properties.isSystemProtected": true,
		} {
			if got := a.at(path); got != want {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
		for path, want := range map[string]any{
			"properties.principals":        []any{map[string]any{"id": rbac.Everyone, "type": "SystemDefined"}},
			"properties.excludePrincipals": []any{map[string]any{"id": builder, "type": "User"}},
			"properties.permissions": []any{map[string]any{
				"actions": []any{"*/delete"}, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{},
			}},
		} {
			if diff := cmp.Diff(want, a.at(path)); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
		w.do(reader, "GET", g1+list+"/"+azureID(3)+v, "").fails(404, "DenyAssignmentNotFound")
		w.do(reader, "GET", g1+list+"/"+azureID(2)+v, "").fails(404, "DenyAssignmentNotFound")
		w.do(stranger, "GET", g1+list+"/"+azureID(1)+v, "").fails(403, "AuthorizationFailed")
		w.do(owner, "PUT", g1+list+"/"+azureID(1)+v, "{}").fails(405, "MethodNotAllowed")
		w.do(owner, "DELETE", g1+list+"/"+azureID(1)+v, "").fails(405, "MethodNotAllowed")

		for _, c := range []struct {
			scope, filter string
			want          []string
		}{
			{g1, "", []string{azureID(1), azureID(2)}},
			{g1, "atScope()", []string{azureID(1)}},
			{widgets + "/w", "atScope()", []string{azureID(1), azureID(2)}},
			{subPath, "", []string{azureID(1), azureID(2)}},
			{g1, "denyAssignmentName eq 'keep the widget'", []string{azureID(2)}},
			{g1, "principalId eq '" + rbac.Everyone + "'", []string{azureID(1), azureID(2)}},
			{g1, "principalId eq '" + builder + "'", []string{}},
			{g1, "gdprExportPrincipalId eq '" + builder + "'", []string{azureID(1), azureID(2)}},
			{g1, "assignedTo('" + stranger + "')", []string{azureID(1), azureID(2)}},
		} {
			if diff := cmp.Diff(c.want, w.do(owner, "GET", c.scope+list+v+"&$filter="+url.QueryEscape(c.filter), "").names()); diff != "" {
				t.Errorf("%s %s: %s", c.scope, c.filter, diff)
			}
		}
		w.do(owner, "GET", g1+list+v+"&$filter=scope+eq+'x'", "").fails(400, "InvalidFilterInQueryString")
		w.do(builder, "DELETE", widgets+"/w"+sync1, "").want(200)
		if got := w.do(owner, "GET", g1+list+v, "").names(); len(got) != 1 {
			t.Errorf("the widget's deny assignment outlives it: %v", got)
		}
	})
}
