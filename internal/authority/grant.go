package authority

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
)

// tokenRequest is a request to a token endpoint on its way through a grant.
type tokenRequest struct {
	form    url.Values
	v2      bool       // the version 2 endpoint, which takes scopes; version 1 takes a resource as well
	urls    azure.URLs // the naming in which to answer
	browser bool       // a page of another origin asks
	client  client
	record  *audit.Record // what a grant learns of who asks for what goes in here
}

// tokenAnswer is what a grant gives: an access token always, the others to users' clients that ask for them.
type tokenAnswer struct {
	access     *token
	scope      string
	refresh    string
	id         string
	clientInfo string
}

// token serves the token endpoints: version 1 takes a resource, version 2 a scope.
func (a *Authority) token(w http.ResponseWriter, r *azure.Request, v2 bool) error {
	allowBrowsers(w)
	tenant, err := a.tenant(r)
	if err != nil {
		return err
	}
	req := &tokenRequest{
		v2: v2, urls: a.o.Hosts.For(r.Request), browser: r.Header.Get("Origin") != "",
		record: &audit.Record{Operation: "Token.ClientCredentials", ClientIP: clientIP(r.Request), Details: map[string]string{}},
	}
	given, err := a.grant(r, req)
	if err != nil {
		return a.auditRefusal(r.Context(), *req.record, err)
	}
	if err := a.auditIssue(r.Context(), *req.record, given.access); err != nil {
		return err
	}
	azure.EventOf(r.Context()).Principal = given.access.ObjectID
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	return given.write(w, v2 || tenant == "adfs")
}

// grant reads the request and passes it to the grant that it names.
func (a *Authority) grant(r *azure.Request, req *tokenRequest) (*tokenAnswer, error) {
	var err error
	if req.form, err = readForm(r); err != nil {
		return nil, err
	}
	grants := map[string]struct {
		operation string
		give      func(context.Context, *tokenRequest) (*tokenAnswer, error)
	}{
		"client_credentials": {"Token.ClientCredentials", a.clientCredentials},
		"authorization_code": {"Token.AuthorizationCode", a.redeemCode},
		"refresh_token":      {"Token.RefreshToken", a.refresh},
		"password":           {"Token.Password", a.password},
		"device_code":        {"Token.DeviceCode", a.redeemDevice}, // ADAL's and older MSAL's name
		"urn:ietf:params:oauth:grant-type:device_code": {"Token.DeviceCode", a.redeemDevice},
		"urn:ietf:params:oauth:grant-type:jwt-bearer":  {"Token.OnBehalfOf", a.onBehalfOf},
	}
	kind := req.form.Get("grant_type")
	g, ok := grants[kind]
	switch {
	case kind == "":
		return nil, missing("grant_type")
	case !ok:
		return nil, aadsts(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", shown(kind))
	}
	req.record.Operation = g.operation
	if req.client, err = clientOf(r.Request, req.form); err != nil {
		return nil, err
	}
	req.record.Details["clientId"] = shown(req.client.id)
	return g.give(r.Context(), req)
}

// write sends an answer. Entra's version 1 writes numbers as text; version 2 and AD FS do not.
func (g *tokenAnswer) write(w http.ResponseWriter, numbers bool) error {
	t := g.access
	lifetime := int(time.Until(t.expires()).Seconds())
	if numbers {
		return azure.WriteJSON(w, http.StatusOK, struct {
			Type       string `json:"token_type"`
			Scope      string `json:"scope,omitempty"`
			ExpiresIn  int    `json:"expires_in"`
			Extended   int    `json:"ext_expires_in"`
			Token      string `json:"access_token"`
			Refresh    string `json:"refresh_token,omitempty"`
			ID         string `json:"id_token,omitempty"`
			ClientInfo string `json:"client_info,omitempty"`
		}{"Bearer", g.scope, lifetime, lifetime, t.raw, g.refresh, g.id, g.clientInfo})
	}
	return azure.WriteJSON(w, http.StatusOK, struct {
		Type       string `json:"token_type"`
		Scope      string `json:"scope,omitempty"`
		ExpiresIn  string `json:"expires_in"`
		Extended   string `json:"ext_expires_in"`
		ExpiresOn  string `json:"expires_on"`
		NotBefore  string `json:"not_before"`
		Resource   string `json:"resource"`
		Token      string `json:"access_token"`
		Refresh    string `json:"refresh_token,omitempty"`
		ID         string `json:"id_token,omitempty"`
		ClientInfo string `json:"client_info,omitempty"`
	}{
		"Bearer", g.scope, strconv.Itoa(lifetime), strconv.Itoa(lifetime), strconv.FormatInt(t.Expires, 10), strconv.FormatInt(t.NotBefore, 10),
		t.Audience, t.raw, g.refresh, g.id, g.clientInfo,
	})
}

// allowBrowsers lets pages of every origin read an answer. The endpoints that do so look at no cookie, so a page learns
// nothing that its server could not ask for itself.
func allowBrowsers(w http.ResponseWriter) { w.Header().Set("Access-Control-Allow-Origin", "*") }

// preflight answers a browser that asks whether a page may call an endpoint.
func preflight(w http.ResponseWriter, _ *azure.Request) error {
	allowBrowsers(w)
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
	w.Header().Set("Access-Control-Allow-Headers", "*, Authorization")
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
