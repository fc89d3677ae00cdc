package authority

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// IMDS's limits for managed identities, for each workload. Clients start with a dozen calls at once, so who comes too
// early waits for a moment before he is refused.
// https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#rate-limiting
const (
	limitRate    = 20          // requests a second, and as many at once after a quiet second
	limitAtOnce  = 5           // requests that are worked on at a time
	limitPatient = time.Second // how long a request waits for its turn
	maxIdle      = 1024        // workloads that are remembered although nothing of theirs is on its way
)

// limits are those of all workloads. Only registered ones have one, so callers without credentials cannot make it grow.
type limits struct {
	mu        sync.Mutex
	workloads map[string]*limit
}

// limit is the place of one workload in its limits.
type limit struct {
	next  time.Time     // when the next request is due at the even rate (a generic cell rate algorithm's arrival time)
	slots chan struct{} // one for each request that is worked on
	users int           // requests that wait or are worked on
}

// enter waits for a request's turn. The caller calls done when it has been worked on.
func (s *limits) enter(ctx context.Context, workload string) (done func(), err error) {
	const interval = time.Second / limitRate
	s.mu.Lock()
	now := time.Now()
	l := s.workloads[workload]
	if l == nil {
		s.forgetIdle(now)
		l = &limit{slots: make(chan struct{}, limitAtOnce)}
		s.workloads[workload] = l
	}
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Add(interval - time.Second).Sub(now)
	if wait > limitPatient {
		s.mu.Unlock()
		return nil, tooMany(wait - limitPatient)
	}
	l.next = l.next.Add(interval)
	l.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		l.users--
		s.mu.Unlock()
	}
	if err := sleep(ctx, wait); err != nil {
		leave()
		return nil, err
	}
	patience := time.NewTimer(limitPatient)
	defer patience.Stop()
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots; leave() }, nil
	case <-patience.C:
		err = tooMany(limitPatient)
	case <-ctx.Done():
		err = ctx.Err()
	}
	leave()
	return nil, err
}

// forgetIdle makes room for a new workload: those that nothing is known of but a quiet second need not be remembered.
func (s *limits) forgetIdle(now time.Time) {
	if s.workloads == nil {
		s.workloads = map[string]*limit{}
	}
	if len(s.workloads) < maxIdle {
		return
	}
	for id, l := range s.workloads {
		if l.users == 0 && !l.next.After(now) {
			delete(s.workloads, id)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func tooMany(wait time.Duration) *azure.Error {
	seconds := int((wait + time.Second - 1) / time.Second)
	return azure.Errorf(http.StatusTooManyRequests, "too_many_requests",
		"Too many requests: %d a second and %d at once are let through. Try again in %d s.", limitRate, limitAtOnce, seconds).
		WithHeader("Retry-After", strconv.Itoa(seconds))
}
