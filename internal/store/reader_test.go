package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A reader sees what is committed while another has the database open, and changes nothing.
func TestOpenReader(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		put(t, db, "a", 1)
		reader, err := store.OpenReader(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		put(t, db, "b", 2)
		if d := cmp.Diff(map[string]int64{"a": 1, "b": 2}, read(t, reader)); d != "" {
			t.Errorf("the reader sees (-want +got):\n%s", d)
		}
		if err := insert(t.Context(), reader, "c", 3); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("an update through the reader: %v", err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
		put(t, db, "d", 4)
	})
}

// What a process that was killed has left in the log is read without being folded into the file.
func TestOpenReaderAfterACrash(t *testing.T) {
	t.Parallel()
	url := storetest.SQLiteURL(t)
	path := strings.TrimPrefix(url, "sqlite:")
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put(t, db, "a", 1)
	crashed := filepath.Join(t.TempDir(), "crashed.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(crashed+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(crashed)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := store.OpenReader(t.Context(), "sqlite:"+crashed)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]int64{"a": 1}, read(t, reader)); d != "" {
		t.Errorf("the reader sees (-want +got):\n%s", d)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile(crashed)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed: %v", err)
	}
	if info, err := os.Stat(crashed + "-wal"); err != nil || info.Size() == 0 {
		t.Errorf("the log: %v", err)
	}
}

func TestOpenReaderRefuses(t *testing.T) {
	t.Parallel()
	garbage := filepath.Join(t.TempDir(), "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.db")
	for url, want := range map[string]string{
		"sqlite:" + missing: "no such file", "sqlite:" + garbage: "not a database", "mysql://x": `"mysql"`, "postgres://127.0.0.1:1/x?connect_timeout=1": "127.0.0.1",
	} {
		if _, err := store.OpenReader(t.Context(), url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a database was made: %v", err)
	}
}
