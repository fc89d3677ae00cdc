package objecttest

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/keyreel/keyreel/internal/object"
)

// ErrFault is what a Faulty store fails with.
var ErrFault = errors.New("fault of the object store")

// Fault is how a call fails.
type Fault int

// How a call fails.
const (
	NotApplied Fault = iota + 1 // nothing happened
	AnswerLost                  // it was done, and reported as failed
)

// Faulty is a store whose calls fail on command. The zero value of everything but Store is ready, and it is safe for
// concurrent use.
type Faulty struct {
	object.Store

	mu     sync.Mutex
	faults map[string][]Fault
}

// Fail makes the next calls of a method ("Put", "Open", "Delete", "List", "ReadAt") fail, one fault a call. Zero lets
// a call pass. For calls that change nothing the faults are alike.
func (f *Faulty) Fail(method string, faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults == nil {
		f.faults = map[string][]Fault{}
	}
	f.faults[method] = append(f.faults[method], faults...)
}

func (f *Faulty) next(method string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := f.faults[method]
	if len(left) == 0 {
		return 0
	}
	f.faults[method] = left[1:]
	return left[0]
}

// Put implements object.Store. A lost answer breaks its promise that nothing can be opened after an error: so does a
// real store that cannot be reached any more.
func (f *Faulty) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	fault := f.next("Put")
	if fault == NotApplied {
		return 0, ErrFault
	}
	n, err := f.Store.Put(ctx, key, r)
	if fault == AnswerLost {
		return 0, errors.Join(ErrFault, err)
	}
	return n, err
}

// Open implements object.Store.
func (f *Faulty) Open(ctx context.Context, key string) (object.Reader, error) {
	if f.next("Open") != 0 {
		return nil, ErrFault
	}
	r, err := f.Store.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	return faultyReader{r, f}, nil
}

// Delete implements object.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	fault := f.next("Delete")
	if fault == NotApplied {
		return ErrFault
	}
	err := f.Store.Delete(ctx, key)
	if fault == AnswerLost {
		return errors.Join(ErrFault, err)
	}
	return err
}

// List implements object.Store.
func (f *Faulty) List(ctx context.Context, fn func(object.Info) error) error {
	if f.next("List") != 0 {
		return ErrFault
	}
	return f.Store.List(ctx, fn)
}

type faultyReader struct {
	object.Reader
	f *Faulty
}

func (r faultyReader) ReadAt(p []byte, off int64) (int, error) {
	if r.f.next("ReadAt") != 0 {
		return 0, ErrFault
	}
	return r.Reader.ReadAt(p, off)
}
