package blob

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdkblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	azcontainer "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/google/go-cmp/cmp"
)

func code(err error) bloberror.Code {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return bloberror.Code(e.ErrorCode)
	}
	return ""
}

func TestContainers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		ctx := t.Context()
		client := s.signed(t)
		c := client.NewContainerClient("films")
		_, err := c.Create(ctx, &azcontainer.CreateOptions{Metadata: map[string]*string{"owner": to.Ptr("ada")}})
		check(t, err)
		_, err = c.Create(ctx, nil)
		if code(err) != bloberror.ContainerAlreadyExists {
			t.Errorf("second create: %v", err)
		}
		props, err := c.GetProperties(ctx, nil)
		check(t, err)
		if got := *props.Metadata["Owner"]; got != "ada" {
			t.Errorf("metadata %q", got)
		}
		set, err := c.SetMetadata(ctx, &azcontainer.SetMetadataOptions{Metadata: map[string]*string{"owner": to.Ptr("bob")}})
		check(t, err)
		if *set.ETag == *props.ETag {
			t.Error("the ETag did not change")
		}
		var names []string
		for pager := client.NewListContainersPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			check(t, err)
			for _, item := range page.ContainerItems {
				names = append(names, *item.Name)
			}
		}
		if diff := cmp.Diff([]string{"films"}, names); diff != "" {
			t.Error(diff)
		}
		_, err = c.NewBlockBlobClient("b").UploadBuffer(ctx, []byte("x"), nil)
		check(t, err)
		_, err = c.Delete(ctx, nil)
		check(t, err)
		_, err = c.GetProperties(ctx, nil)
		if code(err) != "ContainerNotFound" && code(err) != bloberror.ContainerNotFound {
			t.Errorf("after delete: %v", err)
		}
		_, err = c.Create(ctx, nil)
		check(t, err)
		page, err := c.NewListBlobsFlatPager(nil).NextPage(ctx)
		check(t, err)
		if n := len(page.Segment.BlobItems); n != 0 {
			t.Errorf("the new container has %d blobs of the old one", n)
		}
		_, err = c.NewBlobClient("b").GetProperties(ctx, nil)
		if code(err) != bloberror.BlobNotFound {
			t.Errorf("blob of the old container: %v", err)
		}
	})
}

func TestUploadAndDownload(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		c := s.container(t, "data")
		for _, size := range []int{0, 1, maxInline, maxInline + 1, 64 << 10, 200_001} {
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				want := pattern(size)
				b := c.NewBlockBlobClient(fmt.Sprintf("put-%d", size))
				_, err := b.Upload(t.Context(), readSeekNopCloser{bytes.NewReader(want)}, &blockblob.UploadOptions{
					HTTPHeaders: &sdkblob.HTTPHeaders{BlobContentType: to.Ptr("video/mp4"), BlobCacheControl: to.Ptr("no-store"), BlobContentLanguage: to.Ptr("de"), BlobContentDisposition: to.Ptr("inline"), BlobContentEncoding: to.Ptr("br")},
					Metadata:    map[string]*string{"Mixed_Case1": to.Ptr("v")},
				})
				check(t, err)
				got, err := b.DownloadStream(t.Context(), nil)
				check(t, err)
				data, err := io.ReadAll(got.Body)
				check(t, err)
				equal(t, "downloaded", data, want)
				sum := md5.Sum(want)
				if !bytes.Equal(got.ContentMD5, sum[:]) || *got.ContentType != "video/mp4" || *got.CacheControl != "no-store" || *got.ContentLanguage != "de" || *got.ContentDisposition != "inline" || *got.ContentEncoding != "br" {
					t.Errorf("headers: %+v", got.DownloadResponse)
				}
				if *got.Metadata["Mixed_case1"] != "v" {
					t.Errorf("metadata %v", got.Metadata)
				}
			})
		}
	})
}

