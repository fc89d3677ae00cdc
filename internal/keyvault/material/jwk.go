package material

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// JWK is a key as RFC 7517 writes it: numbers and bytes in base64url without padding.
type JWK struct {
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"` // RSA
	E   string `json:"e,omitempty"`
	D   string `json:"d,omitempty"` // RSA, EC
	DP  string `json:"dp,omitempty"`
	DQ  string `json:"dq,omitempty"`
	QI  string `json:"qi,omitempty"`
	P   string `json:"p,omitempty"`
	Q   string `json:"q,omitempty"`
	Crv string `json:"crv,omitempty"` // EC
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	K   string `json:"k,omitempty"` // oct

	Bits int `json:"bits,omitempty"` // oct, in Public.JWK alone: the length of k
}

// JWK writes the public half; of a symmetric key its length alone.
func (p *Public) JWK() JWK {
	j := JWK{Kty: string(p.Type), Crv: p.Curve()}
	switch {
	case p.rsa != nil:
		j.N, j.E = encode(p.rsa.N.Bytes()), encode(big.NewInt(int64(p.rsa.E)).Bytes())
	case p.ec != nil, p.k1 != nil:
		point := p.point()
		size := (len(point) - 1) / 2
		j.X, j.Y = encode(point[1:1+size]), encode(point[1+size:])
	default:
		j.Bits = p.bits
	}
	return j
}

// point is an EC key's, uncompressed.
func (p *Public) point() []byte {
	if p.k1 != nil {
		return p.k1.SerializeUncompressed()
	}
	point, err := p.ec.Bytes()
	if err != nil {
		panic(err) // it was checked when it was made
	}
	return point
}

// ParsePublic reads what Public.JWK writes.
func ParsePublic(j JWK) (*Public, error) {
	switch Type(j.Kty) {
	case RSA:
		n, err := number("n", j.N)
		if err != nil {
			return nil, err
		}
		e, err := number("e", j.E)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(RSASizes, n.BitLen()) || n.Bit(0) == 0 {
			return nil, badInput("n", "has invalid value: it has %d bits. The modulus of an RSA key is odd and has 2048, 3072 or 4096.", n.BitLen())
		}
		if e.BitLen() > 31 || e.Int64() < exponent || e.Bit(0) == 0 {
			return nil, badInput("e", "has invalid value: the public exponent is odd, at least %d, and at most %d.", exponent, math.MaxInt32)
		}
		return &Public{Type: RSA, rsa: &rsa.PublicKey{N: n, E: int(e.Int64())}}, nil
	case EC:
		return parsePoint(j)
	case Oct:
		if !slices.Contains(OctSizes, j.Bits) {
			return nil, badInput("k", "has invalid value: a symmetric key has 128, 192 or 256 bits, not %d.", j.Bits)
		}
		return &Public{Type: Oct, bits: j.Bits}, nil
	}
	return nil, badInput("kty", "has invalid value '%s'.", j.Kty)
}

func parsePoint(j JWK) (*Public, error) {
	if err := (Spec{Type: EC, Curve: j.Crv}).Check(); err != nil {
		return nil, err
	}
	size := fieldSize(j.Crv)
	x, err := octets("x", j.X, size)
	if err != nil {
		return nil, err
	}
	y, err := octets("y", j.Y, size)
	if err != nil {
		return nil, err
	}
	point := slices.Concat([]byte{4}, x, y)
	p := &Public{Type: EC}
	if j.Crv == P256K {
		p.k1, err = secp256k1.ParsePubKey(point)
	} else {
		p.ec, err = ecdsa.ParseUncompressedPublicKey(curve(j.Crv), point)
	}
	if err != nil {
		return nil, badInput("x", "has invalid value: x and y are not a point on %s.", j.Crv)
	}
	return p, nil
}

func fieldSize(crv string) int {
	if crv == P256K {
		return 32
	}
	return (curve(crv).Params().BitSize + 7) / 8
}

// ParseJWK reads a whole key: RSA with n, e, d, p and q, and dp, dq and qi if it has them; EC with crv, x, y and d; oct
// with k. A whole RSA or EC key agrees with itself.
func ParseJWK(j JWK) (*Key, error) {
	if Type(j.Kty) == Oct {
		k, err := Decode("k", j.K)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(OctSizes, len(k)*8) {
			return nil, badInput("k", "has invalid value: it has %d bytes. A symmetric key has 16, 24 or 32.", len(k))
		}
		return newOct(k), nil
	}
	public, err := ParsePublic(j)
	if err != nil {
		return nil, err
	}
	if public.Type == RSA {
		return parseRSA(public.rsa, j)
	}
	return parseEC(public, j)
}

