package keyvault

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// operation is one operation of the data plane. Its name is the one under which Azure logs it.
type operation struct {
	name       string
	method     string
	patterns   []string
	action     string // RBAC data action
	permission string // what an access policy calls it
	run        func(c *call) (*result, error)
}

// result is what an operation answers with.
type result struct {
	status int
	body   any // nil: none
}

// call is a request on its way through the data plane.
type call struct {
	*azure.Request
	vault      properties
	resource   *arm.Resource
	urls       azure.URLs
	apiVersion string
	assignment string            // the role assignment that allowed
	details    map[string]string // for the audit record
	recorded   bool              // the record was committed with the change
}

type callKey struct{}

// callOf returns the call that Handler put into the context.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// apiVersions of the data plane, newest stable first.
var apiVersions = []string{
	"2026-04-01", "2025-07-01", "7.6", "7.5", "7.4", "7.3", "7.2", "7.1", "7.0", "2016-10-01",
	"7.6-preview.2", "7.6-preview.1", "7.5-preview.1", "7.4-preview.1", "7.3-preview", "7.2-preview", "7.1-preview",
	"7.0-preview", "2025-06-01-preview", "2026-01-01-preview", "2026-03-01-preview", "2026-05-01-preview", "2026-07-01-preview",
}

// serviceVersion is x-ms-keyvault-service-version.
const serviceVersion = "1.9.2600.0"

// vaultAppID is the id of the application "Azure Key Vault", an audience that stands for https://vault.azure.net.
const vaultAppID = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"

// Routes lists the rows of the data plane.
func (v *Vaults) Routes() []azure.Route {
	var rows []azure.Route
	for _, op := range v.operations {
		for _, pattern := range op.patterns {
			rows = append(rows, azure.Route{
				Name: op.name, Method: op.method, Pattern: pattern, Action: op.action, Data: true, Handle: v.handle(op),
			})
		}
	}
	return rows
}

// Handler serves the data plane of every vault; the host name says which.
func (v *Vaults) Handler() http.Handler {
	router := &azure.Router{
		Service: "vault", Routes: v.Routes(), Authenticate: v.authenticate, Authorize: v.authorize, Render: render, NotFound: unknownPath,
	}
	if err := router.Check(); err != nil {
		panic(err) // a row of this package is wrong
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{details: map[string]string{}}
		router.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	})
}

func render(w http.ResponseWriter, r *http.Request, e *azure.Error) {
	setHeaders(w.Header(), r, callOf(r.Context()))
	azure.RenderKeyVault(w, r, e)
}

// setHeaders sets what every answer of a vault carries.
func setHeaders(h http.Header, r *http.Request, c *call) {
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Ms-Keyvault-Service-Version", serviceVersion)
	if id := azure.RequestID(r.Context()); id != "" {
		h.Set("X-Ms-Request-Id", id)
	}
	kind, family := "Ipv4", "InterNetwork"
	ip := clientIP(r.RemoteAddr)
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() {
		kind, family = "Ipv6", "InterNetworkV6"
	}
	h.Set("X-Ms-Keyvault-Network-Info", "conn_type="+kind+";addr="+ip+";act_addr_fam="+family+";")
	if c.resource != nil {
		h.Set("X-Ms-Keyvault-Region", c.resource.Location)
	}
	if c.assignment != "" {
		h.Set("X-Ms-Keyvault-Rbac-Assignment-Id", c.assignment)
	}
}

// authenticate finds the vault and the caller. The api-version comes after the token: a client's first request has no
// token and is answered with the challenge, whatever else it lacks.
func (v *Vaults) authenticate(r *azure.Request) error {
	c := callOf(r.Context())
	c.Request = r
	c.urls = v.Hosts.For(r.Request)
	target, ok := v.Hosts.Parse(r.Host)
	if !ok || target.Service != azure.Vault {
		return vaultNotFound(r.Host)
	}
	found, err := v.vault(r.Context(), target.Name)
	if err != nil {
		return err
	}
	c.resource, c.vault = found.resource, found.properties
	raw, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		return v.challenge(c, "AKV10000: Request is missing a Bearer or PoP token.")
	}
	r.Caller, err = v.Verify(r.Context(), raw, func(audience string) bool { return slices.Contains(v.audiences(c), audience) })
	var refused *azure.TokenError
	if errors.As(err, &refused) {
		if err := v.observe(c, refused); err != nil {
			return err
		}
		return v.challenge(c, v.explain(c, refused))
	}
	if err != nil {
		return err
	}
	c.apiVersion = r.URL.Query().Get("api-version")
	switch {
	case c.apiVersion == "":
		return badParameter("api-version must be specified. The latest supported version is %s.", apiVersions[0])
	case !slices.Contains(apiVersions, c.apiVersion):
		return badParameter("The specified version (%s) is not recognized. Consider using the latest supported version (%s).", c.apiVersion, apiVersions[0])
	}
	return nil
}

