package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
	"pgregory.net/rapid"
)

// The model says the documented rules
// (https://learn.microsoft.com/azure/role-based-access-control/overview#how-azure-rbac-determines-if-a-user-has-access-to-a-resource)
// as plainly as can be: no index, no cache, no normal form, no order.
type model struct {
	roles       map[string][]Permission // by id
	assignments []modelAssignment
	denials     []DenyAssignment
}

// modelAssignment is an Assignment whose condition says: for actions like only, the attribute "name" must be value.
type modelAssignment struct {
	Assignment
	only, value string
}

func (m *model) allowed(q Query) bool {
	for _, d := range m.denials {
		covers := modelCovers(d.Scope, q.Scope) && (!d.ThisScopeOnly || modelCovers(q.Scope, d.Scope))
		names := modelNames(d.Principals, append([]string{Everyone}, q.Principals...))
		if covers && names && !modelNames(d.Excluded, q.Principals) && modelHolds(d.Permissions, q) {
			return false
		}
	}
	for _, a := range m.assignments {
		holder := slices.ContainsFunc(q.Principals, func(p string) bool { return strings.EqualFold(p, a.PrincipalID) })
		met := a.Condition == "" || !naiveMatch(a.only, q.Action) || slices.Equal(q.Attributes.Resource["name"], []string{a.value})
		if holder && met && modelCovers(a.Scope, q.Scope) && modelHolds(m.roles[a.RoleID], q) {
			return true
		}
	}
	return false
}

func modelNames(list []Principal, ids []string) bool {
	return slices.ContainsFunc(list, func(p Principal) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, p.ID) })
	})
}

// modelCovers compares scopes segment by segment.
func modelCovers(above, scope string) bool {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(c rune) bool { return c == '/' })
	}
	a, s := split(above), split(scope)
	return len(a) <= len(s) && slices.EqualFunc(a, s[:len(a)], strings.EqualFold)
}

func modelHolds(permissions []Permission, q Query) bool {
	like := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return naiveMatch(p, q.Action) })
	}
	return slices.ContainsFunc(permissions, func(p Permission) bool {
		if q.Data {
			return like(p.DataActions) && !like(p.NotDataActions)
		}
		return like(p.Actions) && !like(p.NotActions)
	})
}

// modelScope generates scopes so deep, in odd cases, with names that begin like others.
func modelScope(minDepth, maxDepth int) *rapid.Generator[string] {
	levels := []*rapid.Generator[string]{
		rapid.SampledFrom([]string{"/subscriptions/s", "/Subscriptions/S", "/subscriptions/s2"}),
		rapid.SampledFrom([]string{"/resourceGroups/g", "/resourcegroups/G", "/resourceGroups/g2", "/resourceGroups/g-"}),
		rapid.SampledFrom([]string{"/providers/N.M/t/a", "/providers/n.m/T/A", "/providers/N.M/t/ab"}),
		rapid.SampledFrom([]string{"/u/x", "/u/X0", "/v/x"}),
	}
	return rapid.Custom(func(t *rapid.T) string {
		scope := ""
		for _, level := range levels[:rapid.IntRange(minDepth, maxDepth).Draw(t, "depth")] {
			scope += level.Draw(t, "level")
		}
		if scope == "" || rapid.IntRange(0, 9).Draw(t, "slash") == 0 {
			scope += "/"
		}
		return scope
	})
}

var (
	modelAction = rapid.Custom(func(t *rapid.T) string {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"t", "T", "u", "tu"}), 0, 1).Draw(t, "types")
		verb := rapid.SampledFrom([]string{"read", "WRITE", "write", "u/action"}).Draw(t, "verb")
		return strings.Join(slices.Concat([]string{"N.M"}, words, []string{verb}), "/")
	})
	modelPattern = rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 5).Draw(t, "all") == 0 {
			return "*"
		}
		segments := strings.Split(modelAction.Draw(t, "action"), "/")
		wild := ""
		for i := range segments {
			switch rapid.IntRange(0, 5).Draw(t, "wild") {
			case 0:
				if wild != "*" { // two in a row share a slash, which the regular expression of naiveMatch cannot say
					segments[i] = "*"
				}
			case 1:
				segments[i] = segments[i][:1] + "*"
			}
			wild = segments[i]
		}
		pattern := strings.Join(segments, "/")
		for strings.Count(pattern, "*") > 3 {
			pattern = strings.Replace(pattern, "*", "t", 1)
		}
		return pattern
	})
	modelPrincipal   = rapid.SampledFrom([]string{"alice", "ALICE", "bob", "group1", "group2"})
	modelPermissions = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Permission {
		yes, no := rapid.SliceOfN(modelPattern, 1, 3), rapid.SliceOfN(modelPattern, 0, 1)
		return Permission{
			Actions: yes.Draw(t, "actions"), NotActions: no.Draw(t, "notActions"),
			DataActions: yes.Draw(t, "dataActions"), NotDataActions: no.Draw(t, "notDataActions"),
		}
	}), 1, 3)
	modelNamed = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Principal {
		id := rapid.OneOf(modelPrincipal, rapid.Just(Everyone)).Draw(t, "principal")
		return Principal{ID: id, Type: "t"}
	}), 1, 2)
)

