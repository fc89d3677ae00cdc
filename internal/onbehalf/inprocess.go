package onbehalf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// InProcess carries requests to hosts of this server to their handler without a socket. Both bodies are streamed.
// The handler runs in a goroutine of its own under a context that ends when the sender's does, or when the sender
// closes the response's body; it carries no values of the sender's. The handler's request says RemoteAddr
// "in-process" and has TLS set: the way is as private as TLS.
type InProcess struct {
	Handler http.Handler
	Owns    func(host string) bool // is this host served by Handler
	Next    http.RoundTripper      // carries all others
}

var errAborted = errors.New("in-process: the handler gave up the connection")

// RoundTrip implements http.RoundTripper.
func (t *InProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.Owns(req.URL.Host) {
		return t.Next.RoundTrip(req)
	}
	if err := req.Context().Err(); err != nil {
		closeBody(req)
		return nil, err
	}
	target, err := url.ParseRequestURI(req.URL.RequestURI())
	if err == nil {
		err = checkHeader(req.Header)
	}
	if err != nil {
		closeBody(req)
		return nil, fmt.Errorf("in-process: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if deadline, ok := req.Context().Deadline(); ok {
		var cancelDeadline context.CancelFunc
		ctx, cancelDeadline = context.WithDeadline(ctx, deadline)
		end := cancel
		cancel = func() { cancelDeadline(); end() }
	}
	body := &requestBody{body: req.Body, left: req.ContentLength}
	if req.Body == nil || req.Body == http.NoBody {
		body.body, body.left = http.NoBody, 0
	} else if req.ContentLength == 0 {
		body.left = -1 // a client's zero with a body means unknown
	}
	r := &http.Request{
		Method: req.Method, URL: target, RequestURI: req.URL.RequestURI(), Host: req.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: canonical(req.Header), Body: body, ContentLength: body.left,
		RemoteAddr: "in-process",
		TLS:        &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: req.URL.Hostname()},
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	if r.ContentLength > 0 || r.ContentLength == 0 && (r.Method == http.MethodPut || r.Method == http.MethodPost) {
		r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}

	pr, pw := io.Pipe()
	w := &responseWriter{request: req, header: http.Header{}, pipe: pw, begun: make(chan *http.Response, 1)}
	w.body = &responseBody{PipeReader: pr, end: func() { cancel(); body.shut() }}
	stop := context.AfterFunc(req.Context(), func() {
		cancel()
		pw.CloseWithError(context.Cause(req.Context()))
		body.shut()
	})
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		defer stop()
		err := serve(t.Handler, w, r.WithContext(ctx))
		body.shut()
		switch {
		case err == nil:
			w.finish()
		case w.started:
			pw.CloseWithError(err)
		default:
			failed <- err
		}
	}()
	select {
	case resp := <-w.begun:
		return resp, nil
	case err := <-failed:
		return nil, err
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
}

// checkHeader refuses what would begin another header or request on a wire, and would do so when it is stored and sent on.
func checkHeader(h http.Header) error {
	for name, values := range h {
		for _, s := range append([]string{name}, values...) {
			if strings.ContainsAny(s, "\r\n\x00") {
				return fmt.Errorf("in-process: the header %q cannot be sent: it holds a line's end", name) // not its value: it may be a token
			}
		}
	}
	return nil
}

// canonical spells header names as a server does when it reads them off the wire; some clients set them otherwise. What
// describes the message itself comes from the request's fields alone, as net/http's transport has it.
func canonical(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		switch name = http.CanonicalHeaderKey(name); name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
		default:
			out[name] = append(out[name], values...)
		}
	}
	return out
}

// serve runs the handler and turns its panic into an error, as a server cuts the connection.
func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = errAborted
		default:
			err = fmt.Errorf("in-process: the handler panicked: %v", p)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// requestBody gives the handler exactly the announced length, and nothing once the exchange is over: the sender may
// rewind and reuse the body then.
type requestBody struct {
	mu   sync.Mutex // held while reading
	body io.ReadCloser
	left int64 // bytes still to come; -1 is unknown
	done atomic.Bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.done.Load():
		return 0, http.ErrBodyReadAfterClose
	case b.left == 0:
		return 0, io.EOF
	case b.left > 0 && int64(len(p)) > b.left:
		p = p[:b.left]
	}
	n, err := b.body.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
		if err == io.EOF && b.left > 0 {
			err = io.ErrUnexpectedEOF
		} else if b.left == 0 && err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// Close is the handler's: the sender's body is closed when the exchange ends.
func (b *requestBody) Close() error { return nil }

// shut ends reading. It returns when no Read is under way.
func (b *requestBody) shut() {
	if !b.done.CompareAndSwap(false, true) {
		return
	}
	b.body.Close() // wakes a Read that waits
	b.mu.Lock()
	defer b.mu.Unlock()
}

// responseWriter is the handler's side of the answer.
type responseWriter struct {
	request  *http.Request
	header   http.Header
	pipe     *io.PipeWriter
	body     *responseBody
	begun    chan *http.Response
	started  bool
	status   int
	declared int64 // Content-Length as announced, or -1
	written  int64
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational answers are not passed on.
func (w *responseWriter) WriteHeader(status int) {
	if w.started || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.started, w.status = true, status
	header := w.header.Clone()
	if _, ok := header["Date"]; !ok {
		header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	w.declared = -1
	if n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		w.declared = n
	} else {
		header.Del("Content-Length")
	}
	resp := &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, ContentLength: w.declared, Body: w.body, Request: w.request,
	}
	if !w.bodyAllowed() && w.declared < 0 && w.request.Method != http.MethodHead {
		resp.ContentLength = 0
	}
	w.begun <- resp
}

func (w *responseWriter) bodyAllowed() bool {
	return w.request.Method != http.MethodHead && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if !w.bodyAllowed() {
		if w.request.Method == http.MethodHead {
			return len(p), nil
		}
		return 0, http.ErrBodyNotAllowed
	}
	if w.declared >= 0 && w.written+int64(len(p)) > w.declared {
		return 0, http.ErrContentLength
	}
	n, err := w.pipe.Write(p)
	w.written += int64(n)
	return n, err
}

// Flush implements http.Flusher: what was written is on its way already.
func (w *responseWriter) Flush() {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
}

// EnableFullDuplex serves http.ResponseController: both bodies always flow at once.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// finish ends the answer when the handler has returned. An answer shorter than announced ends in an error.
func (w *responseWriter) finish() {
	if !w.started {
		if w.bodyAllowed() && w.header.Get("Content-Length") == "" {
			w.header.Set("Content-Length", "0")
		}
		w.WriteHeader(http.StatusOK)
	}
	if w.bodyAllowed() && w.declared > w.written {
		w.pipe.CloseWithError(io.ErrUnexpectedEOF)
	}
	w.pipe.Close() // keeps an error that was set before
}

// responseBody is the sender's side of the answer. Closing it ends the exchange.
type responseBody struct {
	*io.PipeReader
	end func()
}

// Close implements io.Closer.
func (b *responseBody) Close() error {
	err := b.PipeReader.Close()
	b.end()
	return err
}
