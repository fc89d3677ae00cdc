package authority

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const vaultAud = "https://vault.azure.net"

// consent grants scopes, for a user or, without one, for all.
func (n *node) consent(t testing.TB, client, resource, userID string, scopes ...string) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		d, err := directory.ReadDelegation(ctx, tx, client, resource, userID)
		if err != nil {
			return err
		}
		return n.d.Consent(ctx, tx, d, userID, scopes)
	})
}

// withdraw removes all grants of a client, as Microsoft Graph does.
func (n *node) withdraw(t testing.TB, client directory.Principal) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM directory_permission_grants WHERE client_id = $1`, client.ID); err != nil {
			return err
		}
		return n.d.SetEnabled(ctx, tx, client.ID, true) // which makes a change known
	})
}

// granted lists the grants of a client: for whom, and the scopes.
func (n *node) granted(t testing.TB, client directory.Principal) map[string]string {
	t.Helper()
	have := map[string]string{}
	err := n.d.DB.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT g.principal_id, g.scope FROM directory_permission_grants g WHERE g.client_id = $1`, client.ID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var user, scope string
			if err := rows.Scan(&user, &scope); err != nil {
				return err
			}
			have[user] = scope
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// principalGone checks that a token is refused for what its client or grant has become.
func (n *node) principalGone(t testing.TB, what string, token any, audience string) {
	t.Helper()
	var e *azure.TokenError
	if _, err := n.Verify(t.Context(), token.(string), accepting(audience)); !errors.As(err, &e) || e.Problem != azure.TokenPrincipal {
		t.Errorf("%s: %v", what, err)
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		web, secret := n.web(t)
		withSecret := map[string]string{"client_secret": string(secret)}
		n.exec(t, `UPDATE directory_principals SET name = $1 WHERE id = $2`, "<b>Bank\u202e\u200b & Co", web.ID)
		b, _ := n.signedIn(t, request(azureCLI, cliLogin))
		q := authorizeURL(request(web.AppID, webCode))

		// Being signed in gives an application nothing.
		silent := b.get(t, authorizeURL(request(web.AppID, webCode, map[string]string{"prompt": "none"}))).location(t, webCode)
		if silent.Get("error") != "consent_required" || !strings.HasPrefix(silent.Get("error_description"), "AADSTS65001: ") || silent.Get("state") != "s&t" {
			t.Errorf("prompt=none: %v", silent)
		}
		page := b.get(t, q)
		for _, needed := range []string{
			"<strong>&lt;b&gt;Bank &amp; Co</strong>", adaName, "Access Windows Azure Service Management API as you", "user_impersonation", "web.example", web.AppID, "Accept", "Cancel",
		} {
			if !strings.Contains(page.body, needed) {
				t.Errorf("the question lacks %q: %s", needed, page.body)
			}
		}
		if policy := page.Header.Get("Content-Security-Policy"); strings.Contains(policy, "script-src") || strings.Contains(page.body, "everyone") {
			t.Errorf("policy %q, %s", policy, page.body)
		}
		declined := b.submit(t, page, map[string]string{"decision": "decline"}).location(t, webCode)
		if declined.Get("error") != "access_denied" || !strings.HasPrefix(declined.Get("error_description"), "AADSTS65004: ") || declined.Get("code") != "" {
			t.Errorf("declined: %v", declined)
		}

		// Nobody else's form, no other permissions than those that were shown, and nothing for everybody.
		_, fields := page.form(t)
		forged := url.Values{"request": fields["request"], "ver": fields["ver"], "permissions": fields["permissions"], "decision": {"accept"}}
		if got := b.send(t, postForm("/"+tenant+"/consent", forged)); got.StatusCode != http.StatusForbidden {
			t.Errorf("forged: %d", got.StatusCode)
		}
		if got := b.submit(t, page, map[string]string{"decision": "accept", "permissions": "other"}); !strings.Contains(got.body, "Permissions requested") {
			t.Errorf("permissions that were not shown: %d %s", got.StatusCode, got.body)
		}
		if got := b.submit(t, page, map[string]string{"decision": "accept", "everyone": "yes"}).location(t, webCode); got.Get("error") != "access_denied" || !strings.Contains(got.Get("error_description"), "AADSTS90094") {
			t.Errorf("for everybody: %v", got)
		}
		if have := n.granted(t, web); len(have) != 0 {
			t.Fatalf("granted %v", have)
		}

		code := b.submit(t, page, map[string]string{"decision": "accept"}).location(t, webCode).Get("code")
		b.submit(t, page, map[string]string{"decision": "accept"}) // once more, as if the answer was lost
		if diff := cmp.Diff(map[string]string{ada.ID: "user_impersonation"}, n.granted(t, web)); diff != "" {
			t.Error(diff)
		}
		status, got := n.ask(t, redeem(web.AppID, webCode, code, withSecret))
		if status != http.StatusOK || told(t, got["access_token"])["scp"] != "user_impersonation" {
			t.Fatalf("%d %v", status, got)
		}
		if caller, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err != nil || !slices.Equal(caller.Scopes, []string{"user_impersonation"}) {
			t.Errorf("%+v %v", caller, err)
		}
		if rs := n.records(t, "Consent.Grant"); rs[len(rs)-1].Principal != ada.ID || rs[len(rs)-1].Details["scope"] != "user_impersonation" || rs[len(rs)-1].Details["clientId"] != web.AppID {
			t.Errorf("audit %+v", rs)
		}
		code = b.get(t, q).location(t, webCode).Get("code") // she is asked once
		if again := b.get(t, authorizeURL(request(web.AppID, webCode, map[string]string{"prompt": "consent"}))); !strings.Contains(again.body, "Permissions requested") {
			t.Errorf("prompt=consent: %d %s", again.StatusCode, again.body)
		}

		// Another resource is another question.
		_, refused := n.ask(t, refreshForm(web.AppID, got["refresh_token"], withSecret, map[string]string{"scope": vaultAud + "/.default"}))
		refusedWith(t, "refresh token for another resource", refused, "invalid_grant", 65001)
		if refused["suberror"] != "consent_required" {
			t.Errorf("%v", refused)
		}
		_, refused = n.ask(t, url.Values{"grant_type": {"password"}, "client_id": {web.AppID}, "client_secret": {string(secret)}, "username": {adaName}, "password": {adaSecret}, "scope": {vaultAud + "/.default"}})
		refusedWith(t, "password", refused, "invalid_grant", 65001)

		// What is withdrawn is over with the next request, whatever the client has.
		n.withdraw(t, web)
		n.principalGone(t, "the access token", got["access_token"], armAud)
		_, refused = n.ask(t, refreshForm(web.AppID, got["refresh_token"], withSecret))
		refusedWith(t, "the refresh token", refused, "invalid_grant", 65001)
		_, refused = n.ask(t, redeem(web.AppID, webCode, code, withSecret))
		refusedWith(t, "the code", refused, "invalid_grant", 65001)
		n.consent(t, web.AppID, armApp, "", "user_impersonation")
		if status, refused = n.ask(t, refreshForm(web.AppID, got["refresh_token"], withSecret)); status != http.StatusOK {
			t.Errorf("granted for all: %v", refused)
		}

		// So is a client that is disabled or gone.
		n.disable(t, web)
		n.principalGone(t, "a disabled client's token", got["access_token"], armAud)
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.SetEnabled(ctx, tx, web.ID, true) })
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err != nil {
			t.Error(err)
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.Delete(ctx, tx, web.ID) })
		n.principalGone(t, "a deleted client's token", got["access_token"], armAud)
	})
}