func parseRSA(public *rsa.PublicKey, j JWK) (*Key, error) {
	numbers := map[string]*big.Int{}
	for _, field := range []struct {
		name, value string
		optional    bool
	}{{"d", j.D, false}, {"p", j.P, false}, {"q", j.Q, false}, {"dp", j.DP, true}, {"dq", j.DQ, true}, {"qi", j.QI, true}} {
		if field.optional && field.value == "" {
			continue
		}
		n, err := number(field.name, field.value)
		if err != nil {
			return nil, err
		}
		if n.BitLen() > public.N.BitLen() {
			return nil, badInput(field.name, "has invalid value: it is longer than n.")
		}
		numbers[field.name] = n
	}
	k := &rsa.PrivateKey{PublicKey: *public, D: numbers["d"], Primes: []*big.Int{numbers["p"], numbers["q"]}}
	if err := checkRSA(k); err != nil {
		return nil, err
	}
	k.Precompute()
	for name, want := range map[string]*big.Int{"dp": k.Precomputed.Dp, "dq": k.Precomputed.Dq, "qi": k.Precomputed.Qinv} {
		if got := numbers[name]; got != nil && got.Cmp(want) != 0 {
			return nil, badInput(name, "has invalid value: it does not follow from d, p and q.")
		}
	}
	return newRSA(k), nil
}

// checkRSA checks sizes, that the factors are primes that make the modulus, and that d inverts e.
func checkRSA(k *rsa.PrivateKey) error {
	bits := k.N.BitLen()
	switch {
	case !slices.Contains(RSASizes, bits):
		return badInput("n", "has invalid value: it has %d bits. The modulus of an RSA key has 2048, 3072 or 4096.", bits)
	case k.E < exponent || k.E > math.MaxInt32 || k.E&1 == 0:
		return badInput("e", "has invalid value: the public exponent is odd, at least %d, and at most %d.", exponent, math.MaxInt32)
	case len(k.Primes) != 2:
		return badInput("p", "has invalid value: the modulus of an RSA key has two prime factors.")
	case k.D.BitLen() <= bits/2:
		return badInput("d", "has invalid value: the private exponent is too short.")
	}
	p, q := k.Primes[0], k.Primes[1]
	if p.BitLen() != bits/2 || q.BitLen() != bits/2 || new(big.Int).Mul(p, q).Cmp(k.N) != 0 || p.Cmp(q) == 0 {
		return badInput("p", "has invalid value: p and q are not the two factors, of one length, of n.")
	}
	// Baillie-PSW: no composite number is known that passes, and whoever found one would harm its own key.
	if !p.ProbablyPrime(0) || !q.ProbablyPrime(0) {
		return badInput("p", "has invalid value: p and q are not both prime.")
	}
	if err := k.Validate(); err != nil {
		return badInput("d", "has invalid value: it does not invert e.")
	}
	return nil
}

func parseEC(public *Public, j JWK) (*Key, error) {
	d, err := octets("d", j.D, fieldSize(j.Crv))
	if err != nil {
		return nil, err
	}
	defer clear(d)
	var k *Key
	if public.k1 != nil {
		var scalar secp256k1.ModNScalar
		if overflow := scalar.SetByteSlice(d); overflow || scalar.IsZero() {
			return nil, badInput("d", "has invalid value: it is not from 1 to the order of %s.", j.Crv)
		}
		k = newK1(secp256k1.NewPrivateKey(&scalar))
	} else {
		private, err := ecdsa.ParseRawPrivateKey(curve(j.Crv), d)
		if err != nil {
			return nil, badInput("d", "has invalid value: it is not from 1 to the order of %s.", j.Crv)
		}
		k = newEC(private)
	}
	if !k.public.Equal(public) {
		return nil, badInput("d", "has invalid value: it is not the private half of x and y.")
	}
	return k, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Decode reads a property's base64url, with padding or without, and refuses nothing at all and what no encoder writes.
func Decode(property, s string) ([]byte, error) {
	if strings.TrimRight(s, "=") == "" {
		return nil, badInput(property, "has invalid value: it is missing or empty.")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the decoder passes over
		return nil, badInput(property, "has invalid value: it is not base64url.")
	}
	return b, nil
}

// number reads a positive integer, which may have zeros before it: other implementations write them.
func number(property, s string) (*big.Int, error) {
	b, err := Decode(property, s)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return nil, badInput(property, "has invalid value: it is zero.")
	}
	return new(big.Int).SetBytes(b), nil
}

// octets reads a number of a fixed length, which RFC 7518 asks for in EC keys.
func octets(property, s string, size int) ([]byte, error) {
	b, err := Decode(property, s)
	if err != nil {
		return nil, err
	}
	if len(b) != size {
		return nil, badInput(property, "has invalid value: it has %d bytes and needs %d.", len(b), size)
	}
	return b, nil
}
