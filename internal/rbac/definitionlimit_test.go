package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// There was no end to the custom roles that somebody could make, all of which a list holds.
func TestDefinitionsAreLimited(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		define := func(n int) error {
			d := rbac.Definition{ID: fmt.Sprintf("dddddddd-0000-4000-8000-%012d", n), Name: fmt.Sprintf("role %d", n), Scopes: []string{group}}
			return try(db, func(ctx context.Context, tx *store.Tx) error { return r.Define(ctx, tx, d) })
		}
		if err := try(db, func(ctx context.Context, tx *store.Tx) error {
			for n := range 4999 {
				if _, err := tx.Exec(ctx, `INSERT INTO rbac_definitions (id, name, name_key, description, permissions, scopes) VALUES ($1, $2, $2, '', '[]', '[]')`,
					fmt.Sprintf("dddddddd-0000-4000-8000-%012d", n), fmt.Sprintf("role %d", n)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := define(4999); err != nil {
			t.Errorf("the last one: %v", err)
		}
		var refused *azure.Error
		if err := define(5000); !errors.As(err, &refused) || refused.Status != 400 || refused.Code != "RoleDefinitionLimitExceeded" {
			t.Errorf("one too many: %v", err)
		}
		if err := define(7); err != nil {
			t.Errorf("changing one: %v", err)
		}
	})
}