type readSeekNopCloser struct{ *bytes.Reader }

func (readSeekNopCloser) Close() error { return nil }

func TestStreamOfManyBlocks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		ctx := t.Context()
		b := s.container(t, "data").NewBlockBlobClient("stream")
		want := pattern(20<<20 + 17)
		_, err := b.UploadStream(ctx, bytes.NewReader(want), &blockblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 8})
		check(t, err)
		got := make([]byte, len(want))
		_, err = b.DownloadBuffer(ctx, got, &sdkblob.DownloadBufferOptions{BlockSize: 300_000, Concurrency: 4})
		check(t, err)
		equal(t, "downloaded by ranges", got, want)
		list, err := b.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
		check(t, err)
		if len(list.CommittedBlocks) != 21 || len(list.UncommittedBlocks) != 0 {
			t.Errorf("%d committed, %d uncommitted blocks", len(list.CommittedBlocks), len(list.UncommittedBlocks))
		}
	})
}

func TestRanges(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "data")
	small, large := pattern(1000), pattern(300_000)
	s.put(t, "/data/small", small)
	s.put(t, "/data/large", large)
	s.put(t, "/data/empty", nil)
	var list strings.Builder
	for i := 0; i*70_000 < len(large); i++ {
		part := large[i*70_000 : min((i+1)*70_000, len(large))]
		if a := s.do(t, "PUT", "/data/blocks?comp=block&blockid="+blockID(i), string(part)); a.status != 201 {
			t.Fatal(a)
		}
		list.WriteString("<Latest>" + blockID(i) + "</Latest>")
	}
	if a := s.do(t, "PUT", "/data/blocks?comp=blocklist", "<BlockList>"+list.String()+"</BlockList>"); a.status != 201 {
		t.Fatal(a)
	}
	for _, c := range []struct {
		name, rng  string
		size       int
		status     int
		start, end int // of the expected bytes
	}{
		{"none", "", 1000, 200, 0, 1000},
		{"first", "bytes=0-0", 1000, 206, 0, 1},
		{"middle", "bytes=10-19", 1000, 206, 10, 20},
		{"open", "bytes=990-", 1000, 206, 990, 1000},
		{"beyond the end", "bytes=990-5000", 1000, 206, 990, 1000},
		{"all", "bytes=0-999", 1000, 206, 0, 1000},
		{"at the end", "bytes=1000-", 1000, 416, 0, 0},
		{"huge", "bytes=9223372036854775807-", 1000, 416, 0, 0},
		{"segment border", "bytes=65535-65536", 300_000, 206, 65535, 65537},
		{"block border", "bytes=69999-70000", 300_000, 206, 69999, 70001},
		{"across blocks", "bytes=69000-210005", 300_000, 206, 69000, 210006},
		{"last byte", "bytes=299999-", 300_000, 206, 299999, 300000},
		{"of nothing", "bytes=0-", 0, 416, 0, 0},
	} {
		for _, header := range []string{"Range", "X-Ms-Range"} {
			t.Run(c.name+"/"+header, func(t *testing.T) {
				t.Parallel()
				paths := map[int][]string{0: {"/data/empty"}, 1000: {"/data/small"}, 300_000: {"/data/large", "/data/blocks"}}[c.size]
				for _, path := range paths {
					a := s.do(t, "GET", path, "", header, c.rng)
					if a.status != c.status {
						t.Fatalf("%s: got %d %s", path, a.status, a.body)
					}
					if a.status == 416 {
						if got, want := a.header.Get("Content-Range"), fmt.Sprintf("bytes */%d", c.size); got != want || a.code() != "InvalidRange" {
							t.Errorf("%s: Content-Range %q, want %q; %s", path, got, want, a.code())
						}
						continue
					}
					equal(t, path, []byte(a.body), large[c.start:c.end])
					if want := fmt.Sprintf("bytes %d-%d/%d", c.start, c.end-1, c.size); a.status == 206 && a.header.Get("Content-Range") != want {
						t.Errorf("%s: Content-Range %q, want %q", path, a.header.Get("Content-Range"), want)
					}
				}
			})
		}
	}
	t.Run("malformed Range is ignored", func(t *testing.T) {
		t.Parallel()
		for _, r := range []string{"bytes=-5", "bytes=5-2", "items=1-2", "bytes=0-1,3-4", "bytes=+1-2"} {
			if a := s.do(t, "GET", "/data/small", "", "Range", r); a.status != 200 {
				t.Errorf("%s: got %d", r, a.status)
			}
			if a := s.do(t, "GET", "/data/small", "", "X-Ms-Range", r); a.status != 400 || a.code() != "InvalidHeaderValue" {
				t.Errorf("x-ms-range %s: got %d %s", r, a.status, a.code())
			}
		}
	})
	t.Run("digests", func(t *testing.T) {
		t.Parallel()
		a := s.do(t, "GET", "/data/blocks", "", "X-Ms-Range", "bytes=69000-210005", "X-Ms-Range-Get-Content-Md5", "true")
		sum := md5.Sum(large[69000:210006])
		if got := a.header.Get("Content-Md5"); got != base64.StdEncoding.EncodeToString(sum[:]) || a.status != 206 {
			t.Errorf("got %d %s", a.status, got)
		}
		equal(t, "range with digest", []byte(a.body), large[69000:210006])
		if a := s.do(t, "GET", "/data/blocks", "", "X-Ms-Range-Get-Content-Md5", "true"); a.status != 400 {
			t.Errorf("without a range: %d", a.status)
		}
	})
}

