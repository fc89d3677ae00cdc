package authority

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// guess asks for a token with a password from an address and returns the AADSTS code; 0 for a token.
func (n *node) guess(t testing.TB, ip, name, password string) float64 {
	t.Helper()
	r := postForm(tokenPath, url.Values{
		"grant_type": {"password"}, "client_id": {azureCLI}, "username": {name}, "password": {password}, "scope": {armAud + "/.default"},
	})
	r.RemoteAddr = ip
	res, body := do(t, n.Handler(), r)
	if res.StatusCode == http.StatusOK {
		return 0
	}
	return body["error_codes"].([]any)[0].(float64)
}

func TestSmartLockout(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		root := newRoot(t)
		n := open(t, db, root)
		n.ada(t)
		const home, attacker = "192.0.2.10:1", "198.51.100.1:1"
		if got := n.guess(t, home, adaName, adaSecret); got != 0 {
			t.Fatalf("the right password: %v", got)
		}
		for _, name := range []string{adaName, "nobody@example.org"} { // which a lock must not tell apart
			for i := range lockAfter {
				if got := n.guess(t, attacker, name, "wrong"); got != 50126 {
					t.Fatalf("wrong password %d: %v", i, got)
				}
			}
			if got := n.guess(t, attacker, name, "wrong"); got != 50053 {
				t.Errorf("%s after %d wrong passwords: %v", name, lockAfter, got)
			}
		}
		if got := n.guess(t, attacker, adaName, adaSecret); got != 50053 {
			t.Errorf("the right password from a locked address: %v", got)
		}
		if got := n.guess(t, "192.0.2.77:1", adaName, adaSecret); got != 0 {
			t.Errorf("the right password from elsewhere: %v", got)
		}

		// The lock is on all nodes, and grows.
		other := open(t, db, root)
		if got := other.guess(t, attacker, adaName, adaSecret); got != 50053 {
			t.Errorf("on another node: %v", got)
		}
		unlock := `UPDATE authority_attempts SET locked_until = 1`
		n.exec(t, unlock)
		if got := n.guess(t, attacker, adaName, "wrong"); got != 50126 {
			t.Errorf("after the lock: %v", got)
		}
		until, err := n.locked(t.Context(), hashOf("user\x00"+adaName), "198.51.100.1")
		if err != nil || time.Until(until) < firstLock || time.Until(until) > 2*firstLock {
			t.Errorf("the second lock is until %v: %v", until, err)
		}

		// Guesses from everywhere lock all unfamiliar addresses out, and no others.
		n.exec(t, unlock)
		n.exec(t, `UPDATE authority_attempts SET failures = $1 WHERE source = ''`, lockStrangers-1)
		if got := n.guess(t, "203.0.113.1:1", adaName, "wrong"); got != 50126 {
			t.Errorf("one more stranger: %v", got)
		}
		if got := n.guess(t, "203.0.113.2:1", adaName, adaSecret); got != 50053 {
			t.Errorf("an unfamiliar address: %v", got)
		}
		for range lockAfter - 1 {
			if got := n.guess(t, home, adaName, "wrong"); got != 50126 {
				t.Errorf("the owner at home: %v", got)
			}
		}
		if got := n.guess(t, home, adaName, adaSecret); got != 0 {
			t.Errorf("the owner at home, with the right password: %v", got)
		}
		if got := n.guess(t, home, adaName, "wrong"); got != 50126 {
			t.Errorf("the right password did not forget the wrong ones: %v", got)
		}
		n.exec(t, `UPDATE authority_attempts SET expires = 1`)
		if got := n.guess(t, attacker, adaName, adaSecret); got != 0 {
			t.Errorf("a day later: %v", got)
		}
	})
}

func TestLockTimes(t *testing.T) {
	t.Parallel()
	for beyond, want := range map[int64]time.Duration{0: time.Minute, 1: 2 * time.Minute, 5: 32 * time.Minute, 6: time.Hour, 1 << 40: time.Hour} {
		if got := lockFor(beyond); got != want {
			t.Errorf("%d beyond: %v, want %v", beyond, got, want)
		}
	}
	for ip, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "x": "x"} {
		if got := network(ip); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
}

// One address cannot take all places, and nobody waits for ever.
func TestGuessesAreBounded(t *testing.T) {
	t.Parallel()
	var g guesses
	var leave []func()
	enter := func(source string) error {
		done, err := g.enter(t.Context(), source)
		if err == nil {
			leave = append(leave, done)
		}
		return err
	}
	for range guessesAtOnce {
		if err := enter("a"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for i := range guessesWaiting - guessesAtOnce {
		waiting.Add(1)
		started := make(chan struct{})
		go func() {
			defer waiting.Done()
			close(started)
			if _, err := g.enter(ctx, fmt.Sprint(i/(guessesFromSource-guessesAtOnce))+"x"); err == nil {
				t.Error("a place that is not there")
			}
		}()
		<-started
	}
	for { // until all wait
		g.mu.Lock()
		n := g.waiting
		g.mu.Unlock()
		if n == guessesWaiting {
			break
		}
	}
	e, _ := azure.AsError(enter("b"))
	if e.Status != http.StatusTooManyRequests {
		t.Errorf("one too many: %v", e)
	}
	cancel()
	waiting.Wait()
	for _, done := range leave {
		done()
	}
	if err := enter("b"); err != nil || g.waiting != 1 || len(g.sources) != 1 {
		t.Errorf("%v, %d waiting, sources %v", err, g.waiting, g.sources)
	}
}
