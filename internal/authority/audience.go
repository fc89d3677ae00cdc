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

// Application ids of Microsoft's resources.
const (
	armApp      = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
	vaultApp    = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
	storageApp  = "e406a681-f3d4-42a8-90b6-c2b029497af1"
	mediaApp    = "374b2a64-3b6b-436b-934c-b820eacca870"
	graphApp    = "00000003-0000-0000-c000-000000000000"
	oldGraphApp = "00000002-0000-0000-c000-000000000000"
)

// publicResources are the resources that Azure's clients know by name, without a slash at the end, and the applications to
// which they belong. Decisions on access belong to the resource manager, whose roles they are made of.
var publicResources = map[string]string{
	"https://management.azure.com":        armApp,
	"https://management.core.windows.net": armApp,
	"https://vault.azure.net":             vaultApp,
	"https://storage.azure.com":           storageApp,
	"https://graph.microsoft.com":         graphApp,
	"https://graph.windows.net":           oldGraphApp,
	"https://rest.media.azure.net":        mediaApp,
	"https://authorization.azure.net":     armApp,
	"api://azureadtokenexchange":          "", // of assertions, which nobody makes for users,
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// checkAudience refuses with AADSTS500011 to issue tokens for what is not served here.
func (a *Authority) checkAudience(ctx context.Context, audience string) error {
	ok, err := a.serves(ctx, audience)
	if err != nil || ok {
		return err
	}
	return a.errNoResource(audience)
}

func (a *Authority) errNoResource(audience string) error {
	return aadsts(http.StatusBadRequest, "invalid_resource", 500011,
		"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
		shown(audience), a.o.TenantID)
}

// serves reports whether tokens for an audience make sense here: it is a service's resource, a blob host, or a
// registered application.
func (a *Authority) serves(ctx context.Context, audience string) (bool, error) {
	appID, known := a.service(audience)
	if known {
		return true, nil
	}
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

// service returns the application of which an audience is a resource, and whether that is one of the services here. Of any
// other audience it returns what names the application: its client id, or an identifier URI.
func (a *Authority) service(audience string) (appID string, known bool) {
	name := strings.ToLower(strings.TrimSuffix(audience, "/"))
	if appID, known = publicResources[name]; known {
		return appID, true
	}
	own := azure.URLs{Hosts: a.o.Hosts}
	for resource, appID := range map[string]string{
		own.Management(): armApp, own.VaultResource(): vaultApp, own.Graph(): graphApp, own.AuthorizationResource(): armApp,
	} {
		if name == strings.ToLower(resource) {
			return appID, true
		}
	}
	if u, err := url.Parse(name); err == nil && u.Scheme == "https" {
		if t, ok := a.o.Hosts.Parse(u.Host); ok && t.Service == azure.Blob && name == strings.ToLower(azure.URLs{Hosts: a.o.Hosts, Public: t.Public}.Blob(t.Name)) {
			return storageApp, true
		}
	}
	if id := strings.TrimPrefix(name, "api://"); guid.MatchString(id) {
		return id, false
	}
	return audience, false
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
