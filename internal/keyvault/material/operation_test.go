package material

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/keyvault/keywrap"
)

// Every algorithm does what its names say with every key that it is for, and with no other.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret of two blocks, 32 bytes")
	for _, spec := range everySpec() {
		t.Run(fmt.Sprint(spec), func(t *testing.T) {
			t.Parallel()
			k, other := generate(t, spec), generate(t, spec)
			for i := range algorithms {
				a := &algorithms[i]
				for _, use := range []Use{Encrypting, Wrapping, Signing} {
					name, err := k.public.Algorithm(use, strings.ToLower(a.name))
					if !a.fits(k.public, use) {
						var input *InputError
						if !errors.As(err, &input) || input.Property != "alg" {
							t.Errorf("%s for %v: %v", a.name, use, err)
						}
						continue
					}
					if err != nil || name != a.name {
						t.Errorf("%s: %s, %v", a.name, name, err)
					}
					if use == Signing {
						checkSigning(t, a, k, other)
						continue
					}
					var iv []byte
					if a.scheme == cbc || a.scheme == cbcPad {
						iv = []byte("0123456789abcdef")
					}
					sealed, err := k.Encrypt(use, a.name, secret, iv, nil)
					if err != nil {
						t.Errorf("%s: %v", a.name, err)
						continue
					}
					if out, err := k.Decrypt(use, a.name, sealed); err != nil || !bytes.Equal(out, secret) {
						t.Errorf("%s: %q, %v", a.name, out, err)
					}
					if out, err := other.Decrypt(use, a.name, sealed); a.scheme != cbc && a.scheme != cbcPad && !errors.Is(err, ErrDecrypt) {
						t.Errorf("%s with another key: %q, %v", a.name, out, err)
					}
					for _, changed := range [][]byte{nil, sealed.Value[:len(sealed.Value)-1], append(slices.Clone(sealed.Value), 0)} {
						c := sealed
						c.Value = changed
						if _, err := k.Decrypt(use, a.name, c); !errors.Is(err, ErrDecrypt) {
							t.Errorf("%s of %d bytes: %v", a.name, len(changed), err)
						}
					}
				}
			}
			if _, err := k.public.Algorithm(Encrypting, ""); err == nil {
				t.Error("no algorithm is one")
			}
		})
	}
}