func TestConditions(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.put(t, "/con/b", []byte("one"))
	past, future := httpDate(time.Now().Add(-time.Hour)), httpDate(time.Now().Add(time.Hour))
	const current = "the blob's ETag"
	for _, c := range []struct {
		name, header, value string
		get, set            int // status of a read, of a change
		code                string
	}{
		{"match", "If-Match", current, 200, 200, ""},
		{"match any", "If-Match", "*", 200, 200, ""},
		{"match other", "If-Match", `"0x0"`, 412, 412, "ConditionNotMet"},
		{"none match same", "If-None-Match", current, 304, 412, "ConditionNotMet"},
		{"none match any", "If-None-Match", "*", 304, 412, "ConditionNotMet"},
		{"none match other", "If-None-Match", `"0x0"`, 200, 200, ""},
		{"modified since the past", "If-Modified-Since", past, 200, 200, ""},
		{"modified since the future", "If-Modified-Since", future, 304, 412, "ConditionNotMet"},
		{"unmodified since the past", "If-Unmodified-Since", past, 412, 412, "ConditionNotMet"},
		{"unmodified since the future", "If-Unmodified-Since", future, 200, 200, ""},
		{"not a date", "If-Modified-Since", "yesterday", 400, 400, "InvalidHeaderValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.value == current {
				c.value = s.do(t, "HEAD", "/con/b", "").header.Get("Etag")
			}
			for _, m := range []string{"GET", "HEAD"} {
				if a := s.do(t, m, "/con/b", "", c.header, c.value); a.status != c.get || c.get != 200 && a.code() != c.code {
					t.Errorf("%s: got %d %s", m, a.status, a.code())
				}
			}
			a := s.do(t, "PUT", "/con/b?comp=metadata", "", c.header, c.value)
			if a.status != c.set || c.set != 200 && a.code() != c.code {
				t.Errorf("change: got %d %s", a.status, a.code())
			}
		})
	}
	t.Run("create only if new", func(t *testing.T) {
		for _, body := range []string{"small", strings.Repeat("x", maxInline+1)} {
			a := s.do(t, "PUT", "/con/b", body, "X-Ms-Blob-Type", "BlockBlob", "If-None-Match", "*")
			if a.status != 409 || a.code() != "BlobAlreadyExists" {
				t.Errorf("got %d %s", a.status, a.code())
			}
		}
		if a := s.do(t, "PUT", "/con/new", "x", "X-Ms-Blob-Type", "BlockBlob", "If-Match", "*"); a.status != 412 {
			t.Errorf("If-Match without a blob: got %d", a.status)
		}
		if a := s.do(t, "GET", "/con/new", ""); a.status != 404 || a.code() != "BlobNotFound" {
			t.Errorf("refused blob: %d %s", a.status, a.code())
		}
	})
	if n := objectCount(t, s.Objects); n != 0 {
		t.Errorf("%d objects were left by refused writes", n)
	}
}

