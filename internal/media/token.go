package media

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// tokenLeeway is how far the clocks of the token's issuer and of this server may be apart.
const tokenLeeway = time.Minute

// verifier returns the key in the form that the JWT library takes and the one algorithm that it may be used with: a
// public key must never serve as an HMAC secret.
func (k tokenKey) verifier() (any, jose.SignatureAlgorithm, error) {
	switch k.Type {
	case symmetricTokenKey:
		if k.KeyValue == nil {
			return nil, "", errors.New("a symmetric key needs keyValue")
		}
		secret, err := decodeBase64(*k.KeyValue)
		if err != nil {
			return nil, "", fmt.Errorf("keyValue: %w", err)
		}
		if len(secret) < 32 { // RFC 7518 section 3.2
			return nil, "", fmt.Errorf("keyValue has %d bytes; HS256 needs at least 32", len(secret))
		}
		return secret, jose.HS256, nil
	case rsaTokenKey:
		n, err := decodeBase64(k.Modulus)
		if err != nil {
			return nil, "", fmt.Errorf("modulus: %w", err)
		}
		e, err := decodeBase64(k.Exponent)
		if err != nil {
			return nil, "", fmt.Errorf("exponent: %w", err)
		}
		exponent := new(big.Int).SetBytes(e)
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
		if key.N.BitLen() < 2048 || key.N.BitLen() > 8192 || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 || key.E%2 == 0 {
			return nil, "", errors.New("it is no RSA key of at least 2048 bits")
		}
		return key, jose.RS256, nil
	}
	return nil, "", fmt.Errorf("'%s' is not a key type that is built; use '%s' or '%s'", k.Type, symmetricTokenKey, rsaTokenKey)
}

// allows checks a token against the restriction for a content key. The error says what is wrong and holds no part of
// the token.
func (r *keyPermission) allows(raw, kid string, now time.Time) error {
	if r.Type == openRestriction {
		return nil
	}
	if r.Type != tokenRestriction || r.PrimaryVerificationKey == nil {
		return errors.New("the policy's restriction is not one that can be met")
	}
	if raw == "" {
		return errors.New("a token is needed; send it as Authorization: Bearer or as token in the query")
	}
	claims, err := r.verify(raw)
	if err != nil {
		return err
	}
	return r.check(claims, kid, now)
}

// verify returns the claims of a token that one of the keys has signed.
func (r *keyPermission) verify(raw string) (map[string]json.RawMessage, error) {
	for _, k := range append([]tokenKey{*r.PrimaryVerificationKey}, r.AlternateVerificationKeys...) {
		key, alg, err := k.verifier()
		if err != nil {
			continue // was valid when it was stored
		}
		token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{alg})
		if err != nil {
			continue // malformed, or made for a key of the other kind
		}
		var claims map[string]json.RawMessage
		if err := token.Claims(key, &claims); err == nil && claims != nil {
			return claims, nil
		}
	}
	return nil, errors.New("the token is not a JWT that one of the policy's keys has signed")
}

func (r *keyPermission) check(claims map[string]json.RawMessage, kid string, now time.Time) error {
	var std jwt.Claims
	all, err := json.Marshal(claims)
	if err == nil {
		err = json.Unmarshal(all, &std)
	}
	switch {
	case err != nil:
		return errors.New("the token's claims are malformed")
	case std.Issuer != r.Issuer:
		return errors.New("the token's issuer is not the policy's")
	case !std.Audience.Contains(r.Audience):
		return errors.New("the token's audience is not the policy's")
	case std.Expiry == nil:
		return errors.New("the token has no expiry")
	case now.After(std.Expiry.Time().Add(tokenLeeway)):
		return errors.New("the token has expired")
	case std.NotBefore != nil && now.Add(tokenLeeway).Before(std.NotBefore.Time()):
		return errors.New("the token is not valid yet")
	}
	for _, want := range r.RequiredClaims {
		got, ok := claims[want.Type]
		if !ok {
			return fmt.Errorf("the token has no claim '%s'", want.Type)
		}
		value := claimText(got)
		switch {
		case want.Type == contentKeyIDClaim && (want.Value == nil || *want.Value == ""):
			if !strings.EqualFold(value, kid) {
				return fmt.Errorf("the token's claim '%s' names another key", want.Type)
			}
		case want.Value != nil && value != *want.Value:
			return fmt.Errorf("the token's claim '%s' has another value", want.Type)
		}
	}
	return nil
}

// claimText is a claim's value as the policy writes it: a string as it is, anything else as JSON.
func claimText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
