package directory_test

import (
	"io/fs"
	"path"
	"regexp"
	"testing"
	"testing/fstest"

	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// An application that was made before Microsoft Graph has a registration, with an object id of its own, after it.
func TestUpgradeToRegistrations(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		before := fstest.MapFS{}
		err := fs.WalkDir(directory.Schema.FS, ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && path.Base(name) < "0005" {
				var data []byte
				data, err = fs.ReadFile(directory.Schema.FS, name)
				before[name] = &fstest.MapFile{Data: data}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		old, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{{Name: directory.Schema.Name, FS: before}}})
		if err != nil {
			t.Fatal(err)
		}
		err = old.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO directory_principals (id, app_id, kind, name, identity_id, enabled, created) VALUES ('p', 'a', 'Application', 'n', '', 1, 0)`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{directory.Schema}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var id string
		var acts int
		err = db.View(ctx, func(tx *store.Tx) error {
			return tx.QueryRow(ctx, `SELECT id, service_principal FROM directory_applications WHERE app_id = 'a'`).Scan(&id, &acts)
		})
		guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		if err != nil || !guid.MatchString(id) || acts != 1 {
			t.Errorf("%q, %d, %v", id, acts, err)
		}
	})
}
