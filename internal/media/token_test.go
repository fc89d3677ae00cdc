package media

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyreel/keyreel/internal/azure"
)

func mustID(t *testing.T, s string) azure.ResourceID {
	t.Helper()
	id, err := azure.ParseResourceID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRSATokens(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := &keyPermission{
		Type: tokenRestriction, Issuer: "i", Audience: "a", TokenType: "Jwt",
		PrimaryVerificationKey: &tokenKey{
			Type:    rsaTokenKey,
			Modulus: base64.StdEncoding.EncodeToString(key.N.Bytes()), Exponent: base64.StdEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		},
	}
	sign := func(alg jose.SignatureAlgorithm, k any) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(s).Claims(map[string]any{"iss": "i", "aud": []string{"b", "a"}, "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if err := r.allows(sign(jose.RS256, key), "k", time.Now()); err != nil {
		t.Errorf("a good token: %v", err)
	}
	for name, raw := range map[string]string{
		"the public key as an HMAC secret": sign(jose.HS256, key.N.Bytes()),
		"another algorithm":                sign(jose.PS256, key),
		"two dots":                         "..",
	} {
		if r.allows(raw, "k", time.Now()) == nil {
			t.Errorf("%s: let in", name)
		}
	}
}

// FuzzToken: whatever is sent as a token, it neither passes nor panics.
func FuzzToken(f *testing.F) {
	value := base64.StdEncoding.EncodeToString(secret)
	r := &keyPermission{
		Type: tokenRestriction, Issuer: "i", Audience: "a", TokenType: "Jwt",
		PrimaryVerificationKey: &tokenKey{Type: symmetricTokenKey, KeyValue: &value},
	}
	for _, s := range []string{"", ".", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", `{"payload":""}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if r.allows(raw, "k", time.Now()) == nil {
			t.Errorf("%q was let in", raw)
		}
	})
}

// FuzzTokenKey: a verification key that a client brings is refused or can be used.
func FuzzTokenKey(f *testing.F) {
	f.Add(symmetricTokenKey, base64.StdEncoding.EncodeToString(secret), "", "")
	f.Add(rsaTokenKey, "", "AQAB", "AAAA")
	f.Add(rsaTokenKey, "", "", "")
	f.Fuzz(func(t *testing.T, typ, value, exponent, modulus string) {
		k := tokenKey{Type: typ, KeyValue: &value, Exponent: exponent, Modulus: modulus}
		if _, alg, err := k.verifier(); err == nil && alg != jose.HS256 && alg != jose.RS256 {
			t.Errorf("algorithm %s", alg)
		}
	})
}

func TestBaseName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"clip.mp4": "clip", "a/b/clip.final.mov": "clip.final", "no-extension": "no-extension", `a\b:c.mp4`: "a_b_c", "ä ö.mp4": "ä ö", ".mp4": "output",
	} {
		if got := baseName(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}
