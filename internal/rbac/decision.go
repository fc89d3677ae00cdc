package rbac

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

// Query asks whether one of the principals may do the action at the scope.
type Query struct {
	Principals []string // the caller and its groups
	Action     string   // e.g. "Microsoft.KeyVault/vaults/keys/wrap/action"
	Data       bool     // a data action
	Scope      string   // resource ID, any case
}

// Decision is the answer with its reason.
type Decision struct {
	Query
	Allowed    bool
	Assignment *Assignment // the one that allowed
	Role       *Definition // its role
	Roles      []string    // when denied: names of built-in roles that would allow, least privilege first
}

// Reason says in one sentence why: which assignment allowed, or which role at which scope is missing.
func (d *Decision) Reason() string {
	who := "an anonymous caller"
	if len(d.Principals) > 0 {
		who = "principal " + d.Principals[0]
	}
	if d.Allowed {
		return fmt.Sprintf("%s may perform '%s' at '%s': role '%s' is assigned at '%s' (assignment %s)",
			who, d.Action, d.Scope, d.Role.Name, d.Assignment.Scope, d.Assignment.ID)
	}
	mend := "no built-in role would"
	if len(d.Roles) > 0 {
		mend = "'" + d.Roles[0] + "' would"
	}
	return fmt.Sprintf("%s may not perform '%s' at '%s': no role assignment there or above grants it; %s",
		who, d.Action, d.Scope, mend)
}

// grant is an assignment ready to decide with.
type grant struct {
	Assignment
	key  string // of the scope
	role *role
}

// Decide answers a query. It denies by default. Its cost depends on the principals' own assignments, not on others'.
func (r *RBAC) Decide(ctx context.Context, q Query) (*Decision, error) {
	d := &Decision{Query: q}
	action, scope := strings.ToLower(q.Action), scopeKey(q.Scope)
	for _, principal := range q.Principals {
		if principal == "" {
			continue
		}
		grants, err := r.granted(ctx, strings.ToLower(principal))
		if err != nil {
			return nil, err
		}
		for i := range grants {
			g := &grants[i]
			if under(scope, g.key) && g.role.allows(action, q.Data) {
				a, role := g.Assignment, g.role.Definition
				d.Allowed, d.Assignment, d.Role = true, &a, &role
				return d, nil
			}
		}
	}
	for _, role := range r.narrow {
		if role.allows(action, q.Data) {
			d.Roles = append(d.Roles, role.Name)
		}
	}
	return d, nil
}

// granted returns a principal's assignments. Those of a role that is gone grant nothing and are left out.
func (r *RBAC) granted(ctx context.Context, principal string) ([]grant, error) {
	return r.grants.Get(ctx, rowcache.Source[[]grant]{DB: r.db, Table: generation, Load: r.load}, principal)
}

func (r *RBAC) load(ctx context.Context, tx *store.Tx, principal string) ([]grant, error) {
	assignments, err := queryAssignments(ctx, tx, `WHERE principal_id = $1`, principal)
	if err != nil {
		return nil, fmt.Errorf("loading the role assignments of principal %s: %w", principal, err)
	}
	var grants []grant
	custom := map[string]*role{}
	for _, a := range assignments {
		g := grant{Assignment: a, key: scopeKey(a.Scope), role: r.builtin[a.RoleID]}
		if g.role == nil {
			g.role = custom[a.RoleID]
		}
		if g.role == nil {
			d, ok, err := r.definition(ctx, tx, a.RoleID)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			g.role = newRole(d)
			custom[a.RoleID] = g.role
		}
		grants = append(grants, g)
	}
	return grants, nil
}
