package objecttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/object"
)

// Run checks that the stores which open makes keep the contract. Each test gets a new and empty one.
func Run(t *testing.T, open func(t *testing.T) object.Store) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s object.Store)
	}{
		{"Put and Open", testPutOpen},
		{"ReadAt", testReadAt},
		{"large object", testLarge},
		{"missing object", testMissing},
		{"keys", testKeys},
		{"put whose reader fails", testFailingReader},
		{"put whose context ends", testCancelledPut},
		{"second put", testSecondPut},
		{"delete", testDelete},
		{"delete while reading", testDeleteWhileReading},
		{"reader outlives its context", testReaderOutlivesContext},
		{"list", testList},
		{"concurrent use", testConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, open(t))
		})
	}
}

const partSize = 8 << 20 // of S3's multipart uploads

func bytesOf(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	src.Read(b)
	return b
}

func put(t *testing.T, s object.Store, key string, data []byte) {
	t.Helper()
	// A plain reader, as a sealed stream is: no length, no WriteTo.
	n, err := s.Put(t.Context(), key, struct{ io.Reader }{bytes.NewReader(data)})
	if err != nil || n != int64(len(data)) {
		t.Fatalf("Put(%s) of %d bytes = %d, %v", key, len(data), n, err)
	}
}

func open(t *testing.T, s object.Store, key string) object.Reader {
	t.Helper()
	r, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open(%s): %v", key, err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func check(t *testing.T, s object.Store, key string, want []byte) {
	t.Helper()
	r := open(t, s, key)
	if r.Size() != int64(len(want)) {
		t.Errorf("%s has size %d, want %d", key, r.Size(), len(want))
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, %v; want %d", key, len(got), err, len(want))
	}
}

func checkMissing(t *testing.T, s object.Store, key string) {
	t.Helper()
	if _, err := s.Open(t.Context(), key); !errors.Is(err, object.ErrNotFound) {
		t.Errorf("Open(%s): %v, want ErrNotFound", key, err)
	}
	if keys := list(t, s); keys[key] {
		t.Errorf("List has %s", key)
	}
}

func list(t *testing.T, s object.Store) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	err := s.List(t.Context(), func(i object.Info) error {
		keys[i.Key] = true
		return nil
	})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return keys
}

func testPutOpen(t *testing.T, s object.Store) {
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		key := fmt.Sprintf("size-%08d", n)
		put(t, s, key, bytesOf(n))
		check(t, s, key, bytesOf(n))
	}
}

