package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

func toArray(_ *evaluation, args []any) (any, error) {
	if list, ok := args[0].([]any); ok {
		return list, nil
	}
	return []any{args[0]}, nil
}

func createArray(_ *evaluation, args []any) (any, error) { return slices.Clone(args), nil }

func createObject(_ *evaluation, args []any) (any, error) {
	if len(args)%2 != 0 {
		return nil, errors.New("names and values are needed in pairs")
	}
	object := map[string]any{}
	for i := 0; i < len(args); i += 2 {
		name, err := textAt(args, i)
		if err != nil {
			return nil, err
		}
		object[name] = args[i+1]
	}
	return object, nil
}

// union merges objects in depth, or joins arrays without what is there already.
func union(e *evaluation, args []any) (any, error) {
	switch result := args[0].(type) {
	case map[string]any:
		for i, arg := range args[1:] {
			object, ok := arg.(map[string]any)
			if !ok {
				return nil, wants(i+1, "an object", arg)
			}
			result = merge(result, object)
		}
		return result, nil
	case []any:
		result = slices.Clone(result)
		for i := range args[1:] {
			list, err := listAt(args, i+1)
			if err != nil {
				return nil, err
			}
			for _, item := range list {
				if e.d.budget -= len(result) * (1 + weight(item, maxText)/4) / 16; e.d.budget < 0 {
					return nil, errWork
				}
				if !slices.ContainsFunc(result, func(has any) bool { return equal(has, item) }) {
					result = append(result, item)
				}
			}
		}
		return result, nil
	}
	return nil, wants(0, "an object or array", args[0])
}

func merge(a, b map[string]any) map[string]any {
	result := maps.Clone(a)
	known := properties{object: a}
	for name, v := range b {
		old, there := known.find(name)
		if _, exact := a[name]; there && !exact {
			delete(result, known.folded[fold(name)])
		}
		inner, isObject := old.(map[string]any)
		if object, ok := v.(map[string]any); ok && isObject {
			v = merge(inner, object)
		}
		result[name] = v
	}
	return result
}

func intersection(e *evaluation, args []any) (any, error) {
	switch result := args[0].(type) {
	case map[string]any:
		result = maps.Clone(result)
		for i, arg := range args[1:] {
			object, ok := arg.(map[string]any)
			if !ok {
				return nil, wants(i+1, "an object", arg)
			}
			known := properties{object: object}
			maps.DeleteFunc(result, func(name string, v any) bool {
				w, ok := known.find(name)
				return !ok || !equal(v, w)
			})
		}
		return result, nil
	case []any:
		result = slices.Clone(result)
		for i := range args[1:] {
			list, err := listAt(args, i+1)
			if err != nil {
				return nil, err
			}
			if e.d.budget -= len(list) * weight(result, maxText) / 16; e.d.budget < 0 {
				return nil, errWork
			}
			result = slices.DeleteFunc(result, func(v any) bool {
				return !slices.ContainsFunc(list, func(w any) bool { return equal(v, w) })
			})
		}
		return result, nil
	}
	return nil, wants(0, "an object or array", args[0])
}

func coalesce(_ *evaluation, args []any) (any, error) {
	for _, arg := range args {
		if arg != nil {
			return arg, nil
		}
	}
	return nil, nil
}

func objectAt(args []any, i int) (map[string]any, error) {
	object, ok := args[i].(map[string]any)
	if !ok {
		return nil, wants(i, "an object", args[i])
	}
	return object, nil
}

func items(_ *evaluation, args []any) (any, error) {
	object, err := objectAt(args, 0)
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		list = append(list, map[string]any{"key": name, "value": object[name]})
	}
	return list, err
}

func objectKeys(_ *evaluation, args []any) (any, error) {
	object, err := objectAt(args, 0)
	return anys(slices.Sorted(maps.Keys(object))), err
}

func flatten(_ *evaluation, args []any) (any, error) {
	lists, err := listAt(args, 0)
	if err != nil {
		return nil, err
	}
	flat := []any{}
	for i := range lists {
		list, err := listAt(lists, i)
		if err != nil {
			return nil, err
		}
		if flat = append(flat, list...); len(flat) > maxText/16 {
			return nil, errWork
		}
	}
	return flat, nil
}

// tryGet follows names and indexes as far as there is something.
func tryGet(_ *evaluation, args []any) (any, error) {
	of := args[0]
	for i := 1; i < len(args); i++ {
		switch object := of.(type) {
		case map[string]any:
			name, err := textAt(args, i)
			if err != nil {
				return nil, err
			}
			of, _ = find(object, name)
		case []any:
			n, err := intAt(args, i)
			if err != nil {
				return nil, err
			}
			if of = nil; n >= 0 && n < int64(len(object)) {
				of = object[n]
			}
		default:
			return nil, nil
		}
	}
	return of, nil
}