// Of many that create the same blob at once, one succeeds.
func TestCreateOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		var created, refused atomic.Int32
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				body := strings.Repeat("x", i%2*maxInline+1)
				switch a := s.do(t, "PUT", "/con/lock", body, "X-Ms-Blob-Type", "BlockBlob", "If-None-Match", "*"); a.status {
				case 201:
					created.Add(1)
				case 409:
					refused.Add(1)
				default:
					t.Errorf("got %d %s", a.status, a.body)
				}
			})
		}
		all.Wait()
		if created.Load() != 1 || refused.Load() != 15 {
			t.Errorf("%d created, %d refused", created.Load(), refused.Load())
		}
	})
}

func blockID(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%04d", n)) }

func TestBlocks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		block := func(n int, data string) {
			t.Helper()
			if a := s.do(t, "PUT", "/con/b?comp=block&blockid="+blockID(n), data); a.status != 201 {
				t.Fatalf("block %d: %d %s", n, a.status, a.body)
			}
		}
		commit := func(list string, headers ...string) answer {
			t.Helper()
			return s.do(t, "PUT", "/con/b?comp=blocklist", `<?xml version="1.0"?><BlockList>`+list+`</BlockList>`, headers...)
		}
		read := func() string { t.Helper(); return s.do(t, "GET", "/con/b", "").body }

		block(1, "one ")
		block(2, "two ")
		block(3, "three ")
		if a := s.do(t, "GET", "/con/b", ""); a.status != 404 {
			t.Errorf("uncommitted blob: %d", a.status)
		}
		if a := commit("<Latest>" + blockID(1) + "</Latest><Uncommitted>" + blockID(9) + "</Uncommitted>"); a.status != 400 || a.code() != "InvalidBlockList" {
			t.Errorf("missing block: %d %s", a.status, a.code())
		}
		if a := commit("<Committed>" + blockID(1) + "</Committed>"); a.status != 400 {
			t.Errorf("uncommitted block as committed: %d", a.status)
		}
		a := commit("<Latest>"+blockID(2)+"</Latest><Uncommitted>"+blockID(1)+"</Uncommitted><Latest>"+blockID(2)+"</Latest>", "X-Ms-Meta-K", "v", "X-Ms-Blob-Content-Type", "text/plain")
		if a.status != 201 || read() != "two one two " {
			t.Fatalf("%d %s: %q", a.status, a.body, read())
		}
		if h := s.do(t, "HEAD", "/con/b", ""); h.header.Get("X-Ms-Meta-K") != "v" || h.header.Get("Content-Type") != "text/plain" || h.header.Get("Content-Length") != "12" {
			t.Errorf("headers: %v", h.header)
		}
		// Block 3 was not used and is gone; 2 is replaced by a new one of the same id, 1 is used again.
		block(2, "TWO ")
		if a := commit("<Committed>" + blockID(2) + "</Committed><Uncommitted>" + blockID(2) + "</Uncommitted><Latest>" + blockID(2) + "</Latest><Latest>" + blockID(1) + "</Latest>"); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := read(); got != "two TWO TWO one " {
			t.Errorf("got %q", got)
		}
		if a := commit("<Latest>" + blockID(3) + "</Latest>"); a.status != 400 {
			t.Errorf("dropped block: %d", a.status)
		}
		block(4, "x")
		list := s.do(t, "GET", "/con/b?comp=blocklist&blocklisttype=all", "")
		if !strings.Contains(list.body, "<UncommittedBlocks><Block><Name>"+blockID(4)+"</Name><Size>1</Size></Block></UncommittedBlocks>") {
			t.Errorf("block list: %s", list.body)
		}
		if a := s.do(t, "PUT", "/con/b?comp=block&blockid="+base64.StdEncoding.EncodeToString([]byte("longer than the others")), "x"); a.status != 400 || a.code() != "InvalidBlobOrBlock" {
			t.Errorf("block id of another length: %d %s", a.status, a.code())
		}
		if a := commit(""); a.status != 201 || read() != "" {
			t.Errorf("empty list: %d %q", a.status, read())
		}
		s.collectAll(t)
		if n := objectCount(t, s.Objects); n != 0 {
			t.Errorf("%d objects are left", n)
		}
	})
}

