package customerkey

import (
	"errors"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/store"
)

// TestAnotherIdentityUnwraps: when the identity in use gets no token any more, a switch to one that does still finds the
// account key; a switch to the system key or as the same identity does not.
func TestAnotherIdentityUnwraps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		key := w.key()
		w.use(versionless)
		other := onbehalf.Identity{PrincipalID: "22222222-2222-2222-2222-222222222222", ResourceID: owner, IdentityID: "/other"}
		w.vault.set(func() { w.vault.noToken = map[string]bool{identity.PrincipalID: true} })
		w.forget(owner)
		for name, c := range map[string]*Config{"the system key": nil, "the same identity": {Identity: identity, KeyID: versionless}} {
			_, err := w.Prepare(ctx, owner, c)
			var p *Problem
			if !errors.As(err, &p) || !p.InUse || p.Code != "IdentityNotFound" {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.vault.set(func() { w.vault.noToken[other.PrincipalID] = true })
		_, err := w.Prepare(ctx, owner, &Config{Identity: other, KeyID: versionless})
		var p *Problem
		if !errors.As(err, &p) || !p.InUse || !strings.Contains(p.Detail, other.PrincipalID) || !strings.Contains(p.Detail, identity.PrincipalID) {
			t.Errorf("both are refused: %v", err)
		}
		w.vault.set(func() { w.vault.noToken[other.PrincipalID] = false })
		s, err := w.Prepare(ctx, owner, &Config{Identity: other, KeyID: versionless})
		if err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error { return w.Commit(ctx, tx, s) })
		if w.key() != key {
			t.Error("another account key")
		}
	})
}
