package authority

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // x5t is defined as SHA-1 (RFC 7515 section 4.1.7)
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	publishAhead = 25 * time.Hour            // a key is published at least so long before it signs: consumers cache for up to 24 h
	makeAhead    = 48 * time.Hour            // the next key is made so long before it is due
	skew         = 5 * time.Minute           // how far clocks may be apart
	longestToken = 24 * time.Hour            // managed identities' tokens
	retired      = longestToken + 2*skew     // a key is published so long after it last signed
	keyBits      = 2048                      // RS256, as Entra's keys
	certificates = 10 * 365 * 24 * time.Hour // validity of a key's certificate, which nobody relies on
	keyName      = "keyreel token signing"   // common name in it
)

// key is a signing key. It does not change once it is in a keySet.
type key struct {
	seq         int64  // 1, 2, ...; each signs after the one before
	id          string // kid and x5t: base64url(SHA-1(certificate))
	certificate *x509.Certificate
	private     *rsa.PrivateKey // nil once the key has retired
	signsFrom   time.Time       // until the next key's signsFrom
	signer      jose.Signer
}

// newKey makes a key that is not yet stored.
func newKey(seq int64, now, signsFrom time.Time) (*key, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("making signing key %d: %w", seq, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(seq), Subject: pkix.Name{CommonName: keyName},
		NotBefore: now.Add(-skew), NotAfter: now.Add(certificates), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of signing key %d: %w", seq, err)
	}
	return makeKey(seq, der, private, signsFrom)
}

// makeKey puts a key together from its stored parts; private is nil for a retired one.
func makeKey(seq int64, der []byte, private *rsa.PrivateKey, signsFrom time.Time) (*key, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of signing key %d: %w", seq, err)
	}
	thumbprint := sha1.Sum(der)
	k := &key{seq: seq, id: base64.RawURLEncoding.EncodeToString(thumbprint[:]), certificate: certificate, private: private, signsFrom: signsFrom}
	if private != nil {
		options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t", k.id)
		k.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: k.id}}, options)
		if err != nil {
			return nil, fmt.Errorf("signer of key %d: %w", seq, err)
		}
	}
	return k, nil
}

func (k *key) public() *rsa.PublicKey { return k.certificate.PublicKey.(*rsa.PublicKey) }

// jwk is the key as JWKS documents show it.
func (k *key) jwk() jose.JSONWebKey {
	thumbprint := sha1.Sum(k.certificate.Raw)
	return jose.JSONWebKey{
		Key: k.public(), KeyID: k.id, Use: "sig", Algorithm: string(jose.RS256),
		Certificates: []*x509.Certificate{k.certificate}, CertificateThumbprintSHA1: thumbprint[:],
	}
}

// keySet is the keys that are known, in order of seq. It does not change.
type keySet struct {
	keys []*key
}

// signing returns the key that signs now: the last one whose time has come. A node whose clock is behind may find the
// private part of that one dropped and takes the next.
func (s *keySet) signing(now time.Time) (*key, error) {
	var found *key
	for _, k := range s.keys {
		if k.private != nil && (found == nil || !k.signsFrom.After(now)) {
			found = k
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no signing key among %d has its private part", len(s.keys))
	}
	return found, nil
}

// find returns a key by id if its signatures are still good.
func (s *keySet) find(id string, now time.Time) *key {
	for i, k := range s.keys {
		if k.id == id && !s.expired(i, now) {
			return k
		}
	}
	return nil
}

// published returns the keys that JWKS documents show.
func (s *keySet) published(now time.Time) []*key {
	var out []*key
	for i, k := range s.keys {
		if !s.expired(i, now) {
			out = append(out, k)
		}
	}
	return out
}

// signedUntil returns when key i was or will be succeeded; false while it has no successor.
func (s *keySet) signedUntil(i int) (time.Time, bool) {
	if i+1 == len(s.keys) {
		return time.Time{}, false
	}
	return s.keys[i+1].signsFrom, true
}

// expired reports whether every token that key i signed has expired.
func (s *keySet) expired(i int, now time.Time) bool {
	until, ok := s.signedUntil(i)
	return ok && !until.Add(retired).After(now)
}

// done reports whether key i will not sign again on any node, clocks apart or not.
func (s *keySet) done(i int, now time.Time) bool {
	until, ok := s.signedUntil(i)
	return ok && !until.Add(skew).After(now)
}

// due returns when the key after the last has to begin to sign, if it is time to make it.
func (s *keySet) due(now time.Time, lifetime time.Duration) (signsFrom time.Time, ok bool) {
	if len(s.keys) == 0 {
		return now, true // no token exists yet, so nobody caches keys
	}
	signsFrom = s.keys[len(s.keys)-1].signsFrom.Add(lifetime)
	if now.Before(signsFrom.Add(-makeAhead)) {
		return time.Time{}, false
	}
	if earliest := now.Add(publishAhead); signsFrom.Before(earliest) {
		signsFrom = earliest // the server was down when the key should have been made: the old one signs on
	}
	return signsFrom, true
}