// What needs no consent, and what there is to consent to.
func TestDelegations(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	const read, write = "11111111-2222-4333-8444-555555555551", "11111111-2222-4333-8444-555555555552"
	client, _ := n.application(t)
	api, _ := n.registered(t, `{"api":{"oauth2PermissionScopes":[{"id":"`+read+`","value":"read"},{"id":"`+write+`","value":"write"}],
		"preAuthorizedApplications":[{"appId":"`+client.AppID+`","delegatedPermissionIds":["`+read+`"]}]}}`)
	needy, _ := n.registered(t, `{"requiredResourceAccess":[{"resourceAppId":"`+api.AppID+`","resourceAccess":[{"id":"`+write+`","type":"Scope"}]},
		{"resourceAppId":"`+graphApp+`","resourceAccess":[{"id":"06da0dbc-49e2-44d2-8312-53f166ab848a","type":"Scope"},{"id":"7ab1d382-f21e-4acd-a863-ba3e13f7da61","type":"Role"}]}]}`)
	silent, _ := n.application(t)
	half, _ := n.application(t)
	n.consent(t, half.AppID, api.AppID, ada.ID, "read")
	other, _ := n.application(t)
	n.consent(t, other.AppID, api.AppID, "", "read", "write")
	for _, c := range []struct {
		name, client, scope string
		claim               string // what is granted
		missing             string
		number              string // of the AADSTS code, when it cannot be asked for
	}{
		{"Microsoft's client", azureCLI, armAud + "/.default", "user_impersonation", "", ""},
		{"Microsoft's client at Graph", azureCLI, graphResource + "/.default openid", "Directory.AccessAsUser.All User.Read openid", "", ""},
		{"the resource itself", api.AppID, "api://" + api.AppID + "/.default", "read write", "", ""},
		{"OpenID Connect's alone", client.AppID, "openid profile offline_access", "openid profile", "", ""},
		{"the profile", client.AppID, "openid User.Read", "", "User.Read", ""},
		{"Resource Manager", client.AppID, armAud + "//.default", "", "user_impersonation", ""},
		{"Key Vault by another of its names", client.AppID, vaultAud + "/user_impersonation", "", "user_impersonation", ""},
		{"a blob host", client.AppID, "https://acct.blob.core.windows.net/.default", "", "user_impersonation", ""},
		{"a client id", client.AppID, armApp + "/.default", "", "user_impersonation", ""},
		{"Media Services", client.AppID, "https://rest.media.azure.net/.default", "", "user_impersonation", ""},
		{"Graph without a list", client.AppID, graphResource + "/.default", "", "User.Read", ""},
		{"Graph with a list", needy.AppID, graphResource + "/.default", "", "Directory.Read.All", ""},
		{"a list", needy.AppID, api.AppID + "/.default", "", "write", ""},
		{"pre-authorized", client.AppID, api.AppID + "/read", "read", "", ""},
		{"pre-authorized, by default", client.AppID, api.AppID + "/.default", "read", "", ""},
		{"pre-authorized for less", client.AppID, api.AppID + "/read api://" + api.AppID + "/write", "", "", "28000"},
		{"more than is pre-authorized", client.AppID, api.AppID + "/write", "", "write", ""},
		{"half of it granted", half.AppID, api.AppID + "/read " + api.AppID + "/write", "", "write", ""},
		{"the granted half", half.AppID, api.AppID + "/.default", "read", "", ""},
		{"granted for all", other.AppID, api.AppID + "/.default", "read write", "", ""},
		{"no such scope", client.AppID, api.AppID + "/delete", "", "", "650053"},
		{"a resource without scopes", client.AppID, silent.AppID + "/.default", "", "", "650056"},
		{"nobody's resource", client.AppID, "api://AzureADTokenExchange/.default", "", "", "500011"},
	} {
		w, err := wantedOf(url.Values{"scope": {c.scope}}, true)
		var d delegation
		if err == nil {
			d, err = n.delegation(t.Context(), c.client, ada.ID, w)
		}
		if e, _ := azure.AsError(err); c.number != "" {
			if err == nil || e.Target != c.number {
				t.Errorf("%s: %v, want %s", c.name, err, c.number)
			}
			continue
		}
		if err != nil || strings.Join(d.missing, " ") != c.missing {
			t.Errorf("%s: missing %q, want %q: %v", c.name, d.missing, c.missing, err)
			continue
		}
		for _, s := range d.scopes {
			if name := d.ScopeName(s); d.AnyScope && name == "" || strings.Contains(s, "AccessAsUser") && !strings.Contains(name, "change") {
				t.Errorf("%s: %q is told as %q", c.name, s, name)
			}
		}
		got, err := d.grant(w)
		if e, _ := azure.AsError(err); c.missing != "" && (err == nil || e.Target != "65001") || c.missing == "" && (err != nil || got.claim != c.claim) {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
	}
}

// Who may change the directory may consent for everybody.
func TestConsentForAll(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		bob, err := n.d.CreateUser(t.Context(), "bob@example.org", adaSecret)
		if err != nil {
			t.Fatal(err)
		}
		n.o.MayConsentForAll = func(_ context.Context, principals []string) (bool, error) {
			return slices.Contains(principals, ada.ID), nil
		}
		web, _ := n.web(t)
		adas, _ := n.signedIn(t, request(azureCLI, cliLogin))
		bobs := n.browser()
		bobs.submit(t, bobs.get(t, authorizeURL(request(azureCLI, cliLogin))), map[string]string{"login": "bob@example.org", "passwd": adaSecret})
		type edit = map[string]string
		forAll := authorizeURL(request(web.AppID, webCode, edit{"prompt": adminConsent, "scope": vaultAud + "/.default"}))

		if got := bobs.get(t, forAll).location(t, webCode); got.Get("error") != "access_denied" || !strings.Contains(got.Get("error_description"), "AADSTS90094") {
			t.Errorf("prompt=admin_consent for bob: %v", got)
		}
		page := adas.get(t, forAll)
		if !strings.Contains(page.body, `type="hidden" name="everyone" value="yes"`) {
			t.Fatalf("prompt=admin_consent: %s", page.body)
		}
		if got := adas.submit(t, page, edit{"decision": "accept", "everyone": ""}); !strings.Contains(got.body, "Permissions requested") {
			t.Errorf("prompt=admin_consent for ada alone: %d %s", got.StatusCode, got.body)
		}
		// The form of one is not the other's.
		_, fields := page.form(t)
		fields.Set("decision", "accept")
		if got := bobs.send(t, postForm("/"+tenant+"/consent", fields)); got.StatusCode != http.StatusForbidden {
			t.Errorf("ada's form in bob's browser: %d", got.StatusCode)
		}
		if adas.submit(t, page, edit{"decision": "accept"}).location(t, webCode).Get("code") == "" {
			t.Error("no code")
		}
		if bobs.get(t, authorizeURL(request(web.AppID, webCode, edit{"scope": vaultAud + "/.default"}))).location(t, webCode).Get("code") == "" {
			t.Error("bob is asked for what ada has consented to for all")
		}
		if diff := cmp.Diff(map[string]string{"": "user_impersonation"}, n.granted(t, web)); diff != "" {
			t.Error(diff)
		}

		// Without that prompt it is her choice.
		q := authorizeURL(request(web.AppID, webCode))
		page = adas.get(t, q)
		if !strings.Contains(page.body, `type="checkbox" name="everyone"`) {
			t.Errorf("%s", page.body)
		}
		adas.submit(t, page, edit{"decision": "accept"}).location(t, webCode)
		if got := bobs.get(t, q); !strings.Contains(got.body, "Permissions requested") || strings.Contains(got.body, "everyone") {
			t.Errorf("bob is not asked: %d %s", got.StatusCode, got.body)
		}
		n.withdraw(t, web)
		adas.submit(t, adas.get(t, q), edit{"decision": "accept", "everyone": "yes"}).location(t, webCode)
		bobs.get(t, q).location(t, webCode)
		if diff := cmp.Diff(map[string]string{"": "user_impersonation"}, n.granted(t, web)); diff != "" {
			t.Error(diff, bob.ID)
		}
	})
}

