package blob

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
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

// many fills the container "con" with n inline blobs, directory by directory.
func many(b *testing.B, s *server, n, directories int) {
	r := &azure.Request{Vars: map[string]string{"container": "con"}, Extra: &access{account: s.account}}
	r.Request = httptest.NewRequest("PUT", "/", nil)
	for from := 0; from < n; from += 1000 {
		check(b, s.db.Update(b.Context(), func(tx *store.Tx) error {
			for i := from; i < min(from+1000, n); i++ {
				r.Vars["blob"] = fmt.Sprintf("dir%05d/file%06d.dat", i*directories/n, i)
				in := &blob{size: 9, properties: properties{ContentType: "text/plain", MD5: pattern(16)}}
				err := s.replace(tx, r, &conditions{}, in, []byte("some data"), func(*target) ([]piece, error) { return nil, nil })
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// BenchmarkList100k lists 100,000 blobs, page by page.
func BenchmarkList100k(b *testing.B) {
	for _, kind := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", storetest.SQLiteURL}, {"postgres", storetest.PostgresURL}} {
		s := open(b, newConfig(b, kind.url(b)))
		s.container(b, "con")
		s.assign(b, "bench", contributorRole, testAccountID)
		d := direct{s.Handler(), "Bearer " + token(azure.Caller{ObjectID: "bench"})}
		const blobs, directories = 100_000, 1000
		many(b, s, blobs, directories)
		for _, listing := range []struct {
			name, query string
			entries     int
		}{{"flat", "", blobs}, {"delimited", "&delimiter=/", directories}, {"one directory", "&delimiter=/&prefix=dir00500/", blobs / directories}} {
			b.Run(kind.name+"/"+listing.name, func(b *testing.B) {
				for b.Loop() {
					entries, marker := 0, ""
					for {
						w := httptest.NewRecorder()
						d.do(b, w, "GET", "/con?restype=container&comp=list"+listing.query+"&marker="+marker, nil, 200)
						body := w.Body.String()
						entries += strings.Count(body, "<Name>")
						_, rest, _ := strings.Cut(body, "<NextMarker>")
						if marker, _, _ = strings.Cut(rest, "</NextMarker>"); marker == "" {
							break
						}
					}
					if entries != listing.entries {
						b.Fatalf("%d entries of %d", entries, listing.entries)
					}
				}
			})
		}
	}
}

// BenchmarkBlockList50k commits a blob of the most blocks that one may have, and commits it again.
func BenchmarkBlockList50k(b *testing.B) {
	for _, kind := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", storetest.SQLiteURL}, {"postgres", storetest.PostgresURL}} {
		b.Run(kind.name, func(b *testing.B) {
			s := open(b, newConfig(b, kind.url(b)))
			s.container(b, "con")
			s.assign(b, "bench", contributorRole, testAccountID)
			d := direct{s.Handler(), "Bearer " + token(azure.Caller{ObjectID: "bench"})}
			var list strings.Builder
			list.WriteString("<BlockList>")
			for i := range maxBlocks {
				list.WriteString("<Latest>" + blockID(i) + "</Latest>")
			}
			list.WriteString("</BlockList>")
			var first, again time.Duration
			for b.Loop() {
				b.StopTimer()
				d.do(b, newSink(), "PUT", "/con/large", nil, 201) // the blocks of the round before are garbage
				check(b, s.db.Update(b.Context(), func(tx *store.Tx) error {
					var container int64
					if err := tx.QueryRow(b.Context(), `SELECT id FROM blob_containers`).Scan(&container); err != nil {
						return err
					}
					for i := range maxBlocks {
						_, err := tx.Exec(b.Context(), `INSERT INTO blob_blocks (container, name, block, object, size, created) VALUES ($1, 'large', $2, $3, 1, 1)`,
							container, blockID(i), newObjectKey())
						if err != nil {
							return err
						}
					}
					return nil
				}))
				b.StartTimer()
				start := time.Now()
				d.do(b, newSink(), "PUT", "/con/large?comp=blocklist", []byte(list.String()), 201)
				first += time.Since(start)
				start = time.Now()
				d.do(b, newSink(), "PUT", "/con/large?comp=blocklist", []byte(list.String()), 201)
				again += time.Since(start)
			}
			b.ReportMetric(first.Seconds()/float64(b.N), "s/commit")
			b.ReportMetric(again.Seconds()/float64(b.N), "s/recommit")
		})
	}
}