func testReadAt(t *testing.T, s object.Store) {
	data := bytesOf(300 << 10)
	put(t, s, "object-1", data)
	r := open(t, s, "object-1")
	for _, off := range []int{0, 1, 64<<10 - 1, 64 << 10, 100 << 10, len(data) - 1, len(data), len(data) + 1} {
		for _, n := range []int{0, 1, 100, 64 << 10, len(data), len(data) + 1} {
			got, want := make([]byte, n), make([]byte, n)
			gotN, err := r.ReadAt(got, int64(off))
			wantN, wantErr := bytes.NewReader(data).ReadAt(want, int64(off))
			if n == 0 { // io.ReaderAt leaves it open
				err, wantErr = nil, nil
			}
			if gotN != wantN || err != wantErr || !bytes.Equal(got, want) {
				t.Errorf("ReadAt(%d bytes, %d) = %d, %v; want %d, %v", n, off, gotN, err, wantN, wantErr)
			}
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("ReadAt(-1): %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadAt(make([]byte, 1), 200<<10); err == nil {
		t.Error("read after Close")
	}
}

func testLarge(t *testing.T, s object.Store) {
	for _, n := range []int{partSize, partSize + 1, 3*partSize + 77} {
		key := fmt.Sprintf("size-%08d", n)
		put(t, s, key, bytesOf(n))
		check(t, s, key, bytesOf(n))
		all := make([]byte, n)
		if got, err := open(t, s, key).ReadAt(all, 0); got != n || err != nil || !bytes.Equal(all, bytesOf(n)) {
			t.Errorf("ReadAt of all = %d, %v", got, err)
		}
	}
}

func testMissing(t *testing.T, s object.Store) {
	put(t, s, "present-1", []byte("x"))
	checkMissing(t, s, "missing-1")
	checkMissing(t, s, "present-")
	checkMissing(t, s, "present-11")
	if err := s.Delete(t.Context(), "missing-1"); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

func testKeys(t *testing.T, s object.Store) {
	good := []string{
		"abcdefgh", "ABCDEFGI", "0123456789", "........", "..______", "ab..cdef", "-------a", "a.b-c_d.e",
		"tmp-0123", strings.Repeat("k", 128),
	}
	for i, key := range good {
		put(t, s, key, []byte{byte(i)})
	}
	want := map[string]bool{}
	for i, key := range good {
		check(t, s, key, []byte{byte(i)})
		want[key] = true
	}
	if diff := cmp.Diff(want, list(t, s)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for _, key := range []string{
		"", "short-1", strings.Repeat("k", 129), "../../../etc", "/absolute", "abc/defgh",
		`abc\defgh`, "abcdefg\x00", "abcdefg ", "abcdefgé", "abcdefg\n", "abcdefg%2e",
	} {
		if _, err := s.Put(t.Context(), key, strings.NewReader("x")); err == nil {
			t.Errorf("Put(%q) succeeded", key)
		}
		if _, err := s.Open(t.Context(), key); err == nil || errors.Is(err, object.ErrNotFound) {
			t.Errorf("Open(%q): %v", key, err)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%q) succeeded", key)
		}
	}
}

func testFailingReader(t *testing.T, s object.Store) {
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 100 << 10, partSize, partSize + 1, 2*partSize + 5} {
		key := fmt.Sprintf("size-%08d", n)
		src := io.MultiReader(bytes.NewReader(bytesOf(n)), iotest.ErrReader(broken))
		if _, err := s.Put(t.Context(), key, src); !errors.Is(err, broken) {
			t.Errorf("Put that breaks after %d bytes: %v", n, err)
		}
		checkMissing(t, s, key)
		put(t, s, key, []byte("second try"))
		check(t, s, key, []byte("second try"))
	}
}

func testCancelledPut(t *testing.T, s object.Store) {
	for _, n := range []int{0, 100 << 10, partSize + 100} {
		key := fmt.Sprintf("size-%08d", n)
		ctx, cancel := context.WithCancel(t.Context())
		src := io.MultiReader(bytes.NewReader(bytesOf(n)), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, io.EOF
		}))
		if _, err := s.Put(ctx, key, src); !errors.Is(err, context.Canceled) {
			t.Errorf("Put that is cancelled after %d bytes: %v", n, err)
		}
		checkMissing(t, s, key)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.List(ctx, func(object.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled List: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testSecondPut(t *testing.T, s object.Store) {
	for _, n := range []int{1000, partSize + 1} {
		key := fmt.Sprintf("size-%08d", n)
		put(t, s, key, bytesOf(n))
		for _, again := range []int{10, partSize + 2} {
			if _, err := s.Put(t.Context(), key, bytes.NewReader(bytesOf(again))); !errors.Is(err, object.ErrExists) {
				t.Errorf("second Put: %v, want ErrExists", err)
			}
			check(t, s, key, bytesOf(n))
		}
		broken := errors.New("broken")
		if _, err := s.Put(t.Context(), key, iotest.ErrReader(broken)); err == nil {
			t.Error("a second Put that breaks succeeded")
		}
		check(t, s, key, bytesOf(n))
	}
}

func testDelete(t *testing.T, s object.Store) {
	put(t, s, "object-1", []byte("1"))
	put(t, s, "object-2", []byte("2"))
	for range 2 {
		if err := s.Delete(t.Context(), "object-1"); err != nil {
			t.Fatal(err)
		}
		checkMissing(t, s, "object-1")
	}
	check(t, s, "object-2", []byte("2"))
}

func testDeleteWhileReading(t *testing.T, s object.Store) {
	data := bytesOf(1 << 20)
	put(t, s, "object-1", data)
	r := open(t, s, "object-1")
	if err := s.Delete(t.Context(), "object-1"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if n, err := r.ReadAt(got, 0); !bytes.Equal(got[:n], data[:n]) || n < len(data) && err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func testReaderOutlivesContext(t *testing.T, s object.Store) {
	put(t, s, "object-1", bytesOf(1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Open(ctx, "object-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := r.ReadAt(make([]byte, 10), 500<<10); err != nil {
		t.Error(err)
	}
}

func testList(t *testing.T, s object.Store) {
	if keys := list(t, s); len(keys) != 0 {
		t.Fatalf("a new store holds %v", keys)
	}
	before := time.Now().Add(-2 * time.Second) // S3 counts in seconds
	want := map[string]int64{}
	for i := range 40 {
		key := fmt.Sprintf("%02x-object", i*7)
		put(t, s, key, bytesOf(i))
		want[key] = int64(i)
	}
	got := map[string]int64{}
	err := s.List(t.Context(), func(i object.Info) error {
		got[i.Key] = i.Size
		if i.Written.Before(before) || i.Written.After(time.Now().Add(2*time.Second)) {
			t.Errorf("%s was written at %v", i.Key, i.Written)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	enough, calls := errors.New("enough"), 0
	err = s.List(t.Context(), func(object.Info) error {
		calls++
		return enough
	})
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("List went on: %v after %d calls", err, calls)
	}
}

func testConcurrent(t *testing.T, s object.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 4 {
				key := fmt.Sprintf("object-%d-%d", i, j)
				data := bytesOf(i<<12 + j)
				if _, err := s.Put(t.Context(), key, bytes.NewReader(data)); err != nil {
					t.Error(err)
					return
				}
				r, err := s.Open(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				var readers sync.WaitGroup
				for range 3 {
					readers.Go(func() {
						got := make([]byte, len(data))
						if n, err := r.ReadAt(got, 0); n != len(data) || err != nil && err != io.EOF || !bytes.Equal(got, data) {
							t.Errorf("%s: read %d bytes, %v", key, n, err)
						}
					})
				}
				readers.Wait()
				r.Close()
				if j%2 == 0 {
					if err := s.Delete(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := len(list(t, s)); n != 16 {
		t.Errorf("%d objects are left, want 16", n)
	}
}
