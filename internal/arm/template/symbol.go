package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Symbolic names (languageVersion 2.0, as Bicep writes them) stand for resources in expressions: "resources" is an
// object, a resource of a loop is "name[index]", and one that says "existing" is not deployed, only read.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/resource-declaration#use-symbolic-name

// readLanguage reads languageVersion and refuses what the language has and is not built.
func (t *Template) readLanguage() error {
	switch v, there := find(t.top, "languageVersion"); {
	case !there, v == "1.0":
	case v == "2.0":
		t.symbolic = true
	default:
		return t.wrong("languageVersion", fmt.Errorf("the language version '%v' is not supported; '1.0' and '2.0' are", v))
	}
	for _, name := range []string{"imports", "extensions"} {
		v, there := find(t.top, name)
		list, isList := v.([]any)
		object, isObject := v.(map[string]any)
		if there && !(isList && len(list) == 0) && !(isObject && len(object) == 0) {
			return t.wrong(name, fmt.Errorf("'%s' is not supported", name))
		}
	}
	if _, err := t.section("definitions"); err != nil {
		return err
	}
	v, there := find(t.top, "resources")
	_, isList := v.([]any)
	_, isObject := v.(map[string]any)
	switch {
	case !there:
		return t.wrong("", errors.New("the template has no 'resources'"))
	case t.symbolic && !isObject && !isList, !t.symbolic && !isList:
		return t.wrong("resources", errors.New("it is not an array, nor with languageVersion '2.0' an object"))
	}
	return nil
}

// symbolNames are what a resource with a symbolic name is called by, in lower case.
func (r *Resource) symbolNames() []string {
	if r.loop == "" {
		return []string{r.symbol, r.key}
	}
	return []string{r.symbol, fmt.Sprintf("%s[%d]", r.symbol, r.loops[""]), r.key}
}

// symbols returns the resources that a symbolic name stands for: one, or all of a loop.
func (e *evaluation) symbols(args []any) ([]*Resource, error) {
	name, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	if e.d.budget -= len(e.d.all); e.d.budget < 0 {
		return nil, errWork
	}
	var found []*Resource
	key := strings.ToLower(name)
	for _, r := range e.d.all {
		if r.symbol != "" && slices.Contains(r.called[:len(r.called)-1], key) { // the last is its ID
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("the resource '%s' is not defined in the template, or not yet known here", name)
	}
	return found, nil
}

func resourceInfo(e *evaluation, args []any) (any, error) {
	found, err := e.symbols(args)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return nil, errors.New("the resource is one of a loop: 'name[index]' is needed")
	}
	r := found[0]
	return map[string]any{"id": r.ID, "name": r.Name, "type": r.Type, "apiVersion": r.Version}, nil
}

// references returns what reference does, of each resource of a loop.
func references(e *evaluation, args []any) (any, error) {
	if e.rt == nil {
		return nil, errDeployed
	}
	found, err := e.symbols(args)
	if err != nil {
		return nil, err
	}
	full := false
	if len(args) == 2 {
		style, err := textAt(args, 1)
		if err != nil || !strings.EqualFold(style, "Full") {
			return nil, errors.New("argument 2 is not 'Full'")
		}
		full = true
	}
	list := []any{}
	for _, r := range found {
		if !r.enabled {
			continue
		}
		v, err := e.rt.Reference(e.ctx, r.ID, r.Version, full)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}
