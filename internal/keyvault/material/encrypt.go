package material

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"

	"github.com/keyreel/keyreel/internal/keyvault/keywrap"
)

// Ciphertext is what encryption gives and decryption takes. What an algorithm does not have is empty.
type Ciphertext struct {
	Value []byte
	IV    []byte // GCM: 12 bytes; CBC: 16
	Tag   []byte // GCM: 16 bytes
	AAD   []byte // GCM: what was authenticated beside
}

// Encrypt encrypts or wraps, as the algorithm does, under a public key. A symmetric key needs Key.Encrypt.
func (p *Public) Encrypt(use Use, alg string, plaintext []byte) ([]byte, error) {
	a, err := p.algorithm(use, alg)
	if err != nil {
		return nil, err
	}
	if p.rsa == nil {
		return nil, fmt.Errorf("a public %s key does not encrypt", p.Type)
	}
	var out []byte
	limit := p.rsa.Size() - 11
	if a.scheme == oaep {
		limit = p.rsa.Size() - 2*a.hash.Size() - 2
		out, err = rsa.EncryptOAEP(a.hash.New(), rand.Reader, p.rsa, plaintext, nil)
	} else {
		//lint:ignore SA1019 RSA1_5 is an algorithm of the protocol; clients choose it
		out, err = rsa.EncryptPKCS1v15(rand.Reader, p.rsa, plaintext)
	}
	if errors.Is(err, rsa.ErrMessageTooLong) {
		return nil, badInput("value", "has %d bytes. %s with a key of %d bits takes at most %d.", len(plaintext), a.name, p.rsa.N.BitLen(), limit)
	}
	if err != nil {
		return nil, fmt.Errorf("encrypting with %s: %w", a.name, err)
	}
	return out, nil
}

// Encrypt encrypts or wraps. CBC needs an iv of 16 bytes, which the caller chooses anew and at random each time; GCM
// chooses its own. aad is GCM's.
func (k *Key) Encrypt(use Use, alg string, plaintext, iv, aad []byte) (Ciphertext, error) {
	defer runtime.KeepAlive(k)
	a, err := k.public.algorithm(use, alg)
	if err != nil {
		return Ciphertext{}, err
	}
	if err := a.takes(iv, aad, nil); err != nil {
		return Ciphertext{}, err
	}
	switch a.scheme {
	case kw:
		return wrapped(keywrap.Wrap(k.block, plaintext))
	case kwp:
		return wrapped(keywrap.WrapPad(k.block, plaintext))
	case gcm:
		if len(iv) > 0 {
			return Ciphertext{}, badInput("iv", "has invalid value: %s chooses its own; leave it out.", a.name)
		}
		return k.sealGCM(plaintext, aad)
	case cbcPad:
		n := aes.BlockSize - len(plaintext)%aes.BlockSize
		padded := make([]byte, len(plaintext)+n)
		for i := copy(padded, plaintext); i < len(padded); i++ {
			padded[i] = byte(n)
		}
		defer clear(padded)
		return k.encryptCBC(a, padded, iv)
	case cbc:
		return k.encryptCBC(a, plaintext, iv)
	}
	value, err := k.public.Encrypt(use, alg, plaintext)
	return Ciphertext{Value: value}, err
}

// Decrypt decrypts or unwraps.
func (k *Key) Decrypt(use Use, alg string, c Ciphertext) ([]byte, error) {
	defer runtime.KeepAlive(k)
	a, err := k.public.algorithm(use, alg)
	if err != nil {
		return nil, err
	}
	if err := a.takes(c.IV, c.AAD, c.Tag); err != nil {
		return nil, err
	}
	var out []byte
	switch a.scheme {
	case kw:
		out, err = keywrap.Unwrap(k.block, c.Value)
	case kwp:
		out, err = keywrap.UnwrapPad(k.block, c.Value)
	case gcm:
		return k.openGCM(a, c)
	case cbc, cbcPad:
		return k.decryptCBC(a, c)
	case oaep:
		out, err = rsa.DecryptOAEP(a.hash.New(), nil, k.rsa, c.Value, nil)
	default:
		//lint:ignore SA1019 RSA1_5 is an algorithm of the protocol; only who may decrypt gets this far
		out, err = rsa.DecryptPKCS1v15(nil, k.rsa, c.Value)
	}
	if err != nil {
		return nil, ErrDecrypt
	}
	return out, nil
}

