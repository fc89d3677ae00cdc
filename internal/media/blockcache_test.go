package media

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestBlockCacheMakesRoom(t *testing.T) {
	t.Parallel()
	c := newBlockCache(10)
	at := func(i int64) block { return block{index: i} }
	for i := range int64(3) {
		c.put(at(i), make([]byte, 4))
		c.get(at(0))
	}
	for i, want := range []bool{true, false, true} {
		if _, ok := c.get(at(int64(i))); ok != want {
			t.Errorf("block %d is there: %v", i, ok)
		}
	}
	if other := (block{version: version{etag: "2"}}); other != at(0) {
		if _, ok := c.get(other); ok {
			t.Error("a block of another version was served")
		}
	}
	if c.room < 0 {
		t.Errorf("room %d", c.room)
	}
}

// TestBlobReader reads ranges across block borders and compares them with the blob.
func TestBlobReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	data := make([]byte, 2*blockSize+12345)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	w.out.put("c", "b", data)
	id := strings.ToLower(acct)
	var a *account
	a, err := w.account(t.Context(), mustID(t, id))
	if err != nil {
		t.Fatal(err)
	}
	target, err := w.storageTarget(a, "")
	if err != nil {
		t.Fatal(err)
	}
	f := file{target, "c", "b"}
	v, err := w.access.current(t.Context(), f)
	if err != nil || v.size != int64(len(data)) {
		t.Fatal(v, err)
	}
	reader := blobReader{t.Context(), w.Service, f, v}
	for _, tt := range []struct {
		off, n int
		err    error
	}{
		{0, 10, nil},
		{blockSize - 3, 7, nil},
		{blockSize, blockSize, nil},
		{0, len(data), nil},
		{5, 2 * blockSize, nil},
		{len(data) - 4, 8, io.EOF},
		{len(data), 1, io.EOF},
		{len(data) + 9, 1, io.EOF},
		{7, 0, nil},
	} {
		p := make([]byte, tt.n)
		n, err := reader.ReadAt(p, int64(tt.off))
		want := data[min(tt.off, len(data)):min(tt.off+tt.n, len(data))]
		if !errors.Is(err, tt.err) || !bytes.Equal(p[:n], want) {
			t.Errorf("%d bytes at %d: %d, %v", tt.n, tt.off, n, err)
		}
	}
	// A version that is gone is not mixed with the one that is.
	w.out.put("c", "b", make([]byte, len(data)))
	w.blocks = newBlockCache(blockCacheSize)
	if _, err := reader.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read another version's bytes")
	}
	w.age(time.Minute)
	if now, err := w.access.current(t.Context(), f); err != nil || now == v {
		t.Errorf("%v, %v", now, err)
	}
}
