package template

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// function is a function of the expression language.
type function struct {
	min, max int // arguments; max -1 is any number
	do       func(e *evaluation, args []any) (any, error)
}

// functions by lower-case name; what has no function here stands in evaluation.call, as do "if" and the list functions.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions
var functions = map[string]function{
	"parameters": {1, 1, nil}, "variables": {1, 1, nil}, "copyindex": {0, 2, copyIndex},
	"true": {0, 0, always(true)}, "false": {0, 0, always(false)}, "null": {0, 0, always(nil)},

	"concat": {0, -1, concat}, "format": {1, -1, format}, "tolower": {1, 1, onText(strings.ToLower)}, "toupper": {1, 1, onText(strings.ToUpper)},
	"trim": {1, 1, onText(strings.TrimSpace)}, "replace": {3, 3, replace}, "split": {2, 2, split}, "join": {2, 2, joinTexts},
	"substring": {2, 3, substring}, "startswith": {2, 2, onTexts(strings.HasPrefix)}, "endswith": {2, 2, onTexts(strings.HasSuffix)},
	"indexof": {2, 2, indexOf}, "lastindexof": {2, 2, lastIndexOf}, "padleft": {2, 3, padLeft}, "string": {1, 1, toText},
	"base64": {1, 1, toBase64}, "base64tostring": {1, 1, fromBase64}, "base64tojson": {1, 1, base64JSON}, "json": {1, 1, fromJSON},
	"uri": {2, 2, joinURI}, "uricomponent": {1, 1, escapeURI}, "uricomponenttostring": {1, 1, unescapeURI},
	"uniquestring": {1, -1, uniqueString}, "guid": {1, -1, guid}, "newguid": {0, 0, newGUID}, "utcnow": {0, 1, utcNow},

	"length": {1, 1, length}, "empty": {1, 1, isEmpty}, "contains": {2, 2, contains}, "first": {1, 1, first}, "last": {1, 1, last},
	"take": {2, 2, take}, "skip": {2, 2, skip}, "range": {2, 2, numbers}, "array": {1, 1, toArray}, "createarray": {0, -1, createArray},
	"createobject": {0, -1, createObject}, "union": {2, -1, union}, "intersection": {2, -1, intersection}, "coalesce": {1, -1, coalesce},
	"items": {1, 1, items}, "flatten": {1, 1, flatten}, "objectkeys": {1, 1, objectKeys}, "tryget": {2, -1, tryGet},
	"shallowmerge": {1, 1, shallowMerge}, "fail": {1, 1, fail},
	"datauri": {1, 1, toDataURI}, "datauritostring": {1, 1, fromDataURI},
	"datetimeadd": {2, 3, dateTimeAdd}, "datetimefromepoch": {1, 1, dateTimeFromEpoch}, "datetimetoepoch": {1, 1, dateTimeToEpoch},

	"equals": {2, 2, func(_ *evaluation, a []any) (any, error) { return equal(a[0], a[1]), nil }},
	"less":   {2, 2, ordered(func(o int) bool { return o < 0 })}, "lessorequals": {2, 2, ordered(func(o int) bool { return o <= 0 })},
	"greater": {2, 2, ordered(func(o int) bool { return o > 0 })}, "greaterorequals": {2, 2, ordered(func(o int) bool { return o >= 0 })},
	"not": {1, 1, not}, "and": {2, -1, every(true)}, "or": {2, -1, every(false)}, "bool": {1, 1, toBool},

	"add": {2, 2, onInts(func(a, b int64) (int64, error) { return a + b, nil })},
	"sub": {2, 2, onInts(func(a, b int64) (int64, error) { return a - b, nil })},
	"mul": {2, 2, onInts(func(a, b int64) (int64, error) { return a * b, nil })},
	"div": {2, 2, onInts(divide)}, "mod": {2, 2, onInts(modulo)}, "int": {1, 1, toInt},
	"min": {1, -1, extreme(func(a, b int64) bool { return a < b })}, "max": {1, -1, extreme(func(a, b int64) bool { return a > b })},

	"resourceid": {2, -1, resourceID}, "subscriptionresourceid": {2, -1, subscriptionResourceID}, "extensionresourceid": {3, -1, extensionResourceID},
	"tenantresourceid": {2, -1, tenantResourceID}, "reference": {1, 3, reference},
	"resourceinfo": {1, 1, resourceInfo}, "references": {1, 2, references}, "managementgroup": {0, 1, noManagementGroup},
	"resourcegroup": {0, 0, scopeObject(func(s *Scope) map[string]any { return s.ResourceGroup })},
	"subscription":  {0, 0, scopeObject(func(s *Scope) map[string]any { return s.Subscription })},
	"tenant":        {0, 0, scopeObject(func(s *Scope) map[string]any { return s.Tenant })},
	"environment":   {0, 0, scopeObject(func(s *Scope) map[string]any { return s.Environment })},
	"deployment":    {0, 0, scopeObject(func(s *Scope) map[string]any { return s.Deployment })},
	"deployer":      {0, 0, scopeObject(func(s *Scope) map[string]any { return s.Deployer })},
}

