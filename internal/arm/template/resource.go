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

	key     string // ID in lower case
	raw     map[string]any
	path    string
	loops   map[string]int64
	loop    string // name of the loop that made it
	enabled bool   // its condition holds
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
	var all []*Resource
	if err := d.expandList(&all, list, "resources", nil); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, r := range all {
		if r.enabled && seen[r.key] {
			return d.t.wrong(r.path, fmt.Errorf("the resource '%s' is defined multiple times in the template", r.ID))
		}
		seen[r.key] = seen[r.key] || r.enabled
	}
	for _, r := range all {
		if err := d.link(r, all); err != nil {
			return err
		}
	}
	return d.order(all)
}

func (d *Deployment) expandList(all *[]*Resource, list []any, path string, parent *Resource) error {
	for i, item := range list {
		path := fmt.Sprintf("%s[%d]", path, i)
		raw, ok := item.(map[string]any)
		if !ok {
			return d.t.wrong(path, errors.New("it is not an object"))
		}
		v, looped := find(raw, "copy")
		loop, ok := v.(map[string]any)
		if !looped {
			if err := d.expandOne(all, raw, path, parent, nil, ""); err != nil {
				return err
			}
			continue
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
			if err := d.expandOne(all, raw, path, nil, loops, text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Deployment) expandOne(all *[]*Resource, raw map[string]any, path string, parent *Resource, loops map[string]int64, loop string) error {
	r := &Resource{raw: raw, path: path, loops: loops, loop: loop, parent: parent, enabled: true}
	if parent != nil {
		r.loops = parent.loops
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
		if err == nil && !ok {
			err = errors.New("it is not an array")
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
	if *all = append(*all, r); len(*all) > maxResources {
		return d.t.wrong(path, fmt.Errorf("there are more than %d resources", maxResources))
	}
	children, _ := find(raw, "resources")
	list, _ := children.([]any)
	return d.expandList(all, list, path+".resources", r)
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
	} else if r.nested() {
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

// link finds what a resource depends on: what it says, its parent, and what its expressions refer to.
func (d *Deployment) link(r *Resource, all []*Resource) error {
	add := func(dep *Resource) {
		if dep != r && dep.enabled && !slices.Contains(r.DependsOn, dep) {
			r.DependsOn = append(r.DependsOn, dep)
		}
	}
	for _, name := range r.after {
		found := false
		for _, dep := range all {
			if dep.named(name) {
				found = true
				add(dep)
			}
		}
		if !found {
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
	for _, name := range e.referred(r.raw) {
		for _, dep := range all {
			if dep.named(name) {
				add(dep)
			}
		}
	}
	return nil
}

// named reports whether a resource is meant by an ID, a type and name, a name, or the name of its loop.
func (r *Resource) named(s string) bool {
	if strings.HasPrefix(s, "/") {
		return strings.EqualFold(s, r.ID)
	}
	return strings.EqualFold(s, r.Name) || r.loop != "" && strings.EqualFold(s, r.loop) ||
		strings.HasSuffix(r.key, "/providers/"+strings.ToLower(s)) || strings.EqualFold(s, r.Type+"/"+r.Name)
}

// referred returns the names and IDs that reference and list functions in a value are called with.
func (e *evaluation) referred(v any) []string {
	var names []string
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		if (n.call == "reference" || strings.HasPrefix(n.call, "list")) && len(n.args) > 0 {
			if v, err := e.node(n.args[0]); err == nil {
				if s, ok := v.(string); ok {
					names = append(names, s)
				}
			}
		}
		for _, arg := range n.args {
			walk(arg)
		}
		walk(n.of)
		walk(n.index)
	}
	switch v := v.(type) {
	case string:
		if isExpression(v) {
			if n, err := e.parse(v); err == nil {
				walk(n)
			}
		}
	case []any:
		for _, item := range v {
			names = append(names, e.referred(item)...)
		}
	case map[string]any:
		for name, item := range v {
			if !strings.EqualFold(name, "resources") && !strings.EqualFold(name, "template") {
				names = append(names, e.referred(item)...)
			}
		}
	}
	return names
}

// order sorts the enabled resources by what they depend on, and otherwise as they stand in the template.
func (d *Deployment) order(all []*Resource) error {
	all = slices.DeleteFunc(all, func(r *Resource) bool { return !r.enabled })
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
