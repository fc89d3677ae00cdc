package authority

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
)

// auditRefusal writes down why no token was issued and returns why; an error that is ours and not the caller's goes to
// the request log alone. Nobody has to prove anything to be refused, so refusals are counted: those of a minute that are
// alike in operation, client address and application (the living one whose credentials were tried, if any) share two
// records, and addresses beyond maxSources one name.
func (a *Authority) auditRefusal(ctx context.Context, r audit.Record, why error) error {
	e, unexpected := azure.AsError(why)
	if unexpected {
		return why
	}
	r.Category, r.RequestID = signInCategory, azure.RequestID(ctx)
	r.Result, r.Status, r.Reason = "Failure", e.Status, e.Message
	if source := a.refused.source(r.ClientIP, time.Now()); source != r.ClientIP {
		r.Details = maps.Clone(r.Details)
		if r.Details == nil {
			r.Details = map[string]string{}
		}
		r.Details["clientIP"], r.ClientIP = r.ClientIP, source
	}
	if err := a.o.Audit.Observe(ctx, r); err != nil {
		return fmt.Errorf("auditing a refused sign-in: %w", err)
	}
	return why
}

// maxSources is how many client addresses are told apart in a minute, and elsewhere names the others.
const (
	maxSources = 1000
	elsewhere  = "elsewhere"
)

// refusals knows the sources of the current minute's refusals.
type refusals struct {
	mu      sync.Mutex
	minute  time.Time
	sources map[string]bool
}

// source is the name under which refusals of a client address are counted. IPv6 counts by /64: who has one address has
// them all.
func (s *refusals) source(ip string, now time.Time) string {
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() && !addr.Is4In6() {
		prefix, _ := addr.WithZone("").Prefix(64) // any IPv6 address has one
		ip = prefix.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if minute := now.Truncate(time.Minute); s.sources == nil || !minute.Equal(s.minute) {
		s.minute, s.sources = minute, map[string]bool{}
	}
	if !s.sources[ip] && len(s.sources) >= maxSources {
		return elsewhere
	}
	s.sources[ip] = true
	return ip
}
