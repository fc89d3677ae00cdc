package rbac

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestSubject: where a subject has roles, and that it decides as Decide does.
func TestSubject(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{Schema}, func(t *testing.T, db *store.DB) {
		r, err := New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		const s, readerRole, ownerRole = "/subscriptions/s", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
		for i, a := range []Assignment{
			{Scope: s + "/resourceGroups/B", RoleID: readerRole, PrincipalID: "user"},
			{Scope: s + "/resourceGroups/b/providers/N.S/t/x", RoleID: ownerRole, PrincipalID: "user"},
			{Scope: s + "/resourceGroups/b-c", RoleID: readerRole, PrincipalID: "group"},
			{Scope: "/subscriptions/other", RoleID: readerRole, PrincipalID: "group"},
			{Scope: "/", RoleID: readerRole, PrincipalID: "root"},
		} {
			a.ID, a.PrincipalType = fmt.Sprintf("00000000-0000-0000-0000-%012d", i), "User"
			if err := db.Update(t.Context(), func(tx *store.Tx) error { return r.Assign(t.Context(), tx, a) }); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			principals []string
			scope      string
			want       []string
		}{
			{[]string{"user"}, s, []string{s + "/resourcegroups/b"}},
			{[]string{"USER", "group", ""}, s, []string{s + "/resourcegroups/b", s + "/resourcegroups/b-c"}},
			{[]string{"user"}, s + "/resourceGroups/B/providers/N.S/t/y", []string{s + "/resourcegroups/b/providers/n.s/t/y"}},
			{[]string{"root"}, s + "/", []string{s}},
			{[]string{"nobody"}, s, nil},
			{nil, s, nil},
		} {
			subject, err := r.Subject(t.Context(), c.principals)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, subject.Scopes(c.scope)); diff != "" {
				t.Errorf("%v at %s:\n%s", c.principals, c.scope, diff)
			}
			for _, action := range []string{"N.S/t/read", "N.S/t/write"} {
				for _, scope := range []string{s, s + "/resourceGroups/b", s + "/resourceGroups/b/providers/N.S/t/x", s + "/resourceGroups/b-c/x"} {
					d, err := r.Decide(t.Context(), Query{Principals: c.principals, Action: action, Scope: scope})
					if err != nil || d.Allowed != subject.May(action, scope) {
						t.Errorf("%v %s at %s: %v, %v", c.principals, action, scope, d.Allowed, err)
					}
				}
			}
		}
	})
}
