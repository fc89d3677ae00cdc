package material

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"runtime"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Bytes is the form in which a key is sealed, wrapped and released: PKCS #8 for a pair, the bytes themselves for a
// symmetric key. The caller overwrites it.
func (k *Key) Bytes() ([]byte, error) {
	defer runtime.KeepAlive(k)
	switch {
	case k.oct != nil:
		return append([]byte(nil), k.oct...), nil
	case k.k1 != nil:
		return k.k1PKCS8()
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.standard())
	if err != nil {
		return nil, fmt.Errorf("encoding a %s key: %w", k.public.Type, err)
	}
	return der, nil
}

// Parse reads what Bytes returned of the key whose public part is given.
func Parse(public *Public, b []byte) (*Key, error) {
	var k *Key
	var err error
	switch {
	case public.Type == Oct && len(b)*8 == public.bits:
		k = newOct(append([]byte(nil), b...))
	case public.Type == Oct:
		return nil, fmt.Errorf("a symmetric key of %d bits has %d bytes", public.bits, len(b))
	case public.k1 != nil:
		k, err = parseK1PKCS8(b)
	default:
		k, err = parsePKCS8(b)
	}
	if err != nil {
		return nil, err
	}
	if !k.public.Equal(public) {
		return nil, fmt.Errorf("a private %s key is not that of its public key", public.Type)
	}
	return k, nil
}

func parsePKCS8(der []byte) (*Key, error) {
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("reading PKCS #8: %w", err)
	}
	return newTrusted(private)
}

// The ASN.1 of RFC 5958 and RFC 5915, as far as P-256K needs it.
type (
	pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	ecPrivateKey struct {
		Version    int
		PrivateKey []byte
		PublicKey  asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
)

var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSecp256k1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
)

func (k *Key) k1PKCS8() ([]byte, error) {
	point := k.k1.PubKey().SerializeUncompressed()
	inner, err := asn1.Marshal(ecPrivateKey{Version: 1, PrivateKey: k.k1.Serialize(), PublicKey: asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if err != nil {
		return nil, fmt.Errorf("encoding a P-256K key: %w", err)
	}
	defer clear(inner)
	curve, err := asn1.Marshal(oidSecp256k1)
	if err != nil {
		return nil, fmt.Errorf("encoding a P-256K key: %w", err)
	}
	return asn1.Marshal(pkcs8{Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}}, PrivateKey: inner})
}

func parseK1PKCS8(der []byte) (*Key, error) {
	var outer pkcs8
	var inner ecPrivateKey
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("reading PKCS #8 of a P-256K key: %v", err)
	}
	defer clear(outer.PrivateKey)
	if rest, err := asn1.Unmarshal(outer.PrivateKey, &inner); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("reading PKCS #8 of a P-256K key: %v", err)
	}
	defer clear(inner.PrivateKey)
	var scalar secp256k1.ModNScalar
	if overflow := scalar.SetByteSlice(inner.PrivateKey); overflow || scalar.IsZero() {
		return nil, fmt.Errorf("reading PKCS #8 of a P-256K key: its number is out of range")
	}
	return newK1(secp256k1.NewPrivateKey(&scalar)), nil
}
