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
	Attributes Attributes
}

// Decision is the answer with its reason.
type Decision struct {
	Query
	Allowed    bool
	Assignment *Assignment     // the one that allowed; or, when no role allows, one whose condition alone is not met
	Role       *Definition     // its role
	Denial     *DenyAssignment // the one that denied, whatever the roles
	Missing    string          // an attribute that the condition asked for and the query does not have
	Roles      []string        // when no role allows: names of built-in roles that would, least privilege first
}

// Reason says in one sentence why: which assignment allowed or denied, or which role at which scope is missing.
func (d *Decision) Reason() string {
	who := "an anonymous caller"
	if len(d.Principals) > 0 {
		who = "principal " + d.Principals[0]
	}
	switch {
	case d.Allowed:
		return fmt.Sprintf("%s may perform '%s' at '%s': role '%s' is assigned at '%s' (assignment %s)",
			who, d.Action, d.Scope, d.Role.Name, d.Assignment.Scope, d.Assignment.ID)
	case d.Denial != nil:
		return fmt.Sprintf("%s may not perform '%s' at '%s': deny assignment '%s' at '%s' (%s) forbids it, whatever roles there are",
			who, d.Action, d.Scope, d.Denial.Name, d.Denial.Scope, d.Denial.ID)
	case d.Assignment != nil:
		return fmt.Sprintf("%s may not perform '%s' at '%s': role '%s' is assigned at '%s' (assignment %s), but %s",
			who, d.Action, d.Scope, d.Role.Name, d.Assignment.Scope, d.Assignment.ID, unmet(d.Missing))
	}
	mend := "no built-in role would"
	if len(d.Roles) > 0 {
		mend = "'" + d.Roles[0] + "' would"
	}
	return fmt.Sprintf("%s may not perform '%s' at '%s': no role assignment there or above grants it; %s",
		who, d.Action, d.Scope, mend)
}

func unmet(missing string) string {
	if missing == "" {
		return "its condition is not met"
	}
	return "its condition is not met: nothing is known of " + missing
}

// held is what concerns a principal.
type held struct {
	grants  []grant             // in order of scope
	at      map[string][]int    // places in grants, by key of the scope
	denials map[string][]denial // by key of the scope
}

// weighed calls weigh with each grant at the request's scope and above it, those above first, until it returns false; with
// all, with those elsewhere too.
func (h *held) weighed(req *request, all bool, weigh func(*grant) bool) {
	if all {
		for i := range h.grants {
			if !weigh(&h.grants[i]) {
				return
			}
		}
		return
	}
	if len(h.grants) == 0 {
		return
	}
	for _, key := range req.places() {
		for _, i := range h.at[key] {
			if !weigh(&h.grants[i]) {
				return
			}
		}
	}
}

// grant is an assignment ready to decide with.
type grant struct {
	Assignment
	key       string // of the scope
	role      *role
	condition expression // nil without one
}

// Decide answers a query. It denies by default. Its cost depends on the assignments that the principals have at the scope
// and above it, and not on any others.
func (r *RBAC) Decide(ctx context.Context, q Query) (*Decision, error) {
	return r.decide(ctx, q, nil)
}

// decide looks at deny assignments and then at role assignments. With see, it does not stop at the first that settles
// the matter, and tells see of each.
func (r *RBAC) decide(ctx context.Context, q Query, see func(Considered)) (*Decision, error) {
	d := &Decision{Query: q}
	req := newRequest(&q)
	var all []*held
	for _, principal := range q.Principals {
		if principal == "" || !text(principal) {
			continue // nobody's
		}
		h, err := r.heldBy(ctx, strings.ToLower(principal))
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	if len(all) > 0 {
		everyone, err := r.heldBy(ctx, Everyone)
		if err != nil {
			return nil, err
		}
		d.deny(req, append(all, everyone), see)
	}
	if d.Denial != nil && see == nil {
		return d, nil
	}
	d.allow(req, all, see)
	if d.Allowed || d.Denial != nil {
		return d, nil
	}
	for _, role := range r.narrow {
		if role.allows(req) {
			d.Roles = append(d.Roles, role.Name)
		}
	}
	return d, nil
}

// deny sets the first deny assignment that concerns the request.
func (d *Decision) deny(req *request, all []*held, see func(Considered)) {
	for _, h := range all {
		if len(h.denials) == 0 {
			continue
		}
		for _, key := range req.places() {
			for i := range h.denials[key] {
				n := &h.denials[key][i]
				outcome := n.weigh(req, d.Principals)
				if see == nil && outcome != Denies {
					continue
				}
				a := n.DenyAssignment
				if outcome == Denies && d.Denial == nil {
					d.Denial = &a
				}
				if see == nil {
					return
				}
				see(Considered{Denial: &a, Outcome: outcome})
			}
		}
	}
}

// allow sets the first role assignment that allows the request, unless it is denied; else the first whose condition
// alone is in the way.
func (d *Decision) allow(req *request, all []*held, see func(Considered)) {
	for _, h := range all {
		settled := false
		h.weighed(req, see != nil, func(g *grant) bool {
			req.missing = ""
			outcome := g.weigh(req)
			if see != nil {
				a, role := g.Assignment, g.role.Definition
				see(Considered{Assignment: &a, Role: &role, Outcome: outcome, Missing: req.missing})
			}
			settles := outcome == Allows && !d.Allowed
			if d.Denial != nil || !settles && (outcome != ConditionNotMet || d.Assignment != nil) {
				return true
			}
			a, role := g.Assignment, g.role.Definition
			d.Assignment, d.Role, d.Allowed, d.Missing = &a, &role, settles, req.missing
			settled = settles && see == nil
			return !settled
		})
		if settled {
			return
		}
	}
}

// weigh says whether an assignment allows a request.
func (g *grant) weigh(req *request) Outcome {
	if !under(req.scope, g.key) {
		return NotThisScope
	}
	holds, met := g.role.grants(req)
	switch {
	case !holds:
		return NotThisAction
	case !met || !g.condition.met(req):
		return ConditionNotMet
	}
	req.missing = "" // what was asked for in vain did not matter
	return Allows
}

// heldBy returns what concerns a principal. Assignments of a role that is gone grant nothing and are left out.
func (r *RBAC) heldBy(ctx context.Context, principal string) (*held, error) {
	return r.held.Get(ctx, rowcache.Source[*held]{DB: r.db, Table: generation, Load: r.load}, principal)
}

func (r *RBAC) load(ctx context.Context, tx *store.Tx, principal string) (*held, error) {
	assignments, err := queryAssignments(ctx, tx, `WHERE principal_id = $1`, principal)
	if err != nil {
		return nil, fmt.Errorf("loading the role assignments of principal %s: %w", principal, err)
	}
	h := &held{at: map[string][]int{}}
	custom := map[string]*role{}
	for _, a := range assignments {
		g := grant{Assignment: a, key: scopeKey(a.Scope), role: r.builtin[a.RoleID], condition: stored(a.Condition)}
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
		h.at[g.key] = append(h.at[g.key], len(h.grants))
		h.grants = append(h.grants, g)
	}
	h.denials, err = loadDenials(ctx, tx, principal)
	if err != nil {
		return nil, fmt.Errorf("loading the deny assignments of principal %s: %w", principal, err)
	}
	return h, nil
}
