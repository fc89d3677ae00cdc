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
)

// Graph serves Microsoft Graph v1.0, and of Azure AD Graph 1.6 the look-up of service principals, over a directory. It
// is used through a pointer, as a struct literal.
//
// Every principal of the tenant may read. Writing takes the right to assign roles at the root scope: who may give a
// principal a new secret can act as it, so nobody with less may.
type Graph struct {
	Directory *Directory
	RBAC      *rbac.RBAC
	Audit     *audit.Log
	Verify    azure.VerifyToken
	Hosts     azure.Hosts
}

const (
	readDirectory   = "Microsoft.Directory/directoryObjects/read"
	changeDirectory = "Microsoft.Authorization/roleAssignments/write"
)

// graphResource is the application id of Microsoft Graph in every tenant.
const graphResource = "00000003-0000-0000-c000-000000000000"

// Routes lists the operations.
func (g *Graph) Routes() []azure.Route {
	var rows []azure.Route
	row := func(name, method, path, action string, handle func(http.ResponseWriter, *azure.Request) error) {
		rows = append(rows, azure.Route{Name: "Graph." + name, Method: method, Pattern: "/v1.0/" + path, Action: action, MaxBody: maxObject, Handle: handle})
	}
	for _, s := range []*objectSet{applicationSet, servicePrincipalSet, userSet, groupSet} {
		row(s.name+".List", http.MethodGet, s.name, readDirectory, g.list(s))
		row(s.name+".Get", http.MethodGet, s.name+"/{id}", readDirectory, g.get(s))
		row(s.name+".Update", http.MethodPatch, s.name+"/{id}", changeDirectory, g.update(s))
		row(s.name+".Delete", http.MethodDelete, s.name+"/{id}", changeDirectory, g.delete(s))
		if s != userSet {
			row(s.name+".ListOwners", http.MethodGet, s.name+"/{id}/owners", readDirectory, g.none(s))
		}
		if s != applicationSet {
			row(s.name+".ListMemberOf", http.MethodGet, s.name+"/{id}/memberOf", readDirectory, g.memberOf(s, false))
			row(s.name+".ListTransitiveMemberOf", http.MethodGet, s.name+"/{id}/transitiveMemberOf", readDirectory, g.memberOf(s, true))
			row(s.name+".GetMemberGroups", http.MethodPost, s.name+"/{id}/getMemberGroups", readDirectory, g.memberGroups(s))
		}
	}
	row("applications.Create", http.MethodPost, "applications", changeDirectory, g.createApplication)
	row("servicePrincipals.Create", http.MethodPost, "servicePrincipals", changeDirectory, g.createServicePrincipal)
	row("users.Create", http.MethodPost, "users", changeDirectory, g.createUser)
	row("groups.Create", http.MethodPost, "groups", changeDirectory, g.createGroup)
	for _, s := range []*objectSet{applicationSet, servicePrincipalSet} {
		row(s.name+".AddPassword", http.MethodPost, s.name+"/{id}/addPassword", changeDirectory, g.addPassword(s))
		row(s.name+".RemovePassword", http.MethodPost, s.name+"/{id}/removePassword", changeDirectory, g.removePassword(s))
	}
	row("applications.ListFederatedIdentityCredentials", http.MethodGet, "applications/{id}/federatedIdentityCredentials", readDirectory, g.listFederated)
	row("applications.GetFederatedIdentityCredential", http.MethodGet, "applications/{id}/federatedIdentityCredentials/{credential}", readDirectory, g.getFederated)
	row("applications.CreateFederatedIdentityCredential", http.MethodPost, "applications/{id}/federatedIdentityCredentials", changeDirectory, g.createFederated)
	row("applications.DeleteFederatedIdentityCredential", http.MethodDelete, "applications/{id}/federatedIdentityCredentials/{credential}", changeDirectory, g.deleteFederated)
	row("groups.ListMembers", http.MethodGet, "groups/{id}/members", readDirectory, g.listMembers)
	row("groups.AddMember", http.MethodPost, "groups/{id}/members/$ref", changeDirectory, g.addMember)
	row("groups.RemoveMember", http.MethodDelete, "groups/{id}/members/{member}/$ref", changeDirectory, g.removeMember)
	row("directoryObjects.Get", http.MethodGet, "directoryObjects/{id}", readDirectory, g.getObject)
	row("directoryObjects.GetByIds", http.MethodPost, "directoryObjects/getByIds", readDirectory, g.getByIDs)
	row("directoryObjects.CheckMemberGroups", http.MethodPost, "directoryObjects/{id}/checkMemberGroups", readDirectory, g.checkMemberGroups)
	row("me.Get", http.MethodGet, "me", readDirectory, g.me)
	rows = append(rows, azure.Route{
		Name: "AzureADGraph.servicePrincipals.List", Method: http.MethodGet, Pattern: "/{tenant}/servicePrincipals",
		Query: map[string]string{"api-version": "1.6"}, Action: readDirectory, Handle: g.listOld,
	})
	return rows
}

// Handler serves the rows.
func (g *Graph) Handler() http.Handler {
	router := &azure.Router{
		Service: azure.Graph, Routes: g.Routes(), Authenticate: g.authenticate, Authorize: g.authorize, Render: renderGraph,
		NotFound: func(r *http.Request, allowed []string) *azure.Error {
			if len(allowed) > 0 {
				return azure.Errorf(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.").
					WithHeader("Allow", strings.Join(allowed, ", "))
			}
			return azure.Errorf(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '%s'.", r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		},
	}
	for i := range router.Routes {
		router.Routes[i].Handle = g.recorded(router.Routes[i])
	}
	if err := router.Check(); err != nil {
		panic(err) // the rows above are wrong
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := alternateKey.ReplaceAllString(r.URL.EscapedPath(), "/$1$2"); path != r.URL.EscapedPath() {
			plain, err := url.PathUnescape(path)
			if err == nil { // else no row matches
				r = r.Clone(r.Context())
				r.URL.Path, r.URL.RawPath = plain, path
			}
		}
		router.ServeHTTP(w, r)
	})
}

// alternateKey is an object named in parentheses: servicePrincipals(appId='...'), users('...'). It becomes the path
// segment that names it, with the property's name kept in front: "appId=...".
var alternateKey = regexp.MustCompile(`\((?:([A-Za-z]+=))?(?:'|%27)([^'()/]*?)(?:'|%27)\)`)

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

// authorize lets every principal read and decides on writing at the root scope.
func (g *Graph) authorize(r *azure.Request) error {
	r.Scope = "/"
	if r.Route.Action == readDirectory {
		return nil
	}
	d, err := g.RBAC.Decide(r.Context(), rbac.Query{Principals: r.Caller.Principals(), Action: r.Route.Action, Scope: r.Scope})
	if err != nil {
		return fmt.Errorf("deciding on %s: %w", r.Route.Action, err)
	}
	if d.Allowed {
		return g.record(r.Context(), r, "Allowed", 0, d.Reason())
	}
	if err := g.record(r.Context(), r, "Denied", http.StatusForbidden, d.Reason()); err != nil {
		return err
	}
	return azure.Errorf(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation. %s", d.Reason())
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
	var body any = map[string]any{"error": map[string]any{
		"code": e.Code, "message": e.Message,
		"innerError": map[string]any{"date": now, "request-id": id, "client-request-id": azure.EventOf(r.Context()).ClientRequestID},
	}}
	if r.URL.Query().Get("api-version") == "1.6" {
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