func drawModel(t *rapid.T) *model {
	m := &model{roles: map[string][]Permission{}}
	for i := range rapid.IntRange(1, 3).Draw(t, "roles") {
		m.roles[fmt.Sprint("role", i)] = modelPermissions.Draw(t, "permissions")
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "assignments") {
		a := modelAssignment{Assignment: Assignment{
			ID: fmt.Sprint("a", i), Scope: modelScope(0, 3).Draw(t, "scope"), PrincipalID: modelPrincipal.Draw(t, "principal"),
			RoleID: fmt.Sprint("role", rapid.IntRange(0, len(m.roles)-1).Draw(t, "role")),
		}}
		if rapid.IntRange(0, 3).Draw(t, "conditional") == 0 {
			a.only, a.value = modelPattern.Draw(t, "only"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "value")
			a.Condition = "!(ActionMatches{'" + a.only + "'}) OR @Resource[Name] StringEquals '" + a.value + "'"
		}
		m.assignments = append(m.assignments, a)
	}
	for i := range max(0, rapid.IntRange(-2, 2).Draw(t, "denials")) {
		d := DenyAssignment{
			ID: fmt.Sprint("d", i), Scope: modelScope(0, 4).Draw(t, "scope"), Permissions: modelPermissions.Draw(t, "denied"),
			Principals: modelNamed.Draw(t, "principals"), ThisScopeOnly: rapid.Bool().Draw(t, "this scope only"),
		}
		if rapid.Bool().Draw(t, "some are spared") {
			d.Excluded = modelNamed.Draw(t, "excluded")
		}
		m.denials = append(m.denials, d)
	}
	return m
}

// store puts the model into a database that may hold another, in one transaction. Assignments that others equal are
// refused; the model drops them.
func (m *model) store(t *rapid.T, db *store.DB, r *RBAC) {
	ctx := context.Background()
	kept := m.assignments
	err := db.Update(ctx, func(tx *store.Tx) error {
		kept = nil
		if err := r.Purge(ctx, tx, "", "/"); err != nil {
			return err
		}
		for id, permissions := range m.roles {
			if err := r.Define(ctx, tx, Definition{ID: id, Name: id, Scopes: []string{"/"}, Permissions: permissions}); err != nil {
				return err
			}
		}
		for _, a := range m.assignments {
			equal := slices.ContainsFunc(kept, func(k modelAssignment) bool {
				return k.RoleID == a.RoleID && strings.EqualFold(k.PrincipalID, a.PrincipalID) && modelCovers(k.Scope, a.Scope) && modelCovers(a.Scope, k.Scope)
			})
			if err := r.Assign(ctx, tx, a.Assignment); (err != nil) != equal {
				return fmt.Errorf("assigning %+v: equal to another: %v, error %v", a, equal, err)
			}
			if !equal {
				kept = append(kept, a)
			}
		}
		for _, d := range m.denials {
			if err := r.Deny(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m.assignments = kept
}

// TestDecideLikeModel compares decisions over random roles, assignments, conditions and deny assignments with the
// model. A hundred cases by default; go test -run TestDecideLikeModel -rapid.checks=100000 is the long run.
func TestDecideLikeModel(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, Schema)
	r, err := New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var cases, allowed, denied, decisions int
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		m.store(t, db, r)
		cases++
		for range 8 {
			q := Query{
				Principals: rapid.SliceOfN(modelPrincipal, 0, 3).Draw(t, "principals"), Action: modelAction.Draw(t, "action"),
				Data: rapid.IntRange(0, 3).Draw(t, "data") == 0, Scope: modelScope(1, 4).Draw(t, "scope"),
			}
			if name := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "name"); name != "" {
				q.Attributes.Resource = map[string][]string{"name": {name}}
			}
			d, err := r.Decide(context.Background(), q)
			if want := m.allowed(q); err != nil || d.Allowed != want {
				t.Fatalf("%+v: got %+v, %v, want %v", q, d, err, want)
			}
			e, err := r.Explain(context.Background(), q)
			if err != nil || e.Reason() != d.Reason() {
				t.Fatalf("%+v: Decide says %s, Explain %s, %v", q, d.Reason(), e.Reason(), err)
			}
			decisions++
			if d.Allowed {
				allowed++
			}
			if d.Denial != nil {
				denied++
			}
		}
	})
	t.Logf("%d cases, %d decisions: %d allowed, %d denied by deny assignments", cases, decisions, allowed, denied)
}
