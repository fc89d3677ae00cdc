package onbehalf

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// A vault that a customer named used to be read to the end, however far that was.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	body := make([]byte, maxVaultAnswer+1)
	c := &Clients{
		Token: func(context.Context, string, string, string) (string, time.Time, error) {
			return "tok", time.Now().Add(time.Hour), nil
		},
		Transport: inProcess(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.keyreel.test:8443/t1", resource="https://vault.keyreel.test:8443"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Write(body)
		}).Transport,
	}
	keys, err := c.Keys(account, "https://v.vault.keyreel.test:8443")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.GetKey(t.Context(), "k", "", nil); !errors.Is(err, errAnswerTooLong) {
		t.Errorf("a vault's answer: %v", err)
	}
	for _, tt := range []struct {
		name, method, url string
		status            int
		whole             bool
	}{
		{"content", "GET", "https://a.test/c/b", 200, true},
		{"part of it", "GET", "https://a.test/c/b?snapshot=x", 206, true},
		{"a list", "GET", "https://a.test/c?restype=container&comp=list", 200, false},
		{"blocks", "GET", "https://a.test/c/b?comp=blocklist", 200, false},
		{"an error", "GET", "https://a.test/c/b", 404, false},
		{"the answer to a write", "PUT", "https://a.test/c/b", 201, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		next := answering{&http.Response{StatusCode: tt.status, Body: io.NopCloser(bytes.NewReader(body))}}
		resp, err := boundedAnswers{next, maxBlobAnswer}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, bounded := resp.Body.(*boundedBody); bounded == tt.whole {
			t.Errorf("%s: bounded %v", tt.name, bounded)
		}
	}
}

type answering struct{ answer *http.Response }

func (a answering) RoundTrip(*http.Request) (*http.Response, error) { return a.answer, nil }

func TestBoundedBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		length, limit int
		want          int
		err           error
	}{{0, 4, 0, nil}, {4, 4, 4, nil}, {5, 4, 4, errAnswerTooLong}, {5000, 4, 4, errAnswerTooLong}} {
		b := &boundedBody{io.NopCloser(bytes.NewReader(make([]byte, tt.length))), int64(tt.limit)}
		got, err := io.ReadAll(b)
		if len(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%d bytes of at most %d: %d, %v", tt.length, tt.limit, len(got), err)
		}
		if _, err := b.Read(make([]byte, 1)); tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%d bytes of at most %d, read on: %v", tt.length, tt.limit, err)
		}
	}
}
