package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
)

const (
	xaesNonceSize = 24
	xaesOverhead  = xaesNonceSize + 16
)

// xaes is XAES-256-GCM (c2sp.org/XAES-256-GCM): the first half of a 192-bit nonce derives, by CMAC in the counter
// mode of NIST SP 800-108r1, the AES-256-GCM key that the second half is used with. It is safe for concurrent use.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC's subkey for whole blocks
}

func newXAES(key Key) xaes {
	x := xaes{block: newAES(key[:])}
	x.block.Encrypt(x.k1[:], x.k1[:])
	var carry byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		next := x.k1[i] >> 7
		x.k1[i] = x.k1[i]<<1 | carry
		carry = next
	}
	x.k1[len(x.k1)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return x
}

// aead returns the AES-256-GCM that belongs to a nonce's first half.
func (x *xaes) aead(half []byte) cipher.AEAD {
	var derived Key
	defer derived.Zero()
	for i := range 2 {
		out := derived[i*aes.BlockSize:][:aes.BlockSize]
		copy(out, []byte{0, byte(i + 1), 'X', 0})
		copy(out[4:], half)
		subtle.XORBytes(out, out, x.k1[:])
		x.block.Encrypt(out, out)
	}
	return newGCM(derived[:])
}

// seal appends nonce, ciphertext and tag to dst.
func (x *xaes) seal(dst, plaintext, aad []byte) []byte {
	var nonce [xaesNonceSize]byte
	rand.Read(nonce[:])
	return x.sealWith(dst, nonce[:], plaintext, aad)
}

func (x *xaes) sealWith(dst, nonce, plaintext, aad []byte) []byte {
	dst = append(dst, nonce...)
	return x.aead(nonce[:12]).Seal(dst, nonce[12:], plaintext, aad)
}

func (x *xaes) open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < xaesOverhead {
		return nil, ErrCorrupt
	}
	nonce, ciphertext := sealed[:xaesNonceSize], sealed[xaesNonceSize:]
	plaintext, err := x.aead(nonce[:12]).Open(make([]byte, 0, len(sealed)-xaesOverhead), nonce[12:], ciphertext, aad)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plaintext, nil
}

func newAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // keys have 32 bytes
	}
	return block
}

func newGCM(key []byte) cipher.AEAD {
	aead, err := cipher.NewGCM(newAES(key))
	if err != nil {
		panic(err) // AES has GCM's block size
	}
	return aead
}
