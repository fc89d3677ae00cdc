package authority

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// What is wrong with a request goes to the client if the redirect is the client's own, and never elsewhere.
func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	web, _ := n.web(t)
	spa, _ := n.registered(t, `{"spa":{"redirectUris":["`+spaCode+`"]}}`)
	native, _ := n.registered(t, `{"publicClient":{"redirectUris":["msal1://auth"]}}`)
	disabled, _ := n.registered(t, `{"web":{"redirectUris":["`+webCode+`"]}}`)
	n.disable(t, disabled)
	type edit = map[string]string
	for _, c := range []struct {
		name     string
		query    url.Values
		redirect string // empty: a page
		code     string
		number   string
	}{
		{"no client", request(azureCLI, cliLogin, edit{"client_id": ""}), "", "", "900144"},
		{"unknown client", request(tenant, cliLogin), "", "", "700016"},
		{"disabled client", request(disabled.AppID, webCode), "", "", "7000112"},
		{"no redirect", request(azureCLI, cliLogin, edit{"redirect_uri": ""}), "", "", "900144"},
		{"foreign redirect", request(azureCLI, "https://evil.example/"), "", "", "50011"},
		{"foreign scheme", request(azureCLI, "javascript:alert(1)"), "", "", "50011"},
		{"redirect with more path", request(azureCLI, cliLogin+"/x"), "", "", "50011"},
		{"redirect with a user", request(azureCLI, "http://localhost@evil.example/"), "", "", "50011"},
		{"redirect of another case", request(web.AppID, "https://web.example/CB"), "", "", "50011"},
		{"redirect with a query", request(web.AppID, webCode+"?x"), "", "", "50011"},
		{"client twice", url.Values{"client_id": {azureCLI, azureCLI}}, "", "", "90100"},

		{"no response type", request(azureCLI, cliLogin, edit{"response_type": ""}), cliLogin, "invalid_request", "900144"},
		{"response type token", request(azureCLI, cliLogin, edit{"response_type": "token"}), cliLogin, "unsupported_response_type", "700051"},
		{"response type code code", request(azureCLI, cliLogin, edit{"response_type": "code code"}), cliLogin, "unsupported_response_type", "70005"},
		{"response type none", request(azureCLI, cliLogin, edit{"response_type": "none"}), cliLogin, "unsupported_response_type", "70005"},
		{"unknown response mode", request(azureCLI, cliLogin, edit{"response_mode": "web_message"}), cliLogin, "invalid_request", "70007"},
		{"a form for a program's own scheme", request(native.AppID, "msal1://auth", edit{"response_mode": "form_post"}), "msal1://auth", "invalid_request", "70007"},
		{"ID token without a nonce", request(web.AppID, webCode, edit{"response_type": "id_token"}), webCode, "invalid_request", "900144"},
		{"ID token in the query", request(web.AppID, webCode, edit{"response_type": "code id_token", "nonce": "n", "response_mode": "query"}), webCode, "invalid_request", "70007"},
		{"ID token without openid", request(web.AppID, webCode, edit{"response_type": "id_token", "nonce": "n", "scope": "profile"}), webCode, "invalid_request", "70011"},
		{"ID token for a program", request(azureCLI, cliLogin, edit{"response_type": "id_token", "nonce": "n"}), cliLogin, "unsupported_response_type", "700054"},
		{"no scope", request(azureCLI, cliLogin, edit{"scope": ""}), cliLogin, "invalid_request", "900144"},
		{"two resources", request(azureCLI, cliLogin, edit{"scope": armAud + "/.default https://vault.azure.net/.default"}), cliLogin, "invalid_scope", "28000"},
		{"malformed scope", request(azureCLI, cliLogin, edit{"scope": "/x"}), cliLogin, "invalid_scope", "70011"},
		{"unknown scope", request(azureCLI, cliLogin, edit{"scope": "api://" + web.AppID + "/write"}), cliLogin, "invalid_client", "650053"},
		{"unknown resource", request(azureCLI, cliLogin, edit{"scope": "https://example.org/.default"}), cliLogin, "invalid_resource", "500011"},
		{"unknown prompt", request(azureCLI, cliLogin, edit{"prompt": "create"}), cliLogin, "invalid_request", "90023"},
		{"max_age", request(azureCLI, cliLogin, edit{"max_age": "-1"}), cliLogin, "invalid_request", "90100"},
		{"unknown challenge method", request(azureCLI, cliLogin, edit{"code_challenge_method": "S512"}), cliLogin, "invalid_request", "50149"},
		{"method without a challenge", request(azureCLI, cliLogin, edit{"code_challenge": ""}), cliLogin, "invalid_request", "501491"},
		{"short challenge", request(azureCLI, cliLogin, edit{"code_challenge": "x"}), cliLogin, "invalid_request", "501491"},
		{"page without PKCE", request(spa.AppID, spaCode, edit{"code_challenge": "", "code_challenge_method": ""}), spaCode, "invalid_request", "9002325"},
		{"page with plain PKCE", request(spa.AppID, spaCode, edit{"code_challenge_method": "plain"}), spaCode, "invalid_request", "50149"},
		{"nobody is signed in", request(azureCLI, cliLogin, edit{"prompt": "none"}), cliLogin, "login_required", "50058"},
	} {
		got := n.browser().get(t, authorizeURL(c.query))
		if c.redirect == "" {
			if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" || !strings.Contains(got.body, "AADSTS"+c.number) {
				t.Errorf("%s: %d %s", c.name, got.StatusCode, got.body)
			}
			continue
		}
		params := got.location(t, strings.TrimSuffix(c.redirect, "/"))
		if params.Get("error") != c.code || !strings.HasPrefix(params.Get("error_description"), "AADSTS"+c.number+": ") || params.Get("state") != "s&t" || params.Get("code") != "" {
			t.Errorf("%s: %v", c.name, params)
		}
	}
	if got := n.browser().get(t, strings.Replace(authorizeURL(request(azureCLI, cliLogin)), tenant, "contoso.example", 1)); got.StatusCode != http.StatusBadRequest {
		t.Errorf("unknown tenant: %d", got.StatusCode)
	}
}

