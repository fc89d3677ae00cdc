package authority

import (
	"context"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestSessionDies(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		q := authorizeURL(request(azureCLI, cliLogin, map[string]string{"prompt": "none"}))
		alive := func(b *browser) bool { return b.get(t, q).location(t, cliLogin).Get("code") != "" }
		for name, end := range map[string]func(b *browser){
			"sign-out":     func(b *browser) { b.get(t, ownLogin+"/common/oauth2/v2.0/logout") },
			"new password": func(*browser) { n.changePassword(t, ada, adaSecret) },
			"its time":     func(*browser) { n.exec(t, `UPDATE authority_sessions SET expires = 1`) },
			"disabled":     func(*browser) { n.disable(t, ada) },
		} {
			n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.SetEnabled(ctx, tx, ada.ID, true) })
			b, _ := n.signedIn(t, request(azureCLI, cliLogin))
			copied := n.browser()
			copied.cookies[sessionCookie] = b.cookies[sessionCookie]
			if !alive(b) || !alive(copied) {
				t.Errorf("%s: no session", name)
			}
			end(b)
			if alive(b) || alive(copied) {
				t.Errorf("%s: the session lives", name)
			}
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.SetEnabled(ctx, tx, ada.ID, true) })
		b, _ := n.signedIn(t, request(azureCLI, cliLogin))
		old := b.cookies[sessionCookie]
		b.submit(t, b.get(t, authorizeURL(request(azureCLI, cliLogin, map[string]string{"prompt": "login"}))), credentials(adaSecret)).location(t, cliLogin)
		if b.cookies[sessionCookie] == old {
			t.Error("a new sign-in kept the session's secret")
		}
		b.cookies[sessionCookie] = old
		if alive(b) {
			t.Error("the session lives after the browser got another")
		}
		b.cookies[sessionCookie] = "x"
		if alive(b) {
			t.Error("a made-up session")
		}
		n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.Delete(ctx, tx, ada.ID) })
	})
}
