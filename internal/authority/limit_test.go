package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

func TestLimitQueuesBeforeItRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s limits
		var mu sync.Mutex
		var took []time.Duration
		refused, begun := 0, time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				done, err := s.enter(t.Context(), "one")
				mu.Lock()
				defer mu.Unlock()
				var e *azure.Error
				switch {
				case err == nil:
					took = append(took, time.Since(begun))
					done()
				case errors.As(err, &e) && e.Status == http.StatusTooManyRequests && e.Header.Get("Retry-After") == "1":
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(took) != 2*limitRate || refused != 100-2*limitRate {
			t.Errorf("%d let through, %d refused", len(took), refused)
		}
		if took[limitRate-1] != 0 || took[len(took)-1] != limitPatient {
			t.Errorf("the turns came at %v", took)
		}
		if done, err := s.enter(t.Context(), "two"); err != nil { // others are not concerned
			t.Error(err)
		} else {
			done()
		}
		time.Sleep(2 * time.Second)
		if done, err := s.enter(t.Context(), "one"); err != nil {
			t.Errorf("after a while: %v", err)
		} else {
			done()
		}
	})
}

func TestLimitAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s limits
		var done []func()
		for range limitAtOnce {
			d, err := s.enter(t.Context(), "one")
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, d)
		}
		begun := time.Now()
		var e *azure.Error
		if _, err := s.enter(t.Context(), "one"); !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || time.Since(begun) != limitPatient {
			t.Errorf("one too many: %v after %v", err, time.Since(begun))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.enter(gone, "one"); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits: %v", err)
		}
		time.AfterFunc(limitPatient/2, done[0])
		if d, err := s.enter(t.Context(), "one"); err != nil {
			t.Errorf("a place became free: %v", err)
		} else {
			d()
		}
		for _, d := range done[1:] {
			d()
		}
		if s.workloads["one"].users != 0 {
			t.Errorf("%d requests are counted for ever", s.workloads["one"].users)
		}
	})
}

func TestLimitForgetsQuietWorkloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s limits
		for range 3 * maxIdle {
			done, err := s.enter(t.Context(), azure.NewGUID())
			if err != nil {
				t.Fatal(err)
			}
			done()
			time.Sleep(time.Second)
		}
		if len(s.workloads) > maxIdle {
			t.Errorf("%d workloads are remembered", len(s.workloads))
		}
	})
}

// A client's dozen calls at its start make one token.
func TestBurstMakesOneToken(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	wl, _, _, _ := n.workload(t, "one")
	h := n.WorkloadHandler(wl.ID)
	var all sync.WaitGroup
	var tokens sync.Map
	for range 15 {
		all.Go(func() {
			res, body := do(t, h, imdsRequest(imdsPath+imdsQuery))
			if res.StatusCode != 200 {
				t.Errorf("%d %v", res.StatusCode, body)
			}
			tokens.Store(body["access_token"], true)
		})
	}
	all.Wait()
	count := 0
	tokens.Range(func(any, any) bool { count++; return true })
	if issued := n.records(t, "Token.ManagedIdentity"); count != 1 || len(issued) != 1 {
		t.Errorf("%d tokens, %d records", count, len(issued))
	}
	// A dozen that were told at once that it is revoked get one other.
	var first any
	tokens.Range(func(k, _ any) bool { first = k; return false })
	hash := sha256.Sum256([]byte(first.(string)))
	tokens.Clear()
	for range 15 {
		all.Go(func() {
			_, body := do(t, h, imdsRequest(imdsPath+imdsQuery+"&token_sha256_to_refresh="+hex.EncodeToString(hash[:])))
			tokens.Store(body["access_token"], true)
		})
	}
	all.Wait()
	count = 0
	tokens.Range(func(k, _ any) bool { count++; return true })
	if _, again := tokens.Load(first); count != 1 || again {
		t.Errorf("%d tokens for the revoked one, which came again: %v", count, again)
	}
	status := map[int]int{}
	var mu sync.Mutex
	for range 100 {
		all.Go(func() {
			res, _ := do(t, h, imdsRequest(imdsPath+imdsQuery))
			mu.Lock()
			defer mu.Unlock()
			status[res.StatusCode]++
			if res.StatusCode == 429 && res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	all.Wait()
	if status[429] == 0 || status[200] < limitRate || status[200]+status[429] != 100 {
		t.Errorf("answers to a flood: %v", status)
	}
}
