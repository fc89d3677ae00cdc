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
	"github.com/keyreel/keyreel/internal/store"
)

const (
	graphResource    = "https://graph.microsoft.com" // what scopes without a resource are of
	oldGraphResource = "https://graph.windows.net"   // what version 1 means when no resource is named
	everything       = ".default"
)

// openIDScopes tell of the user alone, so they take no consent.
var openIDScopes = []string{"openid", "profile", "email", "offline_access"}

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

// delegation is what a client asks for in a user's name, beside what it may do.
type delegation struct {
	directory.Delegation
	scopes  []string // that it asks for at the resource, sorted
	missing []string // of them, those to which nobody has consented
}

// delegation checks that the resource is one and knows the scopes. Without a user only what is granted for all counts.
func (a *Authority) delegation(ctx context.Context, clientID, userID string, w wanted) (d delegation, err error) {
	if err := a.checkAudience(ctx, w.Resource); err != nil {
		return d, err
	}
	err = a.o.DB.View(ctx, func(tx *store.Tx) error {
		d, err = a.delegationIn(ctx, tx, clientID, userID, w)
		return err
	})
	return d, err
}

// delegationIn is delegation in a transaction, of a resource that is known to be one.
func (a *Authority) delegationIn(ctx context.Context, tx *store.Tx, clientID, userID string, w wanted) (d delegation, err error) {
	resource, _ := a.service(w.Resource)
	d.Delegation, err = directory.ReadDelegation(ctx, tx, clientID, resource, userID)
	if errors.Is(err, sql.ErrNoRows) {
		return d, a.errNoResource(w.Resource)
	}
	if err != nil {
		return d, err
	}
	for _, name := range w.Scopes {
		switch {
		case name == everything:
			d.scopes = append(d.scopes, d.Default()...)
		case d.Offers(name):
			d.scopes = append(d.scopes, name)
		default:
			return d, aadsts(http.StatusBadRequest, "invalid_client", 650053,
				"The application asked for scope '%s' that doesn't exist on the resource '%s'. Contact the app vendor.", shown(name), shown(w.Resource))
		}
	}
	if len(w.Scopes) > 0 && len(d.scopes) == 0 && !d.Trusted {
		return d, aadsts(http.StatusBadRequest, "invalid_client", 650056,
			"Misconfigured application. The resource '%s' offers no delegated permission (oauth2PermissionScopes) for which a user could be asked.", shown(w.Resource))
	}
	slices.Sort(d.scopes)
	d.scopes = slices.Compact(d.scopes)
	d.missing = d.Missing(d.scopes)
	return d, nil
}

// grantScopes returns what a client may do in a user's name. It takes consent, but for what OpenID Connect tells of the
// user. What the user may do at the resource is decided by the user's roles.
func (a *Authority) grantScopes(ctx context.Context, clientID, userID string, w wanted) (granted, error) {
	d, err := a.delegation(ctx, clientID, userID, w)
	if err != nil {
		return granted{}, err
	}
	return d.grant(w)
}

func (d *delegation) grant(w wanted) (granted, error) {
	if len(d.missing) > 0 {
		return granted{}, d.errConsent()
	}
	given := slices.Clone(d.scopes)
	for name, asked := range map[string]bool{"openid": w.OpenID, "profile": w.Profile, "email": w.Email} {
		if d.AnyScope && asked && !slices.Contains(given, name) {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	answer := strings.Fields(w.Asked)
	for _, name := range given {
		if !d.AnyScope {
			name = w.Resource + "/" + name
		}
		if !slices.Contains(answer, name) {
			answer = append(answer, name)
		}
	}
	return granted{claim: strings.Join(given, " "), answer: strings.Join(answer, " ")}, nil
}

func (d *delegation) errConsent() *azure.Error {
	e := aadsts(http.StatusBadRequest, "invalid_grant", 65001,
		"The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource.",
		d.Client.AppID, shown(d.Client.Name))
	e.Inner = "consent_required"
	return e
}

// checkDelegation refuses a user's token whose client is no more, or may no longer do what the token says.
func (a *Authority) checkDelegation(ctx context.Context, c *claims) error {
	resource, _ := a.service(c.Audience)
	d, err := a.o.Directory.Delegation(ctx, c.AppID, resource, c.ObjectID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refuse(azure.TokenPrincipal, "", "its client %s or its resource was deleted", c.AppID)
	case err != nil:
		return err
	case !d.Client.Enabled:
		return refuse(azure.TokenPrincipal, "", "its client %s is disabled", c.AppID)
	}
	scopes := slices.DeleteFunc(strings.Fields(c.Scopes), func(s string) bool { return d.AnyScope && slices.Contains(openIDScopes, s) })
	if missing := d.Missing(scopes); len(missing) > 0 {
		return refuse(azure.TokenPrincipal, "", "its client %s has no consent to '%s'", c.AppID, strings.Join(missing, " "))
	}
	return nil
}

// isGraph reports whether a resource is Microsoft Graph, or its predecessor.
func (a *Authority) isGraph(audience string) bool {
	appID, _ := a.service(audience)
	return appID == graphApp || appID == oldGraphApp
}
