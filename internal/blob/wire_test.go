package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/object"
)

// What a client says of a blob comes back from Get, Head and the listing as it was sent.
func TestPropertiesComeBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		body := "\x1f\x8b bytes that the server must not unpack"
		said := map[string]string{
			"Content-Type": `text/x; a="<&>"`, "Content-Encoding": "gzip", "Content-Language": "de, en", "Cache-Control": "max-age=5",
			"Content-Disposition": `attachment; filename="ü & <b>.txt"`,
		}
		var headers []string
		for name, value := range said {
			headers = append(headers, "X-Ms-Blob-"+name, value)
		}
		headers = append(headers, "X-Ms-Meta-Note", "日本 <&> \"quoted\"", "X-Ms-Meta-_1", "1", "Accept-Encoding", "identity")
		s.put(t, "/con/b", []byte(body), headers...)
		for _, method := range []string{"GET", "HEAD"} {
			a := s.do(t, method, "/con/b", "", "Accept-Encoding", "identity")
			for name, value := range said {
				if got := a.header.Get(name); got != value {
					t.Errorf("%s: %s is %q, want %q", method, name, got, value)
				}
			}
			if got := a.header.Get("X-Ms-Meta-Note"); got != "日本 <&> \"quoted\"" {
				t.Errorf("%s: metadata is %q", method, got)
			}
			if method == "GET" && a.body != body {
				t.Errorf("got %q", a.body)
			}
		}
		list := s.do(t, "GET", "/con?restype=container&comp=list&include=metadata", "")
		for _, want := range []string{
			"<Content-Type>text/x; a=&#34;&lt;&amp;&gt;&#34;</Content-Type>", "<Content-Encoding>gzip</Content-Encoding>",
			"<Content-Disposition>attachment; filename=&#34;ü &amp; &lt;b&gt;.txt&#34;</Content-Disposition>",
			"<note>日本 &lt;&amp;&gt; &#34;quoted&#34;</note>",
		} {
			if !strings.Contains(list.body, want) {
				t.Errorf("the listing lacks %s: %s", want, list.body)
			}
		}
		// Put Blob also takes HTTP's own headers; an absent one takes the old value away.
		s.put(t, "/con/b", []byte(body), "Content-Encoding", "br")
		if a := s.do(t, "HEAD", "/con/b", ""); a.header.Get("Content-Encoding") != "br" || a.header.Get("Content-Disposition") != "" || a.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("after a second put: %v", a.header)
		}
	})
}

func TestEmptyBlobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		s.put(t, "/con/put", nil)
		if a := s.do(t, "PUT", "/con/list?comp=blocklist", "<BlockList/>"); a.status != 201 {
			t.Fatal(a)
		}
		for _, path := range []string{"/con/put", "/con/list"} {
			for _, method := range []string{"GET", "HEAD"} {
				if a := s.do(t, method, path, ""); a.status != 200 || a.header.Get("Content-Length") != "0" || a.body != "" {
					t.Errorf("%s %s: %d %v", method, path, a.status, a.header)
				}
			}
			for _, r := range []string{"bytes=0-", "bytes=0-0"} {
				if a := s.do(t, "GET", path, "", "X-Ms-Range", r); a.status != 416 || a.code() != "InvalidRange" || a.header.Get("Content-Range") != "bytes */0" {
					t.Errorf("%s of %s: %d %s", r, path, a.status, a.code())
				}
			}
		}
	})
}

// Clients that commit blocks of their own to one blob at once get their blob or are told that their blocks are gone.
// What is read is what one of them committed.
func TestConcurrentBlockLists(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		const clients, rounds = 4, 5
		var mu sync.Mutex
		committed := map[string]bool{}
		var group sync.WaitGroup
		for c := range clients {
			group.Go(func() {
				for i := range rounds {
					var list, content strings.Builder
					for part := range 3 {
						id, text := blockID(c*100+i*10+part), fmt.Sprintf("%d-%d-%d;", c, i, part)
						if a := s.do(t, "PUT", "/con/b?comp=block&blockid="+id, text); a.status != 201 {
							t.Errorf("block: %d %s", a.status, a.body)
						}
						list.WriteString("<Uncommitted>" + id + "</Uncommitted>")
						content.WriteString(text)
					}
					a := s.do(t, "PUT", "/con/b?comp=blocklist", "<BlockList>"+list.String()+"</BlockList>")
					switch {
					case a.status == 201:
						mu.Lock()
						committed[content.String()] = true
						mu.Unlock()
					case a.status != 400 || a.code() != "InvalidBlockList":
						t.Errorf("list: %d %s", a.status, a.body)
					}
				}
			})
		}
		group.Wait()
		if got := s.do(t, "GET", "/con/b", ""); len(committed) > 0 && !committed[got.body] {
			t.Errorf("%q is what nobody committed", got.body)
		}
		s.collectAll(t)
		if n, pieces := objectCount(t, s.Objects), s.rows(t, "blob_pieces"); n != pieces {
			t.Errorf("%d objects for %d pieces", n, pieces)
		}
	})
}

