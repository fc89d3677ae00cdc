package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// Graph serves Microsoft Graph v1.0 over a directory, the same under /beta, and Azure AD Graph 1.6 as a translation of it.
// It is used through a pointer, as a struct literal.
//
// Every principal of the tenant may read. Writing takes the right to assign roles at the root scope: who may give a
// principal a new secret can act as it, so nobody with less may, but the owners of an object.
type Graph struct {
	Directory *Directory
	RBAC      *rbac.RBAC
	Audit     *audit.Log
	Verify    azure.VerifyToken
	Hosts     azure.Hosts
	SignIns   SignIns
	Passwords Passwords
}

const (
	readDirectory   = "Microsoft.Directory/directoryObjects/read"
	changeDirectory = "Microsoft.Authorization/roleAssignments/write"
	changeOwn       = "Microsoft.Directory/users/password/update"                   // every user's right, on the user itself
	endOwn          = "Microsoft.Directory/users/invalidateAllRefreshTokens/action" // likewise
)

// Handler serves the rows.
func (g *Graph) Handler() http.Handler {
	var entry http.Handler // what a batch calls for each of its requests
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { entry.ServeHTTP(w, r) })
	owned := map[string]*objectSet{}
	router := &azure.Router{
		Service: azure.Graph, Authenticate: g.authenticate, Render: renderGraph,
		Authorize: func(r *azure.Request) error { return g.authorize(r, owned[r.Route.Name]) },
		NotFound: func(r *http.Request, allowed []string) *azure.Error {
			if len(allowed) > 0 {
				return azure.Errorf(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.").
					WithHeader("Allow", strings.Join(allowed, ", "))
			}
			return azure.Errorf(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '%s'.", r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		},
	}
	for _, row := range g.rows(serve) {
		owned[row.Name] = row.owned
		row.Handle = g.recorded(row.Route)
		router.Routes = append(router.Routes, row.Route)
	}
	if err := router.Check(); err != nil {
		panic(err) // the rows above are wrong
	}
	entry = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { router.ServeHTTP(w, plainPath(r)) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if oldGraph(r) {
			g.serveOld(w, r, entry)
			return
		}
		entry.ServeHTTP(w, r)
	})
}

// alternateKey is an object named in parentheses: servicePrincipals(appId='...'), users('...'). It becomes the path
// segment that names it, with the property's name kept in front: "appId=...".
var alternateKey = regexp.MustCompile(`\((?:([A-Za-z]+=))?(?:'|%27)([^'()/]*?)(?:'|%27)\)`)

// betaKey says in a request's context that it came under /beta.
type betaKey struct{}

// plainPath brings the ways in which OData writes a path to the one that rows have. Of an action's full name,
// microsoft.graph.getByIds, the last part remains.
func plainPath(r *http.Request) *http.Request {
	path := alternateKey.ReplaceAllString(r.URL.EscapedPath(), "/$1$2")
	beta := strings.HasPrefix(path, "/beta/")
	if beta {
		path = "/v1.0" + strings.TrimPrefix(path, "/beta")
	}
	if r.Method == http.MethodPost {
		path = strings.Replace(path, "/microsoft.graph.", "/", 1)
	}
	plain, err := url.PathUnescape(path)
	if path == r.URL.EscapedPath() || err != nil { // else no row matches
		return r
	}
	if beta {
		r = r.WithContext(context.WithValue(r.Context(), betaKey{}, true))
	}
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = plain, path
	return r
}

// root is the address under which a request came.
func (g *Graph) root(r *azure.Request) string {
	if r.Context().Value(betaKey{}) != nil {
		return g.Hosts.For(r.Request).Graph() + "/beta"
	}
	return g.Hosts.For(r.Request).Graph() + "/v1.0"
}

func (g *Graph) context(r *azure.Request, s string) string { return g.root(r) + "/$metadata#" + s }

func (g *Graph) authenticate(r *azure.Request) error {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(raw) == "" {
		return g.unauthorized(r, "Access token is empty.")
	}
	var err error
	r.Caller, err = g.Verify(r.Context(), strings.TrimSpace(raw), g.accepts)
	if refused, ok := err.(*azure.TokenError); ok {
		return g.unauthorized(r, "Access token validation failure: "+refused.Detail)
	}
	return err
}

func (g *Graph) unauthorized(r *azure.Request, message string) error {
	return azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "%s", message).WithHeader("WWW-Authenticate",
		fmt.Sprintf(`Bearer realm="", authorization_uri="%s/common/oauth2/authorize", client_id="%s"`, g.Hosts.For(r.Request).Login(), graphResource))
}

