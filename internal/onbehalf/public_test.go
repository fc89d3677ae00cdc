package onbehalf

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPublicClient(t *testing.T) {
	t.Parallel()
	private := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	}))
	t.Cleanup(private.Close)
	clients := &Clients{Transport: &InProcess{
		Owns: func(host string) bool { return strings.HasPrefix(host, "own.") },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("a token was sent")
			}
			if r.URL.Path == "/away" {
				http.Redirect(w, r, private.URL, http.StatusFound)
			}
		}),
	}}
	get := func(c *http.Client, u string) error {
		resp, err := c.Get(u)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	guarded, open := clients.Public(false), clients.Public(true)
	for _, u := range []string{private.URL, strings.Replace(private.URL, "127.0.0.1", "localhost", 1), "https://own.test/away"} {
		if err := get(guarded, u); !errors.Is(err, ErrPrivateAddress) {
			t.Errorf("%s: %v", u, err)
		}
		if err := get(open, u); err != nil {
			t.Errorf("%s, allowed: %v", u, err)
		}
	}
	if err := get(guarded, "https://own.test/here"); err != nil {
		t.Error(err)
	}
	if err := get(open, private.URL+"/loop"); err == nil {
		t.Error("an endless redirect was followed")
	}
}
