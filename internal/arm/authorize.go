package arm

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

// authenticate sets the caller from the bearer token, which must be meant for the resource manager.
func (m *Manager) authenticate(r *azure.Request) error { return m.authenticateFor(r, m.audiences()) }

// authenticateFor sets the caller from a bearer token that is meant for one of some audiences.
func (m *Manager) authenticateFor(r *azure.Request, audiences []string) error {
	accepts := func(audience string) bool {
		return slices.Contains(audiences, strings.ToLower(strings.TrimSuffix(audience, "/")))
	}
	header := r.Header.Get("Authorization")
	scheme, raw, _ := strings.Cut(header, " ")
	urls := m.o.Hosts.For(r.Request)
	var err error
	switch {
	case header == "":
		return m.unauthorized(urls, azure.Errorf(http.StatusUnauthorized, "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing."))
	case !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(raw) == "":
		return m.unauthorized(urls, azure.Errorf(http.StatusUnauthorized, "AuthenticationFailedInvalidHeader",
			"Authentication failed. The 'Authorization' header is provided in an invalid format."))
	}
	r.Caller, err = m.o.Verify(r.Context(), strings.TrimSpace(raw), accepts)
	refused, ok := err.(*azure.TokenError)
	if !ok {
		return err
	}
	e := azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid: %s", refused.Detail)
	switch refused.Problem {
	case azure.TokenMissing:
		e.Code = "AuthenticationFailed"
	case azure.TokenExpired:
		e.Code, e.Message = "ExpiredAuthenticationToken", "The access token has expired: "+refused.Detail
	case azure.TokenIssuer:
		e.Code = "InvalidAuthenticationTokenTenant"
		e.Message = fmt.Sprintf("The access token is from the wrong issuer '%s'. It must match the tenant '%s' associated with "+
			"this subscription. Please use the authority (URL) '%s/%s' to get the token.", refused.Found, m.o.TenantID, urls.Login(), m.o.TenantID)
	case azure.TokenAudience:
		e.Code = "InvalidAuthenticationTokenAudience"
		e.Message = fmt.Sprintf("The access token has been obtained for wrong audience or resource '%s'. It should exactly match "+
			"with one of the allowed audiences '%s'.", refused.Found, strings.Join(audiences, "', '"))
	}
	return m.unauthorized(urls, e.Because(refused))
}

func (m *Manager) unauthorized(urls azure.URLs, e *azure.Error) *azure.Error {
	description := strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r < ' ' || r > '~' { // what would end or break a quoted-string
			return '\''
		}
		return r
	}, e.Message)
	return e.WithHeader("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`,
		urls.Login(), m.o.TenantID, description))
}

// audiences that a token may be meant for, without a slash at the end.
func (m *Manager) audiences() []string {
	own := azure.URLs{Hosts: m.o.Hosts}.Management()
	list := []string{"https://management.azure.com", "https://management.core.windows.net", own}
	if portless := (azure.URLs{Hosts: azure.Hosts{Domain: m.o.Hosts.Domain}}).Management(); portless != own {
		list = append(list, portless)
	}
	return list
}

// authorize decides on the route's action at the scope that lookup found.
func (m *Manager) authorize(r *azure.Request) error {
	if op, ok := r.Vars[varOperation]; ok {
		return m.authorizeOperation(r, op)
	}
	scope, ok := r.Vars[varScope]
	if !ok { // the handler shows no more than its caller may read
		return nil
	}
	r.Scope = scope
	if r.Vars[varThinned] != "" {
		return m.authorizeList(r)
	}
	return m.authorizeAt(r, r.Route.Action)
}

// authorizeAt decides on an action at r.Scope and records what is more than a read.
func (m *Manager) authorizeAt(r *azure.Request, action string) error {
	attributes, err := m.conditionAttributes(r)
	if err != nil {
		return err
	}
	d, err := m.decide(r.Context(), r.Caller, action, r.Route.Data, r.Scope, clientIP(r.Request), attributes)
	if err != nil || isRead(action) {
		return err
	}
	rec := m.record(r.Context(), r.Caller, action, r.Scope)
	rec.ClientIP, rec.Result, rec.Reason = clientIP(r.Request), "Allowed", d.Reason()
	return m.append(r.Context(), rec)
}

// decide returns the decision, or azure.Error 403 after having recorded the denial.
func (m *Manager) decide(ctx context.Context, caller *azure.Caller, action string, data bool, scope, clientIP string, attributes rbac.Attributes) (*rbac.Decision, error) {
	d, err := m.o.RBAC.Decide(ctx, rbac.Query{Principals: caller.Principals(), Action: action, Data: data, Scope: scope, Attributes: attributes})
	if err != nil {
		return nil, fmt.Errorf("deciding on %s at %s: %w", action, scope, err)
	}
	if d.Allowed {
		return d, nil
	}
	rec := m.record(ctx, caller, action, scope)
	rec.ClientIP, rec.Result, rec.Status, rec.Reason = clientIP, "Denied", http.StatusForbidden, d.Reason()
	if err := m.append(ctx, rec); err != nil {
		return nil, err
	}
	return nil, azure.Errorf(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is "+
			"invalid. If access was recently granted, please refresh your credentials. %s",
		caller.Name, caller.ObjectID, action, scope, d.Reason())
}

func (m *Manager) record(ctx context.Context, caller *azure.Caller, action, scope string) audit.Record {
	ev := azure.EventOf(ctx)
	rec := audit.Record{
		RequestID: ev.RequestID, Category: "Administrative", Operation: ev.Operation, Action: action, Resource: scope,
		Principal: caller.ObjectID, Identity: caller.ResourceID,
	}
	if rec.Identity == "" {
		rec.Identity = caller.IdentityID
	}
	return rec
}

func (m *Manager) append(ctx context.Context, rec audit.Record) error {
	if err := m.o.Audit.Append(ctx, rec); err != nil {
		return fmt.Errorf("recording %s: %w", rec.Action, err)
	}
	return nil
}

// recorded makes a row respect locks and record its failures, unless it only reads. Its decision is recorded by authorize.
func (m *Manager) recorded(row azure.Route) azure.Route {
	handle := row.Handle
	if row.Public != "" || isRead(row.Action) || handle == nil {
		return row
	}
	row.Handle = func(w http.ResponseWriter, r *azure.Request) error {
		err := m.checkLocks(r)
		if err == nil {
			err = handle(w, r)
		}
		if err == nil {
			return nil
		}
		e, _ := azure.AsError(err)
		rec := m.record(r.Context(), r.Caller, r.Route.Action, r.Scope)
		rec.ClientIP, rec.Result, rec.Status, rec.Reason = clientIP(r.Request), "Failure", e.Status, e.Code
		// The client may be gone by now; what it tried is recorded all the same.
		if failed := m.append(context.WithoutCancel(r.Context()), rec); failed != nil {
			return fmt.Errorf("%w (and %v)", err, failed)
		}
		return err
	}
	return row
}

func isRead(action string) bool { return strings.HasSuffix(strings.ToLower(action), "/read") }

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
