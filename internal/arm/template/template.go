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
	doc       *document
	top       map[string]any
	symbolic  bool                     // languageVersion 2.0: resources have symbolic names
	functions map[string]*userFunction // by "namespace.name" in lower case
}

// Scope is where, when and as what a template is deployed; the objects are what the functions of their names return.
type Scope struct {
	ID            azure.ResourceID // a resource group or subscription
	ResourceGroup map[string]any   // nil at a subscription
	Subscription  map[string]any
	Tenant        map[string]any
	Environment   map[string]any
	Deployment    map[string]any
	Deployer      map[string]any
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
	if err := t.readLanguage(); err != nil {
		return nil, err
	}
	if err := t.readFunctions(); err != nil {
		return nil, err
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
			if err := t.syntax(element(path, i), item, depth+1); err != nil {
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

	all        []*Resource // those too that are not deployed: of a false condition, or existing
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

// maxWork is how much an evaluation may take and make, by weight: in the worst case some hundred MiB and a few seconds.
const maxWork = 10_000_000

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
	d.secure[key] = d.t.secret(declared, map[string]bool{})
	if err := d.checkValue(name, declared, value, d.secure[key]); err != nil {
		return d.t.wrong(path, err)
	}
	d.parameters[key] = value
	return nil
}

// Parameters returns the parameters as a deployment shows them: types, and the values of those that are not secure.
func (d *Deployment) Parameters() map[string]any {
	section, _ := d.t.section("parameters")
	shown := map[string]any{}
	for name, v := range section {
		declared, _ := v.(map[string]any)
		declared, _ = d.t.resolve(declared) // as it was when it was bound
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
		resolved, err := d.t.resolve(declared)
		if err != nil {
			return nil, d.t.wrong(path, err)
		}
		secret := d.t.secret(declared, map[string]bool{})
		if err := d.checkValue(name, declared, value, secret); err != nil {
			return nil, d.t.wrong(path, fmt.Errorf("the template output '%s' is not valid: %w", name, err))
		}
		typ, _ := find(resolved, "type")
		item := map[string]any{"type": typeTitle(typ)}
		if !secret {
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
