package arm

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
)

// Variables that lookup adds to those of the pattern.
const (
	varID        = "arm:id"        // the resource ID or collection that the path names, types in the registered case
	varScope     = "arm:scope"     // where the decision falls; without it, any caller may, and the handler filters
	varVersion   = "arm:version"   // api-version
	varOperation = "arm:operation" // an operation's id; its resource is where the decision falls
	varThinned   = "arm:thinned"   // a list that shows what its caller may read, when it may not read all of the scope
)

const maxBody = 4 << 20 // bytes of a request body, as in Azure

// decideBy says where the decision on a command falls.
type decideBy int

const (
	byPath      decideBy = iota // at what the path begins with
	byPathList                  // there too, for a list that is thinned out
	byHandler                   // nowhere: the handler shows what the caller may read
	byOperation                 // at the operation's resource
)

// commandRow is an operation with a path of its own.
type commandRow struct {
	route    azure.Route
	versions []string
	decide   decideBy
}

// typeRows are the operations of a type.
type typeRows struct {
	*Type
	methods map[string]*azure.Route // on one resource, by HTTP method
	list    *azure.Route            // on the collection; GET, but for questions such as checkAccess
	decide  decideBy                // byPath or byHandler
	actions map[string]*azure.Route // by lower-case name
}

// typeRows makes the rows of a type that the manager keeps.
func (m *Manager) typeRows(t *Type) *typeRows {
	pattern, collection := patterns(t)
	rows := &typeRows{Type: t, methods: map[string]*azure.Route{}, actions: map[string]*azure.Route{}}
	row := func(method, name, action string, handle func(http.ResponseWriter, *azure.Request) error) *azure.Route {
		r := m.recorded(azure.Route{
			Name: t.Name + "." + name, Method: method, Pattern: pattern, Action: t.prefix() + action, MaxBody: maxBody, Handle: handle,
		})
		return &r
	}
	rows.methods[http.MethodGet] = row(http.MethodGet, "Get", "/read", m.get(t))
	rows.methods[http.MethodHead] = row(http.MethodHead, "CheckExistence", "/read", m.head(t))
	rows.list = row(http.MethodGet, "List", "/read", m.list(t))
	rows.list.Pattern = collection
	if !t.ReadOnly {
		rows.methods[http.MethodPut] = row(http.MethodPut, "CreateOrUpdate", "/write", m.write(t, false))
		rows.methods[http.MethodDelete] = row(http.MethodDelete, "Delete", "/delete", m.delete(t))
		if !t.NoPatch {
			rows.methods[http.MethodPatch] = row(http.MethodPatch, "Update", "/write", m.write(t, true))
		}
	}
	for _, a := range t.Actions {
		r := row(http.MethodPost, a.Name, "/"+a.Name+"/action", m.act(t, a))
		r.Pattern += "/" + a.Name
		rows.actions[strings.ToLower(a.Name)] = r
	}
	return rows
}

// patterns describes the paths of a type's resources and of their collection.
func patterns(t *Type) (resource, collection string) {
	switch strings.ToLower(t.Name) {
	case subscriptionType:
		return "/subscriptions/{subscription}", "/subscriptions"
	case groupType:
		return "/subscriptions/{subscription}/resourceGroups/{resourceGroup}", "/subscriptions/{subscription}/resourceGroups"
	}
	namespace, types, _ := strings.Cut(t.Name, "/")
	resource = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/" + namespace
	for _, typ := range strings.Split(types, "/") {
		collection = resource + "/" + typ
		resource = collection + "/{" + typ + "Name}"
	}
	return resource, collection
}

// Routes lists every operation, for the compatibility document and for tests: those with a path of their own, then
// the types' in order of name. In patterns of Microsoft.Authorization, {scope} stands for any number of segments.
func (m *Manager) Routes() []azure.Route {
	var list []azure.Route
	for _, c := range m.commands {
		list = append(list, c.route)
	}
	start := len(list)
	for _, types := range []map[string]*typeRows{m.types, m.extensions} {
		for _, t := range types {
			for _, r := range t.methods {
				list = append(list, *r)
			}
			if t.list != nil {
				list = append(list, *t.list)
			}
			for _, r := range t.actions {
				list = append(list, *r)
			}
		}
	}
	slices.SortFunc(list[start:], func(a, b azure.Route) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Handler serves the management host. No provider can be registered afterwards.
func (m *Manager) Handler() http.Handler {
	m.sealed = true
	return m.router()
}

func (m *Manager) router() *azure.Router {
	return &azure.Router{
		Service: azure.Management, Routes: m.Routes(), Lookup: m.lookup,
		Authenticate: m.authenticate, Authorize: m.authorize, Render: azure.RenderARM, NotFound: notFound,
	}
}

func notFound(r *http.Request, _ []string) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "NotFound", "The path '%s' is not known.", r.URL.Path)
}

