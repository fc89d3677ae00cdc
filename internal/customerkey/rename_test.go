package customerkey

import (
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// TestRename: an account key follows its owner to another ARM ID, and one that a customer's key wraps does not.
func TestRename(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const moved = owner + "-moved"
		key := w.key()
		w.update(func(tx *store.Tx) error { return w.Rename(t.Context(), tx, owner, moved) })
		if got, err := w.Key(t.Context(), moved); err != nil || got != key {
			t.Errorf("under the new ID: %v", err)
		}
		if _, err := w.Key(t.Context(), owner); err == nil {
			t.Error("the old ID still has it")
		}
		w.update(func(tx *store.Tx) error { return w.Rename(t.Context(), tx, moved, owner) })
		w.use(versionless)
		err := w.db.Update(t.Context(), func(tx *store.Tx) error { return w.Rename(t.Context(), tx, owner, moved) })
		if e, _ := azure.AsError(err); e.Status != 409 {
			t.Errorf("under a customer's key: %v", err)
		}
	})
}

// TestRotated: the time of rotation is that of the version which wraps, whatever happens to access.
func TestRotated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		first := w.state().Rotated
		if first.IsZero() {
			t.Fatal("there is no time of rotation")
		}
		w.vault.set(func() { w.vault.versions[0].disabled = true })
		w.age(2 * w.o.TTL)
		w.scanNow()
		if s := w.state(); s.Accessible || !s.Rotated.Equal(first) {
			t.Errorf("after the loss of access: %+v", s)
		}
		w.vault.set(func() { w.vault.versions[0].disabled = false })
		w.vault.rotate()
		w.scanNow()
		if s := w.state(); !s.Accessible || !s.Rotated.After(first) {
			t.Errorf("after a rotation: %+v", s)
		}
	})
}
