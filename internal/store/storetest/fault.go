package storetest

import (
	"errors"
	"sync"

	"github.com/keyreel/keyreel/internal/store"
)

// ErrFault is what Update returns when a fault of Faults has hit its commit.
var ErrFault = errors.New("injected fault")

// Fault is how a commit fails.
type Fault string

// The two ways. Whoever gets ErrFault cannot tell which it was, as in life.
const (
	NotApplied Fault = "commit.before" // nothing of it is in the database
	AnswerLost Fault = "commit.after"  // all of it is
)

// Faults makes commits of a database fail, one at a time. Its Inject goes into store.Options.Fault. All Updates that share
// the commit fail with it, and none of their hooks runs. The zero value lets everything through; it is safe for
// concurrent use.
type Faults struct {
	mu    sync.Mutex
	fault Fault
	skip  int
}

var _ = store.Options{Fault: (&Faults{}).Inject}

// Fail has the commit after the next skip ones fail.
func (f *Faults) Fail(fault Fault, skip int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.skip = fault, skip
}

// Clear takes back what has not hit yet, and reports whether something has since Fail.
func (f *Faults) Clear() (hit bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hit = f.fault == ""
	f.fault = ""
	return hit
}

// Inject implements store.Options.Fault.
func (f *Faults) Inject(point string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == "" || point != string(f.fault) {
		return nil
	}
	if f.skip--; f.skip >= 0 {
		return nil
	}
	f.fault = ""
	return ErrFault
}