// A block that is sent twice at once, as by a client that repeats itself, is there once and whole.
func TestSameBlockTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		var group sync.WaitGroup
		for range 10 { // with garbage of the same object from several at once, PostgreSQL refused some with 500
			group.Go(func() {
				if a := s.do(t, "PUT", "/con/b?comp=block&blockid="+blockID(1), "the same"); a.status != 201 {
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		group.Wait()
		if a := s.do(t, "PUT", "/con/b?comp=blocklist", "<BlockList><Latest>"+blockID(1)+"</Latest></BlockList>"); a.status != 201 {
			t.Fatal(a)
		}
		if a := s.do(t, "GET", "/con/b", ""); a.body != "the same" {
			t.Errorf("got %q", a.body)
		}
		s.collectAll(t)
		if n := objectCount(t, s.Objects); n != 1 {
			t.Errorf("%d objects", n)
		}
	})
}

// Whoever reads a blob while it is replaced, by content in the row and by content in objects, gets one version: its
// bytes, length, ETag and headers belong together.
func TestReadWhileReplaced(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		content := func(v int) string { return strings.Repeat(fmt.Sprintf("v%d;", v), 1+v%2*20_000) }
		s.put(t, "/con/b", []byte(content(0)), "X-Ms-Meta-V", "0")
		done := make(chan struct{})
		var group sync.WaitGroup
		for reader := range 3 {
			group.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					a := s.do(t, []string{"GET", "GET", "HEAD"}[reader], "/con/b", "")
					var v int
					fmt.Sscan(a.header.Get("X-Ms-Meta-V"), &v)
					if want := content(v); a.status != 200 || a.header.Get("Content-Length") != fmt.Sprint(len(want)) || reader < 2 && a.body != want {
						t.Errorf("version %d: %d, %d bytes, length %s", v, a.status, len(a.body), a.header.Get("Content-Length"))
						return
					}
				}
			})
		}
		for v := range 30 {
			s.put(t, "/con/b", []byte(content(v)), "X-Ms-Meta-V", fmt.Sprint(v))
		}
		close(done)
		group.Wait()
	})
}

// A body whose length is not announced is refused, as by Azure, and leaves nothing.
func TestBodyWithoutLength(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	for _, path := range []string{"/con/b", "/con/b?comp=block&blockid=" + blockID(1), "/con/b?comp=blocklist"} {
		req := s.request(t, "PUT", path, struct{ io.Reader }{strings.NewReader("data")}, "X-Ms-Blob-Type", "BlockBlob")
		req.ContentLength = -1
		sign(req, testAccount, s.account.keys[0].Value)
		resp, err := s.client.Do(req)
		check(t, err)
		resp.Body.Close()
		if code := resp.Header.Get("X-Ms-Error-Code"); resp.StatusCode != http.StatusLengthRequired || code != "MissingContentLengthHeader" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, code)
		}
	}
	if a := s.do(t, "GET", "/con/b", ""); a.status != 404 {
		t.Errorf("got %d", a.status)
	}
}

// A client that waits for "100 Continue" sends a large body only to a server that wants it; one that sends it bit by
// bit is waited for.
func TestExpectAndSlowBodies(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	data := pattern(300_000)
	for path, want := range map[string]int{"/con/b": 201, "/none/b": 404} {
		sent := 0
		in, out := io.Pipe()
		go func() {
			for part := range 30 {
				n, err := out.Write(data[part*10_000 : (part+1)*10_000])
				if sent += n; err != nil {
					return
				}
			}
			out.Close()
		}()
		req := s.request(t, "PUT", path, in, "X-Ms-Blob-Type", "BlockBlob", "Expect", "100-continue")
		req.ContentLength = int64(len(data))
		sign(req, testAccount, s.account.keys[0].Value)
		resp, err := s.client.Do(req)
		check(t, err)
		resp.Body.Close()
		in.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		if want == 404 && sent > 0 {
			t.Errorf("%d bytes were sent to no container", sent)
		}
	}
	equal(t, "what came slowly", []byte(s.do(t, "GET", "/con/b", "").body), data)
}

