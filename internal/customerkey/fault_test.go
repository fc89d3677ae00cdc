package customerkey

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// fault fails the n-th step of a kind once, before it is applied or after.
type fault struct {
	mu    sync.Mutex
	kind  string
	after bool
	left  int
	fired bool
}

func (f *fault) arm(kind string, nth int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kind, f.left, f.after, f.fired = kind, nth, after, false
}

func (f *fault) fails(kind string, after bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fired || f.kind != kind || f.after != after {
		return false
	}
	f.left--
	f.fired = f.left == 0
	return f.fired
}

// TestFaultsOfRewrap fails each commit and each call of the vault of a re-wrap, once as not applied and once as applied
// but reported as failed, and starts anew: the account key opens under the old version or the new one, and the next scan
// brings it under the new.
func TestFaultsOfRewrap(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := &fault{fired: true}
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: schemas, Fault: func(point string) error {
			if f.fails("store", point == "commit.after") {
				return errors.New("the database was lost")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		w := newWorld(t, db)
		w.use(versionless)
		key := w.key()
		clean := w.o.Clients
		faulty := &onbehalf.Clients{Token: clean.Token, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if f.fails("vault", false) {
				return nil, noNetwork{}
			}
			resp, err := clean.Transport.RoundTrip(r)
			if err == nil && f.fails("vault", true) {
				resp.Body.Close()
				return nil, noNetwork{}
			}
			return resp, err
		})}
		cases := 0
		for _, kind := range []string{"store", "vault"} {
			for _, after := range []bool{false, true} {
				for nth := 1; ; nth++ {
					w.vault.set(func() { w.vault.versions = w.vault.versions[len(w.vault.versions)-1:] })
					old, next := w.state().KeyID, w.vault.again().kid()
					w.o.Clients = faulty
					f.arm(kind, nth, after)
					_ = w.scanOnce(t.Context()) // whatever it says, what it leaves is looked at
					f.mu.Lock()
					fired := f.fired
					f.fired = true
					f.mu.Unlock()
					w.o.Clients = clean
					w.Keeper = New(w.o) // a process that begins with nothing in memory
					what := fmt.Sprintf("%s call %d, applied %v", kind, nth, after)
					if got := w.key(); got != key {
						t.Fatalf("%s: another account key", what)
					}
					if got := w.state().KeyID; got != old && got != next {
						t.Fatalf("%s: under %s", what, got)
					}
					w.scanNow()
					if s := w.state(); s.KeyID != next || !s.Accessible || w.key() != key {
						t.Fatalf("%s: after the next scan %+v", what, s)
					}
					if !fired {
						break
					}
					cases++
				}
			}
		}
		if cases < 10 {
			t.Errorf("only %d faults were tried", cases)
		}
	})
}

// again makes a new version with key material that was used before, as making some takes long.
func (v *vault) again() *version {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.versions[len(v.versions)-1]
	made := *last
	made.id = fmt.Sprintf("%032x", time.Now().UnixNano())
	v.versions = append(v.versions, &made)
	return &made
}
