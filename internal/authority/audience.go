package authority

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// publicResources are the resources that Azure's clients know by name, without a slash at the end.
var publicResources = map[string]bool{
	"https://management.azure.com":        true,
	"https://management.core.windows.net": true,
	"https://vault.azure.net":             true,
	"https://storage.azure.com":           true,
	"https://graph.microsoft.com":         true,
	"https://graph.windows.net":           true,
	"https://rest.media.azure.net":        true,
	"https://authorization.azure.net":     true,
	"api://azureadtokenexchange":          true,
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// checkAudience refuses with AADSTS500011 to issue tokens for what is not served here.
func (a *Authority) checkAudience(ctx context.Context, audience string) error {
	ok, err := a.serves(ctx, audience)
	if err != nil || ok {
		return err
	}
	return aadsts(http.StatusBadRequest, "invalid_resource", 500011,
		"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
		shown(audience), a.o.TenantID)
}

// serves reports whether tokens for an audience make sense here: it is a service's resource, a blob host, or a
// registered application.
func (a *Authority) serves(ctx context.Context, audience string) (bool, error) {
	name := strings.ToLower(strings.TrimSuffix(audience, "/"))
	if publicResources[name] {
		return true, nil
	}
	own := azure.URLs{Hosts: a.o.Hosts}
	for _, resource := range []string{own.Management(), own.VaultResource(), own.Graph(), own.AuthorizationResource()} {
		if name == strings.ToLower(resource) {
			return true, nil
		}
	}
	if u, err := url.Parse(name); err == nil && u.Scheme == "https" {
		if t, ok := a.o.Hosts.Parse(u.Host); ok && t.Service == azure.Blob {
			return name == strings.ToLower(azure.URLs{Hosts: a.o.Hosts, Public: t.Public}.Blob(t.Name)), nil
		}
	}
	appID := strings.TrimPrefix(name, "api://")
	if !guid.MatchString(appID) {
		var err error
		if appID, err = a.o.Directory.ByIdentifierURI(ctx, audience); errors.Is(err, sql.ErrNoRows) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	p, err := a.o.Directory.ByAppID(ctx, appID)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && p.Enabled, err
}

// aadsts makes an error of Entra's token service. It is to be rendered with azure.RenderOAuth2.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func aadsts(status int, code string, number int, format string, args ...any) *azure.Error {
	e := azure.Errorf(status, code, "AADSTS"+strconv.Itoa(number)+": "+format, args...)
	e.Target = strconv.Itoa(number)
	return e
}

// shown is what a client sent, cut to what an error message or a record may hold.
func shown(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return strconv.Quote(s)[1 : len(strconv.Quote(s))-1]
}