func always(v any) func(*evaluation, []any) (any, error) {
	return func(*evaluation, []any) (any, error) { return v, nil }
}

// wants is the error for an argument of the wrong type. It does not show the argument, which may be a secret.
func wants(i int, typ string, v any) error {
	return fmt.Errorf("argument %d is '%s'; %s is needed", i+1, typeOf(v), typ)
}

func textAt(args []any, i int) (string, error) {
	s, ok := args[i].(string)
	if !ok {
		return "", wants(i, "a string", args[i])
	}
	return s, nil
}

func intAt(args []any, i int) (int64, error) {
	n, ok := args[i].(int64)
	if !ok {
		return 0, wants(i, "an integer", args[i])
	}
	return n, nil
}

func listAt(args []any, i int) ([]any, error) {
	list, ok := args[i].([]any)
	if !ok {
		return nil, wants(i, "an array", args[i])
	}
	return list, nil
}

func copyIndex(e *evaluation, args []any) (any, error) {
	name, offset := "", int64(0)
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			name = strings.ToLower(arg)
		case int64:
			offset = arg
		default:
			return nil, wants(i, "the name of a loop or an offset", arg)
		}
	}
	i, ok := e.loops[name]
	if !ok {
		return nil, fmt.Errorf("it is not used inside of the copy loop '%s'", name)
	}
	return i + offset, nil
}

func length(_ *evaluation, args []any) (any, error) {
	switch v := args[0].(type) {
	case string:
		return int64(len([]rune(v))), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		return int64(len(v)), nil
	}
	return nil, wants(0, "an array, object or string", args[0])
}

func isEmpty(e *evaluation, args []any) (any, error) {
	if args[0] == nil {
		return true, nil
	}
	n, err := length(e, args)
	return n == int64(0), err
}

func contains(_ *evaluation, args []any) (any, error) {
	switch v := args[0].(type) {
	case string:
		s, err := plain(args[1])
		return strings.Contains(v, s), err
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return equal(item, args[1]) }), nil
	case map[string]any:
		name, err := textAt(args, 1)
		_, ok := find(v, name)
		return ok, err
	}
	return nil, wants(0, "an array, object or string", args[0])
}

func first(_ *evaluation, args []any) (any, error) { return end(args[0], false) }

func last(_ *evaluation, args []any) (any, error) { return end(args[0], true) }

func end(v any, last bool) (any, error) {
	at := func(n int) int {
		if last {
			return n - 1
		}
		return 0
	}
	switch v := v.(type) {
	case string:
		if r := []rune(v); len(r) > 0 {
			return string(r[at(len(r))]), nil
		}
		return "", nil
	case []any:
		if len(v) > 0 {
			return v[at(len(v))], nil
		}
		return nil, nil
	}
	return nil, wants(0, "an array or string", v)
}

func take(_ *evaluation, args []any) (any, error) {
	return cut(args, func(n, by int) (int, int) { return 0, by })
}