func TestResponseModes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	web, secret := n.web(t)
	type edit = map[string]string
	b, _ := n.signedIn(t, request(web.AppID, webCode))

	// Signed in, so no page comes in between.
	q := request(web.AppID, webCode, edit{"response_mode": "fragment"})
	if got := b.get(t, authorizeURL(q)); !strings.HasPrefix(got.Header.Get("Location"), webCode+"#") || got.location(t, webCode).Get("code") == "" {
		t.Errorf("fragment: %d %s", got.StatusCode, got.Header.Get("Location"))
	}

	q = request(web.AppID, webCode, edit{"response_mode": "form_post", "response_type": "code id_token", "nonce": "n", "scope": "openid profile email"})
	got := b.get(t, authorizeURL(q))
	action, fields := got.form(t)
	if got.StatusCode != http.StatusOK || action != webCode || fields.Get("state") != "s&t" {
		t.Fatalf("form_post: %d %s %v", got.StatusCode, action, fields)
	}
	policy := got.Header.Get("Content-Security-Policy")
	script := regexp.MustCompile(`<script>(.*)</script>`).FindStringSubmatch(got.body)
	if script == nil || !strings.Contains(policy, "script-src "+sourceHash(html.UnescapeString(script[1]))) || !strings.Contains(policy, "form-action 'self' https://web.example;") {
		t.Errorf("form_post: policy %q, script %q", policy, script)
	}
	id := told(t, fields.Get("id_token"))
	if id["oid"] != ada.ID || id["nonce"] != "n" || id["c_hash"] == nil || id["aud"] != web.AppID {
		t.Errorf("ID token %v", id)
	}
	status, tokens := n.ask(t, redeem(web.AppID, webCode, fields.Get("code"), edit{"client_secret": string(secret)}))
	if status != http.StatusOK || told(t, tokens["access_token"])["aud"] != graphResource || tokens["refresh_token"] != nil {
		t.Errorf("%d %v", status, tokens)
	}

	q = request(web.AppID, webCode, edit{"response_type": "id_token", "nonce": "n"})
	if got := b.get(t, authorizeURL(q)).location(t, webCode); got.Get("id_token") == "" || got.Get("code") != "" {
		t.Errorf("id_token: %v", got)
	}

	// A request may come as a form; a form of another site brings no cookies.
	post := b.send(t, postForm("/"+tenant+"/oauth2/v2.0/authorize", request(web.AppID, webCode)))
	if to := post.Header.Get("Location"); post.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/"+tenant+"/oauth2/v2.0/authorize?") {
		t.Errorf("POST: %d %s", post.StatusCode, to)
	} else if b.get(t, ownLogin+to).location(t, webCode).Get("code") == "" {
		t.Error("POST: no code")
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	type edit = map[string]string
	b, _ := n.signedIn(t, request(azureCLI, cliLogin))
	for _, c := range []struct {
		name  string
		edit  edit
		shows string // empty: a code without a question
	}{
		{"none", edit{"prompt": "none"}, ""},
		{"nothing", nil, ""},
		{"her own name", edit{"login_hint": strings.ToUpper(adaName)}, ""},
		{"consent, of which there is no need", edit{"prompt": "consent"}, "Permissions requested"},
		{"not too long ago", edit{"max_age": "60"}, ""},
		{"login", edit{"prompt": "login", "login_hint": adaName}, `value="` + adaName + `"`},
		{"select_account", edit{"prompt": "select_account"}, "Continue as " + adaName},
		{"another's name", edit{"login_hint": "bob@example.org"}, `value="bob@example.org"`},
		{"too long ago", edit{"max_age": "0"}, "Password"},
	} {
		got := b.get(t, authorizeURL(request(azureCLI, cliLogin, c.edit)))
		if c.shows == "" {
			if got.location(t, cliLogin).Get("code") == "" {
				t.Errorf("%s: no code", c.name)
			}
			continue
		}
		if got.StatusCode != http.StatusOK || !strings.Contains(got.body, c.shows) {
			t.Errorf("%s: %d %s", c.name, got.StatusCode, got.body)
		}
		if c.name == "login" && strings.Contains(got.body, "Continue as") {
			t.Error("prompt=login lets the user go on without a password")
		}
	}
	for name, e := range map[string]edit{"another's name": {"login_hint": "bob@example.org"}, "too long ago": {"max_age": "0"}} {
		got := b.get(t, authorizeURL(request(azureCLI, cliLogin, merged(edit{"prompt": "none"}, e)))).location(t, cliLogin)
		if got.Get("error") != "login_required" {
			t.Errorf("prompt=none with %s: %v", name, got)
		}
	}

	// The button goes on as who is signed in; at prompt=login it is not there, and pretending does not help.
	page := b.get(t, authorizeURL(request(azureCLI, cliLogin, edit{"prompt": "select_account"})))
	if got := b.submit(t, page, edit{"account": "current"}).location(t, cliLogin); got.Get("code") == "" {
		t.Errorf("account button: %v", got)
	}
	page = b.get(t, authorizeURL(request(azureCLI, cliLogin, edit{"prompt": "login"})))
	if got := b.submit(t, page, edit{"account": "current"}); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("prompt=login with the account button: %d", got.StatusCode)
	}
}

