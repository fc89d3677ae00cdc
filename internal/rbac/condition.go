package rbac

import (
	"strings"
	"time"
)

// Attributes are what conditions may ask about a request, by the names that conditions use, for example
// Resource["Microsoft.Storage/storageAccounts/blobServices/containers:name"]. Case does not count. Values are text:
// integers in decimal, "true" or "false", times in RFC 3339. A name with no values is known not to exist; of a name
// that is missing nothing is known, and a condition that rests on it is not met.
//
// The key of a blob index tag is the part after the colon; in a condition that ends it with <$key_case_sensitive$> its
// case counts. @Environment[UtcNow] is known without being given.
type Attributes struct {
	SubOperation string // "Blob.List"; empty for most operations
	Resource     map[string][]string
	Request      map[string][]string
	Principal    map[string][]string
	Environment  map[string][]string
}

// request is a query as conditions and patterns see it.
type request struct {
	action  string // lower case
	data    bool
	scope   string // key
	given   *Attributes
	now     time.Time
	missing string // the attribute that a condition asked for in vain

	above []string // see places
}

func newRequest(q *Query) *request {
	return &request{action: strings.ToLower(q.Action), data: q.Data, scope: scopeKey(q.Scope), given: &q.Attributes, now: time.Now()}
}

// places are the keys of the scope and of all above it.
func (r *request) places() []string {
	if r.above == nil {
		r.above = above(r.scope)
	}
	return r.above
}

// expression is a condition or a part of one.
type expression func(*request) truth

// met reports whether a condition allows a request; no condition does.
func (e expression) met(r *request) bool { return e == nil || e(r) == isTrue }

// attribute is @{source}[{name}] in a condition.
type attribute struct {
	source, name string
	exact        bool // the case of what follows the last colon of the name counts
}

const caseMatters = "<$key_case_sensitive$>"

func newAttribute(source, name string) attribute {
	name, exact := strings.CutSuffix(name, caseMatters)
	return attribute{source: strings.ToLower(source), name: name, exact: exact}
}

func (a attribute) String() string {
	s := "@" + strings.ToUpper(a.source[:1]) + a.source[1:] + "[" + a.name
	if a.exact {
		s += caseMatters
	}
	return s + "]"
}

// values returns the attribute's values in a request; false when nothing is known of it.
func (a attribute) values(r *request) ([]string, bool) {
	var given map[string][]string
	switch a.source {
	case "resource":
		given = r.given.Resource
	case "principal":
		given = r.given.Principal
	case "request":
		if strings.EqualFold(a.name, "subOperation") {
			return []string{r.given.SubOperation}, true
		}
		given = r.given.Request
	case "environment":
		if strings.EqualFold(a.name, "UtcNow") {
			return []string{r.now.UTC().Format(time.RFC3339Nano)}, true
		}
		given = r.given.Environment
	}
	for name, values := range given {
		if strings.EqualFold(name, a.name) && (!a.exact || afterColon(name) == afterColon(a.name)) {
			return values, true
		}
	}
	if r.missing == "" {
		r.missing = a.String()
	}
	return nil, false
}

func afterColon(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

func and(l, r expression) expression {
	return func(req *request) truth { return min(l(req), r(req)) }
}

func or(l, r expression) expression {
	return func(req *request) truth { return max(l(req), r(req)) }
}

func not(e expression) expression {
	return func(req *request) truth { return e(req).not() }
}

func actionMatches(patterns []string) expression {
	patterns = ready(patterns)
	return func(req *request) truth { return truthOf(matchAny(patterns, req.action)) }
}

func subOperationMatches(patterns []string) expression {
	patterns = ready(patterns)
	return func(req *request) truth { return truthOf(matchAny(patterns, strings.ToLower(req.given.SubOperation))) }
}

func exists(a attribute) expression {
	return func(req *request) truth {
		values, known := a.values(req)
		if !known {
			return isUnknown
		}
		return truthOf(len(values) > 0)
	}
}

// operand is one side of a comparison: literals, or an attribute.
type operand struct {
	literals  []string
	attribute *attribute
}

func (o operand) values(r *request) []string {
	if o.attribute == nil {
		return o.literals
	}
	values, _ := o.attribute.values(r)
	return values
}

// cross says of how many values on the left a comparison must hold with how many on the right.
type cross struct{ allLeft, allRight bool }

var crosses = map[string]cross{
	"foranyofanyvalues": {false, false}, "forallofanyvalues": {true, false},
	"foranyofallvalues": {false, true}, "forallofallvalues": {true, true},
}

// compare makes a comparison. Without a cross product both sides have one value. No values, as no attribute, are
// unknown: nothing is true of them.
func compare(left operand, op operator, c *cross, right operand) expression {
	return func(req *request) truth {
		ls, rs := left.values(req), right.values(req)
		switch {
		case len(ls) == 0 || len(rs) == 0:
			return isUnknown
		case c != nil:
			return over(ls, c.allLeft, func(l string) truth {
				return over(rs, c.allRight, func(r string) truth { return op.holds(l, r) })
			})
		case len(ls) > 1 || len(rs) > 1:
			return isUnknown
		}
		return op.holds(ls[0], rs[0])
	}
}

// over joins the truth of each value: all must hold, or one.
func over(values []string, all bool, holds func(string) truth) truth {
	joined := truthOf(all)
	for _, v := range values {
		if all {
			joined = min(joined, holds(v))
		} else {
			joined = max(joined, holds(v))
		}
	}
	return joined
}
