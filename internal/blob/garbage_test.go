package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/object/objecttest"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// collectAll collects everything that will ever be due.
func (s *server) collectAll(t testing.TB) {
	t.Helper()
	later := time.Now().Add(365 * 24 * time.Hour)
	check(t, s.sweep(t.Context(), later))                       // what was due becomes garbage
	check(t, s.sweep(t.Context(), later.Add(365*24*time.Hour))) // and is deleted
	check(t, s.collectOrphans(t.Context(), later))
}

// rows counts the rows of a table.
func (s *server) rows(t testing.TB, table string) (n int) {
	t.Helper()
	check(t, s.db.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n)
	}))
	return n
}

func (s *server) allRows(t testing.TB) map[string]int {
	t.Helper()
	m := map[string]int{"objects": objectCount(t, s.Objects)}
	for _, table := range []string{"containers", "blobs", "inline", "pieces", "blocks", "garbage", "removed"} {
		m[table] = s.rows(t, "blob_"+table)
	}
	for k, n := range m {
		if n == 0 {
			delete(m, k)
		}
	}
	return m
}

func TestCollect(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "keep")
		gone := s.container(t, "gone")
		big := pattern(maxInline + 1)
		s.put(t, "/keep/inline", []byte("x"))
		s.put(t, "/keep/inline", []byte("y"))
		s.put(t, "/keep/big", big)
		s.put(t, "/keep/big", append(big, 'x'))
		for i := range sweepBatch + 3 {
			s.put(t, fmt.Sprintf("/gone/%d", i), []byte("x"))
		}
		s.put(t, "/gone/big", big)
		for _, path := range []string{"/keep/b", "/gone/b"} {
			if a := s.do(t, "PUT", path+"?comp=block&blockid="+blockID(1), "x"); a.status != 201 {
				t.Fatal(a)
			}
		}
		_, err := gone.Delete(t.Context(), nil)
		check(t, err)

		check(t, s.sweep(t.Context(), time.Now()))
		want := map[string]int{"containers": 1, "blobs": 2, "inline": 1, "pieces": 1, "blocks": 1, "objects": 5, "garbage": 3}
		if diff := cmp.Diff(want, s.allRows(t)); diff != "" {
			t.Errorf("before the grace period is over: %s", diff)
		}
		check(t, s.sweep(t.Context(), time.Now().Add(garbageGrace+time.Minute)))
		check(t, s.collectOrphans(t.Context(), time.Now().Add(2*orphanAge)))
		want = map[string]int{"containers": 1, "blobs": 2, "inline": 1, "pieces": 1, "blocks": 1, "objects": 2}
		if diff := cmp.Diff(want, s.allRows(t)); diff != "" {
			t.Errorf("after it: %s", diff)
		}
		equal(t, "/keep/big", []byte(s.do(t, "GET", "/keep/big", "").body), append(big, 'x'))

		// An uncommitted block expires when the newest of its blob is a week old.
		check(t, s.sweep(t.Context(), time.Now().Add(blockAge+time.Minute)))
		if n := s.rows(t, "blob_blocks"); n != 0 {
			t.Errorf("%d blocks did not expire", n)
		}
	})
}

// An object that no row names yet may belong to a running upload.
func TestOrphansOfRunningUploadsStay(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	key := newObjectKey()
	_, err := s.Objects.Put(t.Context(), key, bytes.NewReader([]byte("x")))
	check(t, err)
	_, err = s.Objects.Put(t.Context(), "of-another-service", bytes.NewReader([]byte("x")))
	check(t, err)
	check(t, s.collectOrphans(t.Context(), time.Now().Add(transferTimeout)))
	if n := objectCount(t, s.Objects); n != 2 {
		t.Errorf("%d objects are left of 2", n)
	}
	check(t, s.collectOrphans(t.Context(), time.Now().Add(orphanAge+time.Minute)))
	if n := objectCount(t, s.Objects); n != 1 {
		t.Errorf("%d objects are left of the 1 that is not ours", n)
	}
}