func (g *Graph) accepts(audience string) bool {
	own := azure.URLs{Hosts: g.Hosts}.Graph()
	return slices.Contains([]string{"https://graph.microsoft.com", "https://graph.windows.net", graphResource, strings.ToLower(own)},
		strings.ToLower(strings.TrimSuffix(audience, "/")))
}

// authorize lets every principal read and decides on writing at the root scope. Who owns an object of a row's set may
// change it without more.
func (g *Graph) authorize(r *azure.Request, owned *objectSet) error {
	r.Scope = "/"
	if err := checkScopes(r); err != nil {
		return err
	}
	switch r.Route.Action {
	case readDirectory:
		return nil
	case changeOwn, endOwn:
		return g.record(r.Context(), r, "Allowed", 0, "Users may change their own password and end their own sign-ins.")
	}
	d, err := g.RBAC.Decide(r.Context(), rbac.Query{Principals: r.Caller.Principals(), Action: r.Route.Action, Scope: r.Scope})
	if err != nil {
		return fmt.Errorf("deciding on %s: %w", r.Route.Action, err)
	}
	if d.Allowed {
		return g.record(r.Context(), r, "Allowed", 0, d.Reason())
	}
	if owned != nil {
		mine := false
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := owned.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				mine, err = owns(r.Context(), tx, []string{r.Caller.ObjectID}, o.ID)
			}
			return err
		})
		if mine {
			return g.record(r.Context(), r, "Allowed", 0, "The caller owns the object.")
		}
		if e, _ := azure.AsError(err); err != nil && e.Status != http.StatusNotFound {
			return err
		}
	}
	if err := g.record(r.Context(), r, "Denied", http.StatusForbidden, d.Reason()); err != nil {
		return err
	}
	return azure.Errorf(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation. %s", d.Reason())
}

// MayChange reports whether somebody, with the groups that they are in, may change the directory.
func (g *Graph) MayChange(ctx context.Context, principals []string) (bool, error) {
	d, err := g.RBAC.Decide(ctx, rbac.Query{Principals: principals, Action: changeDirectory, Scope: "/"})
	return d.Allowed, err
}

func (g *Graph) record(ctx context.Context, r *azure.Request, result string, status int, reason string) error {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	err := g.Audit.Append(ctx, audit.Record{
		RequestID: azure.RequestID(ctx), Category: "Administrative", Operation: r.Route.Name, Action: r.Route.Action, Resource: r.Scope,
		Principal: r.Caller.ObjectID, Identity: r.Caller.ResourceID, ClientIP: ip, Result: result, Status: status, Reason: reason,
		Details: map[string]string{"path": r.URL.Path},
	})
	if err != nil {
		return fmt.Errorf("recording %s: %w", r.Route.Name, err)
	}
	return nil
}

// recorded makes a row that writes record its failure.
func (g *Graph) recorded(row azure.Route) func(http.ResponseWriter, *azure.Request) error {
	if row.Action == readDirectory {
		return row.Handle
	}
	return func(w http.ResponseWriter, r *azure.Request) error {
		err := row.Handle(w, r)
		if err == nil {
			return nil
		}
		e, _ := azure.AsError(err)
		// The client may be gone by now; what it tried is recorded all the same.
		if failed := g.record(context.WithoutCancel(r.Context()), r, "Failure", e.Status, e.Code); failed != nil {
			return fmt.Errorf("%w (and %v)", err, failed)
		}
		return err
	}
}

// renderGraph writes {"error":{"code","message","innerError"}}, and what Azure AD Graph wrote for its own version.
func renderGraph(w http.ResponseWriter, r *http.Request, e *azure.Error) {
	id, now := azure.RequestID(r.Context()), time.Now().UTC().Format("2006-01-02T15:04:05")
	told := map[string]any{
		"code": e.Code, "message": e.Message,
		"innerError": map[string]any{"date": now, "request-id": id, "client-request-id": azure.EventOf(r.Context()).ClientRequestID},
	}
	if e.Target != "" {
		told["target"] = e.Target
	}
	var body any = map[string]any{"error": told}
	if r.Context().Value(oldKey{}) != nil {
		body = map[string]any{"odata.error": map[string]any{
			"code": e.Code, "message": map[string]any{"lang": "en", "value": e.Message}, "requestId": id, "date": now,
		}}
	}
	for name, values := range e.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.Header().Set("Request-Id", id)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(body) // a client that hung up is not an error of ours
	}
}

func errNoObject(id string) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "Request_ResourceNotFound",
		"Resource '%s' does not exist or one of its queried reference-property objects are not present.", id)
}

func errGraph(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "Request_BadRequest", format, args...)
}