// lookup finds the row for a path: commands first, then types by resource ID.
func (m *Manager) lookup(r *http.Request) (*azure.Route, map[string]string, error) {
	segments, err := splitPath(r.URL.EscapedPath())
	if err != nil {
		return nil, nil, err
	}
	path := "/" + strings.Join(segments, "/")
	var allowed []string
	for i := range m.commands {
		c := &m.commands[i]
		vars, ok := match(c.route.Pattern, segments)
		if !ok {
			continue
		}
		if c.route.Method != r.Method {
			allowed = append(allowed, c.route.Method)
			continue
		}
		return m.commandVars(r, c, path, vars)
	}
	row, vars, err := m.lookupType(r, path)
	if (err != nil || row == nil) && len(allowed) > 0 {
		err = errMethod(r, allowed)
	}
	return row, vars, err
}

func (m *Manager) commandVars(r *http.Request, c *commandRow, path string, vars map[string]string) (*azure.Route, map[string]string, error) {
	vars[varID] = path
	vars[varVersion] = queryValue(r.URL, "api-version")
	if c.route.Public == "" {
		version, err := checkVersion(r, c.versions)
		if err != nil {
			return nil, nil, err
		}
		vars[varVersion] = version
	}
	switch c.decide {
	case byOperation:
		vars[varOperation] = vars["operation"]
	case byPath, byPathList:
		vars[varScope] = m.enclosing(path)
		if c.decide == byPathList {
			vars[varThinned] = "yes"
		}
	}
	return &c.route, vars, nil
}

// enclosing returns the deepest registered resource that a command's path begins with, else its group, subscription
// or tenant.
func (m *Manager) enclosing(path string) string {
	id, err := azure.ParseResourceID(path)
	for err != nil { // such as .../providers, /subscriptions/{s}/locations
		cut := strings.LastIndexByte(path, '/')
		if cut <= 0 {
			return "/"
		}
		path = path[:cut]
		id, err = azure.ParseResourceID(path)
	}
	for id.Namespace != "" && (id.IsCollection() || m.types[typeKey(id)] == nil) {
		id = id.Parent()
	}
	return id.String()
}

func (m *Manager) lookupType(r *http.Request, path string) (*azure.Route, map[string]string, error) {
	id, err := azure.ParseResourceID(path)
	if err != nil {
		return nil, nil, err
	}
	if id.Scope == "/" && id.Namespace == "" {
		return nil, nil, nil
	}
	if id.Namespace != "" && m.providers[strings.ToLower(id.Namespace)] == nil {
		return nil, nil, azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", id.Namespace)
	}
	target, action := id, ""
	if r.Method == http.MethodPost && id.IsCollection() && len(id.Types) > 1 {
		target, action = id.Parent(), id.Types[len(id.Types)-1]
	}
	rows, extension := m.extensions[typeKey(target)], true
	if rows == nil {
		rows, extension = m.types[typeKey(target)], false
	}
	if rows == nil {
		return nil, nil, azure.Errorf(http.StatusNotFound, "InvalidResourceType",
			"The resource type '%s' could not be found in the namespace '%s'.", strings.Join(target.Types, "/"), target.Namespace)
	}
	row, err := rows.row(r, target, action)
	if err != nil {
		return nil, nil, err
	}
	target = rows.canonical(target)
	if !extension {
		if err := checkScope(rows.Type, target); err != nil {
			return nil, nil, err
		}
	}
	version, err := checkVersion(r, rows.Versions)
	if err != nil {
		return nil, nil, err
	}
	vars := map[string]string{varID: target.String(), varVersion: version, varScope: target.String()}
	switch {
	case extension:
		vars[varScope] = target.Scope
		if target.Scope == "/" && rows.Name == roleDefinitionType && r.Method == http.MethodGet {
			delete(vars, varScope) // built-in roles are no secret
		}
		if rows.decide == byHandler {
			delete(vars, varScope)
		}
	case target.IsCollection():
		vars[varScope] = target.Parent().String()
		if rows.Tracked && len(target.Types) == 1 && r.Method == http.MethodGet {
			vars[varThinned] = "yes"
		}
	}
	return row, vars, nil
}

// row picks the operation on a resource, a collection, or an action.
func (t *typeRows) row(r *http.Request, id azure.ResourceID, action string) (*azure.Route, error) {
	switch {
	case action != "":
		if row := t.actions[strings.ToLower(action)]; row != nil {
			return row, nil
		}
		return nil, azure.Errorf(http.StatusNotFound, "InvalidResourceType",
			"The resource type '%s' has no operation '%s'.", t.Name, action)
	case id.IsCollection():
		if t.list == nil {
			return nil, errMethod(r, []string{http.MethodGet})
		}
		if r.Method == t.list.Method {
			return t.list, nil
		}
		return nil, errMethod(r, []string{t.list.Method})
	}
	if row := t.methods[r.Method]; row != nil {
		return row, nil
	}
	var allowed []string
	for method := range t.methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	return nil, errMethod(r, allowed)
}

