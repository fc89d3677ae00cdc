package customerkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const owner = "/subscriptions/s/resourcegroups/g/providers/microsoft.media/mediaservices/a"

var identity = onbehalf.Identity{PrincipalID: "11111111-1111-1111-1111-111111111111", ResourceID: owner, IdentityID: owner}

// versionless names the vault's key without version.
const versionless = "https://" + vaultHost + "/keys/k"

var schemas = []store.Schema{seal.Schema, audit.Schema, Schema}

type world struct {
	*Keeper
	t     testing.TB
	vault *vault
	db    *store.DB

	mu      sync.Mutex
	changes []State
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		fn(t, newWorld(t, db))
	})
}

func newWorld(t testing.TB, db *store.DB) *world {
	t.Helper()
	root, err := seal.FileRoot(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := seal.OpenKeyring(t.Context(), db, root)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	w := &world{t: t, vault: newVault(), db: db}
	w.Keeper = New(Options{
		DB: db, Keyring: keyring, Clients: w.vault.clients(), Audit: log, TTL: time.Hour, Scan: time.Hour,
		Changed: func(_ context.Context, o string, s State) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if o != owner {
				t.Errorf("changed: %s", o)
			}
			w.changes = append(w.changes, s)
		},
	})
	t.Cleanup(func() { w.Close() })
	w.update(func(tx *store.Tx) error { return w.Create(t.Context(), tx, strings.ToUpper(owner)) })
	return w
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// use switches to a customer's key; "" is the system key.
func (w *world) use(keyID string) {
	w.t.Helper()
	var c *Config
	if keyID != "" {
		c = &Config{Identity: identity, KeyID: keyID}
	}
	s, err := w.Prepare(w.t.Context(), owner, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error { return w.Commit(w.t.Context(), tx, s) })
}

func (w *world) key() seal.Key {
	w.t.Helper()
	k, err := w.Key(w.t.Context(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) state() State {
	w.t.Helper()
	s, err := w.State(w.t.Context(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// age makes the last successful check look d older, and forgets that a failure was seen just now.
func (w *world) age(d time.Duration) {
	w.Keeper.mu.Lock()
	defer w.Keeper.mu.Unlock()
	e := w.entry(owner)
	e.checked = e.checked.Add(-d)
	e.retry = time.Time{}
}

func (w *world) scanNow() {
	w.t.Helper()
	if err := w.scanOnce(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func wantProblem(t *testing.T, err error, denied bool, code string) {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) || p.Denied != denied || p.Code != code {
		t.Fatalf("got %v, want problem %s", err, code)
	}
}

func TestSwitch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := w.key()
		if s := w.state(); s.Customer || s.KeyID != "" || !s.Accessible {
			t.Errorf("at first %+v", s)
		}
		w.use(versionless)
		if s := w.state(); !s.Customer || s.KeyID != w.vault.versions[0].kid() || !s.Accessible {
			t.Errorf("with the customer's key %+v", s)
		}
		if w.key() != key {
			t.Error("the account key changed")
		}
		w.use(w.vault.versions[0].kid())
		w.use("")
		calls := w.vault.count("unwrapkey")
		if w.key() != key || w.vault.count("unwrapkey") != calls {
			t.Error("with the system key: another account key, or the vault was asked")
		}
		if s := w.state(); s.Customer || s.KeyID != "" {
			t.Errorf("back at the system key %+v", s)
		}
	})
}

func TestPrepareChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		before := w.state()
		for _, tt := range []struct {
			name   string
			keyID  string
			change func()
		}{
			{"no grant", versionless, func() { w.vault.refuse["wrapkey"] = &refusal{403, "Forbidden", "", "no"} }},
			{"wrap only", versionless, func() { w.vault.refuse["unwrapkey"] = &refusal{403, "Forbidden", "", "no"} }},
			{"a vault that lies", versionless, func() { w.vault.swapped = true }},
			{"another key", "https://" + vaultHost + "/keys/other", func() {}},
			{"no key identifier", "https://elsewhere", func() {}},
		} {
			w.vault.set(func() { w.vault.refuse, w.vault.swapped = map[string]*refusal{}, false; tt.change() })
			if _, err := w.Prepare(t.Context(), owner, &Config{Identity: identity, KeyID: tt.keyID}); err == nil {
				t.Errorf("%s: prepared", tt.name)
			}
			if after := w.state(); after != before {
				t.Errorf("%s: %+v", tt.name, after)
			}
		}
	})
}

func TestCommitComparesAndSwaps(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		one, err := w.Prepare(ctx, owner, &Config{Identity: identity, KeyID: versionless})
		if err != nil {
			t.Fatal(err)
		}
		two, err := w.Prepare(ctx, owner, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error { return w.Commit(ctx, tx, one) })
		err = w.db.Update(ctx, func(tx *store.Tx) error { return w.Commit(ctx, tx, two) })
		if e, _ := azure.AsError(err); e.Status != 409 {
			t.Errorf("the second commit: %v", err)
		}
		if !w.state().Customer {
			t.Error("the second commit won")
		}
	})
}

func TestDeniedStopsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := w.key()
		w.use(versionless)
		w.key()
		w.vault.set(func() { w.vault.refuse["unwrapkey"] = &refusal{403, "Forbidden", "", "Caller is not authorized."} })
		if _, err := w.Check(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
		_, err := w.Key(t.Context(), owner)
		wantProblem(t, err, true, "Forbidden")
		s := w.state()
		if s.Accessible || s.Problem == nil || !s.Problem.Denied || !strings.Contains(s.Problem.Detail, "Caller is not authorized.") {
			t.Errorf("state %+v", s)
		}
		if _, err := w.Prepare(t.Context(), owner, nil); err == nil {
			t.Error("switched away from a key that cannot be used")
		}
		w.vault.set(func() { clear(w.vault.refuse) })
		w.scanNow()
		if !w.state().Accessible || w.key() != key {
			t.Error("access did not come back")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.changes) != 2 || w.changes[0].Accessible || !w.changes[1].Accessible {
			t.Errorf("changes %+v", w.changes)
		}
	})
}

func TestUnreachableServesUntilTTL(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		key := w.key()
		w.vault.set(func() { w.vault.unreachable = true })
		w.scanNow()
		if w.key() != key || !w.state().Accessible {
			t.Error("an unreachable vault stopped the key within its TTL")
		}
		w.age(time.Hour)
		_, err := w.Key(t.Context(), owner)
		wantProblem(t, err, false, "Unreachable")
		if w.state().Accessible {
			t.Error("still shown as accessible")
		}
		w.vault.set(func() { w.vault.unreachable = false })
		w.scanNow()
		if w.key() != key || !w.state().Accessible {
			t.Error("access did not come back")
		}
	})
}

// TestFailureIsRemembered: a key that was refused just now is not asked for again with each request.
func TestFailureIsRemembered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		w.vault.set(func() { w.vault.refuse["unwrapkey"] = &refusal{403, "Forbidden", "", "no"} })
		before := w.vault.count("unwrapkey")
		for range 20 {
			_, err := w.Key(t.Context(), owner)
			wantProblem(t, err, true, "Forbidden")
		}
		if n := w.vault.count("unwrapkey") - before; n > 3 {
			t.Errorf("%d calls for 20 requests", n)
		}
	})
}

func TestRotation(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := w.key()
		w.use(versionless)
		second := w.vault.rotate()
		w.scanNow()
		if s := w.state(); s.KeyID != second.kid() || !s.Accessible {
			t.Errorf("after the rotation %+v", s)
		}
		if w.key() != key {
			t.Error("the account key changed")
		}
		w.vault.set(func() { w.vault.versions[0].disabled = true })
		w.scanNow()
		if w.key() != key {
			t.Error("the old version is still needed")
		}
		third := w.vault.rotate()
		w.vault.set(func() { third.disabled = true })
		w.scanNow()
		if s := w.state(); s.KeyID != second.kid() || !s.Accessible {
			t.Errorf("with a disabled newest version %+v", s)
		}
		records, err := w.o.Audit.Query(t.Context(), audit.Filter{Operation: "CustomerKey.Rewrapped"})
		if err != nil || len(records) != 1 || records[0].Details["to"] != second.kid() {
			t.Errorf("records %+v, %v", records, err)
		}
	})
}

func TestPinnedVersionStays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		first := w.vault.versions[0].kid()
		w.use(first)
		w.vault.rotate()
		w.scanNow()
		if s := w.state(); s.KeyID != first {
			t.Errorf("%+v", s)
		}
	})
}

func TestDisabledVersionWithNewOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		key := w.key()
		w.vault.rotate()
		w.vault.set(func() { w.vault.versions[0].disabled = true }) // before anyone has looked
		w.scanNow()
		if w.key() != key || w.state().KeyID != w.vault.versions[1].kid() {
			t.Error("the key in memory was not used to wrap anew")
		}
	})
}

func TestAnswerOfAnotherKeyIsNotUsed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		w.vault.set(func() { w.vault.swapped = true })
		_, err := w.Key(t.Context(), owner)
		wantProblem(t, err, true, "KeyMismatch")
	})
}

