package object_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/object/objecttest"
)

func key(i int) string { return fmt.Sprintf("%08x", uint32(i)*2654435761) }

func byteCount(n int) string { return fmt.Sprintf("%dKiB", n>>10) }

// openS3 opens a store on a server of its own. wrap, if not nil, stands between them.
func openS3(t *testing.T, wrap func(http.Handler) http.Handler) *object.S3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0)))).Server()
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s, err := object.OpenS3(object.S3Options{
		Endpoint: server.URL, Bucket: "bucket", Prefix: "keyreel/", AccessKey: "id", SecretKey: "secret", PathStyle: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3(t *testing.T) {
	t.Parallel()
	objecttest.Run(t, func(t *testing.T) object.Store { return openS3(t, nil) })
}

func TestOpenS3Refuses(t *testing.T) {
	t.Parallel()
	good := object.S3Options{Endpoint: "https://s3.example", Bucket: "b", AccessKey: "a", SecretKey: "s"}
	if _, err := object.OpenS3(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		change     func(o *object.S3Options)
	}{
		{"no bucket", "bucket", func(o *object.S3Options) { o.Bucket = "" }},
		{"no access key", "access key", func(o *object.S3Options) { o.AccessKey = "" }},
		{"no secret key", "secret key", func(o *object.S3Options) { o.SecretKey = "" }},
		{"no scheme", "s3.example:9000", func(o *object.S3Options) { o.Endpoint = "s3.example:9000" }},
		{"another scheme", "ftp", func(o *object.S3Options) { o.Endpoint = "ftp://s3.example" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := good
			tt.change(&o)
			if _, err := object.OpenS3(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// losing serves requests and drops the answers of those that match.
func losing(matches func(r *http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !matches(r) {
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	}
}

func once(matches func(r *http.Request) bool) func(r *http.Request) bool {
	var done atomic.Bool
	return func(r *http.Request) bool { return matches(r) && done.CompareAndSwap(false, true) }
}

func isPut(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.RawQuery == "x-id=PutObject"
}

func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func TestS3PutWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int
		lose func(r *http.Request) bool
	}{
		{"one request", 1000, once(isPut)},
		{"one request, every answer", 1000, isPut},
		{"a part", 9 << 20, once(isPart)},
		{"completion", 9 << 20, once(isComplete)},
		{"completion, every answer", 9 << 20, isComplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := openS3(t, losing(tt.lose))
			data := bytes.Repeat([]byte("x"), tt.size)
			if n, err := s.Put(t.Context(), "object-1", bytes.NewReader(data)); err != nil || n != int64(tt.size) {
				t.Fatalf("Put = %d, %v", n, err)
			}
			r, err := s.Open(t.Context(), "object-1")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestS3PutThatIsNotApplied(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int
		fail func(r *http.Request) bool
	}{
		{"one request", 1000, isPut},
		{"a part", 20 << 20, isPart},
		{"completion", 9 << 20, isComplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var broken atomic.Bool
			broken.Store(true)
			s := openS3(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if broken.Load() && tt.fail(r) {
						io.Copy(io.Discard, r.Body)
						http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			data := bytes.Repeat([]byte("x"), tt.size)
			if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Fatalf("put: %v", err)
			}
			if _, err := s.Open(t.Context(), "object-1"); !errors.Is(err, object.ErrNotFound) {
				t.Errorf("opened: %v", err)
			}
			broken.Store(false)
			if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(data)); err != nil {
				t.Errorf("put again: %v", err)
			}
		})
	}
}

func TestS3MissingBucketIsNotAMissingObject(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	s, err := object.OpenS3(object.S3Options{Endpoint: server.URL, Bucket: "bucket", AccessKey: "id", SecretKey: "secret", PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "object-1"); err == nil || errors.Is(err, object.ErrNotFound) {
		t.Errorf("opened: %v", err)
	}
}

func TestS3BodyThatBreaksOffIsReadOn(t *testing.T) {
	t.Parallel()
	var gets atomic.Int32
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || gets.Add(1) != 2 { // the first is Open's
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			for k, v := range answer.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(answer.Code)
			w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
			panic(http.ErrAbortHandler)
		})
	})
	data := []byte(strings.Repeat("0123456789", 50_000))
	if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "object-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(data))
	if n, err := r.ReadAt(got, 0); n != len(data) || err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if gets.Load() != 3 {
		t.Errorf("%d requests", gets.Load())
	}
}

func TestS3ReadRange(t *testing.T) {
	t.Parallel()
	s := openS3(t, nil)
	data := []byte(strings.Repeat("0123456789", 50_000))
	if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "object-1")
	if err != nil {
		t.Fatal(err)
	}
	ranges := r.(interface {
		ReadRange(off, n int64) (io.ReadCloser, error)
	})
	for _, tt := range []struct{ off, n int64 }{{0, 0}, {0, 1}, {0, 500_000}, {77, 400_000}, {499_999, 1}, {500_000, 0}} {
		body, err := ranges.ReadRange(tt.off, tt.n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data[tt.off:tt.off+tt.n]) {
			t.Errorf("range %d+%d: %d bytes, %v", tt.off, tt.n, len(got), err)
		}
		body.Close()
	}
	for _, tt := range []struct{ off, n int64 }{{-1, 1}, {0, -1}, {0, 500_001}, {500_001, 0}, {1, 1<<63 - 1}} {
		if _, err := ranges.ReadRange(tt.off, tt.n); err == nil {
			t.Errorf("range %d+%d was given", tt.off, tt.n)
		}
	}
	body, err := ranges.ReadRange(0, 500_000)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	r.Close()
	if _, err := io.ReadAll(body); err == nil {
		t.Error("a range is good after its reader was closed")
	}
}

func TestS3BodyThatAlwaysBreaksOff(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !broken.Load() {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Range", "bytes 0-9/500000")
			w.Header().Set("Content-Length", "10")
			w.WriteHeader(http.StatusPartialContent)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
	})
	if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(make([]byte, 500_000))); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "object-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	broken.Store(true)
	got, err := r.ReadAt(make([]byte, 100_000), 0) // the first 64 KiB are there; from then on another range is answered
	if got != 64<<10 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", got, err)
	}
	body, err := r.(interface {
		ReadRange(off, n int64) (io.ReadCloser, error)
	}).ReadRange(0, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); err == nil {
		t.Error("read what never came")
	}
}

func TestS3ReadsThatItHas(t *testing.T) {
	t.Parallel()
	var gets atomic.Int32
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				gets.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := s.Put(t.Context(), "object-1", bytes.NewReader(make([]byte, 64<<10))); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), "object-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size())); err != nil || gets.Load() != 1 {
		t.Errorf("%d requests, %v; want 1", gets.Load(), err)
	}
}

func TestS3AbortStale(t *testing.T) {
	t.Parallel()
	aborts := 0
	cut := true // a crash: neither completion nor abortion arrives
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case cut && (isComplete(r) || r.Method == http.MethodDelete):
				http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
				return
			case r.Method == http.MethodDelete:
				aborts++
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := s.Put(context.Background(), "object-1", bytes.NewReader(make([]byte, 9<<20))); err == nil {
		t.Fatal("put")
	}
	cut = false
	for _, tt := range []struct {
		before time.Time
		want   int
	}{{time.Now().Add(-time.Hour), 0}, {time.Now().Add(time.Hour), 1}, {time.Now().Add(time.Hour), 1}} {
		if err := s.AbortStale(t.Context(), tt.before); err != nil {
			t.Fatal(err)
		}
		if aborts != tt.want {
			t.Errorf("aborted %d uploads, want %d", aborts, tt.want)
		}
	}
}
