package authority

import (
	"context"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// An expired client secret has a code of its own, by which clients tell what is to be done.
func TestExpiredSecret(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, _ := n.application(t)
	var secret seal.Secret
	n.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
		_, secret, err = n.d.AddNamedSecret(ctx, tx, app.ID, "old", time.Now().Add(-time.Second))
		return err
	})
	_, got := n.ask(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)}, "scope": {storageAud + "/.default"}})
	refusedWith(t, "expired", got, "invalid_client", 7000222)
}

// Pages of other origins may read discovery and the token endpoint, and nothing that goes by a cookie.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	allowed := func(method, path string) bool {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, ownLogin+"/"+tenant+path, nil)
		r.Header.Set("Origin", "https://page.example")
		n.Handler().ServeHTTP(w, r)
		if w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s lets cookies along", method, path)
		}
		return w.Header().Get("Access-Control-Allow-Origin") == "*"
	}
	for path, want := range map[string]bool{
		"OPTIONS /oauth2/v2.0/token": true, "POST /oauth2/v2.0/token": true, "GET /v2.0/.well-known/openid-configuration": true, "GET /discovery/v2.0/keys": true,
		"GET /oauth2/v2.0/authorize": false, "POST /login": false, "GET /oauth2/v2.0/logout": false, "POST /oauth2/v2.0/devicecode": false,
	} {
		method, at, _ := strings.Cut(path, " ")
		if got := allowed(method, at); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