func checkSigning(t *testing.T, a *algorithm, k, other *Key) {
	t.Helper()
	size := 32
	if a.hash != 0 {
		size = a.hash.Size()
	}
	digest := bytes.Repeat([]byte{7}, size)
	signature, err := k.Sign(a.name, digest)
	if err != nil {
		t.Errorf("%s: %v", a.name, err)
		return
	}
	for name, tt := range map[string]struct {
		k                 *Key
		digest, signature []byte
		want              bool
	}{
		"its own":           {k, digest, signature, true},
		"another key":       {other, digest, signature, false},
		"another digest":    {k, bytes.Repeat([]byte{8}, size), signature, false},
		"a changed one":     {k, digest, append(slices.Clone(signature[:len(signature)-1]), signature[len(signature)-1]^1), false},
		"one that was cut":  {k, digest, signature[:len(signature)-1], false},
		"one that is empty": {k, digest, nil, false},
		"a longer one":      {k, digest, append(slices.Clone(signature), 0), false},
	} {
		if ok, err := tt.k.Verify(a.name, tt.digest, tt.signature); err != nil || ok != tt.want {
			t.Errorf("%s, %s: %v, %v", a.name, name, ok, err)
		}
		if k.oct == nil {
			if ok, err := tt.k.public.Verify(a.name, tt.digest, tt.signature); err != nil || ok != tt.want {
				t.Errorf("%s, %s, with the public half: %v, %v", a.name, name, ok, err)
			}
		}
	}
	if a.scheme == hmacSum || a.scheme == null {
		return
	}
	for _, n := range []int{0, size - 1, size + 1} {
		var input *InputError
		if _, err := k.Sign(a.name, make([]byte, n)); !errors.As(err, &input) || input.Property != "value" {
			t.Errorf("%s signs %d bytes: %v", a.name, n, err)
		}
		if _, err := k.Verify(a.name, make([]byte, n), signature); !errors.As(err, &input) || input.Property != "digest" {
			t.Errorf("%s verifies %d bytes: %v", a.name, n, err)
		}
	}
	if a.scheme == ecdsaRaw && len(signature) != 2*fieldSize(a.curve) {
		t.Errorf("%s: a signature of %d bytes", a.name, len(signature))
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	oct, pair := generate(t, Spec{Type: Oct, Bits: 256}), generate(t, Spec{Type: RSA, Bits: 2048})
	iv, block := make([]byte, 16), make([]byte, 16)
	for name, tt := range map[string]struct {
		err      error
		property string
	}{
		"GCM with a nonce":       {second(oct.Encrypt(Encrypting, "A256GCM", block, make([]byte, 12), nil)), "iv"},
		"GCM, decrypting none":   {second(oct.Decrypt(Encrypting, "A256GCM", Ciphertext{Value: block, Tag: iv})), "iv"},
		"GCM, a short tag":       {second(oct.Decrypt(Encrypting, "A256GCM", Ciphertext{Value: block, IV: iv[:12], Tag: iv[:12]})), "tag"},
		"CBC without an iv":      {second(oct.Encrypt(Encrypting, "A256CBC", block, nil, nil)), "iv"},
		"CBC, part of a block":   {second(oct.Encrypt(Encrypting, "A256CBC", block[:15], iv, nil)), "value"},
		"CBC with aad":           {second(oct.Encrypt(Encrypting, "A256CBC", block, iv, block)), "aad"},
		"CBC, a tag":             {second(oct.Decrypt(Encrypting, "A256CBC", Ciphertext{Value: block, IV: iv, Tag: iv})), "tag"},
		"CBCPAD, a short iv":     {second(oct.Decrypt(Encrypting, "A256CBCPAD", Ciphertext{Value: block, IV: iv[:8]})), "iv"},
		"KW with an iv":          {second(oct.Encrypt(Wrapping, "A256KW", block, iv, nil)), "iv"},
		"KW of 8 bytes":          {second(oct.Encrypt(Wrapping, "A256KW", block[:8], nil, nil)), "value"},
		"KW of 17 bytes":         {second(oct.Encrypt(Wrapping, "CKM_AES_KEY_WRAP", make([]byte, 17), nil, nil)), "value"},
		"KWP of nothing":         {second(oct.Encrypt(Wrapping, "CKM_AES_KEY_WRAP_PAD", nil, nil, nil)), "value"},
		"KW of another length":   {second(oct.Encrypt(Wrapping, "A128KW", block, nil, nil)), "alg"},
		"KW as encryption":       {second(oct.Encrypt(Encrypting, "A256KW", block, nil, nil)), "alg"},
		"GCM as wrapping":        {second(oct.Encrypt(Wrapping, "A256GCM", block, nil, nil)), "alg"},
		"OAEP with an iv":        {second(pair.Encrypt(Wrapping, "RSA-OAEP", block, iv, nil)), "iv"},
		"OAEP of too much":       {second(pair.Encrypt(Wrapping, "RSA-OAEP-256", make([]byte, 191), nil, nil)), "value"},
		"RSA1_5 of too much":     {second(pair.Encrypt(Wrapping, "RSA1_5", make([]byte, 246), nil, nil)), "value"},
		"RSNULL of too much":     {second(pair.Sign("RSNULL", make([]byte, 246))), "value"},
		"RSA with oct's":         {second(pair.Sign("HS256", block)), "alg"},
		"release with oct":       {second(oct.public.WrapKey("CKM_RSA_AES_KEY_WRAP", pair)), "enc"},
		"release, unknown names": {second(pair.public.WrapKey("RSA_AES_KEY_WRAP_512", oct)), "enc"},
	} {
		var input *InputError
		if !errors.As(tt.err, &input) || input.Property != tt.property {
			t.Errorf("%s: %v, want an error about %s", name, tt.err, tt.property)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// GCM authenticates aad, iv and tag, and never uses an iv twice.
func TestGCM(t *testing.T) {
	t.Parallel()
	k := generate(t, Spec{Type: Oct, Bits: 128})
	sealed, err := k.Encrypt(Encrypting, "A128GCM", []byte("plaintext"), nil, []byte("beside"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.Encrypt(Encrypting, "A128GCM", []byte("plaintext"), nil, []byte("beside"))
	if err != nil || bytes.Equal(sealed.IV, again.IV) {
		t.Errorf("the same iv twice: %v", err)
	}
	for _, change := range []func(c *Ciphertext){
		func(c *Ciphertext) { c.AAD = nil },
		func(c *Ciphertext) { c.AAD = []byte("besides") },
		func(c *Ciphertext) { c.IV = again.IV },
		func(c *Ciphertext) { c.Tag = again.Tag },
		func(c *Ciphertext) { c.Value = again.Value },
	} {
		c := sealed
		change(&c)
		if out, err := k.Decrypt(Encrypting, "A128GCM", c); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%+v: %q, %v", c, out, err)
		}
	}
}

// Every last block is decided on as PKCS #7 says.
func TestUnpad(t *testing.T) {
	t.Parallel()
	for last := range 256 {
		for dirty := range aes.BlockSize { // the byte that differs; 0 is the last, which cannot
			b := bytes.Repeat([]byte{byte(last)}, 2*aes.BlockSize)
			if dirty > 0 {
				b[len(b)-1-dirty] ^= 1
			}
			want := last >= 1 && last <= aes.BlockSize && (dirty == 0 || dirty >= last)
			if n, ok := unpad(b); ok != want || ok && n != len(b)-last {
				t.Errorf("padding of %d, byte %d from the end changed: %d, %v", last, dirty, n, ok)
			}
		}
	}
}

// What WrapKey makes opens as PKCS #11 says.
func TestWrapKey(t *testing.T) {
	t.Parallel()
	target := generate(t, Spec{Type: RSA, Bits: 2048})
	for _, spec := range everySpec() {
		k := generate(t, spec)
		want, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for mechanism, hash := range map[string]crypto.Hash{"CKM_RSA_AES_KEY_WRAP": crypto.SHA1, "RSA_AES_KEY_WRAP_256": crypto.SHA256, "RSA_AES_KEY_WRAP_384": crypto.SHA384} {
			wrapped, err := target.public.WrapKey(mechanism, k)
			if err != nil {
				t.Fatal(err)
			}
			kek, err := rsa.DecryptOAEP(hash.New(), nil, target.rsa, wrapped[:256], nil)
			if err != nil {
				t.Fatal(err)
			}
			block, err := aes.NewCipher(kek)
			if err != nil || len(kek) != 32 {
				t.Fatal(err)
			}
			if got, err := keywrap.UnwrapPad(block, wrapped[256:]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v with %s: %v", spec, mechanism, err)
			}
		}
	}
}

// New takes keys that others made, and refuses those that the service has not.
func TestNew(t *testing.T) {
	t.Parallel()
	k := generate(t, Spec{Type: RSA, Bits: 2048})
	if got, err := New(k.rsa); err != nil || !got.Equal(k) {
		t.Error(err)
	}
	broken := *k.rsa
	broken.D = new(big.Int).Add(broken.D, big.NewInt(2))
	for name, private := range map[string]crypto.PrivateKey{"broken": &broken, "nil": nil, "bytes": []byte("key")} {
		if _, err := New(private); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, spec := range everySpec() {
		k := generate(t, spec)
		s := k.Signer()
		if spec.Type == Oct || spec.Curve == P256K {
			if s != nil || k.public.Crypto() != nil {
				t.Errorf("%v signs for crypto/x509", spec)
			}
			continue
		}
		digest := make([]byte, 32)
		if signature, err := s.Sign(nil, digest, crypto.SHA256); spec.Type == RSA && (err != nil || rsa.VerifyPKCS1v15(k.public.rsa, crypto.SHA256, digest, signature) != nil) {
			t.Errorf("%v: %v", spec, err)
		}
	}
}
