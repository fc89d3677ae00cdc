package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// userFunction is a function of the template's own. It knows its arguments and nothing else of the template.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/user-defined-functions
type userFunction struct {
	parameters []userParameter
	output     any
	path       string
}

type userParameter struct {
	name     string
	declared map[string]any
}

// readFunctions reads the section "functions": [{"namespace", "members": {name: {"parameters": [], "output": {"value"}}}}].
func (t *Template) readFunctions() error {
	v, there := find(t.top, "functions")
	list, ok := v.([]any)
	if there && v != nil && !ok {
		return t.wrong("functions", errors.New("it is not an array"))
	}
	t.functions = map[string]*userFunction{}
	for i, item := range list {
		path := element("functions", i)
		space, _ := item.(map[string]any)
		v, _ := find(space, "namespace")
		namespace, ok := v.(string)
		v, _ = find(space, "members")
		members, isObject := v.(map[string]any)
		if !ok || !isObject {
			return t.wrong(path, errors.New("a 'namespace' and its 'members' are needed"))
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			path := path + ".members." + name
			f, err := readFunction(members[name])
			if err != nil {
				return t.wrong(path, err)
			}
			f.path = path + ".output"
			t.functions[strings.ToLower(namespace+"."+name)] = f
		}
	}
	return nil
}

func readFunction(v any) (*userFunction, error) {
	member, _ := v.(map[string]any)
	v, _ = find(member, "output")
	output, ok := v.(map[string]any)
	value, there := find(output, "value")
	if !ok || !there {
		return nil, errors.New("the function has no 'output' with a 'value'")
	}
	f := &userFunction{output: value}
	v, _ = find(member, "parameters")
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, errors.New("'parameters' is not an array")
	}
	for _, item := range list {
		declared, _ := item.(map[string]any)
		v, _ := find(declared, "name")
		name, ok := v.(string)
		if !ok {
			return nil, errors.New("a parameter has no 'name'")
		}
		f.parameters = append(f.parameters, userParameter{name, declared})
	}
	return f, nil
}

// callUser evaluates a call of one of the template's functions.
func (e *evaluation) callUser(n *node, f *userFunction) (any, error) {
	if len(n.args) != len(f.parameters) {
		return nil, fmt.Errorf("the function '%s' takes %d arguments, not %d", n.call, len(f.parameters), len(n.args))
	}
	inner := evaluation{d: e.d, depth: e.depth, arguments: map[string]any{}}
	for i, arg := range n.args {
		value, err := e.node(arg)
		if err != nil {
			return nil, err
		}
		if err := e.spend(value); err != nil {
			return nil, err
		}
		if err := e.d.checkValue(f.parameters[i].name, f.parameters[i].declared, value, true); err != nil {
			return nil, fmt.Errorf("the function '%s': %w", n.call, err)
		}
		inner.arguments[strings.ToLower(f.parameters[i].name)] = value
	}
	v, err := inner.value(f.output)
	if err != nil {
		return nil, e.d.t.wrong(f.path, err)
	}
	return v, e.spend(v)
}
