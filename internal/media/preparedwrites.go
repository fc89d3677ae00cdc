package media

import (
	"sync"

	"github.com/keyreel/keyreel/internal/customerkey"
)

// prepared is what the Prepare of an account's write has made for its Commit.
type prepared struct {
	key     *customerkey.Switch // nil leaves the wrapping of the account key
	storage []storageKey        // keys of storage accounts, sealed
	tried   bool                // the storage accounts were, so what was seen of them before is of the past
}

// preparedWrites hands it on. Prepare and Commit follow each other in one process, at most one write of an account is
// on its way, and every Prepare puts anew, be it nothing.
type preparedWrites struct {
	mu sync.Mutex
	of map[string]prepared
}

func (w *preparedWrites) put(account string, p prepared) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string]prepared{}
	}
	w.of[account] = p
}

func (w *preparedWrites) drop(account string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, account)
}

func (w *preparedWrites) get(account string) prepared {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of[account]
}
