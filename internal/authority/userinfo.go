package authority

import (
	"errors"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// userInfo tells a client with a token for Microsoft Graph about its user (OpenID Connect Core 1.0 section 5.3), under the
// subject that the client's ID tokens name.
func (a *Authority) userInfo(w http.ResponseWriter, r *azure.Request) error {
	allowBrowsers(w)
	if _, err := a.tenant(r); err != nil {
		return err
	}
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return errUserInfo("The request has no bearer token.")
	}
	caller, err := a.Verify(r.Context(), raw, a.isGraph)
	var t *azure.TokenError
	switch {
	case errors.As(err, &t):
		return errUserInfo("The token is not good: " + t.Detail + ".")
	case err != nil:
		return err
	case caller.Type != azure.TypeUser:
		return errUserInfo("The token is not a user's.")
	}
	p, err := a.o.Directory.Profile(r.Context(), caller.ObjectID)
	if err != nil {
		return err
	}
	azure.EventOf(r.Context()).Principal = p.ID
	told := map[string]string{"sub": pairwise(p.ID, caller.AppID), "name": p.DisplayName, "preferred_username": p.Name}
	for name, value := range map[string]string{"given_name": p.GivenName, "family_name": p.Surname, "email": p.Mail} {
		if value != "" {
			told[name] = value
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return azure.WriteJSON(w, http.StatusOK, told)
}

func errUserInfo(why string) error {
	return azure.Errorf(http.StatusUnauthorized, "invalid_token", "%s", why).WithHeader("WWW-Authenticate", `Bearer error="invalid_token"`)
}
