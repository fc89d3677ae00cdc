package directory

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

var applicationSet = &objectSet{
	name: "applications", odata: "#microsoft.graph.application", where: `1 = 1`,
	from: `SELECT o.id, o.app_id, 'Registration', o.name, '', 1, o.created, o.attributes, '{}' FROM directory_applications o`,
	kept: map[string]shape{
		"identifierUris": texts, "signInAudience": text, "web": record, "spa": record, "publicClient": record, "api": record, "appRoles": records,
		"requiredResourceAccess": records, "optionalClaims": record, "tags": texts, "notes": text, "description": text,
		"groupMembershipClaims": text, "isFallbackPublicClient": flag, "isDeviceOnlyAuthSupported": flag, "oauth2RequirePostResponse": flag,
		"serviceManagementReference": text, "info": record, "defaultRedirectUri": text, "samlMetadataUrl": text, "parentalControlSettings": record,
		"nativeAuthenticationApisEnabled": text, "servicePrincipalLockConfiguration": record, "authenticationBehaviors": record,
		"requestSignatureVerification": record,
	},
	creates: []string{"displayName", "keyCredentials", "passwordCredentials", "owners@odata.bind"},
	changes: []string{"displayName", "keyCredentials", "passwordCredentials"},
	fixed:   []string{"id", "appId", "publisherDomain", "createdDateTime"},
	check:   checkApplication,
	show: func(g *Graph, o *object) map[string]any {
		shown := complete(applicationDefaults(), o.attributes)
		shown["id"], shown["appId"], shown["displayName"], shown["createdDateTime"] = o.ID, o.AppID, o.Name, o.created
		shown["publisherDomain"] = g.Hosts.Domain
		shown["passwordCredentials"], shown["keyCredentials"] = showSecrets(o.passwords), showCertificates(o.keys)
		return shown
	},
}

// applicationDefaults is what Graph shows of an application for what nobody has set.
func applicationDefaults() map[string]any {
	return map[string]any{
		"signInAudience": "AzureADMyOrg", "identifierUris": []any{}, "tags": []any{}, "appRoles": []any{}, "requiredResourceAccess": []any{},
		"web": map[string]any{
			"homePageUrl": nil, "logoutUrl": nil, "redirectUris": []any{}, "redirectUriSettings": []any{},
			"implicitGrantSettings": map[string]any{"enableAccessTokenIssuance": false, "enableIdTokenIssuance": false},
		},
		"spa": map[string]any{"redirectUris": []any{}}, "publicClient": map[string]any{"redirectUris": []any{}},
		"api": map[string]any{
			"acceptMappedClaims": nil, "knownClientApplications": []any{}, "requestedAccessTokenVersion": nil,
			"oauth2PermissionScopes": []any{}, "preAuthorizedApplications": []any{},
		},
		"info": map[string]any{
			"logoUrl": nil, "marketingUrl": nil, "privacyStatementUrl": nil, "supportUrl": nil, "termsOfServiceUrl": nil,
		},
		"parentalControlSettings": map[string]any{"countriesBlockedForMinors": []any{}, "legalAgeGroupRule": "Allow"},
		"verifiedPublisher":       map[string]any{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		"optionalClaims":          nil, "notes": nil, "description": nil, "groupMembershipClaims": nil, "isFallbackPublicClient": nil,
		"isDeviceOnlyAuthSupported": nil, "oauth2RequirePostResponse": false, "serviceManagementReference": nil, "defaultRedirectUri": nil,
		"samlMetadataUrl": nil, "addIns": []any{}, "applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "deletedDateTime": nil,
		"certification": nil, "tokenEncryptionKeyId": nil, "nativeAuthenticationApisEnabled": nil, "requestSignatureVerification": nil,
		"servicePrincipalLockConfiguration": nil, "authenticationBehaviors": nil, "uniqueName": nil,
	}
}

// applicationProperties is what of an application has a form that is checked.
type applicationProperties struct {
	SignInAudience string       `json:"signInAudience"`
	IdentifierURIs []string     `json:"identifierUris"`
	Web            redirects    `json:"web"`
	SPA            redirects    `json:"spa"`
	PublicClient   redirects    `json:"publicClient"`
	AppRoles       []permission `json:"appRoles"`
	API            struct {
		Version *int         `json:"requestedAccessTokenVersion"`
		Scopes  []permission `json:"oauth2PermissionScopes"`
		Clients []string     `json:"knownClientApplications"`
		PreAuth []struct {
			AppID string   `json:"appId"`
			IDs   []string `json:"delegatedPermissionIds"`
		} `json:"preAuthorizedApplications"`
	} `json:"api"`
	Required []struct {
		AppID  string `json:"resourceAppId"`
		Access []struct {
			ID   string `json:"id"`
			Type string `json:"type"`
		} `json:"resourceAccess"`
	} `json:"requiredResourceAccess"`
}

type redirects struct {
	URIs []string `json:"redirectUris"`
}

// permission is an app role or a delegated permission (oauth2PermissionScope).
type permission struct {
	ID      string   `json:"id"`
	Value   *string  `json:"value"`
	Enabled *bool    `json:"isEnabled"`
	Type    string   `json:"type"`
	Name    string   `json:"displayName"`
	Members []string `json:"allowedMemberTypes"`
}

func (p *permission) enabled() bool { return p.Enabled == nil || *p.Enabled }

func (p *permission) value() string {
	if p.Value == nil {
		return ""
	}
	return *p.Value
}

const (
	maxRedirects  = 256 // of an application
	maxURI        = 256 // characters of a redirect or identifier URI
	maxPermission = 1200
)

var (
	guidPattern     = regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	permissionValue = regexp.MustCompile(`^[A-Za-z0-9!#$%&'()*+,\-:;<=>?@\[\]^_` + "`" + `{|}~/][A-Za-z0-9!#$%&'()*+,\-.:;<=>?@\[\]^_` + "`" + `{|}~/]{0,119}$`)
	signInAudiences = []string{"", "AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount"}
)

// applicationOf reads what is checked of an application.
func applicationOf(attributes map[string]any) (*applicationProperties, error) {
	var p applicationProperties
	data, err := json.Marshal(attributes)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, errGraph("Unable to read JSON request payload: %v.", err)
	}
	return &p, nil
}

