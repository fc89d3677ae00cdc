package template

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// Azure's limits.
const (
	maxParameters = 256
	maxVariables  = 512
	maxResources  = 800
	maxOutputs    = 64
)

// Template is a parsed template.
type Template struct {
	doc *document
	top map[string]any
}

// Scope is where, when and as what a template is deployed; the objects are what the functions of their names return.
type Scope struct {
	ID            azure.ResourceID // a resource group or subscription
	ResourceGroup map[string]any   // nil at a subscription
	Subscription  map[string]any
	Tenant        map[string]any
	Environment   map[string]any
	Deployment    map[string]any
	Now           time.Time // of utcNow
	Seed          string    // of newGuid; another one for each deployment
}

// Runtime answers for deployed resources. Errors reach the client as they are when they are azure.Error.
type Runtime interface {
	// Reference returns a resource's properties, or with full all that its GET shows.
	Reference(ctx context.Context, id, version string, full bool) (any, error)
	// List calls an action of a resource whose name begins with "list".
	List(ctx context.Context, action, id, version string, body any) (any, error)
}

// Parse reads a template. Its errors are azure.Error 400 InvalidTemplate.
func Parse(text []byte) (*Template, error) {
	doc, err := parseJSON(text)
	if err != nil {
		return nil, invalid("%v", err)
	}
	t := &Template{doc: doc}
	var ok bool
	if t.top, ok = doc.root.(map[string]any); !ok {
		return nil, invalid("it is not a JSON object")
	}
	schema, _ := t.text("$schema")
	if !strings.Contains(strings.ToLower(schema), "deploymenttemplate.json") {
		return nil, t.wrong("$schema", fmt.Errorf("'%s' is not the schema of a template", schema))
	}
	if version, _ := t.text("contentVersion"); version == "" {
		return nil, t.wrong("contentVersion", errors.New("the content version is missing"))
	}
	for _, name := range []string{"languageVersion", "functions", "definitions", "imports", "extensions"} {
		v, there := find(t.top, name)
		list, isList := v.([]any)
		object, isObject := v.(map[string]any)
		if there && !(isList && len(list) == 0) && !(isObject && len(object) == 0) && v != "1.0" {
			return nil, t.wrong(name, fmt.Errorf("'%s' is not supported", name))
		}
	}
	for name, limit := range map[string]int{"parameters": maxParameters, "variables": maxVariables, "outputs": maxOutputs} {
		section, err := t.section(name)
		if err != nil {
			return nil, err
		}
		if len(section) > limit {
			return nil, t.wrong(name, fmt.Errorf("there are %d; a template can have %d", len(section), limit))
		}
	}
	if v, there := find(t.top, "resources"); there {
		if _, ok := v.([]any); !ok {
			return nil, t.wrong("resources", errors.New("it is not an array"))
		}
	} else {
		return nil, t.wrong("", errors.New("the template has no 'resources'"))
	}
	return t, t.syntax("", t.top, 0)
}

