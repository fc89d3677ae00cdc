package authority

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Smart lockout. Wrong passwords for a name are counted by the address that they come from, on all nodes and across
// restarts, whether the name is a user's or nobody's. From the tenth on each one locks the address out of the name, the
// first time for a minute, then for twice as long each time. Beside that, those from addresses at which the user never
// signed in are counted together, and enough of them lock all such addresses out: guesses from a thousand addresses are
// no more than from a few. An address at which the user did sign in is never locked by others, so whoever attacks a name
// cannot lock its owner out of the places where the owner works. And wrong passwords from an address for names that did
// never sign in there are counted whatever the names: one guess each for all names is no more than many for one.
// https://learn.microsoft.com/entra/identity/authentication/howto-password-smart-lockout
const (
	lockAfter         = 10  // wrong passwords from one address
	lockStrangers     = 100 // from all unfamiliar addresses together
	lockSource        = 100 // from one address for all names that are not familiar there
	firstLock         = time.Minute
	longestLock       = time.Hour
	failuresKept      = 24 * time.Hour      // since the last one
	familiarKept      = 90 * 24 * time.Hour // since the last sign-in
	strangers         = ""                  // the source under which unfamiliar addresses are counted together
	guessesAtOnce     = 2                   // passwords that are checked at a time
	guessesWaiting    = 64                  // and that wait for it
	guessesFromSource = 8                   // of them, from one address
)

// guesses bounds the passwords that are checked at a time: each takes 19 MiB and some 20 ms of a core, and anybody may
// ask. One address cannot take all places.
type guesses struct {
	once  sync.Once
	slots chan struct{}

	mu      sync.Mutex
	waiting int
	sources map[string]int
}

// enter waits for a turn. The caller calls done when the password was checked and counted: then a name is never tried
// more often than the lockout allows, but for guessesAtOnce-1 on each node.
func (g *guesses) enter(ctx context.Context, source string) (done func(), err error) {
	g.once.Do(func() { g.slots, g.sources = make(chan struct{}, guessesAtOnce), map[string]int{} })
	g.mu.Lock()
	if g.waiting >= guessesWaiting || g.sources[source] >= guessesFromSource {
		g.mu.Unlock()
		return nil, aadsts(http.StatusTooManyRequests, "temporarily_unavailable", 90055, "There have been too many sign-in requests at once. Please try again.").WithHeader("Retry-After", "1")
	}
	g.waiting++
	g.sources[source]++
	g.mu.Unlock()
	leave := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.waiting--
		if g.sources[source]--; g.sources[source] == 0 {
			delete(g.sources, source)
		}
	}
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// turn waits until a password may be checked. Whoever is locked out is told so at once, and takes nobody's place. done is
// that of enter.
func (a *Authority) turn(ctx context.Context, account []byte, source string) (done func(), err error) {
	if err := a.checkLock(ctx, account, source); err != nil {
		return nil, err
	}
	if done, err = a.guesses.enter(ctx, source); err != nil {
		return nil, err
	}
	if err := a.checkLock(ctx, account, source); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

func (a *Authority) checkLock(ctx context.Context, account []byte, source string) error {
	until, err := a.locked(ctx, account, source)
	if err == nil && time.Now().Before(until) {
		return errLocked(until)
	}
	return err
}

// accountOf is what the guesses for a sign-in name are counted under.
func accountOf(name string) []byte { return hashOf("user\x00" + strings.ToLower(name)) }

// network is the address under which a client's guesses are counted. IPv6 counts by /64: who has one address has them all.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.WithZone("").Unmap()
	if addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // any IPv6 address has one
	return prefix.String()
}

// anyName is the account under which the guesses of a source for all names are counted.
var anyName = hashOf("any name")

// tally is what is known of the guesses for an account from one source.
type tally struct {
	failures    int64
	lockedUntil time.Time
	familiar    bool
}