// shallowMerge merges the objects of an array; later ones win.
func shallowMerge(_ *evaluation, args []any) (any, error) {
	list, err := listAt(args, 0)
	if err != nil {
		return nil, err
	}
	merged := map[string]any{}
	for i := range list {
		object, err := objectAt(list, i)
		if err != nil {
			return nil, err
		}
		maps.Copy(merged, object)
	}
	return merged, nil
}

func fail(_ *evaluation, args []any) (any, error) {
	message, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	return nil, errors.New(message)
}

func noManagementGroup(*evaluation, []any) (any, error) {
	return nil, errors.New("it is not available: there are no management groups")
}

func scopeObject(of func(*Scope) map[string]any) func(*evaluation, []any) (any, error) {
	return func(e *evaluation, _ []any) (any, error) {
		object := of(&e.d.scope)
		if object == nil {
			return nil, errors.New("it is not available at this scope")
		}
		return object, nil
	}
}

// typed splits the arguments of a resource ID function: what stands before the type, the type, and the names.
func typed(args []any) (before []string, typ string, names []string, err error) {
	t, err := texts(args)
	if err != nil {
		return nil, "", nil, err
	}
	i := slices.IndexFunc(t, func(s string) bool { return strings.Contains(s, "/") })
	if i < 0 || slices.Contains(t[i+1:], "") {
		return nil, "", nil, errors.New("a resource type, such as 'Microsoft.Media/mediaservices', and its names are needed")
	}
	return t[:i], t[i], t[i+1:], nil
}

func resourceID(e *evaluation, args []any) (any, error) {
	before, typ, names, err := typed(args)
	if err != nil {
		return nil, err
	}
	subscription, group := e.d.scope.ID.Subscription(), e.d.scope.ID.ResourceGroup()
	switch len(before) {
	case 0:
	case 1:
		if group == "" { // at a subscription, it is the subscription that is named
			subscription = before[0]
		} else {
			group = before[0]
		}
	case 2:
		subscription, group = before[0], before[1]
	default:
		return nil, fmt.Errorf("%d arguments before the resource type are too many", len(before))
	}
	base := "/subscriptions/" + subscription
	if group != "" && !strings.EqualFold(typ, "Microsoft.Resources/resourceGroups") {
		base += "/resourceGroups/" + group
	}
	return composeID(base, typ, names)
}

func subscriptionResourceID(e *evaluation, args []any) (any, error) {
	before, typ, names, err := typed(args)
	if err != nil {
		return nil, err
	}
	subscription := e.d.scope.ID.Subscription()
	if len(before) > 0 {
		subscription = before[0]
	}
	return composeID("/subscriptions/"+subscription, typ, names)
}

func tenantResourceID(_ *evaluation, args []any) (any, error) {
	_, typ, names, err := typed(args)
	if err != nil {
		return nil, err
	}
	return composeID("", typ, names)
}

func extensionResourceID(_ *evaluation, args []any) (any, error) {
	base, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	_, typ, names, err := typed(args[1:])
	if err != nil {
		return nil, err
	}
	return composeID(base, typ, names)
}

// target turns a resource's ID, or the name of one of the template's, into its ID and api-version.
func (e *evaluation) target(args []any) (id, version string, err error) {
	if id, err = textAt(args, 0); err != nil {
		return "", "", err
	}
	if len(args) > 1 {
		if version, err = textAt(args, 1); err != nil {
			return "", "", err
		}
	}
	name := strings.ToLower(id)
	for _, r := range e.d.all {
		if r.enabled && slices.Contains(r.called, name) {
			id = r.ID
			if version == "" {
				version = r.Version
			}
			break
		}
	}
	if _, err := azure.ParseResourceID(id); err != nil || !strings.HasPrefix(id, "/") {
		return "", "", fmt.Errorf("the resource '%s' is not defined in the template", id)
	}
	if version == "" {
		return "", "", fmt.Errorf("an api-version is needed for '%s', which is not in the template", id)
	}
	return id, version, nil
}

func reference(e *evaluation, args []any) (any, error) {
	if e.rt == nil {
		return nil, errDeployed
	}
	id, version, err := e.target(args)
	if err != nil {
		return nil, err
	}
	full := false
	if len(args) == 3 {
		style, err := textAt(args, 2)
		if err != nil || !strings.EqualFold(style, "Full") {
			return nil, errors.New("argument 3 is not 'Full'")
		}
		full = true
	}
	return e.rt.Reference(e.ctx, id, version, full)
}

// list makes the function of an action, such as listKeys.
func list(action string) func(*evaluation, []any) (any, error) {
	return func(e *evaluation, args []any) (any, error) {
		if e.rt == nil {
			return nil, errDeployed
		}
		id, version, err := e.target(args)
		if err != nil {
			return nil, err
		}
		var body any
		if len(args) == 3 {
			body = args[2]
		}
		return e.rt.List(e.ctx, action, id, version, body)
	}
}
