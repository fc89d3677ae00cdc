package directory

import (
	"fmt"
	"maps"
	"slices"
)

// shape is what a property that is kept as it was sent must be; null is always taken, and removes it.
type shape int

const (
	text shape = iota
	flag
	number
	texts   // list of text
	record  // object
	records // list of objects
)

func (s shape) String() string {
	return [...]string{"a text", "true or false", "a number", "a list of texts", "an object", "a list of objects"}[s]
}

func (s shape) takes(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return s == text && (v == "" || key(v) != "")
	case bool:
		return s == flag
	case float64:
		return s == number
	case map[string]any:
		return s == record
	case []any:
		element := text
		if s == records {
			element = record
		}
		return (s == texts || s == records) && !slices.ContainsFunc(v, func(e any) bool { return e == nil || !element.takes(e) })
	}
	return false
}

// merge puts a change into what is kept: null removes, objects are merged, lists are replaced, as Graph's PATCH does.
// What was kept is not changed in place.
func merge(kept, change map[string]any) map[string]any {
	merged := maps.Clone(kept)
	if merged == nil {
		merged = map[string]any{}
	}
	for name, value := range change {
		inner, ok := value.(map[string]any)
		switch had, was := merged[name].(map[string]any); {
		case value == nil:
			delete(merged, name)
		case ok && was:
			merged[name] = merge(had, inner)
		case ok:
			merged[name] = merge(nil, inner)
		default:
			merged[name] = value
		}
	}
	return merged
}

// complete fills what is missing of what is shown from the defaults, object by object.
func complete(defaults, have map[string]any) map[string]any {
	full := maps.Clone(defaults)
	for name, value := range have {
		inner, ok := value.(map[string]any)
		if base, was := full[name].(map[string]any); ok && was {
			full[name] = complete(base, inner)
		} else {
			full[name] = value
		}
	}
	return full
}

// errProperty refuses the value of a property by its name.
func errProperty(property, format string, args ...any) error {
	e := errGraph("Invalid value specified for property '%s': %s.", property, fmt.Sprintf(format, args...))
	e.Target = property
	return e
}