func bearer(header string) (string, bool) {
	scheme, raw, _ := strings.Cut(header, " ")
	raw = strings.TrimSpace(raw)
	return raw, strings.EqualFold(scheme, "Bearer") && raw != ""
}

// audiences are those that a token for this vault may have, compared exactly as Azure does: the public one has no
// slash at its end.
func (v *Vaults) audiences(c *call) []string {
	return []string{"https://vault.azure.net", vaultAppID, azure.URLs{Hosts: v.Hosts}.VaultResource()}
}

// challenge is a 401 that tells the client where to get a token for what.
func (v *Vaults) challenge(c *call, message string) *azure.Error {
	return azure.Errorf(http.StatusUnauthorized, "Unauthorized", "%s", message).WithHeader("WWW-Authenticate",
		`Bearer authorization="`+c.urls.Login()+"/"+v.TenantID+`", resource="`+c.urls.VaultResource()+`"`)
}

// explain words a refused token as Key Vault does, where its wording is known.
func (v *Vaults) explain(c *call, e *azure.TokenError) string {
	switch e.Problem {
	case azure.TokenMissing:
		return "AKV10000: Request is missing a Bearer or PoP token."
	case azure.TokenAudience:
		return "AKV10022: Invalid audience. Expected " + strings.Join(v.audiences(c), " or ") + ", found: " + e.Found + "."
	case azure.TokenIssuer:
		return "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/" + v.TenantID + "/, " + c.urls.Login() + "/" + v.TenantID + "/v2.0, found " + e.Found + "."
	case azure.TokenSignature:
		return "AKV10046: Unable to resolve the key used for signature validation. " + e.Detail
	}
	return "[TokenRefused] Error validating token: " + e.Detail
}

// authorize is the firewall and then the decision on the action. A name is checked before it becomes part of a scope.
func (v *Vaults) authorize(r *azure.Request) error {
	c := callOf(r.Context())
	scope := c.resource.ID
	if name, ok := r.Vars["name"]; ok {
		if err := checkKeyName(name); err != nil {
			return err
		}
		scope = scope.Child("keys", name)
	}
	r.Scope = scope.String()
	err := c.admit(r.Caller)
	if err == nil {
		err = v.decide(r, c)
	}
	if e := (*azure.Error)(nil); errors.As(err, &e) {
		if err := v.record(c, "Denied", e.Status, e.Inner+": "+firstLine(e.Message)); err != nil {
			return err
		}
	}
	return err
}

func (v *Vaults) decide(r *azure.Request, c *call) error {
	if !c.vault.RBAC {
		permission := v.permission(r.Route.Name)
		if c.vault.allowKeys(r.Caller, permission) {
			return nil
		}
		return forbidden("ForbiddenByPolicy", "The user, group or application '%s;numgroups=%d' does not have keys %s permission on key vault '%s'. "+
			"Add '%s' to permissions.keys of an access policy for object %s on the vault. "+
			"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
			describe(r.Caller), len(r.Caller.Groups), permission, c.vaultAndLocation(), permission, r.Caller.ObjectID)
	}
	d, err := v.RBAC.Decide(r.Context(), rbac.Query{
		Principals: r.Caller.Principals(), Action: r.Route.Action, Data: true, Scope: r.Scope,
	})
	if err != nil {
		return err
	}
	if d.Allowed {
		if d.Assignment != nil {
			c.assignment = d.Assignment.ID
		}
		return nil
	}
	return forbiddenByRBAC(r, c, d)
}

