package keywrap

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrIntegrity is why something does not unwrap: it was changed, or was wrapped under another key.
var ErrIntegrity = errors.New("keywrap: it does not unwrap under this key")

// ErrLength is in the chain of errors about lengths that the algorithm does not take, wrapped or not.
var ErrLength = errors.New("keywrap: length")

const (
	semiblock = 8
	rounds    = 6
)

var (
	initialValue            = [semiblock]byte{0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6}
	alternativeInitialValue = [4]byte{0xA6, 0x59, 0x59, 0xA6}
)

// Wrap wraps a key of 16 bytes or more, in multiples of 8, under AES (RFC 3394). The result is 8 bytes longer.
func Wrap(block cipher.Block, key []byte) ([]byte, error) {
	if len(key) < 2*semiblock || len(key)%semiblock != 0 {
		return nil, fmt.Errorf("%w: %d bytes are to be wrapped; it takes 16 or more, in multiples of 8", ErrLength, len(key))
	}
	out := make([]byte, semiblock+len(key))
	copy(out, initialValue[:])
	copy(out[semiblock:], key)
	wrap(block, out)
	return out, nil
}

// Unwrap is the inverse of Wrap.
func Unwrap(block cipher.Block, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 3*semiblock || len(wrapped)%semiblock != 0 {
		return nil, fmt.Errorf("%w: %d bytes are to be unwrapped; a wrapped key has 24 or more, in multiples of 8", ErrLength, len(wrapped))
	}
	out := append([]byte(nil), wrapped...)
	unwrap(block, out)
	if subtle.ConstantTimeCompare(out[:semiblock], initialValue[:]) != 1 {
		clear(out)
		return nil, ErrIntegrity
	}
	return out[semiblock:], nil
}

// WrapPad wraps a key of one byte or more under AES (RFC 5649). The result is the key's length, rounded up to a multiple of
// 8, plus 8.
func WrapPad(block cipher.Block, key []byte) ([]byte, error) {
	if len(key) == 0 || uint64(len(key)) > math.MaxUint32 {
		return nil, fmt.Errorf("%w: %d bytes are to be wrapped; it takes from 1 to 2^32-1", ErrLength, len(key))
	}
	padded := (len(key) + semiblock - 1) / semiblock * semiblock
	out := make([]byte, semiblock+padded)
	copy(out, alternativeInitialValue[:])
	binary.BigEndian.PutUint32(out[4:], uint32(len(key)))
	copy(out[semiblock:], key)
	if padded == semiblock {
		block.Encrypt(out, out)
	} else {
		wrap(block, out)
	}
	return out, nil
}

// UnwrapPad is the inverse of WrapPad.
func UnwrapPad(block cipher.Block, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 2*semiblock || len(wrapped)%semiblock != 0 {
		return nil, fmt.Errorf("%w: %d bytes are to be unwrapped; a wrapped key has 16 or more, in multiples of 8", ErrLength, len(wrapped))
	}
	out := append([]byte(nil), wrapped...)
	if len(out) == 2*semiblock {
		block.Decrypt(out, out)
	} else {
		unwrap(block, out)
	}
	n, ok := paddedLength(out)
	if !ok {
		clear(out)
		return nil, ErrIntegrity
	}
	return out[semiblock : semiblock+n], nil
}

// paddedLength checks what UnwrapPad decrypted: the constant, a length that fits the number of blocks, and padding of
// zeros, all of them in the same time whichever fails.
func paddedLength(out []byte) (n int, ok bool) {
	padded := len(out) - semiblock
	good := subtle.ConstantTimeCompare(out[:4], alternativeInitialValue[:])
	length := binary.BigEndian.Uint32(out[4:])
	// padded-8 < length <= padded: from 0 to 7 bytes are missing.
	missing := int64(padded) - int64(length)
	good &= subtle.ConstantTimeEq(int32(missing>>3), 0)
	// A byte of the last block is padding when it stands at missing from the end or nearer.
	var padding byte
	for i := range semiblock - 1 {
		isPadding := subtle.ConstantTimeLessOrEq(i+1, int(missing)&(semiblock-1))
		padding |= byte(-isPadding) & out[len(out)-1-i]
	}
	good &= subtle.ConstantTimeByteEq(padding, 0)
	return int(length), good == 1
}

// wrap is the function W of SP 800-38F, in place: out holds the initial value and then the key.
func wrap(block cipher.Block, out []byte) {
	var b [2 * semiblock]byte
	copy(b[:], out)
	t := uint64(1)
	for range rounds {
		for r := out[semiblock:]; len(r) > 0; r = r[semiblock:] {
			copy(b[semiblock:], r)
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^t)
			copy(r, b[semiblock:])
			t++
		}
	}
	copy(out, b[:semiblock])
	clear(b[:])
}

// unwrap is the inverse of wrap.
func unwrap(block cipher.Block, out []byte) {
	var b [2 * semiblock]byte
	copy(b[:], out[:semiblock])
	n := len(out)/semiblock - 1
	t := uint64(rounds * n)
	for range rounds {
		for i := n; i > 0; i-- {
			r := out[i*semiblock : (i+1)*semiblock]
			binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^t)
			copy(b[semiblock:], r)
			block.Decrypt(b[:], b[:])
			copy(r, b[semiblock:])
			t--
		}
	}
	copy(out, b[:semiblock])
	clear(b[:])
}
