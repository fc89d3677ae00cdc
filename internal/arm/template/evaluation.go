package template

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// errDeployed refuses what only deployed resources can answer.
var errDeployed = errors.New("it is not available here, before resources are deployed")

var errWork = errors.New("the template takes too much to evaluate")

// evaluation evaluates values in one place of a template.
type evaluation struct {
	d        *Deployment
	ctx      context.Context // of the evaluation alone; for rt
	rt       Runtime         // nil before resources are deployed
	defaults bool            // in a parameter's default
	loops    map[string]int64
	locals   map[string]any // parameters of the lambdas around it, by lower-case name
	// arguments of the template's own function that it stands in, by lower-case name; nil outside of one.
	arguments map[string]any
	verbatim  bool // "template" members of nested deployments stay as they are
	depth     int
}

// spend counts what a function takes and makes, and what goes into a result. It keeps an evaluation that doubles a value
// again and again from going on.
func (e *evaluation) spend(v any) error {
	e.d.budget -= weight(v, e.d.budget)
	if e.d.budget < 0 {
		return errWork
	}
	return nil
}

// visit counts a value that is looked at, without what is in it. A loop evaluates what is written once many times.
func (e *evaluation) visit(v any) error {
	switch v := v.(type) {
	case string:
		e.d.budget -= 1 + len(v)/16
	case map[string]any:
		e.d.budget -= objectWeight + propertyWeight*len(v)
	default:
		e.d.budget--
	}
	if e.d.budget < 0 {
		return errWork
	}
	return nil
}

// Weights of an object and of each of its properties: they take more memory than elements of arrays.
const (
	objectWeight   = 8
	propertyWeight = 2
)

// weight is how much a value holds, or something above the limit.
func weight(v any, limit int) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v) / 16
	case []any:
		for _, item := range v {
			if n += weight(item, limit-n); n > limit {
				break
			}
		}
	case map[string]any:
		n = objectWeight
		for name, item := range v {
			n += propertyWeight + len(name)/16
			if n += weight(item, limit-n); n > limit {
				break
			}
		}
	}
	return n
}

// value evaluates JSON with expressions in it.
func (e *evaluation) value(v any) (any, error) {
	if e.depth++; e.depth > 4*maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", 4*maxDepth)
	}
	defer func() { e.depth-- }()
	if err := e.visit(v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		switch {
		case isExpression(v):
			n, err := e.parse(v)
			if err != nil {
				return nil, err
			}
			made, err := e.node(n)
			if err != nil {
				return nil, err
			}
			return made, e.spend(made)
		case strings.HasPrefix(v, "[["):
			return v[1:], nil
		}
		return v, nil
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = e.value(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		return e.object(v)
	}
	return v, nil
}

func (e *evaluation) parse(s string) (*node, error) {
	if n := e.d.parsed[s]; n != nil {
		return n, nil
	}
	n, err := parseExpression(s[1 : len(s)-1])
	if err == nil {
		e.d.parsed[s] = n
	}
	return n, err
}

func (e *evaluation) object(v map[string]any) (any, error) {
	object := make(map[string]any, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if loops, ok := v[name].([]any); ok && strings.EqualFold(name, "copy") {
			if err := e.copyInto(object, loops); err != nil {
				return nil, err
			}
			continue
		}
		key := name
		if isExpression(name) {
			k, err := e.value(name)
			if err != nil {
				return nil, err
			}
			var ok bool
			if key, ok = k.(string); !ok {
				return nil, fmt.Errorf("the name of a property, '%s', is not a string but '%s'", name, typeOf(k))
			}
		}
		if e.verbatim && strings.EqualFold(name, "template") {
			object[key] = v[name]
			continue
		}
		item, err := e.value(v[name])
		if err != nil {
			return nil, err
		}
		object[key] = item
	}
	return object, nil
}