// TestRestart: nothing but the row and the vault is needed, and an older row in place of a newer one does not open.
func TestRestart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := w.key()
		w.use(versionless)
		var old []byte
		read := func(tx *store.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT sealed FROM customerkey_keys WHERE owner = $1`, owner).Scan(&old)
		}
		if err := w.db.View(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		w.use(versionless)
		again := New(w.o)
		defer again.Close()
		if got, err := again.Key(t.Context(), owner); err != nil || got != key {
			t.Errorf("after a restart: %v", err)
		}
		w.update(func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE customerkey_keys SET sealed = $1 WHERE owner = $2`, old, owner)
			return err
		})
		last := New(w.o)
		defer last.Close()
		if _, err := last.Key(t.Context(), owner); err == nil {
			t.Error("an old row opened")
		}
	})
}

// TestNoKeyAtRest: the account key is in no column of any table.
func TestNoKeyAtRest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		key := w.key()
		for _, keyID := range []string{"", versionless} {
			w.use(keyID)
			var sealed []byte
			err := w.db.View(t.Context(), func(tx *store.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT sealed FROM customerkey_keys WHERE owner = $1`, owner).Scan(&sealed)
			})
			if err != nil || bytes.Contains(sealed, key[:8]) {
				t.Errorf("the row holds the key, or %v", err)
			}
		}
		if s := fmt.Sprintf("%v %+v", w.entry(owner).problem, w.state()); strings.Contains(s, string(key[:])) {
			t.Error("the state shows the key")
		}
	})
}

func TestDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		w.key()
		w.update(func(tx *store.Tx) error { return w.Delete(t.Context(), tx, owner) })
		if _, err := w.Key(t.Context(), owner); err == nil {
			t.Error("a deleted key is served")
		}
		w.scanNow()
	})
}

// TestScanRuns: Start looks by itself, and Close waits for it.
func TestScanRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, seal.Schema, audit.Schema, Schema))
	w.use(versionless)
	w.key()
	changed := make(chan State, 8)
	o := w.o
	o.Scan = time.Millisecond
	o.Changed = func(_ context.Context, _ string, s State) { changed <- s }
	k := New(o)
	k.Start()
	second := w.vault.rotate()
	if s := <-changed; s.KeyID != second.kid() {
		t.Errorf("changed to %+v", s)
	}
	w.vault.set(func() { w.vault.refuse["unwrapkey"] = &refusal{403, "Forbidden", "", "no"} })
	if s := <-changed; s.Accessible {
		t.Errorf("changed to %+v", s)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if len(k.cache) != 0 {
		t.Error("keys are left in memory")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, seal.Schema, audit.Schema, Schema))
	key := w.key()
	w.use(versionless)
	before := w.vault.count("unwrapkey")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if k, err := w.Key(t.Context(), owner); err != nil || k != key {
				t.Errorf("Key: %v", err)
			}
		})
	}
	wg.Wait()
	if n := w.vault.count("unwrapkey") - before; n > 5 {
		t.Errorf("%d unwraps for 50 concurrent users", n)
	}
}

// TestHeld: what memory holds is given without a question to anyone, while it is in time.
func TestHeld(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if _, ok := w.Held(owner); ok {
			t.Error("a key that nobody asked for is held")
		}
		w.use(versionless)
		key := w.key()
		calls := w.vault.count("unwrapkey")
		if got, ok := w.Held(strings.ToUpper(owner)); !ok || got != key {
			t.Error("the key is not held")
		}
		w.age(time.Hour)
		if _, ok := w.Held(owner); ok {
			t.Error("a key is held past its time")
		}
		if w.vault.count("unwrapkey") != calls {
			t.Error("the vault was asked")
		}
	})
}

func TestPauseAfterScan(t *testing.T) {
	t.Parallel()
	k := New(Options{Scan: 3 * time.Second})
	for took, want := range map[time.Duration]time.Duration{
		0: 3 * time.Second, time.Second: 3 * time.Second, 5 * time.Second: 15 * time.Second, time.Minute: longestPause,
	} {
		if got := k.pauseAfter(took); got != want {
			t.Errorf("after %v a pause of %v, want %v", took, got, want)
		}
	}
}

// TestKeyOutsideItsTime: a vault unwraps with a key that has expired; the account is not to be used under it, can be
// switched away from it, and a new version brings it back.
func TestKeyOutsideItsTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.use(versionless)
		key := w.key()
		w.vault.set(func() { w.vault.versions[0].expires = 1 })
		w.age(2 * time.Hour)
		_, err := w.Key(t.Context(), owner)
		wantProblem(t, err, true, "KeyExpired")
		if s := w.state(); s.Accessible || s.Problem == nil {
			t.Errorf("with an expired key %+v", s)
		}
		if _, err := w.Prepare(t.Context(), owner, nil); err != nil {
			t.Errorf("switching away from an expired key: %v", err)
		}
		w.vault.rotate()
		w.scanNow()
		w.age(time.Hour)
		if w.key() != key || !w.state().Accessible {
			t.Error("a new version did not bring the account back")
		}
	})
}
