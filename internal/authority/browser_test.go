package authority

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	azureCLI   = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	armAud     = "https://management.azure.com"
	adaName    = "ada@example.org"
	adaSecret  = "correct horse battery"
	verifier   = "0123456789012345678901234567890123456789012"
	webCode    = "https://web.example/cb"
	spaCode    = "https://spa.example/"
	cliLogin   = "http://localhost:12345"
	webLogin   = "http://localhost:3000/cb"
	deviceLink = ownLogin + devicePage
)

func challenge() string { return base64.RawURLEncoding.EncodeToString(hashOf(verifier)) }

// ada makes the user.
func (n *node) ada(t testing.TB) directory.Principal {
	t.Helper()
	p, err := n.d.CreateUser(context.Background(), adaName, adaSecret)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (n *node) changePassword(t testing.TB, p directory.Principal, password seal.Secret) {
	t.Helper()
	hash := directory.HashPassword(password)
	n.exec(t, `UPDATE directory_passwords SET hash = $1 WHERE principal_id = $2`, string(hash), p.ID)
}

// exec changes the database behind the authority's back.
func (n *node) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

// registered makes an application with the properties of its registration.
func (n *node) registered(t testing.TB, attributes string) (p directory.Principal, secret seal.Secret) {
	t.Helper()
	p, secret = n.application(t)
	n.exec(t, `UPDATE directory_applications SET attributes = $1 WHERE app_id = $2`, attributes, p.AppID)
	return p, secret
}

// web makes a confidential client that is a resource too.
func (n *node) web(t testing.TB) (p directory.Principal, secret seal.Secret) {
	t.Helper()
	return n.registered(t, `{"web":{"redirectUris":["`+webCode+`","http://localhost/cb"]},
		"api":{"oauth2PermissionScopes":[{"id":"`+tenant+`","value":"read"}]}}`)
}

// browser is a person's browser, without scripts.
type browser struct {
	handler http.Handler
	cookies map[string]string
	ip      string
}

func (n *node) browser() *browser {
	return &browser{handler: n.Handler(), cookies: map[string]string{}, ip: "192.0.2.1"}
}

// reply is what a browser was sent.
type reply struct {
	*http.Response
	body string
}

func (b *browser) send(t testing.TB, r *http.Request) reply {
	t.Helper()
	r.RemoteAddr = b.ip + ":1"
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("cookie %+v", c)
		}
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		policy := res.Header.Get("Content-Security-Policy")
		for _, needed := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, needed) {
				t.Errorf("%s: policy %q lacks %s", r.URL, policy, needed)
			}
		}
		if res.Header.Get("X-Frame-Options") != "DENY" || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", r.URL, res.Header)
		}
	}
	return reply{res, string(body)}
}

func (b *browser) get(t testing.TB, target string) reply {
	t.Helper()
	return b.send(t, httptest.NewRequest(http.MethodGet, target, nil))
}

var (
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// form returns what the last form of a page sends when nothing is filled in.
func (r reply) form(t testing.TB) (action string, fields url.Values) {
	t.Helper()
	at := strings.LastIndex(r.body, "<form")
	if at < 0 {
		t.Fatalf("%d: no form in %s", r.StatusCode, r.body)
	}
	part := r.body[at:]
	fields = url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(part, -1) {
		fields.Add(m[1], html.UnescapeString(m[2]))
	}
	return html.UnescapeString(formAction.FindStringSubmatch(part)[1]), fields
}

// submit fills the last form of a page in and sends it.
func (b *browser) submit(t testing.TB, page reply, fill map[string]string) reply {
	t.Helper()
	action, fields := page.form(t)
	for name, value := range fill {
		fields.Set(name, value)
	}
	return b.send(t, postForm(action, fields))
}

func credentials(password string) map[string]string {
	return map[string]string{"login": adaName, "passwd": password}
}

// location returns the parameters of a redirect to an address.
func (r reply) location(t testing.TB, to string) url.Values {
	t.Helper()
	target := r.Header.Get("Location")
	if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(target, to+"?") && !strings.HasPrefix(target, to+"#") && !strings.HasPrefix(target, to+"/?") {
		t.Fatalf("%d to %q, want a redirect to %s: %s", r.StatusCode, target, to, r.body)
	}
	values, err := url.ParseQuery(target[strings.IndexAny(target, "?#")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// request is a good authorization request of a client; edit changes it.
func request(clientID, redirect string, edit ...map[string]string) url.Values {
	q := url.Values{
		"client_id": {clientID}, "redirect_uri": {redirect}, "response_type": {"code"}, "state": {"s&t"},
		"scope": {armAud + "/.default openid profile offline_access"}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
	for _, e := range edit {
		for name, value := range e {
			q.Set(name, value)
			if value == "" {
				q.Del(name)
			}
		}
	}
	return q
}

func authorizeURL(q url.Values) string {
	return ownLogin + "/" + tenant + "/oauth2/v2.0/authorize?" + q.Encode()
}

// signedIn returns a browser in which ada has signed in, and the code that a client got.
func (n *node) signedIn(t testing.TB, q url.Values) (*browser, string) {
	t.Helper()
	b := n.browser()
	page := b.submit(t, b.get(t, authorizeURL(q)), credentials(adaSecret))
	if strings.Contains(page.body, "Permissions requested") {
		page = b.submit(t, page, map[string]string{"decision": "accept"})
	}
	got := page.location(t, q.Get("redirect_uri"))
	if got.Get("code") == "" || got.Get("state") != q.Get("state") {
		t.Fatalf("answer %v", got)
	}
	return b, got.Get("code")
}

// redeem is the form with which a public client redeems a code.
func redeem(clientID, redirect, code string, more ...map[string]string) url.Values {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {clientID}, "redirect_uri": {redirect}, "code": {code}, "code_verifier": {verifier}, "client_info": {"1"}}
	for _, m := range more {
		for name, value := range m {
			form.Set(name, value)
			if value == "" {
				form.Del(name)
			}
		}
	}
	return form
}

func (n *node) ask(t testing.TB, form url.Values, header ...string) (int, map[string]any) {
	t.Helper()
	return n.askAt(t, tokenPath, form, header...)
}

func (n *node) askAt(t testing.TB, path string, form url.Values, header ...string) (int, map[string]any) {
	t.Helper()
	r := postForm(path, form)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, body := do(t, n.Handler(), r)
	return res.StatusCode, body
}

// refusedWith checks that an answer is an error with an AADSTS code.
func refusedWith(t testing.TB, name string, body map[string]any, code string, number float64) {
	t.Helper()
	numbers, _ := body["error_codes"].([]any)
	if body["error"] != code || len(numbers) != 1 || numbers[0] != number || body["access_token"] != nil {
		t.Errorf("%s: %v, want %s %v", name, body, code, number)
	}
}

// told returns the claims of a JWT.
func told(t testing.TB, raw any) map[string]any {
	t.Helper()
	text, _ := raw.(string)
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %v", raw)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