// forbiddenByRBAC tells a decision as Key Vault does, and then in its own words. The reason that Azure names when a deny
// assignment decided is not known to be documented.
func forbiddenByRBAC(r *azure.Request, c *call, d *rbac.Decision) *azure.Error {
	denial, reason := "null", "'DeniedWithNoValidRBAC'"
	if d.Denial != nil {
		denial, reason = "'"+d.Denial.ID+"'", "null"
	}
	return forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n"+
		"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
		"Caller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: %s\r\n"+
		"DecisionReason: %s \r\nVault: %s\r\n%s\r\n",
		describe(r.Caller), r.Route.Action, r.Scope, denial, reason, c.vaultAndLocation(), d.Reason())
}

func (v *Vaults) permission(name string) string {
	i := slices.IndexFunc(v.operations, func(op operation) bool { return op.name == name })
	return v.operations[i].permission
}

// vaultAndLocation names the vault as refusals do.
func (c *call) vaultAndLocation() string {
	return c.resource.ID.Name() + ";location=" + c.resource.Location
}

// handle runs an operation, records it, unless update did, and only then answers.
func (v *Vaults) handle(op operation) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		c := callOf(r.Context())
		out, err := op.run(c)
		if c.recorded {
			return c.answer(w, out)
		}
		outcome, status, reason := "Success", 0, ""
		if err != nil {
			e, _ := azure.AsError(err)
			outcome, status, reason = "Failure", e.Status, e.Code+": "+firstLine(e.Message)
		} else {
			status = out.status
		}
		if err := v.record(c, outcome, status, reason); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		return c.answer(w, out)
	}
}

func (c *call) answer(w http.ResponseWriter, out *result) error {
	setHeaders(w.Header(), c.Request.Request, c)
	if out.body == nil {
		w.WriteHeader(out.status)
		return nil
	}
	return azure.WriteJSON(w, out.status, out.body)
}

// settle gives what has to be finished, though the client may have gone, a context of its own.
func settle(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

func (c *call) auditRecord(outcome string, status int, reason string) audit.Record {
	r := audit.Record{
		RequestID: azure.RequestID(c.Context()), Category: "AuditEvent", Operation: c.Route.Name, Action: c.Route.Action,
		Resource: c.resource.ID.String(), ClientIP: clientIP(c.RemoteAddr), Result: outcome, Status: status, Reason: reason,
	}
	if c.Scope != "" {
		r.Resource = c.Scope
	}
	if c.Caller != nil {
		r.Principal, r.Identity = c.Caller.ObjectID, c.Caller.ResourceID
		if c.assignment != "" && reason == "" {
			r.Reason = "role assignment " + c.assignment
		}
	}
	return r
}

// outcome is the record of what came of the call.
func (c *call) outcome(result string, status int, reason string) audit.Record {
	rec := c.auditRecord(result, status, reason)
	rec.Details = c.details
	rec.Details["apiVersion"] = c.apiVersion
	if agent := c.UserAgent(); agent != "" {
		rec.Details["clientInfo"] = agent[:min(len(agent), 200)]
	}
	return rec
}

func (v *Vaults) record(c *call, result string, status int, reason string) error {
	ctx, done := settle(c.Context())
	defer done()
	return v.Audit.Append(ctx, c.outcome(result, status, reason))
}

// observe counts refused tokens by vault and operation: who sends them is not known, so they must not be able to fill
// the log, not even from ever new addresses. The record names the first of a minute's.
func (v *Vaults) observe(c *call, e *azure.TokenError) error {
	rec := c.auditRecord("Denied", http.StatusUnauthorized, "token refused: "+string(e.Problem))
	rec.ClientIP, rec.Details = "", map[string]string{"firstClientIp": rec.ClientIP}
	return v.Audit.Observe(c.Context(), rec)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}

// update changes keys to the end, though the client may have gone, and records the success in the same transaction, so
// that no crash leaves one without the other. After a change whose outcome is unknown nothing that is in memory is taken
// for true.
func (v *Vaults) update(c *call, fn func(ctx context.Context, tx *store.Tx) (*result, error)) (out *result, err error) {
	ctx, done := settle(c.Context())
	defer done()
	err = v.DB.Update(ctx, func(tx *store.Tx) error {
		if out, err = fn(ctx, tx); err != nil {
			return err
		}
		return v.Audit.In(ctx, tx, c.outcome("Success", out.status, ""))
	})
	var refused *azure.Error
	if err != nil && !errors.As(err, &refused) {
		v.rows.keys.Doubt()
		v.privates.drop(func(keyID) bool { return true })
	}
	c.recorded = err == nil
	return out, err
}
