package material

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Type is a kind of key, as kty names it.
type Type string

// The types.
const (
	RSA Type = "RSA"
	EC  Type = "EC"
	Oct Type = "oct"
)

// Names of curves, as crv has them.
const (
	P256  = "P-256"
	P384  = "P-384"
	P521  = "P-521"
	P256K = "P-256K" // secp256k1
)

// Curves lists the names of curves, RSASizes and OctSizes the lengths of keys in bits.
var (
	Curves   = []string{P256, P384, P521, P256K}
	RSASizes = []int{2048, 3072, 4096}
	OctSizes = []int{128, 192, 256}
)

// Spec says which key Generate makes.
type Spec struct {
	Type     Type
	Bits     int    // RSA and oct
	Curve    string // EC
	Exponent int    // RSA's public exponent; 0 is 65537, and nothing else is generated
}

// Check says whether there are such keys.
func (s Spec) Check() error {
	switch {
	case s.Type == RSA && !slices.Contains(RSASizes, s.Bits):
		return badInput("key_size", "has invalid value %d. An RSA key has 2048, 3072 or 4096 bits.", s.Bits)
	case s.Type == RSA && s.Exponent != 0 && s.Exponent != exponent:
		return badInput("public_exponent", "has invalid value %d. It is %d.", s.Exponent, exponent)
	case s.Type == Oct && !slices.Contains(OctSizes, s.Bits):
		return badInput("key_size", "has invalid value %d. A symmetric key has 128, 192 or 256 bits.", s.Bits)
	case s.Type == EC && !slices.Contains(Curves, s.Curve):
		return badInput("crv", "has invalid value '%s'. It is 'P-256', 'P-384', 'P-521' or 'P-256K'.", s.Curve)
	}
	return nil
}

// exponent is the public exponent of generated RSA keys, and the least that others may have.
const exponent = 65537

// Public is what may be known of a key: the public half of a pair, or the length of a symmetric key. It does not change.
type Public struct {
	Type Type
	rsa  *rsa.PublicKey
	ec   *ecdsa.PublicKey     // P-256, P-384, P-521
	k1   *secp256k1.PublicKey // P-256K
	bits int                  // oct
}

// Key is a whole key. It is safe for concurrent use until Zero.
type Key struct {
	public *Public
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	k1     *secp256k1.PrivateKey
	oct    []byte
	block  cipher.Block // AES under oct
}

// Generate makes a random key. An RSA key of 4096 bits takes about a second.
func Generate(s Spec) (*Key, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	switch s.Type {
	case RSA:
		k, err := rsa.GenerateKey(rand.Reader, s.Bits)
		if err != nil {
			return nil, fmt.Errorf("generating an RSA key of %d bits: %w", s.Bits, err)
		}
		return newRSA(k), nil
	case EC:
		if s.Curve == P256K {
			k, err := secp256k1.GeneratePrivateKey()
			if err != nil {
				return nil, fmt.Errorf("generating a P-256K key: %w", err)
			}
			return newK1(k), nil
		}
		k, err := ecdsa.GenerateKey(curve(s.Curve), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generating a %s key: %w", s.Curve, err)
		}
		return newEC(k), nil
	case Oct:
		k := make([]byte, s.Bits/8)
		rand.Read(k)
		return newOct(k), nil
	}
	return nil, badInput("kty", "has invalid value '%s'.", s.Type)
}

// New returns the Key of an *rsa.PrivateKey or *ecdsa.PrivateKey, such as a certificate's. The Key takes it over.
func New(private crypto.PrivateKey) (*Key, error) {
	if k, ok := private.(*rsa.PrivateKey); ok {
		if err := checkRSA(k); err != nil {
			return nil, err
		}
	}
	return newTrusted(private)
}

// newTrusted is New for what was checked when it was stored: to look for primes takes longer than using the key.
func newTrusted(private crypto.PrivateKey) (*Key, error) {
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return newRSA(k), nil
	case *ecdsa.PrivateKey:
		if _, err := k.ECDH(); err != nil || !slices.Contains(Curves, k.Params().Name) {
			return nil, badInput("crv", "is not of a key on P-256, P-384 or P-521.")
		}
		return newEC(k), nil
	}
	return nil, badInput("kty", "is of neither an RSA nor an elliptic curve key.")
}

func newRSA(k *rsa.PrivateKey) *Key {
	return wipeLater(&Key{public: &Public{Type: RSA, rsa: &k.PublicKey}, rsa: k})
}

func newEC(k *ecdsa.PrivateKey) *Key {
	return wipeLater(&Key{public: &Public{Type: EC, ec: &k.PublicKey}, ec: k})
}