// copyInto evaluates "copy": [{"name", "count", "input"}] into the object that it stands in.
func (e *evaluation) copyInto(object map[string]any, loops []any) error {
	for _, item := range loops {
		loop, _ := item.(map[string]any)
		name, _ := find(loop, "name")
		text, ok := name.(string)
		if !ok {
			return errors.New("a copy loop has no 'name'")
		}
		input, ok := find(loop, "input")
		if !ok {
			return fmt.Errorf("the copy loop '%s' has no 'input'", text)
		}
		list, err := e.repeat(loop, text, input)
		if err != nil {
			return err
		}
		object[text] = list
	}
	return nil
}

// repeat evaluates the input of a loop as often as it counts.
func (e *evaluation) repeat(loop map[string]any, name string, input any) ([]any, error) {
	n, err := e.count(loop)
	if err != nil {
		return nil, err
	}
	list := make([]any, n)
	for i := range list {
		inner := *e
		inner.loops = maps.Clone(e.loops)
		if inner.loops == nil {
			inner.loops = map[string]int64{"": int64(i)}
		}
		inner.loops[strings.ToLower(name)] = int64(i)
		if list[i], err = inner.value(input); err != nil {
			return nil, err
		}
		if err := e.spend(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// count is how often a loop runs.
func (e *evaluation) count(loop map[string]any) (int64, error) {
	raw, _ := find(loop, "count")
	v, err := e.value(raw)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > maxResources {
		return 0, fmt.Errorf("the 'count' of a copy loop is not an integer from 0 to %d", maxResources)
	}
	return n, nil
}

// copyOutput evaluates an output's loop: {"count", "input"}.
func (e *evaluation) copyOutput(v any) (any, error) {
	loop, _ := v.(map[string]any)
	input, ok := find(loop, "input")
	if !ok {
		return nil, errors.New("the copy loop has no 'input'")
	}
	return e.repeat(loop, "", input)
}

func (e *evaluation) node(n *node) (any, error) {
	if e.depth++; e.depth > 4*maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", 4*maxDepth)
	}
	defer func() { e.depth-- }()
	switch {
	case n.call != "":
		return e.call(n)
	case n.of == nil:
		return n.literal, nil
	}
	of, err := e.node(n.of)
	if err != nil {
		return nil, err
	}
	if n.index == nil {
		return e.member(of, n.member)
	}
	index, err := e.node(n.index)
	if err != nil {
		return nil, err
	}
	switch index := index.(type) {
	case string:
		return e.member(of, index)
	case int64:
		list, ok := of.([]any)
		if !ok {
			return nil, fmt.Errorf("an element is taken from '%s', which is not an array", typeOf(of))
		}
		if index < 0 || index >= int64(len(list)) {
			return nil, fmt.Errorf("the index %d is outside of an array of %d", index, len(list))
		}
		return list[index], nil
	}
	return nil, fmt.Errorf("'%s' is neither the name of a property nor an index", typeOf(index))
}

func (e *evaluation) member(of any, name string) (any, error) {
	object, ok := of.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the property '%s' is taken from '%s', which is not an object", name, typeOf(of))
	}
	if _, exact := object[name]; !exact { // all names are compared
		if e.d.budget -= len(object) / 4; e.d.budget < 0 {
			return nil, errWork
		}
	}
	v, ok := find(object, name)
	if !ok {
		return nil, fmt.Errorf("the property '%s' does not exist; there are '%s'", name, strings.Join(slices.Sorted(maps.Keys(object)), ", "))
	}
	return v, nil
}

// call evaluates a function. "if" evaluates the branch alone that it takes.
func (e *evaluation) call(n *node) (any, error) {
	if n.call == "if" && len(n.args) == 3 {
		condition, err := e.node(n.args[0])
		if err != nil {
			return nil, err
		}
		switch condition {
		case true:
			return e.node(n.args[1])
		case false:
			return e.node(n.args[2])
		}
		return nil, fmt.Errorf("the condition of 'if' is '%s', not a boolean", typeOf(condition))
	}
	switch {
	case n.call == "lambdavariables":
		return e.local(n)
	case n.call == "lambda":
		return nil, errors.New("a lambda stands where no function takes one")
	case lambdaFunctions[n.call].max > 0:
		return e.higher(n)
	case e.d.t.functions[n.call] != nil:
		return e.callUser(n, e.d.t.functions[n.call])
	}
	f, ok := functions[n.call]
	if !ok && strings.HasPrefix(n.call, "list") {
		f, ok = function{2, 3, list(n.call)}, true
	}
	if !ok {
		return nil, fmt.Errorf("the function '%s' is not known", n.call)
	}
	if len(n.args) < f.min || f.max >= 0 && len(n.args) > f.max {
		return nil, fmt.Errorf("the function '%s' does not take %d arguments", n.call, len(n.args))
	}
	args := make([]any, len(n.args))
	for i, arg := range n.args {
		var err error
		if args[i], err = e.node(arg); err != nil {
			return nil, err
		}
	}
	if f.do != nil { // what a function does takes as long as its arguments are large
		if err := e.spend(args); err != nil {
			return nil, err
		}
	}
	if f.do == nil { // beside the table, which it would refer back to
		name, ok := args[0].(string)
		switch {
		case !ok:
			return nil, fmt.Errorf("the function '%s' takes a string", n.call)
		case n.call == "variables":
			return e.variable(name)
		}
		return e.parameter(name)
	}
	v, err := f.do(e, args)
	if err != nil {
		return nil, fmt.Errorf("the function '%s': %w", n.call, err)
	}
	return v, e.spend(v)
}

func (e *evaluation) parameter(name string) (any, error) {
	if e.arguments != nil {
		v, ok := e.arguments[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("the function's parameter '%s' is not found", name)
		}
		return v, nil
	}
	section, err := e.d.t.section("parameters")
	if err != nil {
		return nil, err
	}
	if _, ok := find(section, name); !ok {
		return nil, fmt.Errorf("the template parameter '%s' is not found", name)
	}
	if err := e.d.bindOne(section, name); err != nil {
		return nil, err
	}
	return e.d.parameters[strings.ToLower(name)], nil
}

// variable evaluates a variable once.
func (e *evaluation) variable(name string) (any, error) {
	if e.arguments != nil {
		return nil, errors.New("a function of the template's own cannot use variables")
	}
	key := strings.ToLower(name)
	if v, ok := e.d.variables[key]; ok {
		return v, nil
	}
	section, err := e.d.t.section("variables")
	if err != nil {
		return nil, err
	}
	if e.defaults {
		return nil, errors.New("a parameter's default cannot use variables")
	}
	if slices.Contains(e.d.pending, key) {
		return nil, fmt.Errorf("the variable '%s' depends on itself", name)
	}
	e.d.pending = append(e.d.pending, key)
	defer func() { e.d.pending = e.d.pending[:len(e.d.pending)-1] }()
	inner := evaluation{d: e.d, depth: e.depth}
	value, err := inner.declared(section, name)
	if err != nil {
		return nil, err
	}
	if err := e.spend(value); err != nil {
		return nil, err
	}
	e.d.variables[key] = value
	return value, nil
}

// declared evaluates a variable as it is declared, or as one of the loops among the variables makes it.
func (e *evaluation) declared(section map[string]any, name string) (any, error) {
	if raw, ok := find(section, name); ok && !strings.EqualFold(name, "copy") {
		v, err := e.value(raw)
		if err != nil {
			err = e.d.t.wrong("variables."+name, err)
		}
		return v, err
	}
	loops, _ := find(section, "copy")
	list, _ := loops.([]any)
	for i, item := range list {
		loop, _ := item.(map[string]any)
		if of, _ := find(loop, "name"); !equalName(of, name) {
			continue
		}
		made := map[string]any{}
		if err := e.copyInto(made, []any{loop}); err != nil {
			return nil, e.d.t.wrong(fmt.Sprintf("variables.copy[%d]", i), err)
		}
		for _, v := range made {
			return v, nil
		}
	}
	return nil, fmt.Errorf("the template variable '%s' is not found", name)
}

func equalName(v any, name string) bool {
	s, ok := v.(string)
	return ok && strings.EqualFold(s, name)
}
