package authority

import (
	"context"
	"crypto/rsa"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// Two nodes rotate for two weeks. Whoever has read the published keys within the last day can check every token, and
// both nodes check each other's tokens until they expire.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, root := storetest.SQLite(t, schemas...), newRoot(t)
		a := open(t, db, root)
		time.Sleep(30 * time.Second) // so that they do not tick at once
		b := open(t, db, root)
		p := a.system(t, "acct")
		ctx := t.Context()

		firstSeen := map[string]time.Time{} // kid: since when it is published
		type issued struct {
			raw string
			at  time.Time
		}
		var tokens []issued
		signers := map[string]bool{}
		start := time.Now()
		for time.Since(start) < 15*24*time.Hour {
			now := time.Now()
			for _, k := range a.keys.Load().published(now) {
				if _, ok := firstSeen[k.id]; !ok {
					firstSeen[k.id] = now
				}
			}
			for _, n := range []*node{a, b} {
				tok, err := n.sign(p, storageAud, longestToken, claims{AppIDACR: "2"})
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, issued{tok.raw, now})
				seen, ok := firstSeen[tok.keyID]
				if !ok || len(signers) > 0 && !signers[tok.keyID] && now.Sub(seen) < 24*time.Hour {
					t.Fatalf("at %v key %s signs, published since %v", now.Sub(start), tok.keyID, now.Sub(seen))
				}
				signers[tok.keyID] = true
			}
			for len(tokens) > 0 && now.Sub(tokens[0].at) > 24*time.Hour {
				tokens = tokens[1:]
			}
			for _, tok := range tokens {
				for _, n := range []*node{a, b} {
					n.verified = verifiedTokens{} // ask the keys, not the memory
					if _, err := n.Verify(ctx, tok.raw, accepting(storageAud)); err != nil {
						t.Fatalf("at %v a token of age %v: %v", now.Sub(start), now.Sub(tok.at), err)
					}
				}
			}
			time.Sleep(3 * time.Hour)
		}
		if len(signers) != 3 {
			t.Errorf("%d keys have signed in 15 days, want 3", len(signers))
		}
		set := a.keys.Load()
		if len(set.keys) != 2 || set.keys[0].private != nil || set.keys[1].private == nil {
			t.Errorf("%d keys are left after 15 days: want the one that signs, and the one before without its private part", len(set.keys))
		}
	})
}

// A server that was down for a month signs on with the old key until the next one has been published for a day.
func TestRotationAfterDowntime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, root := storetest.SQLite(t, schemas...), newRoot(t)
		a := open(t, db, root)
		p := a.system(t, "acct")
		sign := func(n *node) string {
			t.Helper()
			tok, err := n.sign(p, storageAud, time.Hour, claims{})
			if err != nil {
				t.Fatal(err)
			}
			return tok.keyID
		}
		first := sign(a)
		a.stop()
		<-a.stopped
		time.Sleep(30 * 24 * time.Hour)

		b := open(t, db, root)
		if got := sign(b); got != first {
			t.Error("a key that nobody has seen signs after the downtime")
		}
		if got := len(b.keys.Load().published(time.Now())); got != 2 {
			t.Errorf("%d keys are published after the downtime, want 2", got)
		}
		time.Sleep(24 * time.Hour)
		if got := sign(b); got != first {
			t.Error("the next key signs before it was published for a day and an hour")
		}
		time.Sleep(2 * time.Hour)
		if got := sign(b); got == first {
			t.Error("the old key still signs")
		}
		time.Sleep(26 * time.Hour)
		if got := b.keys.Load().keys; len(got) != 1 || got[0].id == first {
			t.Errorf("%d keys are left a day later, want 1", len(got))
		}
	})
}

// Nodes that start at once over an empty database end with the same key.
func TestFirstKey(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		options := open(t, db, newRoot(t)).o
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `DELETE FROM authority_keys`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		ids := make([]string, 3)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				a, err := Open(context.Background(), options)
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = a.keys.Load().keys[0].id
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if ids[0] == "" || ids[1] != ids[0] || ids[2] != ids[0] {
			t.Errorf("nodes that start at once have the keys %q", ids)
		}
	})
}

