package rbac_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A role that keeps an assignment outside of its scopes could be widened there by whoever may write it in its scopes.
func TestRoleStaysWhereItIsAssigned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		role := rbac.Definition{
			ID: "cccccccc-0000-4000-8000-000000000003", Name: "Both", Scopes: []string{group, group + "2"},
			Permissions: []rbac.Permission{{Actions: []string{"*/read"}}},
		}
		define := func(scopes ...string) error {
			role.Scopes = scopes
			return try(db, func(ctx context.Context, tx *store.Tx) error { return r.Define(ctx, tx, role) })
		}
		if err := define(group, group+"2"); err != nil {
			t.Fatal(err)
		}
		assign(t, db, r, "a1", alice, role.ID, strings.ToUpper(account))
		assigned := &azure.Error{Status: http.StatusBadRequest, Code: "RoleDefinitionHasAssignments"}
		if err := define(group + "2"); !errors.Is(err, assigned) {
			t.Errorf("scopes that leave an assignment out: %v", err)
		}
		for _, scopes := range [][]string{{group}, {account}, {"/"}} {
			if err := define(scopes...); err != nil {
				t.Errorf("scopes %q, which hold the assignment: %v", scopes, err)
			}
		}
		if err := define(account); err != nil {
			t.Fatal(err)
		}
		err := try(db, func(ctx context.Context, tx *store.Tx) error {
			return r.Assign(ctx, tx, assignment("a2", alice, role.ID, group))
		})
		if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "RoleDefinitionDoesNotExist"}) {
			t.Errorf("an assignment above the role's scopes: %v", err)
		}
	})
}

// What roles and assignments hold is kept in memory, and their writers need not be trusted with all of it.
func TestLimits(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, rbac.Schema)
	r := open(t, db)
	role := func(change func(*rbac.Definition)) error {
		d := rbac.Definition{
			ID: "cccccccc-0000-4000-8000-000000000003", Name: "Role", Scopes: []string{group},
			Permissions: []rbac.Permission{{Actions: []string{"*/read"}}},
		}
		change(&d)
		return try(db, func(ctx context.Context, tx *store.Tx) error { return r.Define(ctx, tx, d) })
	}
	for name, err := range map[string]error{
		"name":        role(func(d *rbac.Definition) { d.Name = strings.Repeat("ä", 513) }),
		"description": role(func(d *rbac.Definition) { d.Description = strings.Repeat("ä", 2049) }),
		"action":      role(func(d *rbac.Definition) { d.Permissions[0].Actions[0] = strings.Repeat("a", 513) }),
		"scopes":      role(func(d *rbac.Definition) { d.Scopes = make([]string, 2001) }),
	} {
		if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleDefinition"}) {
			t.Errorf("%s too long: %.200v", name, err)
		}
	}
	long := role(func(d *rbac.Definition) {
		d.Name, d.Description = strings.Repeat("ä", 512), strings.Repeat("ä", 2048)
	})
	if long != nil {
		t.Errorf("as long as may be: %.200v", long)
	}
	a := assignment("a1", alice, reader, group)
	a.Description = strings.Repeat("ä", 2049)
	err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Assign(ctx, tx, a) })
	if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleAssignment"}) {
		t.Errorf("an assignment's description: %.200v", err)
	}
}

// An id that a database would not take as text is nobody's, and no error: callers send them in questions about others.
func TestDecideForNobody(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		for _, id := range []string{"\x00", "\xff"} {
			d, err := r.Decide(t.Context(), rbac.Query{Principals: []string{id}, Action: "x/read", Scope: "/\x00"})
			if err != nil || d.Allowed {
				t.Errorf("%q: %+v, %v", id, d, err)
			}
		}
	})
}
