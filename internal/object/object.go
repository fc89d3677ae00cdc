package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNotFound is returned for a key that holds no object.
var ErrNotFound = errors.New("object not found")

// ErrExists is returned by Put for a key that holds an object.
var ErrExists = errors.New("object exists")

// Store keeps immutable byte strings under keys that its callers choose at random.
type Store interface {
	// Put stores all of r. When it returns nil the object is whole and survives power loss; otherwise nothing can be
	// opened under the key. A key is never written twice.
	Put(ctx context.Context, key string, r io.Reader) (size int64, err error)
	// Open gives the object's bytes at random, or ErrNotFound. The reader is good until it is closed, however ctx ends.
	Open(ctx context.Context, key string) (Reader, error)
	// Delete removes the object; a missing key is no error. A Reader that is open goes on or fails, but never gives
	// wrong bytes.
	Delete(ctx context.Context, key string) error
	// List calls fn for every object, in no order. It may miss objects put or deleted meanwhile.
	List(ctx context.Context, fn func(Info) error) error
}

// Info describes an object.
type Info struct {
	Key     string
	Size    int64
	Written time.Time
}

// Reader reads an open object; it is safe for concurrent use.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// validKey reports whether key is 8 to 128 characters of [a-zA-Z0-9._-].
func validKey(key string) bool {
	if len(key) < 8 || len(key) > 128 {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func checkKey(key string) error {
	if !validKey(key) {
		return fmt.Errorf("object key %q is not 8 to 128 characters of a-z, A-Z, 0-9, '.', '_' and '-'", key)
	}
	return nil
}