// takes refuses parameters that the algorithm has no use for: they were meant to matter.
func (a *algorithm) takes(iv, aad, tag []byte) error {
	for _, p := range []struct {
		name  string
		value []byte
		taken bool
	}{
		{"iv", iv, a.scheme == gcm || a.scheme == cbc || a.scheme == cbcPad},
		{"aad", aad, a.scheme == gcm},
		{"tag", tag, a.scheme == gcm},
	} {
		if len(p.value) > 0 && !p.taken {
			return badInput(p.name, "has invalid value: %s has none; leave it out.", a.name)
		}
	}
	return nil
}

func wrapped(value []byte, err error) (Ciphertext, error) {
	if errors.Is(err, keywrap.ErrLength) {
		return Ciphertext{}, badInput("value", "has an invalid length: AES key wrap takes 16 bytes or more, in multiples of 8; CKM_AES_KEY_WRAP_PAD takes any.")
	}
	return Ciphertext{Value: value}, err
}

const (
	gcmNonce = 12
	gcmTag   = 16
)

func (k *Key) sealGCM(plaintext, aad []byte) (Ciphertext, error) {
	aead, err := cipher.NewGCM(k.block)
	if err != nil {
		return Ciphertext{}, fmt.Errorf("encrypting with AES-GCM: %w", err)
	}
	iv := make([]byte, gcmNonce)
	rand.Read(iv)
	out := aead.Seal(nil, iv, plaintext, aad)
	n := len(out) - gcmTag
	return Ciphertext{Value: out[:n], IV: iv, Tag: out[n:], AAD: aad}, nil
}

func (k *Key) openGCM(a *algorithm, c Ciphertext) ([]byte, error) {
	switch {
	case len(c.IV) != gcmNonce:
		return nil, badInput("iv", "has %d bytes. %s takes %d.", len(c.IV), a.name, gcmNonce)
	case len(c.Tag) != gcmTag:
		return nil, badInput("tag", "has %d bytes. %s takes %d.", len(c.Tag), a.name, gcmTag)
	}
	aead, err := cipher.NewGCM(k.block)
	if err != nil {
		return nil, fmt.Errorf("decrypting with AES-GCM: %w", err)
	}
	sealed := append(append(make([]byte, 0, len(c.Value)+gcmTag), c.Value...), c.Tag...)
	out, err := aead.Open(nil, c.IV, sealed, c.AAD)
	if err != nil {
		return nil, ErrDecrypt
	}
	return out, nil
}

func checkIV(a *algorithm, iv []byte) error {
	if len(iv) != aes.BlockSize {
		return badInput("iv", "has %d bytes. %s takes %d.", len(iv), a.name, aes.BlockSize)
	}
	return nil
}

func (k *Key) encryptCBC(a *algorithm, plaintext, iv []byte) (Ciphertext, error) {
	if err := checkIV(a, iv); err != nil {
		return Ciphertext{}, err
	}
	if len(plaintext) == 0 || len(plaintext)%aes.BlockSize != 0 {
		return Ciphertext{}, badInput("value", "has %d bytes. %s takes whole blocks of %d; %sPAD takes any length.", len(plaintext), a.name, aes.BlockSize, a.name)
	}
	out := make([]byte, len(plaintext))
	cipher.NewCBCEncrypter(k.block, iv).CryptBlocks(out, plaintext)
	return Ciphertext{Value: out, IV: iv}, nil
}

func (k *Key) decryptCBC(a *algorithm, c Ciphertext) ([]byte, error) {
	if err := checkIV(a, c.IV); err != nil {
		return nil, err
	}
	if len(c.Value) == 0 || len(c.Value)%aes.BlockSize != 0 {
		return nil, ErrDecrypt
	}
	out := make([]byte, len(c.Value))
	cipher.NewCBCDecrypter(k.block, c.IV).CryptBlocks(out, c.Value)
	if a.scheme == cbc {
		return out, nil
	}
	n, ok := unpad(out)
	if !ok {
		clear(out)
		return nil, ErrDecrypt
	}
	return out[:n], nil
}

// unpad checks the padding of PKCS #7 in constant time.
func unpad(b []byte) (n int, ok bool) {
	pad := int(b[len(b)-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i := range aes.BlockSize {
		inside := subtle.ConstantTimeLessOrEq(i+1, pad)
		same := subtle.ConstantTimeByteEq(b[len(b)-1-i], byte(pad))
		good &= subtle.ConstantTimeSelect(inside, same, 1)
	}
	return len(b) - pad, good == 1
}
