package material

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"runtime"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Sign signs a digest, which has the length of the algorithm's hash; RSNULL signs what the caller has prefixed, and HMAC
// any message. An EC signature is r and s, each of the length of the curve's order.
func (k *Key) Sign(alg string, digest []byte) ([]byte, error) {
	defer runtime.KeepAlive(k)
	a, err := k.public.algorithm(Signing, alg)
	if err != nil {
		return nil, err
	}
	if err := a.checkDigest("value", digest, k.public); err != nil {
		return nil, err
	}
	var out []byte
	switch {
	case a.scheme == hmacSum:
		return k.sum(a, digest), nil
	case a.scheme == pss:
		out, err = rsa.SignPSS(rand.Reader, k.rsa, a.hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case k.rsa != nil: // with RSNULL the hash is 0, which is to sign what is there
		out, err = rsa.SignPKCS1v15(nil, k.rsa, a.hash, digest)
	case k.k1 != nil:
		signature := k1ecdsa.Sign(k.k1, digest)
		r, s := signature.R(), signature.S()
		rb, sb := r.Bytes(), s.Bytes()
		out = append(rb[:], sb[:]...)
	default:
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, k.ec, digest); err == nil {
			size := fieldSize(a.curve)
			out = make([]byte, 2*size)
			r.FillBytes(out[:size])
			s.FillBytes(out[size:])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", a.name, err)
	}
	return out, nil
}

// Verify reports whether a signature is of the digest, with a public key. A symmetric key needs Key.Verify.
func (p *Public) Verify(alg string, digest, signature []byte) (bool, error) {
	a, err := p.algorithm(Signing, alg)
	if err != nil {
		return false, err
	}
	if err := a.checkDigest("digest", digest, p); err != nil {
		return false, err
	}
	switch {
	case a.scheme == pss:
		return rsa.VerifyPSS(p.rsa, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
	case p.rsa != nil:
		return rsa.VerifyPKCS1v15(p.rsa, a.hash, digest, signature) == nil, nil
	case a.scheme != ecdsaRaw:
		return false, fmt.Errorf("a public %s key does not verify", p.Type)
	}
	size := fieldSize(a.curve)
	if len(signature) != 2*size {
		return false, nil
	}
	if p.k1 != nil {
		return verifyK1(p.k1, digest, signature), nil
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(p.ec, digest, r, s), nil
}

// Verify reports whether a signature is of the digest.
func (k *Key) Verify(alg string, digest, signature []byte) (bool, error) {
	defer runtime.KeepAlive(k)
	if k.oct == nil {
		return k.public.Verify(alg, digest, signature)
	}
	a, err := k.public.algorithm(Signing, alg)
	if err != nil {
		return false, err
	}
	return hmac.Equal(k.sum(a, digest), signature), nil
}

func (k *Key) sum(a *algorithm, message []byte) []byte {
	mac := hmac.New(a.hash.New, k.oct)
	mac.Write(message)
	return mac.Sum(nil)
}

func verifyK1(p *secp256k1.PublicKey, digest, signature []byte) bool {
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(signature[:32]) || s.SetByteSlice(signature[32:]) || r.IsZero() || s.IsZero() {
		return false
	}
	return k1ecdsa.NewSignature(&r, &s).Verify(digest, p)
}

func (a *algorithm) checkDigest(property string, digest []byte, p *Public) error {
	switch {
	case a.scheme == hmacSum:
		return nil
	case a.scheme == null:
		if limit := p.rsa.Size() - 11; len(digest) > limit {
			return badInput(property, "has %d bytes. RSNULL with a key of %d bits takes at most %d.", len(digest), p.rsa.N.BitLen(), limit)
		}
	case len(digest) != a.hash.Size():
		return badInput(property, "has %d bytes. %s takes a digest of %d bytes.", len(digest), a.name, a.hash.Size())
	}
	return nil
}
