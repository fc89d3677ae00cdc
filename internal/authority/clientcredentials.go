package authority

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// clientCredentials is the grant in which an application signs in as itself (RFC 6749 section 4.4).
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (a *Authority) clientCredentials(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	if r.client.anonymous() {
		return nil, errNoCredential()
	}
	audience, err := resourceOf(r.form, r.v2)
	if err != nil {
		return nil, err
	}
	r.record.Details["audience"] = shown(audience)
	p, proof, err := a.authenticate(ctx, r.client, r.record)
	if err != nil {
		return nil, err
	}
	r.record.Principal = p.ID
	if err := a.checkAudience(ctx, audience); err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, proof, audience, r.record.ClientIP); err != nil { // last, so that a request that is mended may use it again
		return nil, err
	}
	t, err := a.sign(p, audience, appLifetime(), claims{AppIDACR: proof.method(), IdentityID: p.IdentityID})
	return &tokenAnswer{access: t}, err
}

// resourceOf returns the audience that is asked for. The version 1 endpoint takes a scope too: MSAL sends one to
// "adfs".
func resourceOf(form url.Values, v2 bool) (string, error) {
	if resource := form.Get("resource"); !v2 && resource != "" {
		return resource, nil
	}
	var audience string
	for _, scope := range strings.Fields(form.Get("scope")) {
		switch scope {
		case "openid", "profile", "offline_access", "email":
			continue // MSAL adds them to every request
		}
		resource, ok := strings.CutSuffix(scope, "/.default")
		if !ok || resource == "" {
			return "", aadsts(http.StatusBadRequest, "invalid_scope", 1002012,
				"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", shown(scope))
		}
		if audience != "" {
			return "", aadsts(http.StatusBadRequest, "invalid_scope", 70011,
				"The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope names more than one resource.")
		}
		audience = resource
	}
	if audience == "" {
		if v2 {
			return "", missing("scope")
		}
		return "", missing("resource")
	}
	return audience, nil
}
