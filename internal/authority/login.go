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
	signInIsPublic = "it is how a caller gets a token in the first place"
	keysArePublic  = "public keys and addresses, needed before there is a token"
	maxForm        = 64 << 10 // bytes
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
	w.Header().Set("Cache-Control", "max-age=3600")
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"issuer":                                           issuer,
		"authorization_endpoint":                           endpoints + "authorize",
		"token_endpoint":                                   endpoints + "token",
		"device_authorization_endpoint":                    endpoints + "devicecode",
		"end_session_endpoint":                             endpoints + "logout",
		"jwks_uri":                                         keys,
		"response_modes_supported":                         []string{"query", "fragment", "form_post"},
		"response_types_supported":                         []string{"code"},
		"grant_types_supported":                            []string{"client_credentials"},
		"subject_types_supported":                          []string{"pairwise"},
		"id_token_signing_alg_values_supported":            []string{"RS256"},
		"scopes_supported":                                 []string{"openid", "profile", "offline_access"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"token_endpoint_auth_signing_alg_values_supported": assertionAlgorithms,
		"claims_supported":                                 []string{"sub", "iss", "aud", "exp", "iat", "nbf", "oid", "tid", "appid", "ver"},
		"tenant_region_scope":                              nil,
		"cloud_instance_name":                              strings.TrimPrefix(strings.TrimPrefix(urls.Login(), "https://"), "login."),
		"cloud_graph_host_name":                            host,
		"msgraph_host":                                     host,
		"rbac_url":                                         urls.Management(),
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
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": login + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []metadata{m},
	})
}
