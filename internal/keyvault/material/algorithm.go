package material

import (
	"crypto"
	_ "crypto/sha1" // the hashes that algorithms name
	_ "crypto/sha256"
	_ "crypto/sha512"
	"slices"
	"strings"
)

// Use is what an algorithm is asked to do.
type Use int

// The uses.
const (
	Encrypting Use = iota // and decrypting
	Wrapping              // and unwrapping
	Signing               // and verifying
)

// scheme is a family of algorithms.
type scheme int

const (
	pkcs1 scheme = iota // RSAES-PKCS1-v1_5, and RSASSA with a digest's prefix
	oaep
	pss
	null // RSASSA-PKCS1-v1_5 over what the caller has prefixed
	ecdsaRaw
	hmacSum
	kw
	kwp
	gcm
	cbc
	cbcPad
)

// algorithm is one of the names that requests have in alg.
type algorithm struct {
	name   string
	kty    Type
	scheme scheme
	hash   crypto.Hash
	curve  string // EC: the one that it is for
	bits   int    // oct: the length of its keys; 0 is any
	uses   []Use
}

var algorithms = []algorithm{
	{name: "RSA-OAEP-256", kty: RSA, scheme: oaep, hash: crypto.SHA256, uses: []Use{Encrypting, Wrapping}},
	{name: "RSA-OAEP", kty: RSA, scheme: oaep, hash: crypto.SHA1, uses: []Use{Encrypting, Wrapping}},
	{name: "RSA1_5", kty: RSA, scheme: pkcs1, uses: []Use{Encrypting, Wrapping}},
	{name: "A128GCM", kty: Oct, scheme: gcm, bits: 128, uses: []Use{Encrypting}},
	{name: "A192GCM", kty: Oct, scheme: gcm, bits: 192, uses: []Use{Encrypting}},
	{name: "A256GCM", kty: Oct, scheme: gcm, bits: 256, uses: []Use{Encrypting}},
	{name: "A128CBC", kty: Oct, scheme: cbc, bits: 128, uses: []Use{Encrypting}},
	{name: "A192CBC", kty: Oct, scheme: cbc, bits: 192, uses: []Use{Encrypting}},
	{name: "A256CBC", kty: Oct, scheme: cbc, bits: 256, uses: []Use{Encrypting}},
	{name: "A128CBCPAD", kty: Oct, scheme: cbcPad, bits: 128, uses: []Use{Encrypting}},
	{name: "A192CBCPAD", kty: Oct, scheme: cbcPad, bits: 192, uses: []Use{Encrypting}},
	{name: "A256CBCPAD", kty: Oct, scheme: cbcPad, bits: 256, uses: []Use{Encrypting}},
	{name: "A128KW", kty: Oct, scheme: kw, bits: 128, uses: []Use{Wrapping}},
	{name: "A192KW", kty: Oct, scheme: kw, bits: 192, uses: []Use{Wrapping}},
	{name: "A256KW", kty: Oct, scheme: kw, bits: 256, uses: []Use{Wrapping}},
	{name: "CKM_AES_KEY_WRAP", kty: Oct, scheme: kw, uses: []Use{Wrapping}},
	{name: "CKM_AES_KEY_WRAP_PAD", kty: Oct, scheme: kwp, uses: []Use{Wrapping}},
	{name: "RS256", kty: RSA, scheme: pkcs1, hash: crypto.SHA256, uses: []Use{Signing}},
	{name: "RS384", kty: RSA, scheme: pkcs1, hash: crypto.SHA384, uses: []Use{Signing}},
	{name: "RS512", kty: RSA, scheme: pkcs1, hash: crypto.SHA512, uses: []Use{Signing}},
	{name: "PS256", kty: RSA, scheme: pss, hash: crypto.SHA256, uses: []Use{Signing}},
	{name: "PS384", kty: RSA, scheme: pss, hash: crypto.SHA384, uses: []Use{Signing}},
	{name: "PS512", kty: RSA, scheme: pss, hash: crypto.SHA512, uses: []Use{Signing}},
	{name: "RSNULL", kty: RSA, scheme: null, uses: []Use{Signing}},
	{name: "ES256", kty: EC, scheme: ecdsaRaw, hash: crypto.SHA256, curve: P256, uses: []Use{Signing}},
	{name: "ES384", kty: EC, scheme: ecdsaRaw, hash: crypto.SHA384, curve: P384, uses: []Use{Signing}},
	{name: "ES512", kty: EC, scheme: ecdsaRaw, hash: crypto.SHA512, curve: P521, uses: []Use{Signing}},
	{name: "ES256K", kty: EC, scheme: ecdsaRaw, hash: crypto.SHA256, curve: P256K, uses: []Use{Signing}},
	{name: "HS256", kty: Oct, scheme: hmacSum, hash: crypto.SHA256, uses: []Use{Signing}},
	{name: "HS384", kty: Oct, scheme: hmacSum, hash: crypto.SHA384, uses: []Use{Signing}},
	{name: "HS512", kty: Oct, scheme: hmacSum, hash: crypto.SHA512, uses: []Use{Signing}},
}

// fits reports whether the algorithm is for such keys and such a use.
func (a *algorithm) fits(p *Public, use Use) bool {
	return a.kty == p.Type && slices.Contains(a.uses, use) &&
		(a.curve == "" || a.curve == p.Curve()) && (a.bits == 0 || a.bits == p.bits)
}

// Algorithm returns the name, as the service writes it, of the algorithm that a request names in any case. An InputError
// lists those that the key has for the use.
func (p *Public) Algorithm(use Use, name string) (string, error) {
	a, err := p.algorithm(use, name)
	if err != nil {
		return "", err
	}
	return a.name, nil
}

func (p *Public) algorithm(use Use, name string) (*algorithm, error) {
	var names []string
	for i := range algorithms {
		a := &algorithms[i]
		if !a.fits(p, use) {
			continue
		}
		if strings.EqualFold(a.name, name) {
			return a, nil
		}
		names = append(names, a.name)
	}
	if len(names) == 0 {
		return nil, badInput("alg", "has invalid value '%s'. An %s key has no algorithm for this operation.", name, p.Type)
	}
	return nil, badInput("alg", "has invalid value '%s'. This %s key takes %s here.", name, p.Type, strings.Join(names, ", "))
}