// checkApplication refuses what Entra would not take: redirect URIs with its restrictions, permissions that clash.
// https://learn.microsoft.com/entra/identity-platform/reply-url
func checkApplication(attributes map[string]any) error {
	p, err := applicationOf(attributes)
	if err != nil {
		return err
	}
	if !slices.Contains(signInAudiences, p.SignInAudience) {
		return errProperty("signInAudience", "it is one of %s", strings.Join(signInAudiences[1:], ", "))
	}
	if v := p.API.Version; v != nil && *v != 1 && *v != 2 {
		return errProperty("requestedAccessTokenVersion", "it is null, 1 or 2")
	}
	for _, uri := range p.IdentifierURIs {
		if u, err := url.Parse(uri); err != nil || u.Scheme == "" || u.Fragment != "" || len(uri) > maxURI-1 || strings.Contains(uri, "*") || u.Host == "" && u.Opaque == "" {
			return errProperty("identifierUris", "'%s' is no absolute URI of up to %d characters without a wildcard or a fragment, such as api://{appId}", uri, maxURI-1)
		}
	}
	if n := len(p.Web.URIs) + len(p.SPA.URIs) + len(p.PublicClient.URIs); n > maxRedirects {
		return errProperty("redirectUris", "there are %d; an application has up to %d", n, maxRedirects)
	}
	for _, r := range []struct {
		property string
		uris     []string
		public   bool
	}{{"web.redirectUris", p.Web.URIs, false}, {"spa.redirectUris", p.SPA.URIs, false}, {"publicClient.redirectUris", p.PublicClient.URIs, true}} {
		for i, uri := range r.uris {
			if why := badRedirect(uri, r.public); why != "" {
				return errProperty(r.property, "'%s' %s", uri, why)
			}
			if slices.Contains(r.uris[:i], uri) {
				return errProperty(r.property, "'%s' is there twice", uri)
			}
		}
	}
	for _, r := range p.Required {
		if !guidPattern.MatchString(r.AppID) || slices.ContainsFunc(r.Access, func(a struct {
			ID   string `json:"id"`
			Type string `json:"type"`
		},
		) bool {
			return !guidPattern.MatchString(a.ID) || a.Type != "Scope" && a.Type != "Role"
		}) {
			return errProperty("requiredResourceAccess", "resourceAppId and the id of each resourceAccess are GUIDs, and its type is Scope or Role")
		}
	}
	for _, a := range p.API.PreAuth {
		if !guidPattern.MatchString(a.AppID) || slices.ContainsFunc(a.IDs, func(id string) bool {
			return !slices.ContainsFunc(p.API.Scopes, func(s permission) bool { return key(s.ID) == key(id) })
		}) {
			return errProperty("preAuthorizedApplications", "appId is a GUID, and delegatedPermissionIds are ids of oauth2PermissionScopes")
		}
	}
	return checkPermissions(p)
}

