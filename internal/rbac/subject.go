package rbac

import (
	"context"
	"slices"
	"strings"
)

// Subject is what concerns a caller, read once: it answers for many scopes, inside a transaction too, without another
// look at the database.
type Subject struct {
	principals []string
	held       []*held
	everyone   *held
}

// Subject returns what concerns a caller and its groups at this moment.
func (r *RBAC) Subject(ctx context.Context, principals []string) (*Subject, error) {
	s := &Subject{principals: principals}
	for _, principal := range principals {
		if principal == "" {
			continue
		}
		h, err := r.heldBy(ctx, strings.ToLower(principal))
		if err != nil {
			return nil, err
		}
		s.held = append(s.held, h)
	}
	var err error
	s.everyone, err = r.heldBy(ctx, Everyone)
	return s, err
}

// May decides as [RBAC.Decide] does on a control-plane action of which no attributes are known.
func (s *Subject) May(action, scope string) bool {
	q := Query{Principals: s.principals, Action: action, Scope: scope}
	d, req := &Decision{Query: q}, newRequest(&q)
	d.deny(req, append(slices.Clone(s.held), s.everyone), nil)
	if d.Denial == nil {
		d.allow(req, s.held, nil)
	}
	return d.Allowed
}

// Scopes returns where in a scope the subject has roles: the scope itself when one is assigned there or above, else the
// scopes below, in lower case and order, none of them inside another. Its cost depends on the subject's own assignments.
func (s *Subject) Scopes(scope string) []string {
	top := scopeKey(scope)
	var keys []string
	for _, h := range s.held {
		for i := range h.grants {
			switch key := h.grants[i].key; {
			case under(top, key):
				return []string{top}
			case under(key, top):
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	var widest []string
	for _, key := range keys {
		if !slices.ContainsFunc(above(key), func(k string) bool { _, has := slices.BinarySearch(widest, k); return has }) {
			widest = append(widest, key)
		}
	}
	return widest
}
