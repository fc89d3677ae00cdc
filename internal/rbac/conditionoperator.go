package rbac

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// truth is what an expression says of a request. What rests on an attribute that is not known is unknown, and stays
// so under negation: a condition allows on true alone.
type truth int8

const (
	isFalse truth = iota
	isUnknown
	isTrue
)

func (t truth) not() truth { return isTrue - t }

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

// operator compares two values. valid reports whether a literal of the condition is one of its kind; values of a
// request that are not make the comparison unknown.
type operator struct {
	kind  string // what literals must be, for messages
	valid func(literal string, quoted bool) bool
	holds func(left, right string) truth
}

// findOperator returns the operator of a name in lower case, without its cross product.
func findOperator(name string) (operator, bool) {
	for _, k := range kinds {
		relation, ok := strings.CutPrefix(name, k.prefix)
		if !ok {
			continue
		}
		holds := k.find(relation)
		return operator{k.kind, k.valid, holds}, holds != nil
	}
	return operator{}, false
}

// kinds are the families of operators by the prefix of their names, see
// https://learn.microsoft.com/azure/role-based-access-control/conditions-format.
var kinds = []struct {
	prefix, kind string
	valid        func(literal string, quoted bool) bool
	find         func(relation string) func(left, right string) truth
}{
	{"string", "text in single quotes", func(_ string, quoted bool) bool { return quoted }, findText},
	{"numeric", "an integer", valid(parseInteger), ordered(parseInteger)},
	{"datetime", "a time such as '2022-06-01T00:00:00.0Z'", valid(parseTime), ordered(parseTime)},
	{"bool", "true or false", valid(parseBool), equal(parseBool)},
	{"guid", "a GUID", valid(parseGUID), equal(parseGUID)},
}

func valid[V any](parse func(string) (V, bool)) func(string, bool) bool {
	return func(literal string, _ bool) bool {
		_, ok := parse(literal)
		return ok
	}
}

func findText(relation string) func(left, right string) truth {
	relation, fold := strings.CutSuffix(relation, "ignorecase")
	relation, negated := strings.CutPrefix(relation, "not")
	var holds func(left, right string) bool
	switch relation {
	case "equals":
		holds = func(l, r string) bool { return l == r }
	case "startswith":
		holds = strings.HasPrefix
	case "like":
		holds = func(l, r string) bool { return like([]rune(r), []rune(l)) }
	default:
		return nil
	}
	return func(l, r string) truth {
		if fold {
			l, r = strings.ToLower(l), strings.ToLower(r)
		}
		return truthOf(holds(l, r) != negated)
	}
}

// like compares text with a pattern: "*" stands for any characters, "?" for one; a backslash takes that away.
func like(pattern, text []rune) bool {
	star, resume := -1, 0 // where to go on when what follows the last "*" does not fit
	p, t := 0, 0
	for t < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, t
			p++
			continue
		}
		if width, ok := likeOne(pattern[p:], text[t]); ok {
			p += width
			t++
			continue
		}
		if star < 0 {
			return false
		}
		resume++
		p, t = star+1, resume
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// likeOne compares a character with the head of a pattern and returns how long that head is.
func likeOne(pattern []rune, c rune) (width int, ok bool) {
	switch {
	case len(pattern) == 0:
		return 0, false
	case pattern[0] == '?':
		return 1, true
	case pattern[0] == '\\' && len(pattern) > 1 && (pattern[1] == '*' || pattern[1] == '?'):
		return 2, pattern[1] == c
	}
	return 1, pattern[0] == c
}

func equal[V comparable](parse func(string) (V, bool)) func(relation string) func(left, right string) truth {
	return func(relation string) func(left, right string) truth {
		relation, negated := strings.CutPrefix(relation, "not")
		if relation != "equals" {
			return nil
		}
		return func(left, right string) truth {
			l, ok := parse(left)
			r, too := parse(right)
			if !ok || !too {
				return isUnknown
			}
			return truthOf((l == r) != negated)
		}
	}
}

func ordered[V interface{ Compare(V) int }](parse func(string) (V, bool)) func(relation string) func(left, right string) truth {
	return func(relation string) func(left, right string) truth {
		var holds func(order int) bool
		switch relation {
		case "equals":
			holds = func(o int) bool { return o == 0 }
		case "notequals":
			holds = func(o int) bool { return o != 0 }
		case "lessthan":
			holds = func(o int) bool { return o < 0 }
		case "lessthanequals":
			holds = func(o int) bool { return o <= 0 }
		case "greaterthan":
			holds = func(o int) bool { return o > 0 }
		case "greaterthanequals":
			holds = func(o int) bool { return o >= 0 }
		default:
			return nil
		}
		return func(left, right string) truth {
			l, ok := parse(left)
			r, too := parse(right)
			if !ok || !too {
				return isUnknown
			}
			return truthOf(holds(l.Compare(r)))
		}
	}
}

// integer is a number of the condition language.
type integer int64

// Compare orders like time.Time.Compare.
func (i integer) Compare(j integer) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

func parseInteger(s string) (integer, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return integer(n), err == nil
}

func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

func parseBool(s string) (value, ok bool) {
	value = strings.EqualFold(s, "true")
	return value, value || strings.EqualFold(s, "false")
}

var guidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func parseGUID(s string) (string, bool) {
	s = strings.ToLower(s)
	return s, guidForm.MatchString(s)
}