func readTally(ctx context.Context, tx *store.Tx, account []byte, source string) (tally, error) {
	var t tally
	var until int64
	err := tx.QueryRow(ctx, `SELECT failures, locked_until, familiar FROM authority_attempts WHERE account = $1 AND source = $2 AND expires > $3`,
		account, source, store.Micros(time.Now())).Scan(&t.failures, &until, &t.familiar)
	if errors.Is(err, sql.ErrNoRows) {
		return tally{}, nil
	}
	t.lockedUntil = store.Time(until)
	return t, err
}

// locked returns until when an account is locked for a source; the past when it is not.
func (a *Authority) locked(ctx context.Context, account []byte, source string) (until time.Time, err error) {
	err = a.o.DB.View(ctx, func(tx *store.Tx) error {
		own, err := readTally(ctx, tx, account, source)
		if err != nil {
			return err
		}
		until = own.lockedUntil
		if own.familiar {
			return nil
		}
		for _, of := range []struct {
			account []byte
			source  string
		}{{account, strangers}, {anyName, source}} {
			all, err := readTally(ctx, tx, of.account, of.source)
			if err != nil {
				return err
			}
			if all.lockedUntil.After(until) {
				until = all.lockedUntil
			}
		}
		return nil
	})
	if err != nil {
		return until, fmt.Errorf("reading an account's lockout: %w", err)
	}
	return until, nil
}

// failed counts a wrong password.
func (a *Authority) failed(ctx context.Context, account []byte, source string) error {
	now := time.Now()
	err := a.o.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM authority_attempts WHERE expires < $1`, store.Micros(now)); err != nil {
			return err
		}
		own, err := readTally(ctx, tx, account, source)
		if err != nil {
			return err
		}
		if err := own.add(ctx, tx, account, source, lockAfter, now); err != nil || own.familiar {
			return err
		}
		all, err := readTally(ctx, tx, account, strangers)
		if err != nil {
			return err
		}
		if err := all.add(ctx, tx, account, strangers, lockStrangers, now); err != nil {
			return err
		}
		names, err := readTally(ctx, tx, anyName, source)
		if err != nil {
			return err
		}
		return names.add(ctx, tx, anyName, source, lockSource, now)
	})
	if err != nil {
		return fmt.Errorf("counting a wrong password: %w", err)
	}
	return nil
}

func (t *tally) add(ctx context.Context, tx *store.Tx, account []byte, source string, limit int64, now time.Time) error {
	t.failures++
	if t.failures >= limit {
		t.lockedUntil = now.Add(lockFor(t.failures - limit))
	}
	kept := failuresKept
	if t.familiar {
		kept = familiarKept
	}
	_, err := tx.Exec(ctx, `INSERT INTO authority_attempts (account, source, failures, locked_until, familiar, expires) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, source) DO UPDATE SET failures = excluded.failures, locked_until = excluded.locked_until, expires = excluded.expires`,
		account, source, t.failures, store.Micros(t.lockedUntil), t.familiar, store.Micros(now.Add(kept)))
	return err
}

// lockFor is how long the lock is after so many failures beyond the limit.
func lockFor(beyond int64) time.Duration {
	if beyond >= 6 {
		return longestLock
	}
	return min(firstLock<<beyond, longestLock)
}

// succeeded forgets the wrong passwords from a source, and makes it familiar.
func succeeded(ctx context.Context, tx *store.Tx, account []byte, source string) error {
	_, err := tx.Exec(ctx, `INSERT INTO authority_attempts (account, source, failures, locked_until, familiar, expires) VALUES ($1, $2, 0, 0, 1, $3)
		ON CONFLICT (account, source) DO UPDATE SET failures = 0, locked_until = 0, familiar = 1, expires = excluded.expires`,
		account, source, store.Micros(time.Now().Add(familiarKept)))
	if err != nil {
		return fmt.Errorf("noting a familiar address: %w", err)
	}
	return nil
}

func errLocked(until time.Time) *azure.Error {
	return aadsts(http.StatusBadRequest, "invalid_grant", 50053,
		"The account is locked, you've tried to sign in too many times with an incorrect user ID or password. Try again after %s.", until.UTC().Format(time.RFC3339))
}