// Each step of each write fails in two ways: not applied, and applied with the answer lost. Whatever was acknowledged is
// there after the server was opened again, what was refused and not applied is not, and nothing is orphaned for ever.
func TestCrashes(t *testing.T) {
	t.Parallel()
	large, after := pattern(30_000), append(pattern(40_000), 1)
	writes := []struct {
		name         string
		before, want []byte
		run          func(t *testing.T, s *server) []answer
	}{
		{"put inline", large, []byte("small"), func(t *testing.T, s *server) []answer {
			return []answer{s.do(t, "PUT", "/con/b", "small", "X-Ms-Blob-Type", "BlockBlob")}
		}},
		{"put inline over inline", []byte("tiny"), []byte("small"), func(t *testing.T, s *server) []answer {
			return []answer{s.do(t, "PUT", "/con/b", "small", "X-Ms-Blob-Type", "BlockBlob")}
		}},
		{"put object over inline", []byte("tiny"), after, func(t *testing.T, s *server) []answer {
			return []answer{s.do(t, "PUT", "/con/b", string(after), "X-Ms-Blob-Type", "BlockBlob")}
		}},
		{"put object", large, after, func(t *testing.T, s *server) []answer {
			return []answer{s.do(t, "PUT", "/con/b", string(after), "X-Ms-Blob-Type", "BlockBlob")}
		}},
		{"put blocks", large, after, func(t *testing.T, s *server) []answer {
			return []answer{
				s.do(t, "PUT", "/con/b?comp=block&blockid="+blockID(1), string(after[:20_000])),
				s.do(t, "PUT", "/con/b?comp=block&blockid="+blockID(2), string(after[20_000:])),
				s.do(t, "PUT", "/con/b?comp=blocklist", "<BlockList><Latest>"+blockID(1)+"</Latest><Latest>"+blockID(2)+"</Latest></BlockList>"),
			}
		}},
		{"delete", large, nil, func(t *testing.T, s *server) []answer { return []answer{s.do(t, "DELETE", "/con/b", "")} }},
	}
	type fault struct {
		name, point string // of the database; "" is none
		object      objecttest.Fault
	}
	faults := []fault{
		{"commit not applied", "commit.before", 0},
		{"commit answer lost", "commit.after", 0},
		{"object not stored", "", objecttest.NotApplied},
		{"object answer lost", "", objecttest.AnswerLost},
	}
	for _, w := range writes {
		for _, f := range faults {
			for at := range 4 { // the longest write makes three commits, and one more for the record of what failed
				t.Run(fmt.Sprintf("%s/%s/%d", w.name, f.name, at), func(t *testing.T) {
					t.Parallel()
					c := newConfig(t, storetest.SQLiteURL(t))
					var armed atomic.Bool
					var commits atomic.Int32
					c.fault = func(point string) error {
						if !armed.Load() || point != f.point || int(commits.Add(1))-1 != at {
							return nil
						}
						return errors.New("fault")
					}
					objects := &objecttest.Faulty{Store: c.objects}
					plain := c.objects
					c.objects = objects
					s := open(t, c)
					s.container(t, "con")
					s.put(t, "/con/b", w.before)
					armed.Store(true)
					if f.object != 0 {
						objects.Fail("Put", append(make([]objecttest.Fault, at), f.object)...)
					}
					acknowledged := true
					for _, a := range w.run(t, s) {
						acknowledged = acknowledged && a.status < 300
					}
					armed.Store(false)
					s.stop(t)

					c.objects, c.fault = plain, nil
					s = open(t, c)
					got := s.do(t, "GET", "/con/b", "")
					isNew := got.status == 404 && w.want == nil || got.status == 200 && got.body == string(w.want)
					isOld := got.status == 200 && got.body == string(w.before)
					if !isNew && (acknowledged || !isOld) {
						t.Errorf("acknowledged %v, then got %d with %d bytes", acknowledged, got.status, len(got.body))
					}
					s.collectAll(t)
					if n, pieces := objectCount(t, s.Objects), s.rows(t, "blob_pieces"); n != pieces {
						t.Errorf("%d objects for %d pieces", n, pieces)
					}
					if n, all := s.rows(t, "blob_inline"), s.rows(t, "blob_blobs WHERE pieces = 0"); n != all {
						t.Errorf("the bytes of %d blobs for %d", n, all)
					}
					if _, _, err := s.Audit.Verify(t.Context()); err != nil {
						t.Errorf("the audit chain: %v", err)
					}
					// And once more, now without faults.
					for _, a := range w.run(t, s) {
						if a.status >= 300 && !(w.want == nil && a.status == 404) {
							t.Errorf("again: %d %s", a.status, a.body)
						}
					}
					if got := s.do(t, "GET", "/con/b", ""); got.body != string(w.want) && w.want != nil {
						t.Errorf("again: got %d bytes", len(got.body))
					}
				})
			}
		}
	}
}

