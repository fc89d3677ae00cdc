package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// lambda is a function written in an expression: "lambda('x', add(lambdaVariables('x'), 1))". It sees what surrounds it.
type lambda struct {
	names []string // of its parameters, in lower case
	body  *node
	in    evaluation
}

// lambdaFunctions are those that take lambdas, with how many arguments.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-lambda
var lambdaFunctions = map[string]struct{ min, max int }{
	"filter": {2, 2}, "map": {2, 2}, "sort": {2, 2}, "reduce": {3, 3}, "toobject": {2, 3}, "groupby": {2, 2}, "mapvalues": {2, 2},
}

// lambda reads a lambda where it is given to a function.
func (e *evaluation) lambda(n *node) (*lambda, error) {
	if n.call != "lambda" || len(n.args) == 0 || len(n.args) > 4 {
		return nil, errors.New("a lambda with up to three parameters is needed")
	}
	l := &lambda{body: n.args[len(n.args)-1], in: *e}
	for _, arg := range n.args[:len(n.args)-1] {
		name, ok := arg.literal.(string)
		if !ok || arg.call != "" || arg.of != nil {
			return nil, errors.New("the parameters of a lambda are strings")
		}
		l.names = append(l.names, strings.ToLower(name))
	}
	return l, nil
}

// call evaluates a lambda. It may have fewer parameters than it is given values.
func (l *lambda) call(values ...any) (any, error) {
	if len(l.names) > len(values) {
		return nil, fmt.Errorf("a lambda with %d parameters is given %d values", len(l.names), len(values))
	}
	inner := l.in
	inner.locals = maps.Clone(l.in.locals)
	if inner.locals == nil {
		inner.locals = map[string]any{}
	}
	for i, name := range l.names {
		inner.locals[name] = values[i]
	}
	if err := inner.spend(nil); err != nil {
		return nil, err
	}
	v, err := inner.node(l.body)
	if err != nil {
		return nil, err
	}
	return v, inner.spend(v)
}

// local is lambdaVariables.
func (e *evaluation) local(n *node) (any, error) {
	if len(n.args) != 1 {
		return nil, errors.New("the function 'lambdaVariables' takes the name of a lambda's parameter")
	}
	name, _ := n.args[0].literal.(string)
	v, ok := e.locals[strings.ToLower(name)]
	if !ok {
		return nil, fmt.Errorf("the lambda variable '%s' is not known here", name)
	}
	return v, nil
}

// higher calls a function that takes lambdas.
func (e *evaluation) higher(n *node) (any, error) {
	if limits := lambdaFunctions[n.call]; len(n.args) < limits.min || len(n.args) > limits.max {
		return nil, fmt.Errorf("the function '%s' does not take %d arguments", n.call, len(n.args))
	}
	v, err := e.applyHigher(n)
	if err != nil {
		return nil, fmt.Errorf("the function '%s': %w", n.call, err)
	}
	return v, e.spend(v)
}

func (e *evaluation) applyHigher(n *node) (any, error) {
	of, err := e.node(n.args[0])
	if err != nil {
		return nil, err
	}
	if err := e.spend(of); err != nil {
		return nil, err
	}
	rest := n.args[1:]
	var start any
	if n.call == "reduce" {
		if start, err = e.node(rest[0]); err != nil {
			return nil, err
		}
		rest = rest[1:]
	}
	var lambdas []*lambda
	for _, arg := range rest {
		l, err := e.lambda(arg)
		if err != nil {
			return nil, err
		}
		lambdas = append(lambdas, l)
	}
	if n.call == "mapvalues" {
		return mapValues(of, lambdas[0])
	}
	list, ok := of.([]any)
	if !ok {
		return nil, wants(0, "an array", of)
	}
	switch n.call {
	case "filter":
		return filterList(list, lambdas[0])
	case "map":
		return mapList(list, lambdas[0])
	case "sort":
		return sortList(list, lambdas[0])
	case "reduce":
		for i, item := range list {
			if start, err = lambdas[0].call(start, item, int64(i)); err != nil {
				return nil, err
			}
		}
		return start, nil
	}
	return keyed(list, lambdas, n.call == "groupby")
}

func mapList(list []any, l *lambda) (any, error) {
	made := make([]any, len(list))
	for i, item := range list {
		var err error
		if made[i], err = l.call(item, int64(i)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func filterList(list []any, l *lambda) (any, error) {
	kept := []any{}
	for i, item := range list {
		v, err := l.call(item, int64(i))
		if err != nil {
			return nil, err
		}
		keep, ok := v.(bool)
		if !ok {
			return nil, fmt.Errorf("the lambda returns '%s', not a boolean", typeOf(v))
		}
		if keep {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

// sortList sorts by a lambda that says whether one value comes before another.
func sortList(list []any, l *lambda) (any, error) {
	var failed error
	before := func(a, b any) bool {
		if failed != nil {
			return false
		}
		v, err := l.call(a, b)
		less, ok := v.(bool)
		if err == nil && !ok {
			err = fmt.Errorf("the lambda returns '%s', not a boolean", typeOf(v))
		}
		failed = err
		return less
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b any) int {
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	return sorted, failed
}

// keyed makes an object of an array: of each key its value, or in groups all its values.
func keyed(list []any, lambdas []*lambda, groups bool) (any, error) {
	object := map[string]any{}
	for i, item := range list {
		v, err := lambdas[0].call(item, int64(i))
		if err != nil {
			return nil, err
		}
		key, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("the lambda returns '%s', not the name of a property", typeOf(v))
		}
		value := item
		if len(lambdas) > 1 {
			if value, err = lambdas[1].call(item, int64(i)); err != nil {
				return nil, err
			}
		}
		if groups {
			members, _ := object[key].([]any)
			value = append(members, value)
		}
		object[key] = value
	}
	return object, nil
}

func mapValues(of any, l *lambda) (any, error) {
	object, ok := of.(map[string]any)
	if !ok {
		return nil, wants(0, "an object", of)
	}
	made := make(map[string]any, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		var err error
		if made[name], err = l.call(object[name]); err != nil {
			return nil, err
		}
	}
	return made, nil
}
