package blob

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.put(t, "/con/b", []byte("x"))
	block := []string{"X-Ms-Blob-Type", "BlockBlob"}
	with := func(more ...string) []string { return append(append([]string{}, block...), more...) }
	sum := base64.StdEncoding.EncodeToString(make([]byte, 16))
	id := "&blockid=" + blockID(1)
	cases := []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
	}{
		{"no such container", "GET", "/none/b", "", nil, 404, "ContainerNotFound"},
		{"put into no container", "PUT", "/none/b", "x", block, 404, "ContainerNotFound"},
		{"block into no container", "PUT", "/none/b?comp=block" + id, "x", nil, 404, "ContainerNotFound"},
		{"short container name", "PUT", "/ab?restype=container", "", nil, 400, "OutOfRangeInput"},
		{"upper case container", "PUT", "/Films?restype=container", "", nil, 400, "InvalidResourceName"},
		{"two hyphens", "PUT", "/a--b?restype=container", "", nil, 400, "InvalidResourceName"},
		{"public container", "PUT", "/pub?restype=container", "", []string{"X-Ms-Blob-Public-Access", "blob"}, 409, "PublicAccessNotPermitted"},
		{"long name", "PUT", "/con/" + strings.Repeat("n", 1025), "x", block, 400, "InvalidResourceName"},
		{"not UTF-8", "PUT", "/con/%ff", "x", block, 400, "InvalidUri"},
		{"NUL", "PUT", "/con/a%00b", "x", block, 400, "InvalidUri"},
		{"no blob type", "PUT", "/con/b", "x", nil, 400, "MissingRequiredHeader"},
		{"append blob", "PUT", "/con/b", "", []string{"X-Ms-Blob-Type", "AppendBlob"}, 501, "NotImplemented"},
		{"unknown type", "PUT", "/con/b", "", []string{"X-Ms-Blob-Type", "Blob"}, 400, "InvalidHeaderValue"},
		{"wrong MD5", "PUT", "/con/b", "y", with("Content-Md5", sum), 400, "Md5Mismatch"},
		{"wrong blob MD5", "PUT", "/con/b", "y", with("X-Ms-Blob-Content-Md5", sum), 400, "Md5Mismatch"},
		{"wrong MD5 of much", "PUT", "/con/b", strings.Repeat("y", 99999), with("Content-Md5", sum), 400, "Md5Mismatch"},
		{"wrong blob MD5 of much", "PUT", "/con/b", strings.Repeat("y", 99999), with("X-Ms-Blob-Content-Md5", sum), 400, "Md5Mismatch"},
		{"MD5 that is none", "PUT", "/con/b", "y", with("Content-Md5", "eA=="), 400, "InvalidMd5"},
		{"wrong CRC64", "PUT", "/con/b", "y", with("X-Ms-Content-Crc64", "AAAAAAAAAAA="), 400, "Crc64Mismatch"},
		{"wrong CRC64 of a block", "PUT", "/con/b?comp=block" + id, strings.Repeat("y", 99999), []string{"X-Ms-Content-Crc64", "AAAAAAAAAAA="}, 400, "Crc64Mismatch"},
		{"bad metadata name", "PUT", "/con/b", "y", with("X-Ms-Meta-1a", "v"), 400, "InvalidMetadata"},
		{"metadata with hyphen", "PUT", "/con/b", "y", with("X-Ms-Meta-a-b", "v"), 400, "InvalidMetadata"},
		{"empty metadata name", "PUT", "/con/b", "y", with("X-Ms-Meta-", "v"), 400, "EmptyMetadataKey"},
		{"much metadata", "PUT", "/con/b", "y", with("X-Ms-Meta-a", strings.Repeat("v", maxMetadata)), 400, "MetadataTooLarge"},
		{"archive", "PUT", "/con/b", "y", with("X-Ms-Access-Tier", "Archive"), 501, "NotImplemented"},
		{"unknown tier", "PUT", "/con/b", "y", with("X-Ms-Access-Tier", "Warm"), 400, "InvalidHeaderValue"},
		{"no tier", "PUT", "/con/b?comp=tier", "", nil, 400, "MissingRequiredHeader"},
		{"block without id", "PUT", "/con/b?comp=block", "y", nil, 400, "InvalidQueryParameterValue"},
		{"block id not base64", "PUT", "/con/b?comp=block&blockid=!!", "y", nil, 400, "InvalidQueryParameterValue"},
		{"long block id", "PUT", "/con/b?comp=block&blockid=" + base64.URLEncoding.EncodeToString(make([]byte, 66)), "y", nil, 400, "InvalidQueryParameterValue"},
		{"empty block", "PUT", "/con/b?comp=block" + id, "", nil, 400, "InvalidHeaderValue"},
		{"block list that is no XML", "PUT", "/con/b?comp=blocklist", "{}", nil, 400, "InvalidXmlDocument"},
		{"truncated block list", "PUT", "/con/b?comp=blocklist", "<BlockList><Latest>" + blockID(1) + "</Latest>", nil, 400, "InvalidXmlDocument"},
		{"block list type", "GET", "/con/b?comp=blocklist&blocklisttype=some", "", nil, 400, "InvalidQueryParameterValue"},
		{"block list of nothing", "GET", "/con/none?comp=blocklist", "", nil, 404, "BlobNotFound"},
		{"lease", "PUT", "/con/b?comp=lease", "", nil, 501, "NotImplemented"},
		{"lease id", "DELETE", "/con/b", "", []string{"X-Ms-Lease-Id", "x"}, 412, "LeaseNotPresentWithBlobOperation"},
		{"snapshot", "PUT", "/con/b?comp=snapshot", "", nil, 501, "NotImplemented"},
		{"reading a snapshot", "GET", "/con/b?snapshot=2020", "", nil, 501, "NotImplemented"},
		{"copy", "PUT", "/con/b", "", []string{"X-Ms-Copy-Source", "https://x/y"}, 501, "NotImplemented"},
		{"put from URL", "PUT", "/con/b", "", with("X-Ms-Copy-Source", "https://x/y"), 501, "NotImplemented"},
		{"customer key", "GET", "/con/b", "", []string{"X-Ms-Encryption-Key", "x"}, 501, "NotImplemented"},
		{"tags", "PUT", "/con/b", "x", with("X-Ms-Tags", "a=b"), 501, "NotImplemented"},
		{"structured body", "PUT", "/con/b", "x", with("X-Ms-Structured-Body", "XSM/1.0"), 501, "NotImplemented"},
		{"SAS", "GET", "/con/b?sv=2020&sig=abc", "", []string{"Authorization", "-"}, 501, "NotImplemented"},
		{"ACL", "GET", "/con?restype=container&comp=acl", "", nil, 501, "NotImplemented"},
		{"unknown comp", "GET", "/con/b?comp=unheard", "", nil, 400, "InvalidQueryParameterValue"},
		{"unknown method", "POST", "/con/b", "", nil, 405, "UnsupportedHttpVerb"},
		{"bad version", "GET", "/con/b", "", []string{"X-Ms-Version", "latest"}, 400, "InvalidHeaderValue"},
		{"bad maxresults", "GET", "/con?restype=container&comp=list&maxresults=x", "", nil, 400, "InvalidQueryParameterValue"},
		{"no maxresults", "GET", "/con?restype=container&comp=list&maxresults=0", "", nil, 400, "OutOfRangeQueryParameterValue"},
		{"bad marker", "GET", "/con?restype=container&comp=list&marker=%21", "", nil, 400, "InvalidQueryParameterValue"},
		{"uncommitted blobs", "GET", "/con?restype=container&comp=list&include=uncommittedblobs", "", nil, 501, "NotImplemented"},
		{"unknown include", "GET", "/con?restype=container&comp=list&include=all", "", nil, 400, "InvalidQueryParameterValue"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := s.do(t, c.method, c.path, c.body, c.header...)
			if a.status != c.status || a.code() != c.code {
				t.Errorf("got %d %s, want %d %s: %s", a.status, a.code(), c.status, c.code, a.body)
			}
		})
	}
	if got := s.do(t, "GET", "/con/b", "").body; got != "x" {
		t.Errorf("a refused request changed the blob: %q", got)
	}
	if n := objectCount(t, s.Objects); n != 0 {
		t.Errorf("%d objects were left by refused requests", n)
	}
}

