package blob

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

// direct is a way to the handler without a socket, as a caller with a role.
type direct struct {
	handler http.Handler
	bearer  string
}

func newDirect(b *testing.B) direct {
	s := sqlite(b)
	s.container(b, "con")
	s.assign(b, "bench", contributorRole, testAccountID)
	return direct{s.Handler(), "Bearer " + token(azure.Caller{ObjectID: "bench"})}
}

func (d direct) do(b *testing.B, w http.ResponseWriter, method, path string, body []byte, want int) {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Host = testAccount + ".blob.keyreel.test"
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	r.Header.Set("Authorization", d.bearer)
	r.Header.Set("X-Ms-Version", serviceVersion)
	if method == "PUT" {
		r.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	}
	d.handler.ServeHTTP(w, r)
	if got, ok := w.(interface{ status() int }); ok && got.status() != want {
		b.Errorf("%s %s: %d", method, path, got.status())
	}
}

// sink is a response whose body goes nowhere.
type sink struct {
	header http.Header
	code   int
	n      int64
}

func newSink() *sink                        { return &sink{header: http.Header{}} }
func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(code int)        { s.code = code }
func (s *sink) Write(p []byte) (int, error) { s.n += int64(len(p)); return len(p), nil }
func (s *sink) status() int                 { return s.code }

func BenchmarkPut4KiB(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			d := newDirect(b)
			data := pattern(4 << 10)
			var n atomic.Int64
			run(b, goroutines, func() {
				d.do(b, newSink(), "PUT", fmt.Sprintf("/con/%d", n.Add(1)), data, 201)
			})
		})
	}
}

func BenchmarkGet4KiB(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			d := newDirect(b)
			const blobs = 1000
			for i := range blobs {
				d.do(b, newSink(), "PUT", fmt.Sprintf("/con/%d", i), pattern(4<<10), 201)
			}
			var n atomic.Int64
			run(b, goroutines, func() {
				d.do(b, newSink(), "GET", fmt.Sprintf("/con/%d", n.Add(1)%blobs), nil, 200)
			})
		})
	}
}

// run shares b.N calls among goroutines.
func run(b *testing.B, goroutines int, call func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ReportAllocs()
	b.ResetTimer()
	for range goroutines {
		go func() {
			for left.Add(-1) >= 0 {
				call()
			}
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

const large = 256 << 20

func BenchmarkPut256MiB(b *testing.B) {
	d := newDirect(b)
	data := pattern(large)
	b.SetBytes(large)
	for b.Loop() {
		d.do(b, newSink(), "PUT", "/con/large", data, 201)
	}
}

func BenchmarkBlocks256MiB(b *testing.B) {
	d := newDirect(b)
	data := pattern(8 << 20)
	b.SetBytes(large)
	for b.Loop() {
		var list strings.Builder
		for i := range large / len(data) {
			d.do(b, newSink(), "PUT", "/con/large?comp=block&blockid="+blockID(i), data, 201)
			list.WriteString("<Latest>" + blockID(i) + "</Latest>")
		}
		d.do(b, newSink(), "PUT", "/con/large?comp=blocklist", []byte("<BlockList>"+list.String()+"</BlockList>"), 201)
	}
}

func BenchmarkGet256MiB(b *testing.B) {
	d := newDirect(b)
	d.do(b, newSink(), "PUT", "/con/large", pattern(large), 201)
	b.SetBytes(large)
	for b.Loop() {
		w := newSink()
		d.do(b, w, "GET", "/con/large", nil, 200)
		if w.n != large {
			b.Fatalf("%d bytes", w.n)
		}
	}
}

func BenchmarkList5000(b *testing.B) {
	d := newDirect(b)
	next := make(chan int)
	done := make(chan struct{})
	for range 64 {
		go func() {
			for i := range next {
				d.do(b, newSink(), "PUT", fmt.Sprintf("/con/%05d", i), pattern(100), 201)
			}
			done <- struct{}{}
		}()
	}
	for i := range 5000 {
		next <- i
	}
	close(next)
	for range 64 {
		<-done
	}
	for b.Loop() {
		w := httptest.NewRecorder()
		d.do(b, w, "GET", "/con?restype=container&comp=list", nil, 200)
		if n, _ := io.Copy(io.Discard, w.Body); n < 5000*100 {
			b.Fatalf("%d bytes", n)
		}
	}
}