func newK1(k *secp256k1.PrivateKey) *Key {
	return wipeLater(&Key{public: &Public{Type: EC, k1: k.PubKey()}, k1: k})
}

func newOct(k []byte) *Key {
	block, err := aes.NewCipher(k)
	if err != nil {
		panic(err) // every caller checks the length
	}
	return wipeLater(&Key{public: &Public{Type: Oct, bits: len(k) * 8}, oct: k, block: block})
}

// secrets are what a Key keeps that nobody may find in memory later.
type secrets struct {
	words [][]big.Word
	bytes []byte
	k1    *secp256k1.PrivateKey
}

func (s secrets) wipe() {
	for _, w := range s.words {
		clear(w)
	}
	clear(s.bytes)
	if s.k1 != nil {
		s.k1.Zero()
	}
}

func (k *Key) secrets() secrets {
	s := secrets{bytes: k.oct, k1: k.k1}
	if k.rsa != nil {
		p := k.rsa.Precomputed
		for _, n := range append([]*big.Int{k.rsa.D, p.Dp, p.Dq, p.Qinv}, k.rsa.Primes...) {
			if n != nil {
				s.words = append(s.words, n.Bits())
			}
		}
	}
	if k.ec != nil {
		//lint:ignore SA1019 the number itself has to be overwritten
		s.words = append(s.words, k.ec.D.Bits())
	}
	return s
}

// wipeLater has the secrets overwritten once nobody refers to the Key. What uses them keeps it alive until then.
func wipeLater(k *Key) *Key {
	runtime.AddCleanup(k, secrets.wipe, k.secrets())
	return k
}

// Zero overwrites the key, which nobody may use any more.
func (k *Key) Zero() { k.secrets().wipe() }

// Public is the key's public part.
func (k *Key) Public() *Public { return k.public }

// Signer is the key for packages that sign with a crypto.Signer, as crypto/x509 does; nil for symmetric keys and for
// P-256K, which crypto/x509 does not know.
func (k *Key) Signer() crypto.Signer {
	if k.standard() == nil {
		return nil
	}
	return signer{k}
}

// standard is the key as the standard library has it.
func (k *Key) standard() crypto.Signer {
	switch {
	case k.rsa != nil:
		return k.rsa
	case k.ec != nil:
		return k.ec
	}
	return nil
}

// signer holds on to its Key while it signs: nothing is overwritten under its hands.
type signer struct{ key *Key }

func (s signer) Public() crypto.PublicKey { return s.key.public.Crypto() }

func (s signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer runtime.KeepAlive(s.key)
	return s.key.standard().Sign(rand, digest, opts)
}

// Crypto is the public half as the standard library has it: *rsa.PublicKey or *ecdsa.PublicKey; nil for symmetric keys and
// for P-256K.
func (p *Public) Crypto() crypto.PublicKey {
	switch {
	case p.rsa != nil:
		return p.rsa
	case p.ec != nil:
		return p.ec
	}
	return nil
}

// Spec is what Generate makes such a key from.
func (p *Public) Spec() Spec {
	return Spec{Type: p.Type, Bits: p.Bits(), Curve: p.Curve()}
}

// Bits is the length of an RSA modulus or of a symmetric key; 0 for others.
func (p *Public) Bits() int {
	if p.rsa != nil {
		return p.rsa.N.BitLen()
	}
	return p.bits
}

// Curve is the name of an EC key's curve, and empty for others.
func (p *Public) Curve() string {
	switch {
	case p.k1 != nil:
		return P256K
	case p.ec != nil:
		return p.ec.Params().Name
	}
	return ""
}

// Equal reports whether both are the same public half; symmetric keys of the same length are.
func (p *Public) Equal(q *Public) bool {
	switch {
	case p.rsa != nil:
		return q.rsa != nil && p.rsa.Equal(q.rsa)
	case p.ec != nil:
		return q.ec != nil && p.ec.Equal(q.ec)
	case p.k1 != nil:
		return q.k1 != nil && p.k1.IsEqual(q.k1)
	}
	return q.bits == p.bits && q.Type == p.Type
}

// Equal reports whether both keys are the same.
func (k *Key) Equal(l *Key) bool {
	return k.public.Equal(l.public) && subtle.ConstantTimeCompare(k.oct, l.oct) == 1
}

func curve(name string) elliptic.Curve {
	switch name {
	case P256:
		return elliptic.P256()
	case P384:
		return elliptic.P384()
	}
	return elliptic.P521()
}
