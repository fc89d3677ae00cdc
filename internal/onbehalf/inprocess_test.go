package onbehalf

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

type nextTransport func(*http.Request) (*http.Response, error)

func (f nextTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func inProcess(h http.HandlerFunc) *http.Client {
	return &http.Client{Transport: &InProcess{
		Handler: h,
		Owns:    func(host string) bool { return strings.HasSuffix(host, ".keyreel.test:8443") },
		Next: nextTransport(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("went over the network")
		}),
	}}
}

const own = "https://a.blob.keyreel.test:8443"

func TestInProcessRequest(t *testing.T) {
	t.Parallel()
	type keyed struct{}
	c := inProcess(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.TLS == nil, r.RemoteAddr != "in-process", r.Host != "a.blob.keyreel.test:8443", r.URL.Host != "",
			r.RequestURI != "/c/a%2Fb//x?comp=list", r.URL.EscapedPath() != "/c/a%2Fb//x", r.ContentLength != 3,
			r.Header.Get("Content-Length") != "3", r.Context().Value(keyed{}) != nil:
			t.Errorf("unexpected request: %+v", r)
		}
		b, err := io.ReadAll(r.Body)
		if string(b) != "abc" || err != nil {
			t.Errorf("body %q, %v", b, err)
		}
		w.Header().Set("X-Ms-Thing", "1")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "made")
	})
	ctx := context.WithValue(t.Context(), keyed{}, "the sender's")
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, own+"/c/a%2Fb//x?comp=list", strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "made" || resp.StatusCode != 201 || resp.Header.Get("X-Ms-Thing") != "1" || resp.Header.Get("Date") == "" {
		t.Errorf("answer %v %q %v", resp, body, err)
	}
	if _, err := c.Get("https://elsewhere.test/"); err == nil || !strings.Contains(err.Error(), "over the network") {
		t.Errorf("another host's request: %v", err)
	}
}

// The way in-process must not carry what a connection would not: a second host, another length, a line's end.
func TestInProcessHeadersCannotSmuggle(t *testing.T) {
	t.Parallel()
	c := inProcess(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Host", "Transfer-Encoding", "Connection", "Trailer"} {
			if v := r.Header[name]; v != nil {
				t.Errorf("%s: %q reached the handler", name, v)
			}
		}
		if got := r.Header["Content-Length"]; len(got) != 1 || got[0] != "3" {
			t.Errorf("Content-Length: %q", got)
		}
	})
	for _, tt := range []struct {
		name   string
		header http.Header
		ok     bool
	}{
		{"of the message", http.Header{"Host": {"b.blob.keyreel.test"}, "content-length": {"1000"}, "Transfer-Encoding": {"chunked"}, "Connection": {"x"}, "trailer": {"x"}}, true},
		{"line's end in a value", http.Header{"X-Ms-Meta-A": {"a\r\nx-ms-version: 1"}}, false},
		{"line's end in a name", http.Header{"A\nB": {"a"}}, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, own+"/c/x", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = tt.header
		resp, err := c.Do(r)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

func TestInProcessAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		method  string
		handler http.HandlerFunc
		status  int
		length  int64
		body    string
		bodyErr error
	}{
		{"nothing written", "GET", func(w http.ResponseWriter, r *http.Request) {}, 200, 0, "", nil},
		{"no content", "DELETE", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 204, 0, "", nil},
		{"body after 304", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(304)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("writing after 304: %v", err)
			}
		}, 304, 0, "", nil},
		{"head", "HEAD", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "abcde")
		}, 200, 5, "", nil},
		{"informational first", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(100)
			w.WriteHeader(202)
			w.WriteHeader(500)
		}, 202, -1, "", nil},
		{"shorter than announced", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "abc")
		}, 200, 5, "abc", io.ErrUnexpectedEOF},
		{"longer than announced", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "2")
			if _, err := io.WriteString(w, "abc"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("writing too much: %v", err)
			}
			io.WriteString(w, "ab")
		}, 200, 2, "ab", nil},
		{"aborted half-way", "GET", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "abc")
			panic(http.ErrAbortHandler)
		}, 200, -1, "abc", errAborted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), tt.method, own+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := inProcess(tt.handler).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || resp.ContentLength != tt.length || string(body) != tt.body || !errors.Is(err, tt.bodyErr) {
				t.Errorf("status %d, length %d, body %q, error %v", resp.StatusCode, resp.ContentLength, body, err)
			}
		})
	}
}