// FuzzAuthorize sends requests and forms that no client would: they are answered with a page or with a redirect to the
// client's own address, and never with a failure of the server.
func FuzzAuthorize(f *testing.F) {
	n := newNode(f)
	n.ada(f)
	b := n.browser()
	form := b.get(f, authorizeURL(request(azureCLI, cliLogin)))
	_, fields := form.form(f)
	f.Add(request(azureCLI, cliLogin).Encode(), "login=a&passwd=b", true)
	f.Add("client_id="+azureCLI+"&redirect_uri=http://localhost:1/%0d%0aSet-Cookie:x", "", false)
	f.Add("client_id="+azureCLI+"&redirect_uri=http://localhost&response_type=code&scope=%00/%ff", "account=current&otc=%00", true)
	f.Add("client_id=%ff%00&%zz", "%zz", true)
	f.Fuzz(func(t *testing.T, query, body string, v2 bool) {
		path := "/common/oauth2/authorize"
		if v2 {
			path = "/common/oauth2/v2.0/authorize"
		}
		check := func(r *http.Request) {
			for name, value := range b.cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			w := httptest.NewRecorder()
			n.Handler().ServeHTTP(w, r)
			to := w.Header().Get("Location")
			if w.Code >= 500 || to != "" && !strings.HasPrefix(to, "http://localhost") && !strings.HasPrefix(to, path+"?") {
				t.Fatalf("%s: %d %q %s", r.URL, w.Code, to, w.Body)
			}
		}
		get := httptest.NewRequest(http.MethodGet, ownLogin+path, nil)
		get.URL.RawQuery = query
		check(get)
		extra, _ := url.ParseQuery(body)
		extra.Set("form", fields.Get("form"))
		extra.Set("request", query)
		if extra.Get("login") != "" {
			extra.Set("login", "") // the lockout is tested elsewhere
		}
		for _, to := range []string{"/common/login", "/common/consent", devicePage, path, "/common/oauth2/logout", "/common/oauth2/v2.0/devicecode", "/common/oauth2/v2.0/token"} {
			check(postForm(to, extra))
			r := httptest.NewRequest(http.MethodPost, ownLogin+to, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			check(r)
		}
	})
}
