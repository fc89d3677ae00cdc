package template

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// Resource is a resource that a template deploys.
type Resource struct {
	ID      string
	Type    string // "Microsoft.Media/mediaservices/assets"
	Name    string // "account/asset"
	Version string // api-version

	DependsOn []*Resource

	key     string   // ID in lower case
	called  []string // names
	raw     map[string]any
	path    string
	symbol  string // in lower case; "" without symbolic names
	loops   map[string]int64
	loop    string // name of the loop that made it
	enabled bool   // its condition holds
	exists  bool   // it is read and not deployed
	parent  *Resource
	after   []string // dependsOn
}

// own are the members of a resource that are the template's, and not sent.
var own = []string{"type", "name", "apiversion", "dependson", "condition", "copy", "resources", "comments", "metadata", "scope"}

// Body evaluates what is to be sent for a resource: location, tags, properties and the like.
func (d *Deployment) Body(ctx context.Context, r *Resource, rt Runtime) (map[string]any, error) {
	e := evaluation{d: d, ctx: ctx, rt: rt, loops: r.loops, verbatim: r.nested() && r.inner()}
	body := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(r.raw)) {
		key := strings.ToLower(name)
		if slices.Contains(own, key) || r.nested() && (key == "resourcegroup" || key == "subscriptionid") {
			continue
		}
		v, err := e.value(r.raw[name])
		if err != nil {
			return nil, d.t.wrong(join(r.path, name), err)
		}
		if v != nil {
			body[name] = v
		}
	}
	return body, nil
}

// nested reports whether a resource is a deployment itself.
func (r *Resource) nested() bool { return strings.EqualFold(r.Type, "Microsoft.Resources/deployments") }

// inner reports whether a nested deployment evaluates its template itself.
func (r *Resource) inner() bool {
	properties, _ := find(r.raw, "properties")
	object, _ := properties.(map[string]any)
	options, _ := find(object, "expressionEvaluationOptions")
	object, _ = options.(map[string]any)
	scope, _ := find(object, "scope")
	return equalName(scope, "inner")
}

// expand makes the resources of the template's, one for each turn of a loop, and puts them in order.
func (d *Deployment) expand() error {
	raw, _ := find(d.t.top, "resources")
	list, _ := raw.([]any)
	if err := d.expandList(list, "resources", nil); err != nil {
		return err
	}
	named, _ := raw.(map[string]any)
	for _, symbol := range slices.Sorted(maps.Keys(named)) {
		if err := d.expandItem(named[symbol], join("resources", symbol), nil, symbol); err != nil {
			return err
		}
	}
	all := d.all
	seen := map[string]bool{}
	for _, r := range all {
		if r.exists {
			continue
		}
		if r.enabled && seen[r.key] {
			return d.t.wrong(r.path, fmt.Errorf("the resource '%s' is defined multiple times in the template", r.ID))
		}
		seen[r.key] = seen[r.key] || r.enabled
	}
	called := map[string][]*Resource{}
	for _, r := range all {
		for _, name := range r.called {
			called[name] = append(called[name], r)
		}
	}
	for _, r := range all {
		if err := d.link(r, all, called); err != nil {
			return err
		}
	}
	return d.order(all)
}

func (d *Deployment) expandList(list []any, path string, parent *Resource) error {
	for i, item := range list {
		if err := d.expandItem(item, element(path, i), parent, ""); err != nil {
			return err
		}
	}
	return nil
}

// expandItem makes a resource of what the template says of it, or those of a loop.
func (d *Deployment) expandItem(item any, path string, parent *Resource, symbol string) error {
	raw, ok := item.(map[string]any)
	if !ok {
		return d.t.wrong(path, errors.New("it is not an object"))
	}
	v, looped := find(raw, "copy")
	loop, ok := v.(map[string]any)
	if !looped {
		return d.expandOne(&Resource{raw: raw, path: path, parent: parent, symbol: strings.ToLower(symbol)})
	}
	name, _ := find(loop, "name")
	text, named := name.(string)
	if !ok || !named || parent != nil {
		return d.t.wrong(path+".copy", errors.New("a resource's copy loop is an object with a 'name', and not that of a nested child"))
	}
	e := evaluation{d: d}
	n, err := e.count(loop)
	if err != nil {
		return d.t.wrong(path+".copy", err)
	}
	for i := range n {
		loops := map[string]int64{"": i, strings.ToLower(text): i}
		if err := d.expandOne(&Resource{raw: raw, path: path, loops: loops, loop: text, symbol: strings.ToLower(symbol)}); err != nil {
			return err
		}
	}
	return nil
}