func TestChangeAndDelete(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		first := s.put(t, "/con/b", pattern(20_000), "X-Ms-Meta-A", "1", "X-Ms-Access-Tier", "")
		steps := []struct {
			name, query string
			headers     []string
			want        map[string]string
		}{
			{"metadata", "?comp=metadata", []string{"X-Ms-Meta-B", "2"}, map[string]string{"X-Ms-Meta-B": "2", "X-Ms-Meta-A": "", "Content-Type": "application/octet-stream"}},
			{"properties", "?comp=properties", []string{"X-Ms-Blob-Content-Type", "text/css"}, map[string]string{"X-Ms-Meta-B": "2", "Content-Type": "text/css", "X-Ms-Access-Tier": "Hot", "X-Ms-Access-Tier-Inferred": "true"}},
			{"tier", "?comp=tier", []string{"X-Ms-Access-Tier", "Cool"}, map[string]string{"X-Ms-Access-Tier": "Cool", "X-Ms-Access-Tier-Inferred": "", "Content-Type": "text/css"}},
		}
		for _, c := range steps {
			if a := s.do(t, "PUT", "/con/b"+c.query, "", c.headers...); a.status != 200 {
				t.Fatalf("%s: %d %s", c.name, a.status, a.body)
			}
			a := s.do(t, "HEAD", "/con/b", "")
			for name, want := range c.want {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
				}
			}
			if a.header.Get("Etag") == first.header.Get("Etag") {
				t.Errorf("%s: the ETag did not change", c.name)
			}
		}
		equal(t, "content", []byte(s.do(t, "GET", "/con/b", "").body), pattern(20_000))
		if a := s.do(t, "DELETE", "/con/b", "", "If-Match", first.header.Get("Etag")); a.status != 412 {
			t.Errorf("conditional delete: %d", a.status)
		}
		if a := s.do(t, "DELETE", "/con/b", "", "X-Ms-Delete-Snapshots", "include"); a.status != 202 {
			t.Errorf("delete: %d %s", a.status, a.body)
		}
		if a := s.do(t, "DELETE", "/con/b", ""); a.status != 404 || a.code() != "BlobNotFound" {
			t.Errorf("second delete: %d %s", a.status, a.code())
		}
	})
}

// A download that began before the blob was replaced, and even before its container was deleted, ends with the bytes
// that it began with.
func TestDownloadIsNotTorn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		c := s.container(t, "con")
		want := pattern(20 << 20)
		b := c.NewBlockBlobClient("b")
		_, err := b.UploadStream(t.Context(), bytes.NewReader(want), &blockblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 4})
		check(t, err)
		got, err := b.DownloadStream(t.Context(), nil)
		check(t, err)
		head := make([]byte, 1000)
		_, err = io.ReadFull(got.Body, head)
		check(t, err)
		s.put(t, "/con/b", []byte("other"))
		_, err = c.Delete(t.Context(), nil)
		check(t, err)
		check(t, s.sweep(t.Context(), time.Now().Add(garbageGrace-time.Minute)))
		rest, err := io.ReadAll(got.Body)
		check(t, err)
		equal(t, "downloaded", append(head, rest...), want)
	})
}

