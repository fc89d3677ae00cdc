package authority

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAuthorizationCode(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		_, code := n.signedIn(t, request(azureCLI, cliLogin, map[string]string{"nonce": "n"}))
		status, got := n.ask(t, redeem(azureCLI, cliLogin, code))
		if status != http.StatusOK || got["refresh_token"] == nil || got["token_type"] != "Bearer" {
			t.Fatalf("%d %v", status, got)
		}
		if scope, want := got["scope"], armAud+"/.default openid profile offline_access "+armAud+"/user_impersonation"; scope != want {
			t.Errorf("scope %q, want %q", scope, want)
		}
		access := told(t, got["access_token"])
		want := map[string]any{
			"aud": armAud, "iss": "https://sts.windows.net/" + tenant + "/", "idp": "https://sts.windows.net/" + tenant + "/", "tid": tenant, "ver": "1.0",
			"idtyp": "user", "oid": ada.ID, "appid": azureCLI, "appidacr": "0", "acr": "1", "amr": []any{"pwd"}, "scp": "user_impersonation",
			"upn": adaName, "unique_name": adaName, "name": adaName, "ipaddr": "192.0.2.1",
		}
		opaque := cmpopts.IgnoreMapEntries(func(name string, v any) bool {
			switch name {
			case "iat", "nbf", "exp", "aio", "rh", "uti", "sid", "sub", "auth_time":
				return v != nil && v != ""
			}
			return false
		})
		if diff := cmp.Diff(want, access, opaque); diff != "" {
			t.Error("access token:", diff)
		}
		wantID := map[string]any{
			"aud": azureCLI, "iss": ownLogin + "/" + tenant + "/v2.0", "tid": tenant, "ver": "2.0", "oid": ada.ID, "nonce": "n",
			"preferred_username": adaName, "name": adaName,
		}
		id := told(t, got["id_token"])
		if diff := cmp.Diff(wantID, id, opaque); diff != "" {
			t.Error("ID token:", diff)
		}
		if id["sub"] == access["sub"] || id["sub"] == ada.ID {
			t.Errorf("the subject %v is not pairwise", id["sub"])
		}
		info := "eyJ1aWQiOi" // {"uid":"
		if s, _ := got["client_info"].(string); !strings.HasPrefix(s, info) {
			t.Errorf("client_info %q", s)
		}
		caller, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud))
		if err != nil || caller.ObjectID != ada.ID || caller.Type != azure.TypeUser || caller.AppID != azureCLI || caller.Name != adaName {
			t.Errorf("caller %+v, %v", caller, err)
		}
		if _, err := n.Verify(t.Context(), got["id_token"].(string), accepting(azureCLI)); err == nil {
			t.Error("an ID token passes for an access token")
		}

		// The second use revokes what came of the first, the access token too.
		_, again := n.ask(t, redeem(azureCLI, cliLogin, code))
		refusedWith(t, "second use", again, "invalid_grant", 54005)
		var e *azure.TokenError
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); !errors.As(err, &e) || e.Problem != azure.TokenPrincipal {
			t.Errorf("the access token of a code that came twice: %v", err)
		}
		_, refreshed := n.ask(t, url.Values{"grant_type": {"refresh_token"}, "client_id": {azureCLI}, "refresh_token": {got["refresh_token"].(string)}})
		refusedWith(t, "refresh token of a code that came twice", refreshed, "invalid_grant", 70000)
		for operation, outcomes := range map[string]string{"SignIn.Password": "Success", "SignIn.Authorize": "Success", "Token.AuthorizationCode": "Success Failure"} {
			var have []string
			for _, r := range n.records(t, operation) {
				have = append(have, r.Result)
				if r.Principal != ada.ID || r.ClientIP == "" {
					t.Errorf("%s: record %+v", operation, r)
				}
			}
			if got := strings.Join(have, " "); got != outcomes {
				t.Errorf("%s: audit %q, want %q", operation, got, outcomes)
			}
		}
	})
}

