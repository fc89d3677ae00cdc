package authority

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSignInPage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	bob, err := n.d.CreateUser(t.Context(), "bob@example.org", adaSecret)
	if err != nil {
		t.Fatal(err)
	}
	n.disable(t, bob)
	q := authorizeURL(request(azureCLI, cliLogin, map[string]string{"login_hint": `"><script>alert(1)</script>`, "state": `"><b>`}))

	b := n.browser()
	page := b.get(t, q)
	if page.StatusCode != http.StatusOK || strings.Contains(page.body, "<script") || strings.Contains(page.body, "<b>") || !strings.Contains(page.body, "Microsoft Azure CLI") {
		t.Errorf("page: %d %s", page.StatusCode, page.body)
	}
	if policy := page.Header.Get("Content-Security-Policy"); strings.Contains(policy, "script-src") || !strings.Contains(policy, "form-action 'self' http://localhost:12345;") {
		t.Errorf("policy %q", policy)
	}
	if strings.Contains(page.body, "http://") || strings.Contains(page.body, "//cdn") {
		for _, line := range strings.Split(page.body, "\n") {
			if strings.Contains(line, "src=") || strings.Contains(line, "<link") {
				t.Errorf("the page loads something: %s", line)
			}
		}
	}

	// Nobody's name, a wrong password and a disabled user with a wrong password are told by nothing apart.
	var first reply
	for i, fill := range []map[string]string{
		{"login": adaName, "passwd": "wrong"}, {"login": "nobody@example.org", "passwd": "wrong"}, {"login": "bob@example.org", "passwd": "wrong"},
	} {
		got := b.submit(t, page, fill)
		got.body = strings.ReplaceAll(got.body, fill["login"], "NAME")
		if i == 0 {
			first = got
		}
		if got.StatusCode != http.StatusUnauthorized || got.body != first.body || !strings.Contains(got.body, "The user name or password is incorrect.") || b.cookies[sessionCookie] != "" {
			t.Errorf("%v: %d %s", fill, got.StatusCode, got.body)
		}
	}
	if got := b.submit(t, page, map[string]string{"login": "bob@example.org", "passwd": adaSecret}); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "disabled") {
		t.Errorf("disabled: %d %s", got.StatusCode, got.body)
	}
	for name, fill := range map[string]map[string]string{
		"empty": {"login": "", "passwd": ""}, "long": {"login": adaName, "passwd": strings.Repeat("x", maxPassword+1)}, "NUL": {"login": "\x00\xff", "passwd": "x"},
	} {
		if got := b.submit(t, page, fill); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}

	// Forms that this browser was not given.
	stranger := n.browser()
	stranger.ip = "192.0.2.66"
	other := stranger.get(t, q)
	for name, c := range map[string]struct {
		b    *browser
		page reply
		fill map[string]string
	}{
		"without cookies":      {&browser{handler: n.Handler(), cookies: map[string]string{}, ip: "192.0.2.9"}, page, nil},
		"of another browser":   {b, other, nil},
		"without its token":    {b, page, map[string]string{"form": ""}},
		"with another token":   {b, page, map[string]string{"form": boundTo("x", "")}},
		"with an empty cookie": {&browser{handler: n.Handler(), cookies: map[string]string{formCookie: ""}, ip: "192.0.2.9"}, page, map[string]string{"form": boundTo("", "")}},
	} {
		got := c.b.submit(t, c.page, merged(credentials(adaSecret), c.fill))
		if got.StatusCode != http.StatusForbidden || c.b.cookies[sessionCookie] != "" {
			t.Errorf("a form %s: %d %s", name, got.StatusCode, got.body)
		}
	}

	// What the form says of the request is checked anew.
	for name, changed := range map[string]url.Values{
		"foreign redirect": request(azureCLI, "https://evil.example/"), "unknown client": request(tenant, cliLogin),
	} {
		if got := b.submit(t, page, merged(credentials(adaSecret), map[string]string{"request": changed.Encode()})); got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" {
			t.Errorf("%s in the form: %d %s", name, got.StatusCode, got.Header.Get("Location"))
		}
	}

	got := b.submit(t, page, map[string]string{"login": " ADA@example.org ", "passwd": adaSecret})
	if got.location(t, cliLogin).Get("state") != `"><b>` || b.cookies[sessionCookie] == "" {
		t.Errorf("signed in: %v", got.Header)
	}
	if strings.Contains(got.Header.Get("Location"), url.QueryEscape(adaSecret)) {
		t.Error("the password is in the redirect")
	}
	for _, r := range n.records(t, "SignIn.Password") {
		if strings.Contains(fmt.Sprint(r), adaSecret) || r.Result == "Success" && r.Principal != ada.ID {
			t.Errorf("record %+v", r)
		}
	}
	if again := b.submit(t, page, credentials(adaSecret)); again.StatusCode != http.StatusForbidden {
		t.Errorf("a form from before the sign-in: %d", again.StatusCode)
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	web, secret := n.web(t)
	at := ownLogin + "/" + tenant + "/oauth2/v2.0/logout"
	b, code := n.signedIn(t, request(web.AppID, webCode))
	_, tokens := n.ask(t, redeem(web.AppID, webCode, code, map[string]string{"client_secret": string(secret)}))
	for name, c := range map[string]struct {
		query    url.Values
		redirect bool
	}{
		"alone":                 {nil, false},
		"its own address":       {url.Values{"post_logout_redirect_uri": {webCode}, "client_id": {web.AppID}, "state": {"s"}}, true},
		"by ID token":           {url.Values{"post_logout_redirect_uri": {webCode}, "id_token_hint": {tokens["id_token"].(string)}}, true},
		"a foreign address":     {url.Values{"post_logout_redirect_uri": {"https://evil.example/"}, "client_id": {web.AppID}}, false},
		"another's address":     {url.Values{"post_logout_redirect_uri": {webCode}, "client_id": {azureCLI}}, false},
		"nobody's address":      {url.Values{"post_logout_redirect_uri": {webCode}}, false},
		"a made-up ID token":    {url.Values{"post_logout_redirect_uri": {webCode}, "id_token_hint": {"a.b.c"}}, false},
		"an unknown client's":   {url.Values{"post_logout_redirect_uri": {webCode}, "client_id": {tenant}}, false},
		"a malformed client id": {url.Values{"post_logout_redirect_uri": {webCode}, "client_id": {"\x00"}}, false},
	} {
		got := b.get(t, at+"?"+c.query.Encode())
		if to := got.Header.Get("Location"); c.redirect != strings.HasPrefix(to, webCode) || !c.redirect && (got.StatusCode != http.StatusOK || to != "") {
			t.Errorf("%s: %d %s", name, got.StatusCode, to)
		}
	}
	if got := b.send(t, postForm("/"+tenant+"/oauth2/logout", url.Values{})); got.StatusCode != http.StatusOK {
		t.Errorf("POST: %d", got.StatusCode)
	}
	if rs := n.records(t, "SignIn.Out"); len(rs) != 1 {
		t.Errorf("%d records of one sign-out", len(rs))
	}
}

