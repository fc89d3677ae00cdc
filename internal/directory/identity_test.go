package directory_test

import (
	"context"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestLiving(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		d, _ := open(t, db)
		user, err := d.CreateUser(t.Context(), "ada@example.org", "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		check := func(step, id string, want bool) {
			t.Helper()
			err := db.View(t.Context(), func(tx *store.Tx) error {
				living, err := d.Living(t.Context(), tx, id)
				if living != want {
					t.Errorf("%s: living is %v", step, living)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		check("made", user.ID, true)
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.SetEnabled(ctx, tx, user.ID, false) })
		check("disabled", user.ID, false)
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.Delete(ctx, tx, user.ID) })
		check("deleted", user.ID, false)
		check("no text", "\xff\x00", false)
	})
}