// Every write is recorded once, whether it is done, refused by what it finds, or refused for what it says.
func TestWritesAreRecorded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		s.put(t, "/con/b", []byte("x"))
		recorded := func() (names []string) {
			t.Helper()
			records, err := s.Audit.Query(t.Context(), audit.Filter{})
			check(t, err)
			for _, r := range records {
				if r.Category != "StorageRead" {
					names = append(names, r.Operation+" "+r.Result)
				}
			}
			return names
		}
		before := len(recorded())
		var want []string
		for _, w := range []struct {
			operation, method, path, body string
			status                        int
			headers                       []string
		}{
			{"Containers.Create", "PUT", "/new?restype=container", "", 201, nil},
			{"Containers.Create", "PUT", "/new?restype=container", "", 409, nil},
			{"Containers.Create", "PUT", "/other?restype=container", "", 400, []string{"X-Ms-Meta-1", "x"}},
			{"Containers.SetMetadata", "PUT", "/new?restype=container&comp=metadata", "", 200, nil},
			{"Containers.SetMetadata", "PUT", "/none?restype=container&comp=metadata", "", 404, nil},
			{"Blobs.Put", "PUT", "/con/b", "y", 201, []string{"X-Ms-Blob-Type", "BlockBlob"}},
			{"Blobs.Put", "PUT", "/con/b", "y", 409, []string{"X-Ms-Blob-Type", "BlockBlob", "If-None-Match", "*"}},
			{"Blobs.Put", "PUT", "/con/b", strings.Repeat("y", maxInline+1), 201, []string{"X-Ms-Blob-Type", "BlockBlob"}},
			{"Blobs.Put", "PUT", "/none/b", strings.Repeat("y", maxInline+1), 404, []string{"X-Ms-Blob-Type", "BlockBlob"}},
			{"Blobs.Put", "PUT", "/con/b", "y", 400, nil},
			{"Blobs.PutBlock", "PUT", "/con/b?comp=block&blockid=" + blockID(1), "y", 201, nil},
			{"Blobs.PutBlock", "PUT", "/con/b?comp=block&blockid=!", "y", 400, nil},
			{"Blobs.PutBlockList", "PUT", "/con/b?comp=blocklist", "<BlockList><Latest>" + blockID(1) + "</Latest></BlockList>", 201, nil},
			{"Blobs.PutBlockList", "PUT", "/con/b?comp=blocklist", "<BlockList><Latest>" + blockID(2) + "</Latest></BlockList>", 400, nil},
			{"Blobs.PutBlockList", "PUT", "/con/b?comp=blocklist", "<", 400, nil},
			{"Blobs.SetMetadata", "PUT", "/con/b?comp=metadata", "", 200, nil},
			{"Blobs.SetProperties", "PUT", "/con/b?comp=properties", "", 200, nil},
			{"Blobs.SetTier", "PUT", "/con/b?comp=tier", "", 200, []string{"X-Ms-Access-Tier", "Cool"}},
			{"Blobs.SetTier", "PUT", "/con/b?comp=tier", "", 400, nil},
			{"Blobs.Delete", "DELETE", "/con/b", "", 412, []string{"If-Match", "x"}},
			{"Blobs.Delete", "DELETE", "/con/b", "", 202, nil},
			{"Blobs.Delete", "DELETE", "/con/b", "", 404, nil},
			{"Containers.Delete", "DELETE", "/new?restype=container", "", 202, nil},
		} {
			if a := s.do(t, w.method, w.path, w.body, w.headers...); a.status != w.status {
				t.Errorf("%s %s: %d %s, want %d", w.method, w.path, a.status, a.body, w.status)
			}
			want = append(want, w.operation+" Allowed")
		}
		if diff := cmp.Diff(want, recorded()[before:]); diff != "" {
			t.Error(diff)
		}
		if _, _, err := s.Audit.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// partial is an object store in which crashes leave parts of objects.
type partial struct {
	object.Store
	before time.Time
	err    error
}

func (p *partial) AbortStale(_ context.Context, before time.Time) error {
	p.before = before
	return p.err
}

// The collector rids the object store of what crashed uploads left there.
func TestCollectPartsOfObjects(t *testing.T) {
	t.Parallel()
	c := newConfig(t, "sqlite:"+t.TempDir()+"/keyreel.db")
	p := &partial{Store: c.objects}
	c.objects = p
	s := open(t, c)
	now := time.Now()
	check(t, s.collectOrphans(t.Context(), now))
	if !p.before.Equal(now.Add(-orphanAge)) {
		t.Errorf("parts older than %v were removed at %v", p.before, now)
	}
	p.err = errors.New("no")
	if err := s.collectOrphans(t.Context(), now); !errors.Is(err, p.err) {
		t.Errorf("got %v", err)
	}
}

// Parameters' names have no case: "COMP=metadata" was taken for Put Blob and emptied the blob.
func TestOddCaseOfParameters(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.put(t, "/con/b", []byte("x"))
	if a := s.do(t, "PUT", "/con/b?COMP=Metadata", "", "X-Ms-Meta-A", "1", "X-Ms-Blob-Type", "BlockBlob"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.do(t, "GET", "/con/b", ""); a.body != "x" || a.header.Get("X-Ms-Meta-A") != "1" {
		t.Errorf("%q %v", a.body, a.header)
	}
	for url, want := range map[string]string{
		"/con?ResType=container&Comp=list&MaxResults=1&Prefix=b": "<MaxResults>1</MaxResults>",
		"/con/b?Comp=blocklist&BlockListType=all":                "<CommittedBlocks",
	} {
		if a := s.do(t, "GET", url, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", url, a.status, a.body)
		}
	}
}