// The page takes no answer of who signed in longer ago than the client wants.
func TestConsentNeedsTheSignIn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	web, _ := n.web(t)
	b := n.browser()
	page := b.submit(t, b.get(t, authorizeURL(request(web.AppID, webCode, map[string]string{"prompt": "login"}))), credentials(adaSecret))
	if !strings.Contains(page.body, "Permissions requested") {
		t.Fatalf("%d %s", page.StatusCode, page.body)
	}
	n.exec(t, `UPDATE authority_sessions SET signed_in = signed_in - $1`, (2 * codeLife).Microseconds())
	if got := b.submit(t, page, map[string]string{"decision": "accept"}); !strings.Contains(got.body, "Password") || len(n.granted(t, web)) != 0 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func TestDeviceConsent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		bob, err := n.d.CreateUser(t.Context(), "bob@example.org", adaSecret)
		if err != nil {
			t.Fatal(err)
		}
		tool, _ := n.registered(t, `{"isFallbackPublicClient":true}`)
		asTool := map[string]string{"client_id": tool.AppID}
		b, _ := n.signedIn(t, request(azureCLI, cliLogin))
		ask := func() (map[string]any, reply) {
			device := n.startDevice(t, asTool)
			confirm := b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)})
			return device, b.submit(t, confirm, map[string]string{"decision": "approve"})
		}
		device, page := ask()
		if !strings.Contains(page.body, "Permissions requested") || !strings.Contains(page.body, "user_impersonation") {
			t.Fatalf("%d %s", page.StatusCode, page.body)
		}
		_, got := n.pollDevice(t, device, asTool)
		refusedWith(t, "asked for consent", got, "authorization_pending", 70016)
		b.submit(t, page, map[string]string{"decision": "decline"})
		_, got = n.pollDevice(t, device, asTool)
		refusedWith(t, "declined", got, "authorization_declined", 70017)

		device, page = ask()
		if again := b.submit(t, page, map[string]string{"decision": "accept", "permissions": "other"}); !strings.Contains(again.body, "Permissions requested") {
			t.Errorf("permissions that were not shown: %s", again.body)
		}
		if done := b.submit(t, page, map[string]string{"decision": "accept"}); !strings.Contains(done.body, "You have signed in on your device") {
			t.Errorf("%d %s", done.StatusCode, done.body)
		}
		status, got := n.pollDevice(t, device, asTool)
		if status != http.StatusOK || told(t, got["access_token"])["scp"] != "user_impersonation" {
			t.Errorf("%d %v", status, got)
		}
		device, page = ask()
		if !strings.Contains(page.body, "You have signed in on your device") {
			t.Errorf("asked again: %s", page.body)
		}
		n.withdraw(t, tool)
		_, got = n.pollDevice(t, device, asTool)
		refusedWith(t, "withdrawn", got, "invalid_grant", 65001)

		// Somebody else may take the browser over.
		device = n.startDevice(t)
		confirm := b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)})
		signIn := b.submit(t, confirm, map[string]string{"account": "other"})
		if !strings.Contains(signIn.body, "Password") {
			t.Fatalf("%s", signIn.body)
		}
		confirm = b.submit(t, signIn, map[string]string{"login": "bob@example.org", "passwd": adaSecret})
		if !strings.Contains(confirm.body, "bob@example.org") || strings.Contains(confirm.body, adaName) {
			t.Errorf("%s", confirm.body)
		}
		b.submit(t, confirm, map[string]string{"decision": "approve"})
		if status, got := n.pollDevice(t, device); status != http.StatusOK || told(t, got["access_token"])["oid"] != bob.ID {
			t.Errorf("%d %v, not %s", status, got, ada.ID)
		}
	})
}

