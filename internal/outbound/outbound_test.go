package outbound

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"20.190.151.1": true, "2603:1030::1": true, "::ffff:20.190.151.1": true, "8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "255.255.255.255": false, "224.0.0.1": false, "198.18.0.1": false, "192.0.0.170": false,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "fd00::1": false, "ff02::1": false, "::ffff:127.0.0.1": false,
		"::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "fec0::1": false, "2001:0:7f00:1::": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if r.URL.Path == "/headers" {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		}
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	get := func(o Options, url string) error {
		transport := NewTransport(o)
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: HTTPS{transport}}).Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		url := strings.Replace(s.URL, "127.0.0.1", host, 1)
		if err := get(Options{Roots: roots}, url); !errors.Is(err, ErrPrivateAddress) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if len(asked) > 0 {
		t.Error("a private host was asked")
	}
	if err := get(Options{PrivateNetworks: true, Roots: roots}, s.URL); err != nil || len(asked) != 1 {
		t.Errorf("private networks: %v", err)
	}
	if err := get(Options{PrivateNetworks: true}, s.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown CA: %v", err)
	}
	if err := get(Options{PrivateNetworks: true, Roots: roots}, s.URL+"/headers"); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("endless headers: %v", err)
	}
	if err := get(Options{PrivateNetworks: true}, strings.Replace(s.URL, "https", "http", 1)); !errors.Is(err, ErrPlain) {
		t.Errorf("plain HTTP: %v", err)
	}
}

// A proxy resolves names itself, where no address is checked.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	if NewTransport(Options{}).Proxy != nil {
		t.Error("a proxy may be used")
	}
}
