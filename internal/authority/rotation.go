package authority

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const rotateEvery = time.Minute

func (a *Authority) keepRotating(ctx context.Context) {
	defer close(a.stopped)
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.arc.purge(time.Now())
			if err := a.rotate(ctx); err != nil && ctx.Err() == nil {
				a.o.Log.ErrorContext(ctx, "rotating the token signing keys", "error", err)
			}
		}
	}
}

// rotate learns what other nodes have done to the keys, and does what is due: makes the next key, drops the private
// parts of keys that have signed for the last time, and forgets those whose tokens have all expired. Several nodes may
// do so at once: a key's number is its primary key, so one of them makes it and the others learn of it.
func (a *Authority) rotate(ctx context.Context) error {
	for {
		if err := a.load(ctx, 0); err != nil {
			return err
		}
		set, now := a.keys.Load(), time.Now()
		var next *key
		if signsFrom, ok := set.due(now, a.o.KeyLifetime); ok {
			seq := int64(1)
			if n := len(set.keys); n > 0 {
				seq = set.keys[n-1].seq + 1
			}
			var err error
			if next, err = newKey(seq, now, signsFrom); err != nil { // before the transaction: it takes a while
				return err
			}
		}
		var done, expired []int64
		for i, k := range set.keys {
			switch {
			case set.expired(i, now):
				expired = append(expired, k.seq)
			case set.done(i, now) && k.private != nil:
				done = append(done, k.seq)
			}
		}
		if next == nil && done == nil && expired == nil {
			return nil
		}
		err := a.o.DB.Update(ctx, func(tx *store.Tx) error { return a.store(ctx, tx, next, done, expired) })
		if err != nil {
			return fmt.Errorf("storing the signing keys: %w", err)
		}
	}
}

func (a *Authority) store(ctx context.Context, tx *store.Tx, next *key, done, expired []int64) error {
	if next != nil {
		private, err := x509.MarshalPKCS8PrivateKey(next.private)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO authority_keys (seq, id, certificate, private, signs_from, created) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (seq) DO NOTHING`, next.seq, next.id, next.certificate.Raw, a.o.Keyring.Seal(private, "authority_keys", next.id, "private"),
			store.Micros(next.signsFrom), store.Micros(time.Now()))
		if err != nil {
			return err
		}
	}
	for _, seq := range done {
		if _, err := tx.Exec(ctx, `UPDATE authority_keys SET private = NULL WHERE seq = $1`, seq); err != nil {
			return err
		}
	}
	for _, seq := range expired {
		if _, err := tx.Exec(ctx, `DELETE FROM authority_keys WHERE seq = $1`, seq); err != nil {
			return err
		}
	}
	return nil
}

// load reads the keys, unless they were read less than the given time ago.
func (a *Authority) load(ctx context.Context, atMostEvery time.Duration) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	if atMostEvery > 0 && time.Since(a.loaded) < atMostEvery {
		return nil
	}
	known := map[int64]*key{}
	for _, k := range a.keys.Load().keys {
		known[k.seq] = k
	}
	var set *keySet
	err := a.o.DB.View(ctx, func(tx *store.Tx) error {
		set = &keySet{}
		rows, err := tx.Query(ctx, `SELECT seq, id, certificate, private, signs_from FROM authority_keys ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq, signsFrom int64
			var id string
			var certificate, sealed []byte
			if err := rows.Scan(&seq, &id, &certificate, &sealed, &signsFrom); err != nil {
				return err
			}
			k := known[seq]
			if k == nil || k.id != id || (k.private == nil) != (sealed == nil) {
				if k, err = a.open(seq, id, certificate, sealed, store.Time(signsFrom)); err != nil {
					return err
				}
			}
			set.keys = append(set.keys, k)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("loading the signing keys: %w", err)
	}
	a.keys.Store(set)
	a.loaded = time.Now()
	return nil
}

func (a *Authority) open(seq int64, id string, certificate, sealed []byte, signsFrom time.Time) (*key, error) {
	var private *rsa.PrivateKey
	if sealed != nil {
		der, err := a.o.Keyring.Open(sealed, "authority_keys", id, "private")
		if err != nil {
			return nil, fmt.Errorf("opening signing key %d: %w", seq, err)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, fmt.Errorf("parsing signing key %d: %w", seq, err)
		}
		var ok bool
		if private, ok = parsed.(*rsa.PrivateKey); !ok {
			return nil, fmt.Errorf("signing key %d is not an RSA key", seq)
		}
	}
	return makeKey(seq, certificate, private, signsFrom)
}
