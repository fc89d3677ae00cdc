package directory_test

import (
	"database/sql"
	"errors"
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
		ctx := t.Context()
		old, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{{Name: directory.Schema.Name, FS: before(t, "0005")}}})
		if err != nil {
			t.Fatal(err)
		}
		err = old.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO directory_principals (id, app_id, kind, name, identity_id, enabled, created) VALUES ('p', 'a', 'Application', 'n', '', 1, 7)`)
			if err == nil {
				_, err = tx.Exec(ctx, `INSERT INTO directory_secrets (id, principal_id, hash, created) VALUES ('s', 'p', $1, 0)`, []byte("h"))
			}
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
		var id, name, holder string
		var created int64
		err = db.View(ctx, func(tx *store.Tx) error {
			err := tx.QueryRow(ctx, `SELECT id, name, created FROM directory_applications WHERE app_id = 'a'`).Scan(&id, &name, &created)
			if err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT principal_id FROM directory_secrets WHERE id = 's'`).Scan(&holder)
		})
		guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
		if err != nil || !guid.MatchString(id) || name != "n" || created != 7 || holder != id {
			t.Errorf("%q %q %d, its secret is %q's, %v", id, name, created, holder, err)
		}
	})
}

// An application of before that has no service principal keeps its registration and loses the principal that stood for
// it. What it is called by others cannot be given to another.
func TestUpgradeToApplicationsOfTheirOwn(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		old, err := store.Open(ctx, store.Options{URL: url, Schemas: []store.Schema{{Name: directory.Schema.Name, FS: before(t, "0006")}}})
		if err != nil {
			t.Fatal(err)
		}
		err = old.Update(ctx, func(tx *store.Tx) error {
			for _, statement := range []string{
				`INSERT INTO directory_principals (id, app_id, kind, name, identity_id, enabled, created) VALUES ('p', 'a', 'Application', 'n', '', 0, 7)`,
				`INSERT INTO directory_applications (id, app_id, service_principal, attributes) VALUES ('o', 'a', 0, '{"identifierUris":["api://X"]}')`,
				`INSERT INTO directory_federated_credentials (app_id, name_key, name, issuer, subject, audiences) VALUES ('a', 'f', 'F', 'i', 's', '["x"]')`,
			} {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return err
				}
			}
			return nil
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
		d := &directory.Directory{DB: db, TenantID: tenant}
		r, err := d.ClientRegistration(ctx, "a")
		if err != nil || r.ObjectID != "o" || r.Name != "n" || r.ServicePrincipalID != "" || r.Enabled {
			t.Errorf("%+v, %v", r, err)
		}
		if _, err := d.Principal(ctx, "p"); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("the principal that stood for the application: %v", err)
		}
		f, err := d.FederatedCredentials(ctx, "a")
		if err != nil || len(f) != 1 || len(f[0].ID) != 36 {
			t.Errorf("%+v, %v", f, err)
		}
		var owner string
		err = db.View(ctx, func(tx *store.Tx) error {
			return tx.QueryRow(ctx, `SELECT app_id FROM directory_identifier_uris WHERE uri_key = 'api://x'`).Scan(&owner)
		})
		if err != nil || owner != "a" {
			t.Errorf("%q, %v", owner, err)
		}
	})
}

// before is the schema as it was before a migration.
func before(t *testing.T, migration string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(directory.Schema.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Base(name) < migration {
			var data []byte
			data, err = fs.ReadFile(directory.Schema.FS, name)
			files[name] = &fstest.MapFile{Data: data}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
