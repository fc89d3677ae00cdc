package media

import (
	"sync"

	"github.com/keyreel/keyreel/internal/customerkey"
)

// switches hands a prepared re-wrap of an account key from a write's Prepare to its Commit, which follow each other in
// one process. At most one write of an account is on its way, and every Prepare puts anew, be it nothing.
type switches struct {
	mu sync.Mutex
	of map[string]*customerkey.Switch
}

func (s *switches) put(account string, sw *customerkey.Switch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]*customerkey.Switch{}
	}
	if sw == nil {
		delete(s.of, account)
		return
	}
	s.of[account] = sw
}

func (s *switches) get(account string) *customerkey.Switch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[account]
}