// badRedirect says why a redirect URI is refused. Plain HTTP leads to this machine only; a public client may have a
// scheme of its own.
func badRedirect(uri string, public bool) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "":
		return "is no absolute URI"
	case len(uri) > maxURI:
		return "is longer than 256 characters"
	case u.Fragment != "" || strings.HasSuffix(uri, "#"):
		return "has a fragment"
	case strings.Contains(uri, "*"):
		return "has a wildcard"
	case u.User != nil:
		return "names a user"
	case slices.Contains([]string{"javascript", "data", "vbscript", "file", "about", "blob"}, u.Scheme):
		return "has a scheme that a browser would run or open"
	case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	case u.Scheme == "http":
		return "must start with https, or lead to localhost"
	case !public:
		return "must start with https, or with http://localhost"
	}
	return ""
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkPermissions looks at app roles and delegated permissions, whose ids and values must be unique in each list, and
// which share an id at most when all else is the same permission.
func checkPermissions(p *applicationProperties) error {
	for _, list := range []struct {
		property    string
		permissions []permission
	}{{"appRoles", p.AppRoles}, {"oauth2PermissionScopes", p.API.Scopes}} {
		if len(list.permissions) > maxPermission {
			return errProperty(list.property, "there are more than %d", maxPermission)
		}
		ids, values := map[string]bool{}, map[string]bool{}
		for _, one := range list.permissions {
			switch value := one.value(); {
			case !guidPattern.MatchString(one.ID):
				return errProperty(list.property, "the id '%s' is no GUID", one.ID)
			case ids[key(one.ID)]:
				return errProperty(list.property, "the id '%s' is there twice", one.ID)
			case value != "" && values[value]:
				return errProperty(list.property, "the value '%s' is there twice", value)
			case value != "" && !permissionValue.MatchString(value):
				return errProperty(list.property, "the value '%s' has a space or another character that is not allowed, or is longer than 120", value)
			case list.property == "appRoles" && (one.Name == "" || len(one.Members) == 0 || slices.ContainsFunc(one.Members, func(m string) bool { return m != "User" && m != "Application" })):
				return errProperty(list.property, "an app role has a displayName, and allowedMemberTypes of User and Application")
			case list.property != "appRoles" && (value == "" || one.Type != "" && one.Type != "User" && one.Type != "Admin"):
				return errProperty(list.property, "a scope has a value, and its type is User or Admin")
			}
			ids[key(one.ID)], values[one.value()] = true, true
		}
	}
	return nil
}

// checkPermissionsGone refuses to drop an enabled permission: like in Entra, it is disabled first, so that who relies on
// it finds out while it can be undone.
func checkPermissionsGone(before, after map[string]any) error {
	old, err := applicationOf(before)
	if err != nil {
		return err
	}
	now, err := applicationOf(after)
	if err != nil {
		return err
	}
	for _, list := range [][2][]permission{{old.AppRoles, now.AppRoles}, {old.API.Scopes, now.API.Scopes}} {
		for _, was := range list[0] {
			if was.enabled() && !slices.ContainsFunc(list[1], func(is permission) bool { return key(is.ID) == key(was.ID) }) {
				return azure.Errorf(http.StatusBadRequest, "CannotDeleteOrUpdateEnabledEntitlement",
					"Permission (scope or role) '%s' cannot be deleted or updated unless disabled first.", was.value())
			}
		}
	}
	return nil
}

// setIdentifierURIs makes these the identifier URIs of an application; azure.Error 400 when another has one of them.
func setIdentifierURIs(ctx context.Context, tx *store.Tx, appID string, uris []string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM directory_identifier_uris WHERE app_id = $1`, appID); err != nil {
		return err
	}
	for _, uri := range uris {
		if reservedURI(uri) {
			return errTaken("identifierUris", uri)
		}
		n, err := tx.Exec(ctx, `INSERT INTO directory_identifier_uris (uri_key, app_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, key(uri), appID)
		if err != nil {
			return err
		}
		if n == 0 {
			return errTaken("identifierUris", uri)
		}
	}
	return nil
}
