package material

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/keyvault/wycheproof"
)

var hashes = map[string]crypto.Hash{"SHA-1": crypto.SHA1, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

func digest(sha string, msg []byte) []byte {
	h := hashes[sha].New()
	h.Write(msg)
	return h.Sum(nil)
}

// privateKey reads a private key of the vectors in both of the forms that they give.
func privateKey(t *testing.T, j JWK, pkcs8 []byte) *Key {
	t.Helper()
	j.Kty = string(RSA)
	k, err := ParseJWK(j)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(private)
	if err != nil || !k.Equal(other) {
		t.Fatalf("the two forms of a private key differ: %v", err)
	}
	return k
}

func TestWycheproofRSADecrypt(t *testing.T) {
	t.Parallel()
	for file, alg := range map[string]string{
		"rsa_oaep_2048_sha256_mgf1sha256_test.json": "RSA-OAEP-256",
		"rsa_oaep_3072_sha256_mgf1sha256_test.json": "RSA-OAEP-256",
		"rsa_oaep_4096_sha256_mgf1sha256_test.json": "RSA-OAEP-256",
		"rsa_oaep_2048_sha1_mgf1sha1_test.json":     "RSA-OAEP",
		"rsa_pkcs1_2048_test.json":                  "RSA1_5",
		"rsa_pkcs1_3072_test.json":                  "RSA1_5",
		"rsa_pkcs1_4096_test.json":                  "RSA1_5",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			var vectors struct {
				TestGroups []struct {
					PrivateKeyJWK   JWK
					PrivateKeyPKCS8 wycheproof.Hex
					Tests           []struct {
						wycheproof.Case
						Msg, CT, Label wycheproof.Hex
					}
				}
			}
			wycheproof.Load(t, file, &vectors)
			n := 0
			for _, group := range vectors.TestGroups {
				if group.PrivateKeyJWK.N == "" {
					continue // of a size or with an exponent that JWK's group lacks
				}
				k := privateKey(t, group.PrivateKeyJWK, group.PrivateKeyPKCS8)
				for _, tt := range group.Tests {
					if len(tt.Label) > 0 {
						continue // the service has no labels
					}
					n++
					out, err := k.Decrypt(Wrapping, alg, Ciphertext{Value: tt.CT})
					switch {
					case tt.Result == wycheproof.Valid && (err != nil || !bytes.Equal(out, tt.Msg)):
						t.Errorf("%d (%s): %x, %v", tt.ID, tt.Comment, out, err)
					case tt.Result == wycheproof.Invalid && !errors.Is(err, ErrDecrypt):
						t.Errorf("%d (%s): %v", tt.ID, tt.Comment, err)
					case tt.Result == wycheproof.Acceptable && err == nil && !bytes.Equal(out, tt.Msg):
						t.Errorf("%d (%s): %x", tt.ID, tt.Comment, out)
					}
				}
			}
			t.Logf("%d vectors", n)
			if n < 20 {
				t.Errorf("only %d vectors ran", n)
			}
		})
	}
}

func TestWycheproofVerify(t *testing.T) {
	t.Parallel()
	for file, alg := range map[string]string{
		"rsa_signature_2048_sha256_test.json":    "RS256",
		"rsa_signature_2048_sha384_test.json":    "RS384",
		"rsa_signature_2048_sha512_test.json":    "RS512",
		"rsa_signature_3072_sha256_test.json":    "RS256",
		"rsa_signature_3072_sha384_test.json":    "RS384",
		"rsa_signature_3072_sha512_test.json":    "RS512",
		"rsa_signature_4096_sha256_test.json":    "RS256",
		"rsa_signature_4096_sha384_test.json":    "RS384",
		"rsa_signature_4096_sha512_test.json":    "RS512",
		"rsa_pss_2048_sha256_mgf1_32_test.json":  "PS256",
		"rsa_pss_3072_sha256_mgf1_32_test.json":  "PS256",
		"rsa_pss_4096_sha256_mgf1_32_test.json":  "PS256",
		"rsa_pss_2048_sha384_mgf1_48_test.json":  "PS384",
		"rsa_pss_4096_sha384_mgf1_48_test.json":  "PS384",
		"rsa_pss_4096_sha512_mgf1_64_test.json":  "PS512",
		"ecdsa_secp256r1_sha256_p1363_test.json": "ES256",
		"ecdsa_secp384r1_sha384_p1363_test.json": "ES384",
		"ecdsa_secp521r1_sha512_p1363_test.json": "ES512",
		"ecdsa_secp256k1_sha256_p1363_test.json": "ES256K",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			var vectors struct {
				TestGroups []struct {
					SHA       string
					PublicKey struct {
						Modulus, WX, WY string
						PublicExponent  wycheproof.Hex
					}
					Tests []struct {
						wycheproof.Case
						Msg, Sig wycheproof.Hex
					}
				}
			}
			wycheproof.Load(t, file, &vectors)
			n := 0
			for _, group := range vectors.TestGroups {
				key := group.PublicKey
				j := JWK{Kty: string(RSA), N: fromHex(t, key.Modulus, 0), E: encode(key.PublicExponent)}
				if key.Modulus == "" {
					crv := map[string]string{"ES256": P256, "ES384": P384, "ES512": P521, "ES256K": P256K}[alg]
					size := fieldSize(crv)
					j = JWK{Kty: string(EC), Crv: crv, X: fromHex(t, key.WX, size), Y: fromHex(t, key.WY, size)}
				}
				p, err := ParsePublic(j)
				if err != nil {
					// The service takes no RSA key with so small an exponent.
					if bytes.Equal(key.PublicExponent, []byte{3}) {
						continue
					}
					t.Fatal(err)
				}
				for _, tt := range group.Tests {
					n++
					ok, err := p.Verify(alg, digest(group.SHA, tt.Msg), tt.Sig)
					if err != nil || tt.Result != wycheproof.Acceptable && ok != (tt.Result == wycheproof.Valid) {
						t.Errorf("%d (%s) is %s: %v, %v", tt.ID, tt.Comment, tt.Result, ok, err)
					}
				}
			}
			t.Logf("%d vectors", n)
			if n < 50 {
				t.Errorf("only %d vectors ran", n)
			}
		})
	}
}

