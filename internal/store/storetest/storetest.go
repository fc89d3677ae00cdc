package storetest

import (
	"path/filepath"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
)

// Each runs fn as two subtests, on a new SQLite database and on a new PostgreSQL database with the schemas applied.
// PostgreSQL is started once a test binary, on a socket in a temporary folder; a machine without it fails the test.
func Each(t *testing.T, schemas []store.Schema, fn func(t *testing.T, db *store.DB)) {
	t.Helper()
	EachURL(t, func(t *testing.T, url string) {
		fn(t, open(t, store.Options{URL: url, Schemas: schemas}))
	})
}

// EachURL is Each for tests that open the database themselves: to give it faults, to open it again, or, on
// PostgreSQL, twice at once. It hands out the URL of a new and empty database. The subtests are named "sqlite" and
// "postgres" and run in parallel.
func EachURL(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, SQLiteURL(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		fn(t, PostgresURL(t))
	})
}

// SQLite returns a new SQLite database, for tests of what does not depend on the database. In a synctest bubble it
// must be called inside, with the bubble's t, because the database has a goroutine of its own.
func SQLite(t testing.TB, schemas ...store.Schema) *store.DB {
	t.Helper()
	return open(t, store.Options{URL: SQLiteURL(t), Schemas: schemas})
}

// Postgres returns a new PostgreSQL database.
func Postgres(t testing.TB, schemas ...store.Schema) *store.DB {
	t.Helper()
	return open(t, store.Options{URL: PostgresURL(t), Schemas: schemas})
}

// SQLiteURL returns the URL of a SQLite database that does not exist yet.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "keyreel.db")
}

func open(t testing.TB, o store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing the database: %v", err)
		}
	})
	return db
}
