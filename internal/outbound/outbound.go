package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// ErrPrivateAddress is why a host was not connected to.
var ErrPrivateAddress = errors.New("it is not an address on the public internet")

// ErrPlain is why a request was not sent.
var ErrPlain = errors.New("requests to other hosts go over https alone")

const (
	connectTimeout = 5 * time.Second  // also for the TLS handshake
	headerTimeout  = 30 * time.Second // after the request was sent
	idleTimeout    = 30 * time.Second
	maxHeader      = 64 << 10 // bytes
)

// Options of a transport. The zero value is the safest.
type Options struct {
	PrivateNetworks bool           // addresses off the public internet are connected to, too
	Roots           *x509.CertPool // CAs that vouch for hosts; nil is the system's
}

// NewTransport returns a transport that is guarded as the package says. The caller may set what is left.
func NewTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	if !o.PrivateNetworks {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err == nil && !public(to.Addr()) {
				err = fmt.Errorf("%s: %w", to.Addr(), ErrPrivateAddress)
			}
			return err
		}
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &movingConn{conn, stallTimeout}, nil
		},
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: connectTimeout, ResponseHeaderTimeout: headerTimeout, MaxResponseHeaderBytes: maxHeader,
		IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 4,
	}
}

// HTTPS sends requests over https with Next, and refuses others.
type HTTPS struct{ Next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t HTTPS) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, ErrPlain
	}
	return t.Next.RoundTrip(r)
}

// notPublic are the networks that netip's own predicates do not name, those among them that carry an IPv4 address within.
var notPublic = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(addr) })
}