// A body that is shorter than announced leaves nothing.
func TestShortBody(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	for _, path := range []string{"/con/small", "/con/large", "/con/b?comp=block&blockid=" + blockID(1)} {
		length := int64(100)
		if path != "/con/small" {
			length = 1 << 20
		}
		ctx, cancel := context.WithCancel(t.Context())
		body := &hangingUp{data: pattern(50), cancel: cancel}
		r, err := http.NewRequestWithContext(ctx, "PUT", s.url(path), body)
		check(t, err)
		r.ContentLength = length
		r.Header = http.Header{"X-Ms-Version": {serviceVersion}, "X-Ms-Date": {httpDate(time.Now())}, "X-Ms-Blob-Type": {"BlockBlob"}}
		sign(r, testAccount, s.account.keys[0].Value)
		if resp, err := s.client.Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("%s: got %d", path, resp.StatusCode)
		}
		cancel()
		if a := s.do(t, "GET", strings.Split(path, "?")[0], ""); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	s.http.Close() // waits for the handlers
	if n := objectCount(t, s.Objects); n != 0 {
		t.Errorf("%d objects", n)
	}
}

// hangingUp gives some bytes and then cuts the connection.
type hangingUp struct {
	data   []byte
	cancel context.CancelFunc
}

func (h *hangingUp) Read(p []byte) (int, error) {
	if len(h.data) == 0 {
		h.cancel()
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, h.data)
	h.data = h.data[n:]
	return n, nil
}