// An application that a user calls does not act as the user elsewhere before the user or an administrator has agreed.
func TestOnBehalfOfNeedsConsent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	api, secret := n.web(t)
	first := n.tokens(t, request(azureCLI, cliLogin, map[string]string{"scope": "api://" + api.AppID + "/read offline_access"}), nil)
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "requested_token_use": {"on_behalf_of"}, "assertion": {first["access_token"].(string)},
		"client_id": {api.AppID}, "client_secret": {string(secret)}, "scope": {armAud + "/.default"},
	}
	_, got := n.ask(t, form)
	refusedWith(t, "without consent", got, "invalid_grant", 65001)
	n.consent(t, api.AppID, armApp, "", "user_impersonation")
	status, got := n.ask(t, form)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, got)
	}
	n.withdraw(t, api)
	n.principalGone(t, "withdrawn", got["access_token"], armAud)
}

// TestRevokeUser ends all that a user's sign-ins gave.
func TestRevokeUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		got := n.tokens(t, request(azureCLI, cliLogin), nil)
		b, code := n.signedIn(t, request(azureCLI, cliLogin))
		n.update(t, func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE directory_passwords SET signed_out = 1`); err != nil { // as the directory does
				return err
			}
			return n.RevokeUser(ctx, tx, ada.ID)
		})
		n.principalGone(t, "the access token", got["access_token"], armAud)
		_, refused := n.ask(t, refreshForm(azureCLI, got["refresh_token"]))
		refusedWith(t, "the refresh token", refused, "invalid_grant", 70000)
		_, refused = n.ask(t, redeem(azureCLI, cliLogin, code))
		refusedWith(t, "the code", refused, "invalid_grant", 50173)
		if page := b.get(t, authorizeURL(request(azureCLI, cliLogin))); !strings.Contains(page.body, "Password") {
			t.Errorf("the session: %d %s", page.StatusCode, page.body)
		}
		n.tokens(t, request(azureCLI, cliLogin), nil) // she signs in anew
	})
}
