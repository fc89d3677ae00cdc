package rbac

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// role is a Definition with its patterns ready to match.
type role struct {
	Definition
	permissions []permission
	breadth     int // how much it allows in all; see breadth
}

// permission is a Permission with its patterns ready to match and its condition read.
type permission struct {
	Permission
	condition expression // nil without one
}

func newRole(d Definition) *role {
	r := &role{Definition: d, permissions: make([]permission, len(d.Permissions))}
	for i, p := range d.Permissions {
		r.permissions[i].Permission = Permission{
			Actions: ready(p.Actions), NotActions: ready(p.NotActions),
			DataActions: ready(p.DataActions), NotDataActions: ready(p.NotDataActions),
		}
		r.permissions[i].condition = stored(p.Condition)
		r.breadth += breadth(p)
	}
	return r
}

// stored reads a condition that was checked when it was stored. One that cannot be read any more is never met.
func stored(condition string) expression {
	if condition == "" {
		return nil
	}
	e, err := parseCondition(condition)
	if err != nil {
		return func(*request) truth { return isUnknown }
	}
	return e
}

// ready puts patterns into lower case, and gives those with "/*/" a companion that has "/" there: Managed Identity
// Operator holds ".../userAssignedIdentities/*/assign/action", and what Azure asks for is
// ".../userAssignedIdentities/assign/action".
func ready(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		out = append(out, expand(strings.ToLower(p))...)
	}
	return out
}

func expand(pattern string) []string {
	i := strings.Index(pattern, "/*/")
	if i < 0 {
		return []string{pattern}
	}
	var out []string
	for _, rest := range expand(pattern[i+2:]) {
		out = append(out, pattern[:i+2]+rest, pattern[:i]+rest)
	}
	return out
}

// grants reports whether one of the role's permissions holds the action, and whether one that does has its condition
// met. An exclusion subtracts from its own permission only.
func (r *role) grants(req *request) (holds, met bool) {
	for i := range r.permissions {
		p := &r.permissions[i]
		yes, no := p.Actions, p.NotActions
		if req.data {
			yes, no = p.DataActions, p.NotDataActions
		}
		if !matchAny(yes, req.action) || matchAny(no, req.action) {
			continue
		}
		if p.condition.met(req) {
			return true, true
		}
		holds = true
	}
	return holds, false
}

// allows reports whether the role alone allows a request.
func (r *role) allows(req *request) bool {
	_, met := r.grants(req)
	return met
}

func matchAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if match(p, action) {
			return true
		}
	}
	return false
}

// match compares an action with a pattern, both in lower case. "*" stands for any characters, "/" included.
func match(pattern, action string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == action
	}
	action, ok := strings.CutPrefix(action, first)
	for ok {
		var part string
		part, rest, wild = strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(action, part)
		}
		_, action, ok = strings.Cut(action, part) // the leftmost place leaves the most for what follows
	}
	return false
}

// under reports whether a scope is another or lies below it. Both are keys (see scopeKey).
func under(scope, above string) bool {
	if above == "/" {
		return true
	}
	return strings.HasPrefix(scope, above) && (len(scope) == len(above) || scope[len(above)] == '/')
}

// text reports whether the database takes strings that callers sent.
func text(s ...string) bool {
	for _, s := range s {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return false
		}
	}
	return true
}

// scopeKey is the form in which scopes are stored and compared: lower case, no slash at the end.
func scopeKey(scope string) string {
	if key := strings.ToLower(strings.TrimRight(scope, "/")); key != "" {
		return key
	}
	return "/"
}

// above lists a scope's key and those of everything above it.
func above(key string) []string {
	keys := []string{"/"}
	for i := 1; i < len(key); i++ {
		if key[i] == '/' {
			keys = append(keys, key[:i])
		}
	}
	if key != "/" {
		keys = append(keys, key)
	}
	return keys
}

// breadth weighs what a permission allows, so that roles can be offered from the narrowest to the widest: reads
// weigh little, everything else more, wildcards by how early they begin, and granting access most of all.
func breadth(p Permission) int {
	n := 0
	for _, a := range slices.Concat(p.Actions, p.DataActions) {
		if slices.Contains(common, a) {
			continue
		}
		a = strings.ToLower(a)
		star := strings.IndexByte(a, '*')
		switch {
		case strings.HasPrefix(a, "microsoft.authorization/"):
			n += 300
			if star >= 0 {
				n += 700
			}
		case strings.HasSuffix(a, "/read") && star >= 0:
			n += 2
		case strings.HasSuffix(a, "/read"):
			n++
		case star < 0:
			n += 2
		default:
			n += max(20, 1024>>(2*strings.Count(a[:star], "/")))
		}
	}
	return n - len(p.NotActions) - len(p.NotDataActions)
}