// The longest names fit into both databases' indexes, with a block's id beside them.
func TestLongNames(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		random := rand.New(rand.NewPCG(1, 2))
		var name strings.Builder
		for name.Len() < maxNameBytes {
			name.WriteRune(0x1F300 + random.Int32N(0x250))
		}
		path := "/con/" + url.PathEscape(name.String())
		s.put(t, path, []byte("x"))
		id := base64.URLEncoding.EncodeToString(bytes.Repeat([]byte("i"), 63))
		if a := s.do(t, "PUT", path+"?comp=block&blockid="+id, "x"); a.status != 201 {
			t.Errorf("block: %d %s", a.status, a.body)
		}
		if a := s.do(t, "GET", path, ""); a.body != "x" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := s.do(t, "PUT", path+"%F0%9F%94%91", "x", "X-Ms-Blob-Type", "BlockBlob"); a.status != 400 || a.code() != "InvalidResourceName" {
			t.Errorf("longer: %d %s", a.status, a.code())
		}
	})
}

func TestTransferValidation(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	b := s.container(t, "con").NewBlockBlobClient("b")
	for _, validation := range []sdkblob.TransferValidationType{sdkblob.TransferValidationTypeComputeCRC64(), sdkblob.TransferValidationTypeMD5(md5Of100k())} {
		_, err := b.Upload(t.Context(), readSeekNopCloser{bytes.NewReader(pattern(100_000))}, &blockblob.UploadOptions{TransactionalValidation: validation})
		check(t, err)
		_, err = b.StageBlock(t.Context(), blockID(1), readSeekNopCloser{bytes.NewReader(pattern(100_000))}, &blockblob.StageBlockOptions{TransactionalValidation: validation})
		check(t, err)
	}
}

func md5Of100k() []byte {
	sum := md5.Sum(pattern(100_000))
	return sum[:]
}

func TestIfRange(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	etag := s.put(t, "/con/b", []byte("0123456789")).header.Get("Etag")
	if a := s.do(t, "GET", "/con/b", "", "Range", "bytes=2-3", "If-Range", etag); a.status != 206 || a.body != "23" {
		t.Errorf("same version: %d %s", a.status, a.body)
	}
	if a := s.do(t, "GET", "/con/b", "", "Range", "bytes=2-3", "If-Range", `"0x1"`); a.status != 200 || a.body != "0123456789" {
		t.Errorf("another version: %d %s", a.status, a.body)
	}
}

func TestPathStyleAndRootContainer(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.container(t, "$root")
	s.put(t, "/con/b", []byte("by host"))
	s.put(t, "/top", []byte("in the root"))
	if a := s.do(t, "GET", "/$root/top", ""); a.body != "in the root" {
		t.Errorf("root container: %d %s", a.status, a.body)
	}
	r, err := http.NewRequest("GET", s.http.URL+"/"+testAccount+"/con/b", nil)
	check(t, err)
	r.Header = http.Header{"X-Ms-Version": {serviceVersion}, "X-Ms-Date": {httpDate(time.Now())}}
	sign(r, testAccount, s.account.keys[0].Value)
	resp, err := s.client.Do(r)
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	if string(body) != "by host" {
		t.Errorf("path style: %d %s", resp.StatusCode, body)
	}
}

func TestAccountInformation(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	info, err := s.signed(t).GetAccountInfo(t.Context(), nil)
	check(t, err)
	if *info.SKUName != "Standard_LRS" || *info.AccountKind != "StorageV2" {
		t.Errorf("%v %v", *info.SKUName, *info.AccountKind)
	}
}