// fromHex writes a hexadecimal number in base64url, of size bytes when it is not 0.
func fromHex(t *testing.T, s string, size int) string {
	t.Helper()
	s = strings.TrimLeft(s, "0")
	if len(s)%2 == 1 {
		s = "0" + s
	}
	var h wycheproof.Hex
	if err := h.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return encode(append(make([]byte, max(0, size-len(h))), h...))
}

func TestWycheproofHMAC(t *testing.T) {
	t.Parallel()
	for file, alg := range map[string]string{"hmac_sha256_test.json": "HS256", "hmac_sha384_test.json": "HS384", "hmac_sha512_test.json": "HS512"} {
		var vectors struct {
			TestGroups []struct {
				TagSize int
				Tests   []struct {
					wycheproof.Case
					Key, Msg, Tag wycheproof.Hex
				}
			}
		}
		wycheproof.Load(t, file, &vectors)
		n := 0
		for _, group := range vectors.TestGroups {
			for _, tt := range group.Tests {
				n++
				k := &Key{public: &Public{Type: Oct}, oct: tt.Key} // of any length: the service has not all of them
				ok, err := k.Verify(alg, tt.Msg, tt.Tag)
				// Truncated tags are valid to others; here a tag is whole.
				want := tt.Result == wycheproof.Valid && group.TagSize == hashes["SHA-"+alg[2:]].Size()*8
				if err != nil || ok != want {
					t.Errorf("%s %d (%s) is %s: %v, %v", file, tt.ID, tt.Comment, tt.Result, ok, err)
				}
				if mac, err := k.Sign(alg, tt.Msg); want && (err != nil || !bytes.Equal(mac, tt.Tag)) {
					t.Errorf("%s %d (%s): %x, %v", file, tt.ID, tt.Comment, mac, err)
				}
			}
		}
		if t.Logf("%s: %d vectors", file, n); n < 150 {
			t.Errorf("%s: only %d vectors ran", file, n)
		}
	}
}

func TestWycheproofAES(t *testing.T) {
	t.Parallel()
	type test struct {
		wycheproof.Case
		Key, IV, AAD, Msg, CT, Tag wycheproof.Hex
	}
	for file, alg := range map[string]string{"aes_gcm_test.json": "GCM", "aes_cbc_pkcs5_test.json": "CBCPAD"} {
		var vectors struct{ TestGroups []struct{ Tests []test } }
		wycheproof.Load(t, file, &vectors)
		n := 0
		for _, group := range vectors.TestGroups {
			for _, tt := range group.Tests {
				n++
				k, err := ParseJWK(JWK{Kty: string(Oct), K: encode(tt.Key)})
				if err != nil {
					t.Fatal(err)
				}
				name := map[int]string{16: "A128", 24: "A192", 32: "A256"}[len(tt.Key)] + alg
				out, err := k.Decrypt(Encrypting, name, Ciphertext{Value: tt.CT, IV: tt.IV, AAD: tt.AAD, Tag: tt.Tag})
				var input *InputError
				switch {
				case alg == "GCM" && len(tt.IV) != gcmNonce: // other nonces exist; the service takes none
					if !errors.As(err, &input) {
						t.Errorf("%s %d (%s): %v", file, tt.ID, tt.Comment, err)
					}
				case tt.Result == wycheproof.Valid && (err != nil || !bytes.Equal(out, tt.Msg)):
					t.Errorf("%s %d (%s): %x, %v", file, tt.ID, tt.Comment, out, err)
				case tt.Result == wycheproof.Invalid && !errors.Is(err, ErrDecrypt):
					t.Errorf("%s %d (%s): %x, %v", file, tt.ID, tt.Comment, out, err)
				}
				if alg == "CBCPAD" && tt.Result == wycheproof.Valid {
					if c, err := k.Encrypt(Encrypting, name, tt.Msg, tt.IV, nil); err != nil || !bytes.Equal(c.Value, tt.CT) {
						t.Errorf("%s %d (%s): encrypted %x, %v", file, tt.ID, tt.Comment, c.Value, err)
					}
				}
			}
		}
		if t.Logf("%s: %d vectors", file, n); n < 100 {
			t.Errorf("%s: only %d vectors ran", file, n)
		}
	}
}