func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ada := n.ada(t)
	web, secret := n.web(t)
	spa, _ := n.registered(t, `{"spa":{"redirectUris":["`+spaCode+`"]}}`)
	type edit = map[string]string
	for _, c := range []struct {
		name, client, redirect string
		request, redeem        edit
		origin                 string
		code                   string
		number                 float64 // 0: given
	}{
		{"other client", azureCLI, cliLogin, nil, edit{"client_id": "1950a258-227b-4e31-a9cf-717495945fc2"}, "", "invalid_grant", 70000},
		{"other redirect", azureCLI, cliLogin, nil, edit{"redirect_uri": "http://localhost:1"}, "", "invalid_grant", 500112},
		{"no redirect", azureCLI, cliLogin, nil, edit{"redirect_uri": ""}, "", "invalid_grant", 500112},
		{"other verifier", azureCLI, cliLogin, nil, edit{"code_verifier": "1" + verifier}, "", "invalid_grant", 501481},
		{"short verifier", azureCLI, cliLogin, edit{"code_challenge_method": "plain"}, edit{"code_verifier": "short"}, "", "invalid_grant", 501481},
		{"no verifier", azureCLI, cliLogin, nil, edit{"code_verifier": ""}, "", "invalid_grant", 50148},
		{"a verifier without a challenge", azureCLI, cliLogin, edit{"code_challenge": "", "code_challenge_method": ""}, nil, "", "invalid_grant", 50148},
		{"plain", azureCLI, cliLogin, edit{"code_challenge": verifier, "code_challenge_method": ""}, nil, "", "", 0},
		{"without PKCE", azureCLI, cliLogin, edit{"code_challenge": "", "code_challenge_method": ""}, edit{"code_verifier": ""}, "", "", 0},
		{"unknown code", azureCLI, cliLogin, nil, edit{"code": "1.x"}, "", "invalid_grant", 70000},
		{"no code", azureCLI, cliLogin, nil, edit{"code": ""}, "", "invalid_request", 900144},
		{"other resource", azureCLI, cliLogin, nil, edit{"scope": "https://vault.azure.net/.default"}, "", "", 0},
		{"unknown resource", azureCLI, cliLogin, nil, edit{"scope": "https://example.org/.default"}, "", "invalid_resource", 500011},
		{"unknown scope", azureCLI, cliLogin, nil, edit{"scope": armAud + "/nothing"}, "", "invalid_client", 650053},
		{"web without a secret", web.AppID, webCode, nil, nil, "", "invalid_client", 7000218},
		{"web with a wrong secret", web.AppID, webCode, nil, edit{"client_secret": "x"}, "", "invalid_client", 7000215},
		{"web", web.AppID, webCode, nil, edit{"client_secret": string(secret)}, "", "", 0},
		{"web, any loopback port", web.AppID, webLogin, nil, edit{"client_secret": string(secret)}, "", "", 0},
		{"web from a page", web.AppID, webCode, nil, edit{"client_secret": string(secret)}, "https://web.example", "invalid_request", 9002326},
		{"page", spa.AppID, spaCode, nil, nil, "https://spa.example", "", 0},
		{"page without an origin", spa.AppID, spaCode, nil, nil, "", "invalid_request", 9002327},
		{"page with an assertion", spa.AppID, spaCode, nil, edit{"client_secret": "x"}, "https://spa.example", "invalid_client", 7000215},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := request(c.client, c.redirect, c.request)
			_, code := n.signedIn(t, q)
			var header []string
			if c.origin != "" {
				header = []string{"Origin", c.origin}
			}
			status, got := n.ask(t, redeem(c.client, c.redirect, code, c.redeem), header...)
			if c.number != 0 {
				refusedWith(t, c.name, got, c.code, c.number)
				return
			}
			if status != http.StatusOK || told(t, got["access_token"])["oid"] != ada.ID {
				t.Errorf("%d %v", status, got)
			}
		})
	}

	_, code := n.signedIn(t, request(azureCLI, cliLogin))
	n.exec(t, `UPDATE authority_codes SET expires = expires - 700000000`)
	_, got := n.ask(t, redeem(azureCLI, cliLogin, code))
	refusedWith(t, "expired", got, "invalid_grant", 70008)

	_, code = n.signedIn(t, request(azureCLI, cliLogin))
	n.changePassword(t, ada, adaSecret)
	_, got = n.ask(t, redeem(azureCLI, cliLogin, code))
	refusedWith(t, "after a new password", got, "invalid_grant", 50173)

	_, code = n.signedIn(t, request(azureCLI, cliLogin))
	n.disable(t, ada)
	_, got = n.ask(t, redeem(azureCLI, cliLogin, code))
	refusedWith(t, "of a disabled user", got, "invalid_grant", 50057)
}

// Version 1 names a resource, and answers in text with an ID token and a refresh token of its own accord.
func TestAuthorizationCodeV1(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	b := n.browser()
	q := url.Values{"client_id": {azureCLI}, "redirect_uri": {cliLogin}, "response_type": {"code"}, "resource": {armAud + "/"}}
	code := b.submit(t, b.get(t, ownLogin+"/common/oauth2/authorize?"+q.Encode()), credentials(adaSecret)).location(t, cliLogin).Get("code")
	status, got := n.askAt(t, "/common/oauth2/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {azureCLI}, "redirect_uri": {cliLogin}, "code": {code}, "resource": {armAud + "/"}})
	if status != http.StatusOK || got["resource"] != armAud+"/" || got["refresh_token"] == nil {
		t.Fatalf("%d %v", status, got)
	}
	for _, name := range []string{"expires_in", "expires_on", "not_before"} {
		if _, ok := got[name].(string); !ok {
			t.Errorf("%s is no text: %v", name, got[name])
		}
	}
	id := told(t, got["id_token"])
	if id["iss"] != n.issuer() || id["upn"] != adaName || id["ver"] != "1.0" {
		t.Errorf("ID token %v", id)
	}
	if _, err := n.Verify(t.Context(), got["id_token"].(string), func(string) bool { return true }); err == nil {
		t.Error("a version 1 ID token passes for an access token")
	}
}
