package authority

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/keyreel/keyreel/internal/azure"
)

const (
	signInIsPublic   = "it is how a caller gets a token in the first place"
	keysArePublic    = "public keys and addresses, needed before there is a token"
	signOutIsPublic  = "it ends the session of the browser that asks"
	userInfoIsPublic = "it looks at the token itself, and tells of the token's user alone"
	maxForm          = 64 << 10 // bytes
	maxRequest       = 16 << 10 // bytes of an authorization request, which has to go into a URL
)

func (a *Authority) loginRouter() (*azure.Router, error) {
	rt := &azure.Router{
		Service: azure.Login,
		Routes: []azure.Route{
			{Name: "Login.InstanceDiscovery", Method: http.MethodGet, Pattern: "/common/discovery/instance", Public: keysArePublic, Handle: a.instanceDiscovery},
			{
				Name: "Login.Discovery", Method: http.MethodGet, Pattern: "/{tenant}/.well-known/openid-configuration", Public: keysArePublic,
				Handle: func(w http.ResponseWriter, r *azure.Request) error { return a.discovery(w, r, false) },
			},
			{
				Name: "Login.DiscoveryV2", Method: http.MethodGet, Pattern: "/{tenant}/v2.0/.well-known/openid-configuration", Public: keysArePublic,
				Handle: func(w http.ResponseWriter, r *azure.Request) error { return a.discovery(w, r, true) },
			},
			{Name: "Login.Keys", Method: http.MethodGet, Pattern: "/{tenant}/discovery/keys", Public: keysArePublic, Handle: a.jwks},
			{Name: "Login.KeysV2", Method: http.MethodGet, Pattern: "/{tenant}/discovery/v2.0/keys", Public: keysArePublic, Handle: a.jwks},
			{
				Name: "Login.Token", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/token", Public: signInIsPublic, MaxBody: maxForm,
				Handle: func(w http.ResponseWriter, r *azure.Request) error { return a.token(w, r, false) },
			},
			{
				Name: "Login.TokenV2", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/v2.0/token", Public: signInIsPublic, MaxBody: maxForm,
				Handle: func(w http.ResponseWriter, r *azure.Request) error { return a.token(w, r, true) },
			},
			{Name: "Login.TokenPreflight", Method: http.MethodOptions, Pattern: "/{tenant}/oauth2/token", Public: signInIsPublic, Handle: preflight},
			{Name: "Login.TokenPreflightV2", Method: http.MethodOptions, Pattern: "/{tenant}/oauth2/v2.0/token", Public: signInIsPublic, Handle: preflight},
			{Name: "Login.Authorize", Method: http.MethodGet, Pattern: "/{tenant}/oauth2/authorize", Public: signInIsPublic, Handle: a.authorize(false)},
			{Name: "Login.AuthorizeV2", Method: http.MethodGet, Pattern: "/{tenant}/oauth2/v2.0/authorize", Public: signInIsPublic, Handle: a.authorize(true)},
			{Name: "Login.AuthorizePost", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/authorize", Public: signInIsPublic, MaxBody: maxRequest, Handle: a.authorize(false)},
			{Name: "Login.AuthorizePostV2", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/v2.0/authorize", Public: signInIsPublic, MaxBody: maxRequest, Handle: a.authorize(true)},
			{Name: "Login.SignIn", Method: http.MethodPost, Pattern: "/{tenant}/login", Public: signInIsPublic, MaxBody: maxForm, Handle: a.pages(a.signInForm)},
			{Name: "Login.Consent", Method: http.MethodPost, Pattern: "/{tenant}/consent", Public: signInIsPublic, MaxBody: maxForm, Handle: a.pages(a.consentForm)},
			{Name: "Login.SignOut", Method: http.MethodGet, Pattern: "/{tenant}/oauth2/logout", Public: signOutIsPublic, Handle: a.pages(a.logout)},
			{Name: "Login.SignOutV2", Method: http.MethodGet, Pattern: "/{tenant}/oauth2/v2.0/logout", Public: signOutIsPublic, Handle: a.pages(a.logout)},
			{Name: "Login.SignOutPost", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/logout", Public: signOutIsPublic, MaxBody: maxForm, Handle: a.pages(a.logout)},
			{Name: "Login.SignOutPostV2", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/v2.0/logout", Public: signOutIsPublic, MaxBody: maxForm, Handle: a.pages(a.logout)},
			{Name: "Login.DeviceCode", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/devicecode", Public: signInIsPublic, MaxBody: maxForm, Handle: a.deviceCode(false)},
			{Name: "Login.DeviceCodeV2", Method: http.MethodPost, Pattern: "/{tenant}/oauth2/v2.0/devicecode", Public: signInIsPublic, MaxBody: maxForm, Handle: a.deviceCode(true)},
			{Name: "Login.Device", Method: http.MethodGet, Pattern: devicePage, Public: signInIsPublic, Handle: a.pages(a.deviceStart)},
			{Name: "Login.DeviceAlias", Method: http.MethodGet, Pattern: "/devicelogin", Public: signInIsPublic, Handle: a.pages(a.deviceStart)},
			{Name: "Login.DeviceForm", Method: http.MethodPost, Pattern: devicePage, Public: signInIsPublic, MaxBody: maxForm, Handle: a.pages(a.deviceForm)},
			{Name: "Login.NativeClient", Method: http.MethodGet, Pattern: "/common/oauth2/nativeclient", Public: "it is where a browser stops that a program watches", Handle: a.pages(nativeClient)},
			{Name: "Login.UserRealm", Method: http.MethodGet, Pattern: "/{tenant}/userrealm/{user}", Public: "it says the same of every name", Handle: a.userRealm},
			{Name: "Login.UserInfo", Method: http.MethodGet, Pattern: "/{tenant}/openid/userinfo", Public: userInfoIsPublic, Handle: a.userInfo},
			{Name: "Login.UserInfoPost", Method: http.MethodPost, Pattern: "/{tenant}/openid/userinfo", Public: userInfoIsPublic, MaxBody: maxForm, Handle: a.userInfo},
			{Name: "Login.UserInfoPreflight", Method: http.MethodOptions, Pattern: "/{tenant}/openid/userinfo", Public: userInfoIsPublic, Handle: preflight},
		},
		Render: renderLogin,
		NotFound: func(r *http.Request, allowed []string) *azure.Error {
			if len(allowed) > 0 {
				return aadsts(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint only accepts %s requests. Received a %s request.",
					strings.Join(allowed, ", "), r.Method).WithHeader("Allow", strings.Join(allowed, ", "))
			}
			return azure.Errorf(http.StatusNotFound, "invalid_request", "There is no endpoint at '%s'.", shown(r.URL.Path))
		},
	}
	return rt, rt.Check()
}

// renderLogin is azure.RenderOAuth2 with OAuth's words for the errors that have none of their own.
func renderLogin(w http.ResponseWriter, r *http.Request, e *azure.Error) {
	c := *e
	switch {
	case c.Status == http.StatusServiceUnavailable:
		c.Code = "temporarily_unavailable"
	case c.Status >= 500:
		c.Code = "server_error"
	case strings.ToLower(c.Code) != c.Code: // one of Azure's codes, such as RequestBodyTooLarge
		c.Code = "invalid_request"
	}
	azure.RenderOAuth2(w, r, &c)
}

// tenant checks the tenant in a request's path and returns it as documents name it. There is one tenant, so "common"
// and "organizations" mean it too, and so does "adfs": the way to sign in without instance discovery in Azure CLI
// before 2.72.
func (a *Authority) tenant(r *azure.Request) (string, error) {
	switch t := strings.ToLower(r.Vars["tenant"]); t {
	case a.o.TenantID, "common", "organizations", "adfs":
		return t, nil
	}
	return "", aadsts(http.StatusBadRequest, "invalid_request", 90002,
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
		shown(r.Vars["tenant"]))
}

// discovery serves OpenID Connect Discovery 1.0 with Entra's additions. Tokens are version 1.0 whichever document a
// client has read; the version 2.0 document names the issuer that MSAL compares with its authority.
func (a *Authority) discovery(w http.ResponseWriter, r *azure.Request, v2 bool) error {
	tenant, err := a.tenant(r)
	if err != nil {
		return err
	}
	urls := a.o.Hosts.For(r.Request)
	base := urls.Login() + "/" + tenant
	inIssuer := tenant
	if tenant == "common" || tenant == "organizations" {
		inIssuer = "{tenantid}"
	}
	issuer, endpoints, keys := "https://sts.windows.net/"+inIssuer+"/", base+"/oauth2/", base+"/discovery/keys"
	if tenant == "adfs" {
		issuer = base
	}
	if v2 {
		issuer, endpoints, keys = urls.Login()+"/"+inIssuer+"/v2.0", base+"/oauth2/v2.0/", base+"/discovery/v2.0/keys"
	}
	host := strings.TrimPrefix(urls.Graph(), "https://")
	allowBrowsers(w)
	w.Header().Set("Cache-Control", "max-age=3600")
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"issuer":                        issuer,
		"authorization_endpoint":        endpoints + "authorize",
		"token_endpoint":                endpoints + "token",
		"device_authorization_endpoint": endpoints + "devicecode",
		"end_session_endpoint":          endpoints + "logout",
		"jwks_uri":                      keys,
		"response_modes_supported":      []string{"query", "fragment", "form_post"},
		"response_types_supported":      []string{"code", "id_token", "code id_token"},
		"grant_types_supported": []string{
			"authorization_code", "client_credentials", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer",
		},
		"code_challenge_methods_supported":                 []string{"S256", "plain"},
		"userinfo_endpoint":                                base + "/openid/userinfo",
		"subject_types_supported":                          []string{"pairwise"},
		"id_token_signing_alg_values_supported":            []string{"RS256"},
		"scopes_supported":                                 []string{"openid", "profile", "email", "offline_access"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"token_endpoint_auth_signing_alg_values_supported": assertionAlgorithms,
		"claims_supported": []string{
			"sub", "iss", "aud", "exp", "iat", "nbf", "auth_time", "acr", "amr", "nonce", "c_hash", "oid", "tid", "ver", "preferred_username", "name", "given_name", "family_name", "email", "upn",
		},
		"tenant_region_scope":   nil,
		"cloud_instance_name":   cloudInstance(urls),
		"cloud_graph_host_name": host,
		"msgraph_host":          host,
		"rbac_url":              urls.Management(),
	})
}

// jwks serves the public keys: the one that signs, the next, and the earlier ones whose tokens still live.
func (a *Authority) jwks(w http.ResponseWriter, r *azure.Request) error {
	if _, err := a.tenant(r); err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	for _, k := range a.keys.Load().published(time.Now()) {
		set.Keys = append(set.Keys, k.jwk())
	}
	allowBrowsers(w)
	w.Header().Set("Cache-Control", "max-age=3600") // far below publishAhead
	return azure.WriteJSON(w, http.StatusOK, set)
}

// instanceDiscovery tells MSAL that an authority is to be trusted, and under which names it goes.
func (a *Authority) instanceDiscovery(w http.ResponseWriter, r *azure.Request) error {
	asked := r.URL.Query().Get("authorization_endpoint")
	u, err := url.Parse(asked)
	var target azure.Target
	ok := err == nil && u.Scheme == "https"
	if ok {
		target, ok = a.o.Hosts.Parse(u.Host)
	}
	if !ok || target.Service != azure.Login {
		return aadsts(http.StatusBadRequest, "invalid_instance", 50049, "Unknown or invalid instance. '%s' is not an authority of this server.", shown(asked))
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	r.Vars["tenant"] = tenant
	if tenant, err = a.tenant(r); err != nil {
		return err
	}
	login := azure.URLs{Hosts: a.o.Hosts, Public: target.Public}.Login()
	host := strings.TrimPrefix(login, "https://")
	type metadata struct {
		Network string   `json:"preferred_network"`
		Cache   string   `json:"preferred_cache"`
		Aliases []string `json:"aliases"`
	}
	m := metadata{Network: host, Cache: host, Aliases: []string{host}}
	if target.Public {
		m = metadata{Network: host, Cache: "login.windows.net", Aliases: []string{host, "login.windows.net", "login.microsoft.com", "sts.windows.net"}}
	}
	allowBrowsers(w)
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": login + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []metadata{m},
	})
}

// nativeClient is the page at the redirect address of programs that look into the browser that they show.
func nativeClient(w http.ResponseWriter, _ *azure.Request) error {
	return writePage(w, http.StatusOK, page{Kind: "message", Title: "You may close this window"})
}