// A password that has to be changed gives no token and no session, only the way to another one.
func TestPasswordToBeChanged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	const next = "Another horse 2"
	n.exec(t, `UPDATE directory_passwords SET must_change = 1 WHERE principal_id = $1`, ada.ID)
	if got := n.guess(t, "192.0.2.1:1", adaName, adaSecret); got != 50055 {
		t.Errorf("name and password: %v", got)
	}
	b := n.browser()
	page := b.submit(t, b.get(t, authorizeURL(request(azureCLI, cliLogin))), credentials(adaSecret))
	if page.StatusCode != http.StatusUnauthorized || !strings.Contains(page.body, "New password") || strings.Contains(page.body, adaSecret) || b.cookies[sessionCookie] != "" {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	change := func(current, next, confirm string) reply {
		return b.submit(t, page, map[string]string{"passwd": current, "newpasswd": next, "confirmpasswd": confirm})
	}
	for name, got := range map[string]reply{
		"wrong current": change("wrong", next, next), "not the same twice": change(adaSecret, next, "x"), "the same again": change(adaSecret, adaSecret, adaSecret), "too weak": change(adaSecret, "weak", "weak"),
	} {
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, `role="alert"`) || b.cookies[sessionCookie] != "" {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	if change(adaSecret, next, next).location(t, cliLogin).Get("code") == "" || b.cookies[sessionCookie] == "" {
		t.Error("the new password did not sign in")
	}
	if got := n.guess(t, "192.0.2.1:1", adaName, adaSecret); got != 50126 {
		t.Errorf("the old password: %v", got)
	}
	if got := n.guess(t, "192.0.2.1:1", adaName, next); got != 0 {
		t.Errorf("the new password: %v", got)
	}
	if rs := n.records(t, "SignIn.PasswordChanged"); len(rs) != 1 || rs[0].Principal != ada.ID {
		t.Errorf("audit %+v", rs)
	}

	// Who does not have to change it cannot, here: that takes being signed in.
	b = n.browser()
	page = b.get(t, authorizeURL(request(azureCLI, cliLogin)))
	b.submit(t, page, map[string]string{"login": adaName, "passwd": next, "newpasswd": adaSecret, "confirmpasswd": adaSecret})
	if got := n.guess(t, "192.0.2.1:1", adaName, adaSecret); got != 50126 {
		t.Errorf("a password that need not be changed was: %v", got)
	}
}
