package authority

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// tokens signs ada in to a client and returns what it got.
func (n *node) tokens(t testing.TB, q url.Values, more map[string]string, header ...string) map[string]any {
	t.Helper()
	_, code := n.signedIn(t, q)
	status, got := n.ask(t, redeem(q.Get("client_id"), q.Get("redirect_uri"), code, more), header...)
	if status != http.StatusOK || got["refresh_token"] == nil {
		t.Fatalf("%d %v", status, got)
	}
	return got
}

func refreshForm(clientID string, token any, more ...map[string]string) url.Values {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "refresh_token": {token.(string)}}
	for _, m := range more {
		for name, value := range m {
			form.Set(name, value)
		}
	}
	return form
}

func TestRefreshToken(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		first := n.tokens(t, request(azureCLI, cliLogin), nil)["refresh_token"]
		use := func(token any, more ...map[string]string) map[string]any {
			t.Helper()
			status, got := n.ask(t, refreshForm(azureCLI, token, more...))
			if status != http.StatusOK || got["refresh_token"] == nil || got["refresh_token"] == token {
				t.Fatalf("%d %v", status, got)
			}
			return got
		}
		use(first) // whose answer is lost
		second := use(first, map[string]string{"scope": "https://vault.azure.net/.default openid"})
		if c := told(t, second["access_token"]); c["aud"] != "https://vault.azure.net" || c["oid"] != ada.ID {
			t.Errorf("for another resource: %v", c)
		}
		if second["id_token"] == nil {
			t.Error("no ID token")
		}
		n.exec(t, `UPDATE authority_refresh_tokens SET created = created - 86400000000`)
		use(first) // no successor was used: the answers may all be lost
		third := use(second["refresh_token"])
		use(first) // a process beside the one that has used the second

		// A minute after its successor has arrived the first is somebody else's copy.
		n.exec(t, `UPDATE authority_refresh_tokens SET replaced = replaced - $1 WHERE replaced > 0`, (2 * reuseGrace).Microseconds())
		_, got := n.ask(t, refreshForm(azureCLI, first))
		refusedWith(t, "a stolen copy", got, "invalid_grant", 50173)
		_, got = n.ask(t, refreshForm(azureCLI, third["refresh_token"]))
		refusedWith(t, "after a stolen copy came", got, "invalid_grant", 70000)
		if _, err := n.Verify(t.Context(), third["access_token"].(string), accepting(armAud)); err == nil {
			t.Error("the access token lives after a stolen copy came")
		}

		got = n.tokens(t, request(azureCLI, cliLogin), nil)
		n.exec(t, `UPDATE authority_refresh_tokens SET expires = $1`, store.Micros(time.Now().Add(-time.Second)))
		_, got = n.ask(t, refreshForm(azureCLI, got["refresh_token"]))
		refusedWith(t, "expired", got, "invalid_grant", 700082)

		got = n.tokens(t, request(azureCLI, cliLogin), nil)
		n.changePassword(t, ada, adaSecret)
		_, refused := n.ask(t, refreshForm(azureCLI, got["refresh_token"]))
		refusedWith(t, "after a new password", refused, "invalid_grant", 50173)
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err != nil {
			t.Errorf("an access token lives on after a new password, as Entra's: %v", err)
		}

		got = n.tokens(t, request(azureCLI, cliLogin), nil)
		for i := range maxRefreshTokens + 5 {
			if status, body := n.ask(t, refreshForm(azureCLI, got["refresh_token"])); status != http.StatusOK && i <= maxRefreshTokens-1 {
				t.Fatalf("refresh %d: %d %v", i, status, body)
			}
		}
		var rows int
		n.update(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.QueryRow(ctx, `SELECT max(c) FROM (SELECT count(*) AS c FROM authority_refresh_tokens GROUP BY grant_id) AS n`).Scan(&rows)
		})
		if rows > maxRefreshTokens {
			t.Errorf("%d refresh tokens of a grant are kept", rows)
		}
		fresh := n.tokens(t, request(azureCLI, cliLogin), nil)
		n.disable(t, ada)
		_, refused = n.ask(t, refreshForm(azureCLI, fresh["refresh_token"]))
		refusedWith(t, "of a disabled user", refused, "invalid_grant", 50057)
		if _, err := n.Verify(t.Context(), fresh["access_token"].(string), accepting(armAud)); err == nil {
			t.Error("the access token of a disabled user is good")
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.Delete(ctx, tx, ada.ID) })
		_, refused = n.ask(t, refreshForm(azureCLI, fresh["refresh_token"]))
		refusedWith(t, "of a deleted user", refused, "invalid_grant", 500341)
	})
}

func TestRefreshTokenIsBound(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	web, secret := n.web(t)
	spa, _ := n.registered(t, `{"spa":{"redirectUris":["`+spaCode+`"]}}`)
	withSecret := map[string]string{"client_secret": string(secret)}
	ofCLI := n.tokens(t, request(azureCLI, cliLogin), nil)["refresh_token"]
	ofWeb := n.tokens(t, request(web.AppID, webCode), withSecret)["refresh_token"]
	ofSPA := n.tokens(t, request(spa.AppID, spaCode), nil, "Origin", "https://spa.example")["refresh_token"]

	_, got := n.ask(t, refreshForm(web.AppID, ofCLI, withSecret))
	refusedWith(t, "another client", got, "invalid_grant", 70000)
	_, got = n.ask(t, refreshForm(azureCLI, "1.x"))
	refusedWith(t, "unknown", got, "invalid_grant", 70000)
	_, got = n.ask(t, refreshForm(azureCLI, ""))
	refusedWith(t, "none", got, "invalid_request", 900144)
	_, got = n.ask(t, refreshForm(web.AppID, ofWeb))
	refusedWith(t, "a confidential client without its secret", got, "invalid_client", 7000218)
	_, got = n.ask(t, refreshForm(spa.AppID, ofSPA))
	refusedWith(t, "a page's without an origin", got, "invalid_request", 9002327)
	_, got = n.ask(t, refreshForm(azureCLI, ofCLI), "Origin", "https://evil.example")
	refusedWith(t, "a program's in a page", got, "invalid_request", 9002326)

	// A confidential client's may come again: nobody can use a copy without the secret.
	for range 3 {
		status, got := n.ask(t, refreshForm(web.AppID, ofWeb, withSecret))
		if status != http.StatusOK {
			t.Fatalf("%d %v", status, got)
		}
		n.ask(t, refreshForm(web.AppID, got["refresh_token"], withSecret))
		n.exec(t, `UPDATE authority_refresh_tokens SET replaced = replaced - $1 WHERE replaced > 0`, (2 * reuseGrace).Microseconds())
	}

	// A page's are not prolonged.
	status, got := n.ask(t, refreshForm(spa.AppID, ofSPA), "Origin", "https://spa.example")
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, got)
	}
	var later int
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM authority_refresh_tokens WHERE hash = $1 AND expires > $2`, hashOf(got["refresh_token"].(string)), store.Micros(time.Now().Add(spaRefreshLife))).Scan(&later)
	})
	if later != 0 {
		t.Error("a page's refresh token was prolonged")
	}
	n.exec(t, `UPDATE authority_refresh_tokens SET expires = $1`, store.Micros(time.Now().Add(-time.Second)))
	_, got = n.ask(t, refreshForm(spa.AppID, ofSPA), "Origin", "https://spa.example")
	refusedWith(t, "a page's after a day", got, "invalid_grant", 700084)
}