// The same for what is written of containers and of blobs without their bytes, on both databases: what was acknowledged
// is so, what was not applied is not, and asking again ends where it should.
func TestFaultsBesideBytes(t *testing.T) {
	t.Parallel()
	for _, fault := range []storetest.Fault{storetest.NotApplied, storetest.AnswerLost} {
		for at := range 2 {
			t.Run(fmt.Sprintf("%s/%d", fault, at), func(t *testing.T) {
				storetest.EachURL(t, func(t *testing.T, url string) {
					var faults storetest.Faults
					c := newConfig(t, url)
					c.fault = faults.Inject
					s := open(t, c)
					s.container(t, "con")
					s.put(t, "/con/b", []byte("x"))
					header := func(path, name, want string) func() bool {
						return func() bool { return s.do(t, "HEAD", path, "").header.Get(name) == want }
					}
					status := func(path string, want int) func() bool {
						return func() bool { return s.do(t, "HEAD", path, "").status == want }
					}
					for _, step := range []struct {
						name, method, path string
						done               func() bool
						again              int // what asking again may be answered with, beside success
					}{
						{"make a container", "PUT", "/new?restype=container", status("/new?restype=container", 200), 409},
						{"its metadata", "PUT", "/new?restype=container&comp=metadata", header("/new?restype=container", "X-Ms-Meta-A", "1"), 0},
						{"a blob's metadata", "PUT", "/con/b?comp=metadata", header("/con/b", "X-Ms-Meta-A", "1"), 0},
						{"a blob's tier", "PUT", "/con/b?comp=tier", header("/con/b", "X-Ms-Access-Tier", "Cool"), 0},
						{"a blob's properties", "PUT", "/con/b?comp=properties", header("/con/b", "Content-Language", "de"), 0},
						{"delete a container", "DELETE", "/new?restype=container", status("/new?restype=container", 404), 404},
						{"delete one with a blob", "DELETE", "/con?restype=container", status("/con/b", 404), 404},
					} {
						run := func() answer {
							header := []string{"X-Ms-Access-Tier", "Cool", "X-Ms-Blob-Content-Language", "de"}
							if strings.HasSuffix(step.path, "comp=metadata") {
								header = append(header, "X-Ms-Meta-A", "1")
							}
							return s.do(t, step.method, step.path, "", header...)
						}
						if step.done() {
							t.Fatalf("%s: done before it was begun", step.name)
						}
						faults.Fail(fault, at)
						a := run()
						hit, now := faults.Clear(), step.done()
						switch {
						case a.status < 300 && !now, !hit && a.status >= 300:
							t.Errorf("%s: %d, fault %v, done %v: %s", step.name, a.status, hit, now, a.body)
						case strings.Contains(a.body, storetest.ErrFault.Error()):
							t.Errorf("%s: an internal error reaches the client: %s", step.name, a.body)
						}
						if a := run(); a.status >= 300 && a.status != step.again || !step.done() {
							t.Errorf("%s again: %d, done %v: %s", step.name, a.status, step.done(), a.body)
						}
					}
					s.stop(t)
					c.fault = nil
					s = open(t, c)
					if _, _, err := s.Audit.Verify(t.Context()); err != nil {
						t.Errorf("the audit chain: %v", err)
					}
					s.collectAll(t)
					if diff := cmp.Diff(map[string]int{}, s.allRows(t)); diff != "" {
						t.Errorf("what is left: %s", diff)
					}
				})
			})
		}
	}
}

// Deleting objects may fail in both ways, too: they are deleted again.
func TestCollectAfterFaults(t *testing.T) {
	t.Parallel()
	for _, f := range []objecttest.Fault{objecttest.NotApplied, objecttest.AnswerLost} {
		c := newConfig(t, storetest.SQLiteURL(t))
		objects := &objecttest.Faulty{Store: c.objects}
		c.objects = objects
		s := open(t, c)
		s.container(t, "con")
		s.put(t, "/con/b", pattern(20_000))
		s.put(t, "/con/b", nil)
		objects.Fail("Delete", f)
		later := time.Now().Add(garbageGrace + time.Minute)
		if err := s.sweep(t.Context(), later); !errors.Is(err, objecttest.ErrFault) {
			t.Errorf("got %v", err)
		}
		check(t, s.sweep(t.Context(), later))
		if diff := cmp.Diff(map[string]int{"containers": 1, "blobs": 1, "inline": 1}, s.allRows(t)); diff != "" {
			t.Error(diff)
		}
	}
}

// An object that is gone or was changed is an error and never wrong bytes.
func TestDamagedObject(t *testing.T) {
	t.Parallel()
	c := newConfig(t, storetest.SQLiteURL(t))
	objects := &objecttest.Faulty{Store: c.objects}
	c.objects = objects
	s := open(t, c)
	s.container(t, "con")
	s.put(t, "/con/b", pattern(2<<20))
	objects.Fail("Open", objecttest.NotApplied)
	if a := s.do(t, "GET", "/con/b", ""); a.status != 500 {
		t.Errorf("got %d", a.status)
	}
	objects.Fail("ReadAt", 0, 0, objecttest.NotApplied) // after the header and the first run of segments
	resp, err := s.client.Do(s.request(t, "GET", "/con/b", nil))
	check(t, err)
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || resp.StatusCode != 200 {
		t.Errorf("got %d, %d bytes without an error", resp.StatusCode, n)
	}
}

func TestStartAndClose(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.Start()
	check(t, s.Storage.Close())
	check(t, s.Storage.Close())
}