// A key that another node has made is learnt of when its first token arrives.
func TestUnknownKeyIsLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, root := storetest.SQLite(t, schemas...), newRoot(t)
		a := open(t, db, root)
		p := a.system(t, "acct")
		time.Sleep(2 * time.Second)
		now := time.Now()
		k, err := newKey(2, now, now)
		if err != nil {
			t.Fatal(err)
		}
		a.update(t, func(ctx context.Context, tx *store.Tx) error { return a.store(ctx, tx, k, nil, nil) })
		other := &Authority{o: a.o}
		other.keys.Store(&keySet{keys: []*key{k}})
		tok, err := other.sign(p, storageAud, time.Hour, claims{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Verify(t.Context(), tok.raw, accepting(storageAud)); err != nil {
			t.Error(err)
		}
	})
}

func TestSealedKey(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var id string
	var sealed []byte
	if err := n.d.DB.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT id, private FROM authority_keys WHERE seq = 1`).Scan(&id, &sealed)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.open(1, id+"x", n.keys.Load().keys[0].certificate.Raw, sealed, time.Now()); err == nil {
		t.Error("a private key opens in another row")
	}
	k, err := n.open(1, id, n.keys.Load().keys[0].certificate.Raw, sealed, time.Now())
	if err != nil || !k.private.Equal((*rsa.PrivateKey)(n.keys.Load().keys[0].private)) {
		t.Errorf("the stored key is not the one that signs: %v", err)
	}
}

func TestKeySet(t *testing.T) {
	t.Parallel()
	at := func(h int) time.Time { return time.Unix(0, 0).Add(time.Duration(h) * time.Hour) }
	set := &keySet{keys: []*key{
		{seq: 1, id: "1", signsFrom: at(0)},
		{seq: 2, id: "2", signsFrom: at(100), private: &rsa.PrivateKey{}},
		{seq: 3, id: "3", signsFrom: at(200), private: &rsa.PrivateKey{}},
	}}
	for _, c := range []struct {
		hour    int
		signing string
		shown   int
	}{
		{50, "2", 3}, // the clock is behind: the first key's private part is gone already
		{100, "2", 3}, {123, "2", 3}, {125, "2", 2}, {199, "2", 2}, {200, "3", 2}, {225, "3", 1},
	} {
		k, err := set.signing(at(c.hour))
		if err != nil || k.id != c.signing {
			t.Errorf("hour %d: key %v signs, %v, want %s", c.hour, k, err, c.signing)
		}
		if got := len(set.published(at(c.hour))); got != c.shown {
			t.Errorf("hour %d: %d keys are published, want %d", c.hour, got, c.shown)
		}
	}
	if _, err := (&keySet{}).signing(at(0)); err == nil {
		t.Error("an empty set signs")
	}
	for _, c := range []struct {
		name     string
		now      int
		from     int
		ok       bool
		lifetime time.Duration
	}{
		{"too early", 300, 0, false, 168 * time.Hour},
		{"in time", 200 + 168 - 48, 200 + 168, true, 168 * time.Hour},
		{"late", 200 + 168 - 1, 200 + 168 - 1 + 25, true, 168 * time.Hour},
		{"long after", 2000, 2025, true, 168 * time.Hour},
	} {
		from, ok := set.due(at(c.now), c.lifetime)
		if ok != c.ok || ok && !from.Equal(at(c.from)) {
			t.Errorf("%s: %v, %v", c.name, from, ok)
		}
	}
}

func TestOpenRefusesShortLifetime(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Options{KeyLifetime: time.Hour}); err == nil {
		t.Error("keys of one hour are let through")
	}
}

// When the audit log cannot be written, no token leaves.
func TestNoTokenWithoutAudit(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := n.system(t, "acct")
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := n.IdentityToken(t.Context(), p.ID, p.IdentityID, storageAud)
	var e *azure.Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("got %v", err)
	}
}