// canonical returns the ID with the type in the registered case.
func (t *typeRows) canonical(id azure.ResourceID) azure.ResourceID {
	if id.Namespace == "" {
		return id
	}
	parts := strings.Split(t.Name, "/")
	id.Namespace, id.Types = parts[0], parts[1:]
	return id
}

// checkScope reports an error for a resource outside a resource group.
func checkScope(t *Type, id azure.ResourceID) error {
	if id.Namespace == "" {
		return nil
	}
	scope, err := azure.ParseResourceID(id.Scope)
	if err != nil {
		return err
	}
	switch typeKey(scope) {
	case groupType:
		return nil
	case subscriptionType:
		if id.IsCollection() && t.Tracked && len(id.Types) == 1 || t.atSubscription {
			return nil
		}
	}
	return azure.Errorf(http.StatusNotFound, "InvalidResourceType",
		"Resources of type '%s' are found in a resource group; '%s' names none.", t.Name, id)
}

func errMethod(r *http.Request, allowed []string) *azure.Error {
	return azure.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed",
		"The method '%s' is not allowed here; allowed: %s.", r.Method, strings.Join(allowed, ", ")).
		WithHeader("Allow", strings.Join(allowed, ", "))
}

// splitPath decodes a path into its segments. Leading, repeated and trailing slashes at its ends are tolerated, as
// clients send "//subscriptions"; and one after a namespace, where az leaves out the parent that a resource does not have:
// "providers/Microsoft.Media//mediaservices/a".
func splitPath(escaped string) ([]string, error) {
	segments := strings.Split(strings.Trim(escaped, "/"), "/")
	for i := 2; i < len(segments); i++ {
		if segments[i] == "" && strings.EqualFold(segments[i-2], "providers") {
			segments = slices.Delete(segments, i, i+1)
		}
	}
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		bad := func(c rune) bool { return c == '/' || unicode.IsControl(c) }
		if err != nil || !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, bad) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestUri",
				"The path segment '%s' is not valid: it holds a slash, a control character or a broken escape.", s)
		}
		segments[i] = decoded
	}
	return segments, nil
}

// match compares a command's pattern with a path's segments.
func match(pattern string, segments []string) (map[string]string, bool) {
	vars := map[string]string{}
	parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	for i, p := range parts {
		if name, ok := strings.CutSuffix(p, "...}"); ok {
			vars[name[1:]] = strings.Join(segments[min(i, len(segments)):], "/")
			return vars, true
		}
		switch {
		case i >= len(segments):
			return nil, false
		case strings.HasPrefix(p, "{") && segments[i] != "":
			vars[p[1:len(p)-1]] = segments[i]
		case !strings.EqualFold(p, segments[i]):
			return nil, false
		}
	}
	return vars, len(parts) == len(segments)
}

// queryValue returns a query parameter by name in any case, as Azure reads them.
func queryValue(u *url.URL, name string) string {
	for key, values := range u.Query() {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-zA-Z]+(\.\d+)?)?$`)

// checkVersion returns the request's api-version when it is one of those understood; a provider of commands alone,
// which has none to name, understands any.
func checkVersion(r *http.Request, versions []string) (string, error) {
	version := strings.ToLower(queryValue(r.URL, "api-version"))
	switch {
	case version == "":
		return "", azure.Errorf(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	case slices.Contains(versions, version), len(versions) == 0 && versionForm.MatchString(version):
		return version, nil
	case !versionForm.MatchString(version):
		return "", azure.Errorf(http.StatusBadRequest, "InvalidApiVersionParameter",
			"The api-version '%s' is invalid. The supported versions are '%s'.", version, strings.Join(versions, ","))
	}
	return "", azure.Errorf(http.StatusBadRequest, "NoRegisteredProviderFound",
		"No registered resource provider found for API version '%s' at '%s'. The supported api-versions are '%s'.",
		version, r.URL.Path, strings.Join(versions, ", "))
}

// target returns what a request on a type is about.
func (m *Manager) target(r *azure.Request) (azure.ResourceID, View, error) {
	id, err := azure.ParseResourceID(r.Vars[varID])
	return id, m.view(r), err
}

func (m *Manager) view(r *azure.Request) View {
	return View{URLs: m.o.Hosts.For(r.Request), Version: r.Vars[varVersion]}
}
