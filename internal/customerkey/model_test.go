package customerkey

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestModel drives a keeper and its vault through random histories. Whatever happens, a key that is served is the
// owner's account key; a key that a customer wraps is served only when the vault allowed it within the TTL; and when
// all obstacles are gone the key is back.
func TestModel(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, seal.Schema, audit.Schema, Schema)
	w := newWorld(t, db)
	key := w.key()
	rapid.Check(t, func(rt *rapid.T) {
		clear := func() {
			w.vault.set(func() {
				w.vault.refuse, w.vault.unreachable = map[string]*refusal{}, false
				for _, v := range w.vault.versions {
					v.disabled = false
				}
			})
		}
		clear()
		w.age(0)
		w.use("")
		w.vault.set(func() { w.vault.versions = w.vault.versions[:1] })
		customer := false
		denied, away := false, false // what the vault does now
		fresh := false               // it has allowed an unwrap within the TTL, and was not seen to deny since
		use := func(keyID string) {
			var c *Config
			if keyID != "" {
				c = &Config{Identity: identity, KeyID: keyID}
			}
			s, err := w.Prepare(t.Context(), owner, c)
			if err != nil {
				if !denied && !away {
					rt.Fatalf("Prepare: %v", err)
				}
				return
			}
			if err := w.db.Update(t.Context(), func(tx *store.Tx) error { return w.Commit(t.Context(), tx, s) }); err != nil {
				rt.Fatalf("Commit: %v", err)
			}
			customer, fresh = c != nil, false // Commit forgets what memory holds
		}
		look := func(err error, got seal.Key) {
			var p *Problem
			allowed := !customer || !denied && !away
			switch {
			case err == nil && got != key:
				rt.Fatal("another key")
			case err == nil && !allowed && !fresh:
				rt.Fatal("served without the vault's leave")
			case err != nil && !errors.As(err, &p):
				rt.Fatalf("Key: %v", err)
			case err != nil && allowed:
				rt.Fatalf("refused though allowed: %v", err)
			}
		}
		check := func() {
			got, err := w.check(t.Context(), owner)
			look(err, got)
			if !away { // otherwise nothing was learned
				fresh = !customer || !denied
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"customer key": func(*rapid.T) { use(versionless) },
			"system key":   func(*rapid.T) { use("") },
			"deny": func(*rapid.T) {
				denied = true
				w.vault.set(func() { w.vault.refuse["unwrapkey"] = &refusal{403, "Forbidden", "", "no"} })
			},
			"allow": func(*rapid.T) { denied = false; w.vault.set(func() { delete(w.vault.refuse, "unwrapkey") }) },
			"away":  func(*rapid.T) { away = true; w.vault.set(func() { w.vault.unreachable = true }) },
			"back":  func(*rapid.T) { away = false; w.vault.set(func() { w.vault.unreachable = false }) },
			"rotate": func(*rapid.T) {
				if len(w.vault.versions) < 3 {
					w.vault.rotate()
				}
			},
			"time passes": func(*rapid.T) { w.age(time.Hour); fresh = false },
			"check":       func(*rapid.T) { check() },
			"scan": func(*rapid.T) {
				if err := w.scanOnce(t.Context()); err != nil {
					rt.Fatalf("scan: %v", err)
				}
				if customer && !away {
					fresh = !denied
				}
			},
		})
		clear()
		denied, away = false, false
		check()
		if s := w.state(); !s.Accessible || s.Customer != customer {
			rt.Fatalf("at the end: %+v", s)
		}
	})
}