func skip(_ *evaluation, args []any) (any, error) {
	return cut(args, func(n, by int) (int, int) { return by, n })
}

// cut returns a part of an array or string; by is at most its length.
func cut(args []any, part func(n, by int) (from, to int)) (any, error) {
	count, err := intAt(args, 1)
	if err != nil {
		return nil, err
	}
	by := func(n int) int { return int(max(0, min(count, int64(n)))) }
	switch v := args[0].(type) {
	case string:
		r := []rune(v)
		from, to := part(len(r), by(len(r)))
		return string(r[from:to]), nil
	case []any:
		from, to := part(len(v), by(len(v)))
		return v[from:to:to], nil
	}
	return nil, wants(0, "an array or string", args[0])
}

func numbers(_ *evaluation, args []any) (any, error) {
	from, err := intAt(args, 0)
	if err != nil {
		return nil, err
	}
	n, err := intAt(args, 1)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > 10000 || from > math.MaxInt32 {
		return nil, errors.New("it makes 0 to 10000 numbers up to 2147483647")
	}
	list := make([]any, n)
	for i := range list {
		list[i] = from + int64(i)
	}
	return list, nil
}

func not(_ *evaluation, args []any) (any, error) {
	b, ok := args[0].(bool)
	if !ok {
		return nil, wants(0, "a boolean", args[0])
	}
	return !b, nil
}

// every makes "and" (of true) and "or" (of false).
func every(of bool) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		result := of
		for i, arg := range args {
			b, ok := arg.(bool)
			if !ok {
				return nil, wants(i, "a boolean", arg)
			}
			if b != of {
				result = !of
			}
		}
		return result, nil
	}
}

// equal compares as "equals" does: strings with their case, numbers by value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		list, ok := b.([]any)
		return ok && slices.EqualFunc(a, list, equal)
	case map[string]any:
		object, ok := b.(map[string]any)
		if !ok || len(a) != len(object) {
			return false
		}
		known := properties{object: object}
		for name, v := range a {
			if w, ok := known.find(name); !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case int64:
		if f, ok := b.(float64); ok {
			return float64(a) == f
		}
	case float64:
		if i, ok := b.(int64); ok {
			return a == float64(i)
		}
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}

func ordered(holds func(order int) bool) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		if s, ok := args[0].(string); ok {
			t, err := textAt(args, 1)
			return holds(strings.Compare(s, t)), err
		}
		a, err := intAt(args, 0)
		if err != nil {
			return nil, err
		}
		b, err := intAt(args, 1)
		switch {
		case a < b:
			return holds(-1), err
		case a > b:
			return holds(1), err
		}
		return holds(0), err
	}
}

func onInts(f func(a, b int64) (int64, error)) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		a, err := intAt(args, 0)
		if err != nil {
			return nil, err
		}
		b, err := intAt(args, 1)
		if err != nil {
			return nil, err
		}
		return f(a, b)
	}
}

func divide(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("it divides by zero")
	}
	return a / b, nil
}

func modulo(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("it divides by zero")
	}
	return a % b, nil
}

func extreme(better func(a, b int64) bool) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		if list, ok := args[0].([]any); ok && len(args) == 1 {
			args = list
		}
		if len(args) == 0 {
			return nil, errors.New("there is no number")
		}
		best, err := intAt(args, 0)
		for i := 1; err == nil && i < len(args); i++ {
			var n int64
			if n, err = intAt(args, i); err == nil && better(n, best) {
				best = n
			}
		}
		return best, err
	}
}

func toInt(_ *evaluation, args []any) (any, error) {
	switch v := args[0].(type) {
	case int64:
		return v, nil
	case float64:
		return int64(v), nil
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
		return nil, errors.New("the string is not an integer")
	}
	return nil, wants(0, "a string or number", args[0])
}

func toBool(_ *evaluation, args []any) (any, error) {
	switch v := args[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		if b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(v))); err == nil {
			return b, nil
		}
		return nil, errors.New("the string is neither 'true' nor 'false'")
	}
	return nil, wants(0, "a string or integer", args[0])
}
