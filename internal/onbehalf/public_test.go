package onbehalf

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "fe80::1": false, "fd00::1": false, "0.0.0.0": false, "::": false, "100.64.0.1": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::127.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is public: %v", address, got)
		}
	}
}

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
