package authority

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/keyreel/keyreel/internal/outbound"
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
// wrote, so the client that fetches is guarded: what package outbound checks, https alone, no redirects, little time, and
// small answers.
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

func newIssuers(o outbound.Options) *issuers {
	transport := outbound.NewTransport(o)
	transport.DisableKeepAlives = true
	return &issuers{
		known: map[string]issuerKeys{},
		client: &http.Client{
			Timeout: issuerTimeout, Transport: transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
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