func TestInProcessPanicBeforeAnswer(t *testing.T) {
	t.Parallel()
	for _, p := range []any{http.ErrAbortHandler, "a mistake"} {
		if _, err := inProcess(func(http.ResponseWriter, *http.Request) { panic(p) }).Get(own); err == nil {
			t.Errorf("panic(%v) gave an answer", p)
		}
	}
}

// TestInProcessStreams echoes 32 MiB while it is still being sent: neither body is gathered in memory.
func TestInProcessStreams(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	c := inProcess(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != -1 {
			t.Errorf("ContentLength %d", r.ContentLength)
		}
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Errorf("echo: %v", err)
		}
	})
	pr, pw := io.Pipe()
	sent := sha256.New()
	go func() {
		_, err := io.Copy(pw, io.TeeReader(io.LimitReader(rand.Reader, size), sent))
		pw.CloseWithError(err)
	}()
	resp, err := c.Post(own, "application/octet-stream", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := sha256.New()
	n, err := io.Copy(got, resp.Body)
	if n != size || err != nil || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d bytes came back, %v", n, err)
	}
}

func TestInProcessRequestBodyShorterThanAnnounced(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	c := inProcess(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", own, io.NopCloser(strings.NewReader("abc")))
	req.ContentLength = 10
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-read; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the handler read %v", err)
	}
}

func TestInProcessEnds(t *testing.T) {
	t.Parallel()
	t.Run("the sender's context ends before the answer", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan struct{})
		c := inProcess(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
			close(seen)
		})
		req, _ := http.NewRequestWithContext(ctx, "GET", own, nil)
		if _, err := c.Do(req); !errors.Is(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
		<-seen
	})
	t.Run("the sender's context ends while the body flows", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		wrote := make(chan error, 1)
		c := inProcess(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "a")
			cancel()
			_, err := io.WriteString(w, strings.Repeat("b", 1<<20))
			wrote <- err
		})
		req, _ := http.NewRequestWithContext(ctx, "GET", own, nil)
		resp, err := c.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("reading: %v", err)
		}
		if err := <-wrote; err == nil {
			t.Error("the handler could still write")
		}
	})
	t.Run("the sender closes the answer early", func(t *testing.T) {
		t.Parallel()
		ended := make(chan error, 1)
		c := inProcess(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, err := io.WriteString(w, "never read")
			<-r.Context().Done()
			ended <- err
		})
		resp, err := c.Get(own)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing: %v", err)
		}
	})
	t.Run("a reader left behind gets nothing of a reused body", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		late := make(chan error, 1)
		c := inProcess(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
			for { // until the exchange is shut; a few bytes may still come before
				if _, err := r.Body.Read(make([]byte, 1)); err != nil {
					late <- err
					return
				}
			}
		})
		req, _ := http.NewRequestWithContext(ctx, "PUT", own, io.NopCloser(zeros{}))
		if _, err := c.Do(req); !errors.Is(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
		if err := <-late; !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("late read: %v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestInProcessExpect: a handler that refuses without reading the body answers at once, as with Expect: 100-continue.
func TestInProcessExpect(t *testing.T) {
	t.Parallel()
	c := inProcess(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	pr, pw := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", own, pr)
	req.Header.Set("Expect", "100-continue")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
	if _, err := pw.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the body was left open: %v", err)
	}
}
