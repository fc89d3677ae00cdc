package authority

import (
	"io/fs"
	"path"
	"testing"
	"testing/fstest"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A grant of before is its user's, so that it goes when the user's sign-ins are revoked.
func TestUpgradeToGrantsOfUsers(t *testing.T) {
	t.Parallel()
	old := fstest.MapFS{}
	err := fs.WalkDir(Schema.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Base(name) >= "0004" {
			return err
		}
		text, err := fs.ReadFile(Schema.FS, name)
		old[path.Base(name)] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	storetest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		before, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{{Name: Schema.Name, FS: old}}})
		if err != nil {
			t.Fatal(err)
		}
		err = before.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO authority_grants (id, root, about, expires) VALUES ('g', 'g', '{"client":"c","signIn":{"user":"u"}}', 1), ('h', 'h', '{}', 1)`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{Schema}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var user, nobody string
		err = db.View(ctx, func(tx *store.Tx) error {
			if err := tx.QueryRow(ctx, `SELECT user_id FROM authority_grants WHERE id = 'g'`).Scan(&user); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT user_id FROM authority_grants WHERE id = 'h'`).Scan(&nobody)
		})
		if err != nil || user != "u" || nobody != "" {
			t.Errorf("%q %q %v", user, nobody, err)
		}
	})
}
