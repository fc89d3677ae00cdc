package rbac_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// lock is a deny assignment that takes writes from everyone but carol.
func lock(id, scope string) rbac.DenyAssignment {
	empty := []string{}
	return rbac.DenyAssignment{
		ID: id, Scope: scope, Name: "Lock " + id, Description: "d", SystemProtected: true, CreatedBy: bob,
		Permissions: []rbac.Permission{{Actions: []string{"*/write"}, NotActions: []string{"*/tags/write"}, DataActions: empty, NotDataActions: empty}},
		Principals:  []rbac.Principal{{ID: rbac.Everyone, Type: "SystemDefined"}},
		Excluded:    []rbac.Principal{{ID: "carol", Type: azure.TypeUser}},
		Created:     time.UnixMicro(1_700_000_000_000_000).UTC(),
	}
}

func deny(t testing.TB, db *store.DB, r *rbac.RBAC, d rbac.DenyAssignment) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *store.Tx) error { return r.Deny(ctx, tx, d) })
}

func TestDeny(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		for i, p := range []string{alice, bob, "carol"} {
			assign(t, db, r, string(rune('a'+i)), p, owner, "/")
		}
		check := func(step string, want bool, action, scope string, principals ...string) {
			t.Helper()
			d, err := r.Decide(t.Context(), rbac.Query{Principals: principals, Action: action, Scope: scope})
			if err != nil || d.Allowed != want {
				t.Errorf("%s: got %+v, %v, want %v", step, d, err, want)
			}
		}
		check("before", true, "x/write", account, alice)
		deny(t, db, r, lock("L1", group))
		check("denied", false, "x/write", account, alice)
		check("at the scope itself", false, "x/write", strings.ToUpper(group), alice)
		check("a sibling with a longer name", true, "x/write", group+"2", alice)
		check("above", true, "x/write", "/", alice)
		check("another action", true, "x/read", account, alice)
		check("what is left out", true, "x/tags/write", account, alice)
		check("spared", true, "x/write", account, "CAROL")
		check("spared by a group", true, "x/write", account, alice, "carol")
		check("without a role", false, "x/write", account, "dave")

		d := decide(t, r, alice, "x/write", false, account)
		want := "principal " + alice + " may not perform 'x/write' at '" + account + "': deny assignment 'Lock L1' at '" + group + "' (l1) forbids it, whatever roles there are"
		if d.Reason() != want || d.Denial == nil || d.Assignment != nil || len(d.Roles) != 0 {
			t.Errorf("got %+v, %s, want %s", d, d.Reason(), want)
		}

		only := lock("L1", group)
		only.ThisScopeOnly = true
		deny(t, db, r, only) // replaces
		check("below, with ThisScopeOnly", true, "x/write", account, alice)
		check("at the scope, with ThisScopeOnly", false, "x/write", group+"/", alice)

		one := lock("L1", group)
		one.Principals = []rbac.Principal{{ID: strings.ToUpper(bob), Type: azure.TypeGroup}}
		one.Permissions = []rbac.Permission{{DataActions: []string{"*"}}, {Actions: []string{"x/delete"}}}
		deny(t, db, r, one)
		check("no longer for everyone", true, "x/delete", account, alice)
		check("for one", false, "x/delete", account, bob)
		check("for one as a group", false, "x/delete", account, alice, bob)
		check("data actions are apart", true, "x/write", account, bob)

		one.ID = strings.ToLower(one.ID)
		one.Principals[0].ID = bob
		empty := []string{}
		one.Permissions = []rbac.Permission{{empty, empty, []string{"*"}, empty, "", ""}, {[]string{"x/delete"}, empty, empty, empty, "", ""}}
		list, err := r.DenyAssignments(t.Context(), account, false)
		if diff := cmp.Diff([]rbac.DenyAssignment{one}, list); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if list, err := r.DenyAssignments(t.Context(), "/", false); err != nil || len(list) != 0 {
			t.Errorf("above: %v, %v", list, err)
		}
		if list, err := r.DenyAssignments(t.Context(), "/", true); err != nil || len(list) != 1 {
			t.Errorf("below: %v, %v", list, err)
		}

		undeny := func(id string) (ok bool) {
			update(t, db, func(ctx context.Context, tx *store.Tx) error {
				var err error
				_, ok, err = r.Undeny(ctx, tx, strings.ToUpper(group), id)
				return err
			})
			return ok
		}
		if !undeny("L1") || undeny("L1") || undeny("\x00") {
			t.Error("Undeny does not remove once")
		}
		check("removed", true, "x/delete", account, bob)

		deny(t, db, r, lock("L2", account))
		check("denied again", false, "x/write", account, alice)
		update(t, db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, "", group) })
		check("its scope is gone", true, "x/write", account, alice)
		if list, err := r.DenyAssignments(t.Context(), "/", true); err != nil || len(list) != 0 {
			t.Errorf("purged: %v, %v", list, err)
		}

		nobody, nowhere, nothing, conditional := lock("L3", group), lock("L3", ""), lock("L3", group), lock("L3", group)
		nobody.Principals = []rbac.Principal{{}}
		nothing.Permissions = nil
		conditional.Permissions = []rbac.Permission{{Actions: []string{"*"}, Condition: "Exists @Resource[a]"}}
		for _, bad := range []rbac.DenyAssignment{{}, nobody, nowhere, nothing, conditional} {
			err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Deny(ctx, tx, bad) })
			if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidDenyAssignment"}) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

// A deny assignment must reach other nodes as fast as a revocation.
func TestDenyOnOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, rbac.Schema)
		here, there := open(t, db), open(t, db)
		assign(t, db, here, "a1", alice, owner, "/")
		if !decide(t, there, alice, "x/write", false, account).Allowed {
			t.Error("not allowed before")
		}
		deny(t, db, here, lock("L1", group))
		if decide(t, here, alice, "x/write", false, account).Allowed {
			t.Error("still allowed where it was denied")
		}
		time.Sleep(2 * time.Second)
		if decide(t, there, alice, "x/write", false, account).Allowed {
			t.Error("still allowed on the other node after 2 s")
		}
	})
}
