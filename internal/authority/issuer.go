package authority

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	issuerKeysFor   = time.Hour        // how long an issuer's keys are kept
	issuerAskAgain  = time.Minute      // how long after asking, well or not, an issuer is asked again
	issuerTimeout   = 10 * time.Second // for both documents
	maxIssuerAnswer = 1 << 20          // bytes
	maxIssuers      = 1000             // whose keys are kept
	maxIssuerKeys   = 100
)

// issuers fetches and keeps the keys of other token issuers. An address of one is what some user of the resource manager
// wrote, so the client that fetches is guarded: https alone, no redirects, no proxies, little time, small answers, and no
// addresses that are not on the public internet unless private is set. That is checked when the connection is made, after
// the name was resolved, so a name that changes its mind gains nothing.
type issuers struct {
	client  *http.Client
	flights singleflight.Group
	mu      sync.Mutex
	known   map[string]issuerKeys
}

// issuerKeys is what an issuer has said, and how it went when it was last asked.
type issuerKeys struct {
	keys    map[string]*rsa.PublicKey // by kid
	fetched time.Time                 // when it said so
	err     error
	asked   time.Time
}

func newIssuers(private bool, roots *x509.CertPool) *issuers {
	dialer := &net.Dialer{Timeout: issuerTimeout / 2}
	if !private {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err == nil && !public(to.Addr()) {
				err = fmt.Errorf("%s is not an address on the public internet", to.Addr())
			}
			return err
		}
	}
	return &issuers{
		known: map[string]issuerKeys{},
		client: &http.Client{
			Timeout: issuerTimeout,
			Transport: &http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// notPublic are the networks that netip's own predicates do not name (IANA's special-purpose registries), those among
// them that carry an IPv4 address within.
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
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

var errNoIssuerKey = errors.New("the issuer has no such key")

// key returns an issuer's key by its kid. One that is not known makes it ask the issuer again, now and then.
func (s *issuers) key(ctx context.Context, issuer, kid string) (*rsa.PublicKey, error) {
	s.mu.Lock()
	known, ok := s.known[issuer]
	s.mu.Unlock()
	if k := known.keys[kid]; k != nil && time.Since(known.fetched) < issuerKeysFor {
		return k, nil
	}
	if !ok || time.Since(known.asked) >= issuerAskAgain {
		asked := s.flights.DoChan(issuer, func() (any, error) {
			return s.ask(context.WithoutCancel(ctx), issuer), nil // others may wait for it
		})
		select {
		case v := <-asked:
			known = v.Val.(issuerKeys)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if known.err != nil {
		return nil, known.err
	}
	if k := known.keys[kid]; k != nil {
		return k, nil
	}
	return nil, errNoIssuerKey
}

// ask fetches an issuer's keys. When that fails those that are known stay known: whoever makes up a kid at a bad moment
// must not shut others out.
func (s *issuers) ask(ctx context.Context, issuer string) issuerKeys {
	ctx, cancel := context.WithTimeout(ctx, issuerTimeout)
	defer cancel()
	begun := time.Now()
	keys, err := s.fetch(ctx, issuer)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.known[issuer]
	if now.asked, now.err = begun, err; err == nil {
		now.keys, now.fetched = keys, begun
	}
	if len(s.known) >= maxIssuers {
		clear(s.known)
	}
	s.known[issuer] = now
	return now
}

// fetch reads an issuer's keys as OpenID Connect Discovery 1.0 section 4 says.
func (s *issuers) fetch(ctx context.Context, issuer string) (map[string]*rsa.PublicKey, error) {
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &document); err != nil {
		return nil, fmt.Errorf("discovery of the issuer %s: %w", issuer, err)
	}
	if document.Issuer != issuer {
		return nil, fmt.Errorf("discovery of the issuer %s: its document is of '%s'", issuer, shown(document.Issuer))
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := s.get(ctx, document.Keys, &set); err != nil {
		return nil, fmt.Errorf("keys of the issuer %s: %w", issuer, err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, raw := range set.Keys[:min(len(set.Keys), maxIssuerKeys)] {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(jose.RS256) {
			continue // kinds of keys that are of no use here may stand beside the others
		}
		if public, ok := k.Key.(*rsa.PublicKey); ok && public.N.BitLen() >= keyBits {
			keys[k.KeyID] = public
		}
	}
	return keys, nil
}

func (s *issuers) get(ctx context.Context, address string, v any) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("'%s' is not an https URL", shown(address))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d; 200 is needed, and redirects are not followed", shown(address), resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxIssuerAnswer+1))
	if err != nil {
		return err
	}
	if len(body) > maxIssuerAnswer {
		return fmt.Errorf("%s answered with more than %d bytes", shown(address), maxIssuerAnswer)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s answered with something else than the JSON document: %w", shown(address), err)
	}
	return nil
}
