package authority

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
)

const (
	graphResource    = "https://graph.microsoft.com" // what scopes without a resource are of
	oldGraphResource = "https://graph.windows.net"   // what version 1 means when no resource is named
	everything       = ".default"
	asTheUser        = "user_impersonation" // the scope that every first-party resource offers
)

// wanted is what a client asks for in a user's name: one resource, and what OpenID Connect adds.
type wanted struct {
	Resource string   `json:"resource"` // the audience as it was asked for
	Scopes   []string `json:"scopes"`   // names at the resource
	OpenID   bool     `json:"openid,omitempty"`
	Profile  bool     `json:"profile,omitempty"`
	Email    bool     `json:"email,omitempty"`
	Offline  bool     `json:"offline,omitempty"` // a refresh token
	Asked    string   `json:"asked,omitempty"`   // the scope parameter as it was sent
}

var scopeName = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// wantedOf reads scope and, at version 1, resource. Version 1 always adds an ID token and a refresh token.
// https://learn.microsoft.com/entra/identity-platform/scopes-oidc
func wantedOf(form url.Values, v2 bool) (wanted, error) {
	w := wanted{Asked: strings.Join(strings.Fields(form.Get("scope")), " ")}
	resource := form.Get("resource")
	if !v2 && resource != "" {
		w.Resource, w.Scopes = resource, []string{everything}
	}
	for _, scope := range strings.Fields(form.Get("scope")) {
		switch scope {
		case "openid":
			w.OpenID = true
			continue
		case "profile":
			w.Profile = true
			continue
		case "email":
			w.Email = true
			continue
		case "offline_access":
			w.Offline = true
			continue
		}
		if !v2 && resource != "" {
			continue // version 1 goes by the resource
		}
		of, name := graphResource, scope
		if at := strings.LastIndexByte(scope, '/'); at >= 0 {
			of, name = scope[:at], scope[at+1:]
		}
		switch {
		case of == "" || !scopeName.MatchString(name):
			return wanted{}, aadsts(http.StatusBadRequest, "invalid_scope", 70011,
				"The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", shown(scope))
		case w.Resource != "" && w.Resource != of:
			return wanted{}, aadsts(http.StatusBadRequest, "invalid_scope", 28000,
				"Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid.", shown(form.Get("scope")))
		}
		w.Resource, w.Scopes = of, append(w.Scopes, name)
	}
	if !v2 {
		w.OpenID, w.Profile, w.Email, w.Offline = true, true, true, true
	}
	switch {
	case w.Resource != "":
	case !v2:
		w.Resource, w.Scopes = oldGraphResource, []string{everything}
	case w.Asked == "":
		return wanted{}, missing("scope")
	default:
		w.Resource = graphResource // for userinfo
	}
	return w, nil
}

// granted is what a client may do with the token, as its claim scp says it and as the answer's scope does.
type granted struct{ claim, answer string }

// grantScopes checks that the resource is one and offers the scopes. Every user may use every resource here, and what the
// user may do there is decided by the user's roles: no scope narrows it.
func (a *Authority) grantScopes(ctx context.Context, w wanted) (granted, error) {
	if err := a.checkAudience(ctx, w.Resource); err != nil {
		return granted{}, err
	}
	offered := []string{asTheUser}
	api, isAPI, err := a.api(ctx, w.Resource)
	if err != nil {
		return granted{}, err
	}
	if isAPI {
		offered = nil
		for _, s := range api.Scopes {
			offered = append(offered, s.Value)
		}
	}
	graph := a.isGraph(w.Resource)
	if graph {
		offered = []string{"Directory.AccessAsUser.All", "User.Read"}
	}
	var given []string
	for _, name := range w.Scopes {
		switch {
		case name == everything:
			given = append(given, offered...)
		case graph || slices.Contains(offered, name): // Graph's names are too many to list
			given = append(given, name)
		default:
			return granted{}, aadsts(http.StatusBadRequest, "invalid_client", 650053,
				"The application asked for scope '%s' that doesn't exist on the resource '%s'. Contact the app vendor.", shown(name), shown(w.Resource))
		}
	}
	for name, asked := range map[string]bool{"openid": w.OpenID, "profile": w.Profile, "email": w.Email} {
		if graph && asked {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	given = slices.Compact(given)
	answer := strings.Fields(w.Asked)
	for _, name := range given {
		if !graph {
			name = w.Resource + "/" + name
		}
		if !slices.Contains(answer, name) {
			answer = append(answer, name)
		}
	}
	return granted{claim: strings.Join(given, " "), answer: strings.Join(answer, " ")}, nil
}

// isGraph reports whether a resource is Microsoft Graph, or its predecessor.
func (a *Authority) isGraph(audience string) bool {
	switch name := strings.ToLower(strings.TrimSuffix(audience, "/")); name {
	case graphResource, oldGraphResource, strings.ToLower(azure.URLs{Hosts: a.o.Hosts}.Graph()):
		return true
	}
	return false
}

// api returns the application that is the resource of an audience; false when a first-party resource is.
func (a *Authority) api(ctx context.Context, audience string) (directory.Registration, bool, error) {
	name := strings.ToLower(strings.TrimSuffix(audience, "/"))
	if publicResources[name] {
		return directory.Registration{}, false, nil
	}
	id := strings.TrimPrefix(name, "api://")
	if !guid.MatchString(id) {
		var err error
		if id, err = a.o.Directory.ByIdentifierURI(ctx, audience); errors.Is(err, sql.ErrNoRows) {
			return directory.Registration{}, false, nil
		} else if err != nil {
			return directory.Registration{}, false, err
		}
	}
	r, err := a.o.Directory.ClientRegistration(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}
