package onbehalf

import (
	"errors"
	"io"
	"net/http"
)

// Bytes of an answer that a client reads whole. A page of blobs, or a list of 50 000 blocks, has some megabytes.
const (
	maxVaultAnswer = 1 << 20
	maxBlobAnswer  = 32 << 20
)

var errAnswerTooLong = errors.New("the answer is longer than any of this kind")

// boundedAnswers cuts answers off that the client libraries read into memory: the endpoint is one that a customer named,
// and need not be what it is taken for.
type boundedAnswers struct {
	next http.RoundTripper
	max  int64
}

// RoundTrip implements http.RoundTripper.
func (t boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil || t.max == maxBlobAnswer && isContent(r, resp) {
		return resp, err
	}
	resp.Body = &boundedBody{resp.Body, t.max}
	return resp, nil
}

// isContent reports whether an answer is a blob's content, which is handed on as it comes.
func isContent(r *http.Request, resp *http.Response) bool {
	query := r.URL.Query()
	return r.Method == http.MethodGet && resp.StatusCode < 300 && !query.Has("comp") && !query.Has("restype")
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errAnswerTooLong
	}
	if int64(len(p)) > b.left+1 { // one more, to tell the end from what is too long
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, errAnswerTooLong
	}
	return n, err
}