// syntax parses every expression, so that a mistake is found wherever it stands.
func (t *Template) syntax(path string, v any, depth int) error {
	switch v := v.(type) {
	case string:
		if isExpression(v) {
			if _, err := parseExpression(v[1 : len(v)-1]); err != nil {
				return t.wrong(path, err)
			}
		}
	case []any:
		for i, item := range v {
			if err := t.syntax(fmt.Sprintf("%s[%d]", path, i), item, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := t.syntax(join(path, name), v[name], depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Template) text(name string) (string, bool) {
	v, _ := find(t.top, name)
	s, ok := v.(string)
	return s, ok
}

// section returns one of the template's objects, perhaps empty.
func (t *Template) section(name string) (map[string]any, error) {
	v, there := find(t.top, name)
	section, ok := v.(map[string]any)
	if there && v != nil && !ok {
		return nil, t.wrong(name, errors.New("it is not an object"))
	}
	return section, nil
}

// Decode reads a JSON value as templates have it: whole numbers as int64.
func Decode(text []byte) (any, error) {
	doc, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	return doc.root, nil
}

// Property returns a property of an object by name in any case.
func Property(object any, name string) (any, bool) {
	o, _ := object.(map[string]any)
	return find(o, name)
}

// Equal compares values as the function "equals" does.
func Equal(a, b any) bool { return equal(a, b) }

func invalid(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: '%s'.", fmt.Sprintf(format, args...))
}

// wrong says where in the template an error is. An error that is a client's already stays as it is.
func (t *Template) wrong(path string, err error) error {
	var known *azure.Error
	if errors.As(err, &known) {
		return err
	}
	line := 1
	for p := path; ; p = p[:max(strings.LastIndexAny(p, ".["), 0)] {
		if n, ok := t.doc.lines[p]; ok {
			line = n
			break
		}
		if p == "" {
			break
		}
	}
	if path == "" {
		path = "the template"
	}
	return invalid("%s, line %d: %v", path, line, err)
}

// Deployment is a template bound to parameters and a scope.
type Deployment struct {
	// Resources in an order in which each comes after those that it depends on. Those whose condition is false are
	// left out.
	Resources []*Resource

	t          *Template
	scope      Scope
	arguments  map[string]any
	parameters map[string]any // by lower-case name
	secure     map[string]bool
	variables  map[string]any // by lower-case name, once evaluated
	pending    []string       // variables, or parameters' defaults, that are being evaluated
	budget     int            // of what may still be evaluated
	parsed     map[string]*node
}

// maxWork is how many values an evaluation may make.
const maxWork = 20_000_000

// Bind checks the arguments and expands and orders the resources. Its errors are azure.Error 400 InvalidTemplate.
func (t *Template) Bind(arguments map[string]any, scope Scope) (*Deployment, error) {
	d := &Deployment{
		t: t, scope: scope, arguments: arguments, budget: maxWork, parameters: map[string]any{}, secure: map[string]bool{}, variables: map[string]any{},
		parsed: map[string]*node{},
	}
	if err := d.bind(arguments); err != nil {
		return nil, err
	}
	return d, d.expand()
}

// bind checks arguments against the template's parameters.
func (d *Deployment) bind(arguments map[string]any) error {
	section, err := d.t.section("parameters")
	if err != nil {
		return err
	}
	var unknown []string
	for name := range arguments {
		if _, ok := find(section, name); !ok {
			unknown = append(unknown, name)
		}
	}
	if slices.Sort(unknown); len(unknown) > 0 {
		return invalid("the following parameters were supplied, but do not correspond to any parameters defined in this template: '%s'", strings.Join(unknown, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(section)) {
		if err := d.bindOne(section, name); err != nil {
			return err
		}
	}
	return nil
}

// bindOne binds a parameter, which the default of another may have asked for before.
func (d *Deployment) bindOne(section map[string]any, name string) (err error) {
	key, path := strings.ToLower(name), "parameters."+name
	if _, done := d.parameters[key]; done {
		return nil
	}
	v, _ := find(section, name)
	declared, ok := v.(map[string]any)
	if !ok {
		return d.t.wrong(path, errors.New("it is not an object"))
	}
	value, given := find(d.arguments, name)
	if !given {
		fallback, ok := find(declared, "defaultValue")
		if !ok {
			return d.t.wrong(path, fmt.Errorf("the value for the template parameter '%s' is not provided", name))
		}
		if slices.Contains(d.pending, key) {
			return d.t.wrong(path, fmt.Errorf("the default of the parameter '%s' depends on itself", name))
		}
		d.pending = append(d.pending, key)
		e := evaluation{d: d, defaults: true, depth: len(d.pending)}
		if value, err = e.value(fallback); err != nil {
			return d.t.wrong(path+".defaultValue", err)
		}
		d.pending = d.pending[:len(d.pending)-1]
	}
	if err := d.check(name, declared, value); err != nil {
		return d.t.wrong(path, err)
	}
	d.parameters[key] = value
	return nil
}

// check applies a parameter's declaration to its value. The error of a secure one does not show it.
func (d *Deployment) check(name string, declared map[string]any, value any) error {
	if _, custom := find(declared, "$ref"); custom {
		return errors.New("types of the template's own are not supported")
	}
	v, _ := find(declared, "type")
	typ, _ := v.(string)
	typ = strings.ToLower(typ)
	d.secure[strings.ToLower(name)] = strings.HasPrefix(typ, "secure")
	if nullable, _ := find(declared, "nullable"); nullable == true && value == nil {
		return nil
	}
	if ok, known := isType(value, typ); !known {
		return fmt.Errorf("'%v' is not the type of a parameter", v)
	} else if !ok {
		return fmt.Errorf("the provided value for the template parameter '%s' is not valid: a value of type '%s' is needed, not '%s'", name, typ, typeOf(value))
	}
	shown := "its value"
	if s, isText := value.(string); isText && !d.secure[strings.ToLower(name)] {
		shown = "'" + s + "'"
	}
	if allowed, there := find(declared, "allowedValues"); there {
		list, _ := allowed.([]any)
		if !slices.ContainsFunc(list, func(a any) bool { return equal(a, value) }) {
			return fmt.Errorf("the provided value for the template parameter '%s' is not valid: %s is not part of the allowed value(s)", name, shown)
		}
	}
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

// Parameters returns the parameters as a deployment shows them: types, and the values of those that are not secure.
func (d *Deployment) Parameters() map[string]any {
	section, _ := d.t.section("parameters")
	shown := map[string]any{}
	for name, v := range section {
		declared, _ := v.(map[string]any)
		typ, _ := find(declared, "type")
		item := map[string]any{"type": typeTitle(typ)}
		if key := strings.ToLower(name); !d.secure[key] {
			item["value"] = d.parameters[key]
		}
		shown[name] = item
	}
	return shown
}

// typeTitle is a type as Azure shows it: "String", "SecureString".
func typeTitle(v any) string {
	s, _ := v.(string)
	for _, title := range []string{"String", "SecureString", "Int", "Bool", "Object", "SecureObject", "Array"} {
		if strings.EqualFold(s, title) {
			return title
		}
	}
	return s
}

// HasSecrets reports whether the template has secure parameters.
func (d *Deployment) HasSecrets() bool {
	for _, secure := range d.secure {
		if secure {
			return true
		}
	}
	return false
}

// Outputs evaluates the outputs, as a deployment shows them. Secure ones have no value.
func (d *Deployment) Outputs(ctx context.Context, rt Runtime) (map[string]any, error) {
	section, err := d.t.section("outputs")
	if err != nil {
		return nil, err
	}
	outputs := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(section)) {
		path := "outputs." + name
		declared, ok := section[name].(map[string]any)
		if !ok {
			return nil, d.t.wrong(path, errors.New("it is not an object"))
		}
		e := evaluation{d: d, ctx: ctx, rt: rt}
		if condition, there := find(declared, "condition"); there {
			v, err := e.value(condition)
			if err != nil {
				return nil, d.t.wrong(path+".condition", err)
			}
			if v == false {
				continue
			}
		}
		v, _ := find(declared, "type")
		typ, _ := v.(string)
		var value any
		if loop, there := find(declared, "copy"); there {
			value, err = e.copyOutput(loop)
		} else {
			raw, _ := find(declared, "value")
			value, err = e.value(raw)
		}
		if err != nil {
			return nil, d.t.wrong(path+".value", err)
		}
		ok, known := isType(value, strings.ToLower(typ))
		if !known || !ok {
			return nil, d.t.wrong(path, fmt.Errorf("the template output '%s' is not valid: a value of type '%s' is needed, not '%s'", name, typ, typeOf(value)))
		}
		item := map[string]any{"type": typeTitle(typ)}
		if !strings.HasPrefix(strings.ToLower(typ), "secure") {
			item["value"] = value
		}
		outputs[name] = item
	}
	return outputs, nil
}

// isType reports whether a value is of a declared type, and whether there is such a type.
func isType(v any, typ string) (ok, known bool) {
	switch typ {
	case "string", "securestring":
		_, ok = v.(string)
	case "int":
		_, ok = v.(int64)
	case "bool":
		_, ok = v.(bool)
	case "array":
		_, ok = v.([]any)
	case "object", "secureobject":
		_, ok = v.(map[string]any)
	default:
		return false, false
	}
	return ok, true
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "Null"
	case bool:
		return "Boolean"
	case int64:
		return "Integer"
	case float64:
		return "Float"
	case string:
		return "String"
	case []any:
		return "Array"
	}
	return "Object"
}
