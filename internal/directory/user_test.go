package directory_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAddUserIsPartOfItsTransaction(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		d, _ := open(t, db)
		hash := directory.HashPassword("correct horse")
		users := func() (has bool) {
			t.Helper()
			err := try(d, func(ctx context.Context, tx *store.Tx) (err error) {
				has, err = d.HasUsers(ctx, tx)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return has
		}
		boom := errors.New("boom")
		err := try(d, func(ctx context.Context, tx *store.Tx) error {
			if _, err := d.AddUser(ctx, tx, "ada@example.org", hash); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) || users() {
			t.Errorf("a transaction that failed: %v, users %v", err, users())
		}
		var made directory.Principal
		err = try(d, func(ctx context.Context, tx *store.Tx) (err error) {
			made, err = d.AddUser(ctx, tx, "ada@example.org", hash)
			return err
		})
		if err != nil || !users() {
			t.Fatalf("%v, users %v", err, users())
		}
		if p, err := d.VerifyPassword(t.Context(), "Ada@example.org", "correct horse"); err != nil || p.ID != made.ID {
			t.Errorf("%v %v", p, err)
		}
		err = try(d, func(ctx context.Context, tx *store.Tx) error {
			_, err := d.AddUser(ctx, tx, "ADA@example.org", hash)
			return err
		})
		if err == nil {
			t.Error("a name that is taken was given again")
		}
	})
}
