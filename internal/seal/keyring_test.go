package seal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func fileRoot(t *testing.T) seal.Root {
	t.Helper()
	root, err := seal.FileRoot(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func openKeyring(t *testing.T, db *store.DB, root seal.Root) *seal.Keyring {
	t.Helper()
	k, err := seal.OpenKeyring(t.Context(), db, root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func checkOpens(t *testing.T, k *seal.Keyring, sealed []byte, want string) {
	t.Helper()
	if got, err := k.Open(sealed, "t", "r", "f"); err != nil || string(got) != want {
		t.Errorf("opened %q, %v; want %q", got, err, want)
	}
}

func dataKeyID(sealed []byte) uint32 { return binary.BigEndian.Uint32(sealed) }

func TestKeyring(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{seal.Schema}, func(t *testing.T, db *store.DB) {
		root := fileRoot(t)
		k := openKeyring(t, db, root)
		sealed := k.Seal([]byte("value"), "t", "r", "f")
		if len(sealed) != len("value")+44 {
			t.Errorf("sealed to %d bytes", len(sealed))
		}
		checkOpens(t, k, sealed, "value")
		for name, open := range map[string]func() ([]byte, error){
			"elsewhere":    func() ([]byte, error) { return k.Open(sealed, "t", "r", "g") },
			"cut":          func() ([]byte, error) { return k.Open(sealed[:3], "t", "r", "f") },
			"only the id":  func() ([]byte, error) { return k.Open(sealed[:4], "t", "r", "f") },
			"unknown key":  func() ([]byte, error) { return k.Open(append([]byte{9}, sealed[1:]...), "t", "r", "f") },
			"changed byte": func() ([]byte, error) { return k.Open(append(sealed[:len(sealed)-1:len(sealed)-1], 0), "t", "r", "g") },
		} {
			if got, err := open(); !errors.Is(err, seal.ErrCorrupt) {
				t.Errorf("%s: opened %q, %v", name, got, err)
			}
		}

		checkOpens(t, openKeyring(t, db, root), sealed, "value")

		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		newer := k.Seal([]byte("newer"), "t", "r", "f")
		if dataKeyID(newer) != dataKeyID(sealed)+1 {
			t.Errorf("after rotation sealed under key %d", dataKeyID(newer))
		}
		checkOpens(t, k, sealed, "value")
		checkOpens(t, k, newer, "newer")
		again := openKeyring(t, db, root)
		checkOpens(t, again, sealed, "value")
		checkOpens(t, again, newer, "newer")
		if id := dataKeyID(again.Seal(nil)); id != dataKeyID(newer) {
			t.Errorf("after opening sealed under key %d", id)
		}

		other := fileRoot(t)
		_, err := seal.OpenKeyring(t.Context(), db, other)
		if err == nil || !strings.Contains(err.Error(), root.ID()) || !strings.Contains(err.Error(), other.ID()) {
			t.Errorf("opened with another root: %v", err)
		}
	})
}

func TestKeyringOfTwoNodes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{seal.Schema}, func(t *testing.T, db *store.DB) {
		root := fileRoot(t)
		nodes := make([]*seal.Keyring, 4)
		var wg sync.WaitGroup
		for i := range nodes { // all make the first key at once
			wg.Go(func() {
				var err error
				if nodes[i], err = seal.OpenKeyring(t.Context(), db, root); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		for _, a := range nodes {
			for _, b := range nodes {
				checkOpens(t, b, a.Seal([]byte("x"), "t", "r", "f"), "x")
			}
		}
		if err := nodes[0].Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		sealed := nodes[0].Seal([]byte("new key"), "t", "r", "f")
		for range 8 {
			wg.Go(func() { checkOpens(t, nodes[1], sealed, "new key") })
		}
		wg.Wait()
	})
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{seal.Schema}, func(t *testing.T, db *store.DB) {
		oldRoot, newRoot := fileRoot(t), fileRoot(t)
		k := openKeyring(t, db, oldRoot)
		first := k.Seal([]byte("first"), "t", "r", "f")
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := k.Seal([]byte("second"), "t", "r", "f")

		if err := k.Rewrap(t.Context(), brokenRoot{newRoot}); !errors.Is(err, errBroken) {
			t.Fatalf("rewrapped: %v", err)
		}
		checkOpens(t, openKeyring(t, db, oldRoot), second, "second")

		if err := k.Rewrap(t.Context(), newRoot); err != nil {
			t.Fatal(err)
		}
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.OpenKeyring(t.Context(), db, oldRoot); err == nil || !strings.Contains(err.Error(), newRoot.ID()) {
			t.Errorf("opened with the old root: %v", err)
		}
		again := openKeyring(t, db, newRoot)
		checkOpens(t, again, first, "first")
		checkOpens(t, again, second, "second")
		checkOpens(t, again, k.Seal([]byte("third"), "t", "r", "f"), "third")
	})
}

// A node that still has the old root must not add a key under it: neither root would open the database then.
func TestRotateAfterAnotherNodesRewrap(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{seal.Schema}, func(t *testing.T, db *store.DB) {
		oldRoot, newRoot := fileRoot(t), fileRoot(t)
		here, there := openKeyring(t, db, oldRoot), openKeyring(t, db, oldRoot)
		if err := here.Rewrap(t.Context(), newRoot); err != nil {
			t.Fatal(err)
		}
		if err := there.Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), newRoot.ID()) {
			t.Errorf("rotated under the old root: %v", err)
		}
		checkOpens(t, there, here.Seal([]byte("x"), "t", "r", "f"), "x")
		checkOpens(t, openKeyring(t, db, newRoot), there.Seal([]byte("y"), "t", "r", "f"), "y")
	})
}

var errBroken = errors.New("broken")

// brokenRoot wraps nothing.
type brokenRoot struct{ seal.Root }

func (brokenRoot) Wrap(context.Context, seal.Key) ([]byte, error) { return nil, errBroken }

func TestKeyringWithBrokenRoot(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, seal.Schema)
	root := fileRoot(t)
	if _, err := seal.OpenKeyring(t.Context(), db, brokenRoot{root}); !errors.Is(err, errBroken) {
		t.Errorf("opened: %v", err)
	}
	openKeyring(t, db, root)
}

func BenchmarkKeyringSeal(b *testing.B) {
	root, err := seal.FileRoot(filepath.Join(b.TempDir(), "root.key"))
	if err != nil {
		b.Fatal(err)
	}
	k, err := seal.OpenKeyring(b.Context(), storetest.SQLite(b, seal.Schema), root)
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 256)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k.Seal(value, "table", "row", "field")
		}
	})
}
