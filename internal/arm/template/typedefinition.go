package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A declaration is what a template says of a parameter, an output or a part of one: {"type", "allowedValues", "minLength",
// "properties", "items", …}, or {"$ref": "#/definitions/name"}.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/definitions

const definitionPrefix = "#/definitions/"

// resolve follows references to the template's definitions. What stands beside a reference adds to what it refers to.
func (t *Template) resolve(declared map[string]any) (map[string]any, error) {
	for range maxDepth {
		v, there := find(declared, "$ref")
		if !there {
			return declared, nil
		}
		ref, _ := v.(string)
		name, ok := strings.CutPrefix(ref, definitionPrefix)
		section, err := t.section("definitions")
		if err != nil {
			return nil, err
		}
		target, known := find(section, name)
		definition, isObject := target.(map[string]any)
		if !ok || !known || !isObject {
			return nil, fmt.Errorf("the type '%v' is not one of the template's 'definitions'", v)
		}
		merged := maps.Clone(definition)
		for key, value := range declared {
			if !strings.EqualFold(key, "$ref") {
				merged[key] = value
			}
		}
		declared = merged
	}
	return nil, errors.New("the type refers to itself")
}

// secret reports whether a declaration, or a part of it, is of a secure type. seen holds the references that were
// followed, as a type may have itself as a part.
func (t *Template) secret(declared map[string]any, seen map[string]bool) bool {
	if v, there := find(declared, "$ref"); there {
		ref := fmt.Sprint(v)
		if seen[ref] {
			return false
		}
		seen[ref] = true
	}
	declared, err := t.resolve(declared)
	if err != nil {
		return false // whoever checks a value is told
	}
	if typ, _ := find(declared, "type"); strings.HasPrefix(strings.ToLower(fmt.Sprint(typ)), "secure") {
		return true
	}
	properties, _ := find(declared, "properties")
	parts, _ := properties.(map[string]any)
	inside := slices.Collect(maps.Values(parts))
	for _, name := range []string{"items", "additionalProperties"} {
		part, _ := find(declared, name)
		inside = append(inside, part)
	}
	tuple, _ := find(declared, "prefixItems")
	list, _ := tuple.([]any)
	inside = append(inside, list...)
	if v, there := find(declared, "discriminator"); there {
		discriminator, _ := v.(map[string]any)
		mapping, _ := find(discriminator, "mapping")
		cases, _ := mapping.(map[string]any)
		inside = slices.AppendSeq(inside, maps.Values(cases))
	}
	return slices.ContainsFunc(inside, func(v any) bool {
		part, ok := v.(map[string]any)
		return ok && t.secret(part, seen)
	})
}

// checkValue applies a declaration to a value. name says what it is a value of; a secret is not shown in the error.
func (d *Deployment) checkValue(name string, declared map[string]any, value any, secret bool) error {
	return (&valueCheck{d: d}).value(name, declared, value, secret)
}

// valueCheck is a check of a value against its declaration.
type valueCheck struct {
	d     *Deployment
	depth int
}

func (c *valueCheck) value(name string, declared map[string]any, value any, secret bool) error {
	if c.depth++; c.depth > 2*maxDepth {
		return errors.New("its type refers to itself without an end")
	}
	defer func() { c.depth-- }()
	declared, err := c.d.t.resolve(declared)
	if err != nil {
		return err
	}
	if c.d.budget -= 1 + len(declared); c.d.budget < 0 { // which was copied
		return errWork
	}
	v, _ := find(declared, "type")
	typ, _ := v.(string)
	typ = strings.ToLower(typ)
	secret = secret || strings.HasPrefix(typ, "secure")
	if nullable, _ := find(declared, "nullable"); nullable == true && value == nil {
		return nil
	}
	if ok, known := isType(value, typ); !known {
		return fmt.Errorf("'%v' is not the type of a parameter", v)
	} else if !ok {
		return fmt.Errorf("the provided value for the template parameter '%s' is not valid: a value of type '%s' is needed, not '%s'", name, typ, typeOf(value))
	}
	shown := "its value"
	if s, isText := value.(string); isText && !secret {
		shown = "'" + s + "'"
	}
	if err := c.allowed(name, declared, value, shown); err != nil {
		return err
	}
	if err := checkLimits(name, declared, value, shown); err != nil {
		return err
	}
	switch value := value.(type) {
	case map[string]any:
		return c.object(name, declared, value, secret)
	case []any:
		return c.items(name, declared, value, secret)
	}
	return nil
}

// allowed applies allowedValues: to the value, or of an array to each element.
func (c *valueCheck) allowed(name string, declared map[string]any, value any, shown string) error {
	v, there := find(declared, "allowedValues")
	if !there {
		return nil
	}
	allowed, _ := v.([]any)
	if c.d.budget -= len(allowed) * weight(value, maxText) / 4; c.d.budget < 0 {
		return errWork
	}
	allows := func(value any) bool {
		return slices.ContainsFunc(allowed, func(a any) bool { return equal(a, value) })
	}
	list, isList := value.([]any)
	if allows(value) || isList && !slices.ContainsFunc(list, func(item any) bool { return !allows(item) }) {
		return nil
	}
	return fmt.Errorf("the provided value for the template parameter '%s' is not valid: %s is not part of the allowed value(s)", name, shown)
}

func checkLimits(name string, declared map[string]any, value any, shown string) error {
	size, isInt := value.(int64)
	low, high := "minValue", "maxValue"
	if !isInt {
		low, high = "minLength", "maxLength"
		switch value := value.(type) {
		case string:
			size = int64(len([]rune(value)))
		case []any:
			size = int64(len(value))
		default:
			return nil
		}
	}
	for limit, outside := range map[string]func(int64) bool{
		low:  func(l int64) bool { return size < l },
		high: func(l int64) bool { return size > l },
	} {
		if v, there := find(declared, limit); there {
			l, ok := v.(int64)
			if !ok {
				return fmt.Errorf("'%s' is not an integer", limit)
			}
			if outside(l) {
				return fmt.Errorf("the provided value for the template parameter '%s' is not valid: %s does not meet '%s', which is %d", name, shown, limit, l)
			}
		}
	}
	return nil
}

func (c *valueCheck) object(name string, declared, value map[string]any, secret bool) error {
	if v, there := find(declared, "discriminator"); there {
		chosen, err := choose(name, v, value)
		if err != nil {
			return err
		}
		rest := maps.Clone(declared)
		maps.DeleteFunc(rest, func(key string, _ any) bool { return strings.EqualFold(key, "discriminator") })
		if err := c.object(name, rest, value, secret); err != nil {
			return err
		}
		return c.value(name, chosen, value, secret)
	}
	v, _ := find(declared, "properties")
	parts, _ := v.(map[string]any)
	if c.d.budget -= len(parts) + len(value); c.d.budget < 0 {
		return errWork
	}
	given, known := properties{object: value}, properties{object: parts}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		definition, ok := parts[part].(map[string]any)
		if !ok {
			return fmt.Errorf("the type of '%s.%s' is not an object", name, part)
		}
		item, there := given.find(part)
		if !there {
			resolved, err := c.d.t.resolve(definition)
			if err != nil {
				return err
			}
			if nullable, _ := find(resolved, "nullable"); nullable != true {
				return fmt.Errorf("the provided value for the template parameter '%s' is not valid: the property '%s' is missing", name, part)
			}
			continue
		}
		if err := c.value(join(name, part), definition, item, secret); err != nil {
			return err
		}
	}
	more, there := find(declared, "additionalProperties")
	definition, typed := more.(map[string]any)
	if !there || !typed && more != false {
		return nil
	}
	for _, part := range slices.Sorted(maps.Keys(value)) {
		if _, declared := known.find(part); declared {
			continue
		}
		if !typed {
			return fmt.Errorf("the provided value for the template parameter '%s' is not valid: the property '%s' is not allowed", name, part)
		}
		if err := c.value(join(name, part), definition, value[part], secret); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the declaration that a discriminator, {"propertyName", "mapping"}, has for a value.
func choose(name string, discriminator any, value map[string]any) (map[string]any, error) {
	d, _ := discriminator.(map[string]any)
	v, _ := find(d, "propertyName")
	property, _ := v.(string)
	v, _ = find(d, "mapping")
	mapping, _ := v.(map[string]any)
	v, _ = find(value, property)
	kind, _ := v.(string)
	chosen, ok := mapping[kind].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the provided value for the template parameter '%s' is not valid: its '%s' is not one of '%s'",
			name, property, strings.Join(slices.Sorted(maps.Keys(mapping)), "', '"))
	}
	return chosen, nil
}

func (c *valueCheck) items(name string, declared map[string]any, value []any, secret bool) error {
	v, _ := find(declared, "prefixItems")
	tuple, _ := v.([]any)
	if len(value) < len(tuple) {
		return fmt.Errorf("the provided value for the template parameter '%s' is not valid: it has %d elements and needs %d", name, len(value), len(tuple))
	}
	items, there := find(declared, "items")
	rest, typed := items.(map[string]any)
	for i, item := range value {
		definition := rest
		switch {
		case i < len(tuple):
			definition, _ = tuple[i].(map[string]any)
		case there && items == false:
			return fmt.Errorf("the provided value for the template parameter '%s' is not valid: it has more than %d elements", name, len(tuple))
		case !typed:
			return nil
		}
		if err := c.value(element(name, i), definition, item, secret); err != nil {
			return err
		}
	}
	return nil
}