func (d *Deployment) expandOne(r *Resource) error {
	raw, path, parent := r.raw, r.path, r.parent
	r.enabled = true
	if parent != nil {
		r.loops = parent.loops
	}
	if v, there := find(raw, "existing"); there {
		var ok bool
		if r.exists, ok = v.(bool); !ok || r.exists && r.symbol == "" {
			return d.t.wrong(path+".existing", errors.New("'existing' is true or false, and of resources with symbolic names"))
		}
	}
	e := evaluation{d: d, loops: r.loops}
	if v, there := find(raw, "condition"); there {
		condition, err := e.value(v)
		if err != nil {
			return d.t.wrong(path+".condition", err)
		}
		var ok bool
		if r.enabled, ok = condition.(bool); !ok {
			return d.t.wrong(path+".condition", fmt.Errorf("the condition is '%s', not a boolean", typeOf(condition)))
		}
	}
	for _, field := range []struct {
		name string
		to   *string
	}{{"type", &r.Type}, {"name", &r.Name}, {"apiVersion", &r.Version}} {
		v, _ := find(raw, field.name)
		value, err := e.value(v)
		if err != nil {
			return d.t.wrong(join(path, field.name), err)
		}
		text, ok := value.(string)
		if !ok || text == "" {
			return d.t.wrong(join(path, field.name), fmt.Errorf("the resource's '%s' is missing or not a string", field.name))
		}
		*field.to = text
	}
	if parent != nil {
		r.Type, r.Name = parent.Type+"/"+r.Type, parent.Name+"/"+r.Name
	}
	if err := d.identify(r, &e); err != nil {
		return d.t.wrong(path+".name", err)
	}
	if v, there := find(raw, "dependsOn"); there {
		value, err := e.value(v)
		list, ok := value.([]any)
		switch {
		case err != nil:
		case !ok:
			err = errors.New("it is not an array")
		case len(list) > maxResources:
			err = fmt.Errorf("there are %d; a resource can depend on %d", len(list), maxResources)
		}
		if err != nil {
			return d.t.wrong(path+".dependsOn", err)
		}
		for _, item := range list {
			text, ok := item.(string)
			if !ok {
				return d.t.wrong(path+".dependsOn", fmt.Errorf("'%s' is not the name or ID of a resource", typeOf(item)))
			}
			r.after = append(r.after, text)
		}
	}
	if d.all = append(d.all, r); len(d.all) > maxResources {
		return d.t.wrong(path, fmt.Errorf("there are more than %d resources", maxResources))
	}
	children, there := find(raw, "resources")
	list, isList := children.([]any)
	if there && (!isList || r.symbol != "" && len(list) > 0) {
		return d.t.wrong(path+".resources", errors.New("children stand in an array; with symbolic names they stand beside their parent"))
	}
	return d.expandList(list, path+".resources", r)
}

// identify works out a resource's ID from its scope, type and name.
func (d *Deployment) identify(r *Resource, e *evaluation) error {
	base := d.scope.ID.String()
	if v, there := find(r.raw, "scope"); there {
		value, err := e.value(v)
		if err != nil {
			return err
		}
		text, _ := value.(string)
		if strings.HasPrefix(text, "/") {
			base = text
		} else { // "Microsoft.Storage/storageAccounts/name", relative to the deployment's scope
			base += "/providers/" + text
		}
	} else if r.parent != nil {
		id, err := azure.ParseResourceID(r.parent.ID)
		if err != nil {
			return err
		}
		base = id.Scope
	} else if r.nested() || r.exists {
		for _, field := range []struct{ name, segment string }{{"subscriptionId", "/subscriptions/"}, {"resourceGroup", "/resourceGroups/"}} {
			v, there := find(r.raw, field.name)
			if !there {
				continue
			}
			value, err := e.value(v)
			if err != nil {
				return err
			}
			text, _ := value.(string)
			if field.name == "subscriptionId" {
				base = field.segment + text
			} else {
				id, err := azure.ParseResourceID(base)
				if err != nil {
					return err
				}
				base = "/subscriptions/" + id.Subscription() + field.segment + text
			}
		}
	}
	text, err := composeID(base, r.Type, strings.Split(r.Name, "/"))
	if err != nil {
		return err
	}
	id, err := azure.ParseResourceID(text)
	if err != nil {
		return err
	}
	r.ID, r.key = id.String(), id.Key()
	if r.called = r.names(); r.symbol != "" {
		r.called = r.symbolNames()
	}
	return nil
}

// composeID interleaves a type and names below a scope.
func composeID(base, typ string, names []string) (string, error) {
	namespace, rest, ok := strings.Cut(typ, "/")
	types := strings.Split(rest, "/")
	if !ok || len(types) != len(names) {
		return "", fmt.Errorf("the resource type '%s' and the name '%s' do not have matching numbers of segments", typ, strings.Join(names, "/"))
	}
	if strings.EqualFold(typ, "Microsoft.Resources/resourceGroups") {
		return base + "/resourceGroups/" + names[0], nil
	}
	id := strings.TrimSuffix(base, "/") + "/providers/" + namespace
	for i, t := range types {
		id += "/" + t + "/" + names[i]
	}
	return id, nil
}

// link finds what a resource depends on: what it says, its parent, and what its expressions refer to. called holds all
// resources by their names.
func (d *Deployment) link(r *Resource, all []*Resource, called map[string][]*Resource) error {
	added := map[*Resource]bool{r: true}
	asked := map[string]bool{}
	var addNamed func(name string) (found bool)
	add := func(dep *Resource) {
		switch {
		case added[dep]:
		case dep.exists: // it is there once that is there on which it depends
			added[dep] = true
			for _, name := range dep.after {
				addNamed(name)
			}
		case dep.enabled:
			added[dep] = true
			r.DependsOn = append(r.DependsOn, dep)
		}
	}
	addNamed = func(name string) (found bool) {
		name = strings.ToLower(name)
		if !asked[name] {
			asked[name] = true
			for _, dep := range called[name] {
				add(dep)
			}
		}
		return len(called[name]) > 0
	}
	for _, name := range r.after {
		if !addNamed(name) {
			return d.t.wrong(r.path+".dependsOn", fmt.Errorf("the resource '%s' is not defined in the template", name))
		}
	}
	if r.parent != nil {
		add(r.parent)
	}
	for _, dep := range all { // a child that stands beside its parent
		if len(r.key) > len(dep.key) && r.key[len(dep.key)] == '/' && strings.HasPrefix(r.key, dep.key) {
			add(dep)
		}
	}
	e := evaluation{d: d, loops: r.loops}
	names, err := e.referred(r.raw)
	if err != nil {
		return d.t.wrong(r.path, err)
	}
	for _, name := range names {
		addNamed(name)
	}
	return nil
}

// names are what a resource may be called by, in lower case: its ID, type and name, name, and the name of its loop.
func (r *Resource) names() []string {
	names := []string{r.key, strings.ToLower(r.Name), strings.ToLower(r.Type + "/" + r.Name)}
	if r.loop != "" {
		names = append(names, strings.ToLower(r.loop))
	}
	for rest, more := r.key, true; more; {
		if _, rest, more = strings.Cut(rest, "/providers/"); more {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// referred returns the names and IDs that reference and list functions in a value are called with. An argument that
// cannot be evaluated yet names nothing.
func (e *evaluation) referred(v any) ([]string, error) {
	var names []string
	var walk func(n *node) error
	walk = func(n *node) error {
		if n == nil {
			return nil
		}
		if err := e.visit(nil); err != nil {
			return err
		}
		if (n.call == "reference" || n.call == "references" || strings.HasPrefix(n.call, "list")) && len(n.args) > 0 {
			v, err := e.node(n.args[0])
			if errors.Is(err, errWork) {
				return err
			}
			if s, ok := v.(string); ok && err == nil {
				names = append(names, s)
			}
		}
		for _, arg := range append(slices.Clone(n.args), n.of, n.index) {
			if err := walk(arg); err != nil {
				return err
			}
		}
		return nil
	}
	var look func(v any) error
	look = func(v any) error {
		if err := e.visit(v); err != nil {
			return err
		}
		switch v := v.(type) {
		case string:
			if isExpression(v) {
				if n, err := e.parse(v); err == nil {
					return walk(n)
				}
			}
		case []any:
			for _, item := range v {
				if err := look(item); err != nil {
					return err
				}
			}
		case map[string]any:
			for name, item := range v {
				if strings.EqualFold(name, "resources") || strings.EqualFold(name, "template") {
					continue
				}
				if err := look(item); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := look(v)
	return names, err
}

// order sorts the enabled resources by what they depend on, and otherwise as they stand in the template.
func (d *Deployment) order(all []*Resource) error {
	all = slices.DeleteFunc(slices.Clone(all), func(r *Resource) bool { return !r.enabled || r.exists })
	done := map[*Resource]bool{}
	for len(d.Resources) < len(all) {
		before := len(d.Resources)
		for _, r := range all {
			waits := func(dep *Resource) bool { return !done[dep] }
			if !done[r] && !slices.ContainsFunc(r.DependsOn, waits) {
				done[r] = true
				d.Resources = append(d.Resources, r)
			}
		}
		if len(d.Resources) == before {
			i := slices.IndexFunc(all, func(r *Resource) bool { return !done[r] })
			return d.t.wrong(all[i].path, fmt.Errorf("a circular dependency was detected on the resource '%s'", all[i].ID))
		}
	}
	return nil
}
