package template

import (
	"encoding/base32"
	"encoding/binary"
	"math/bits"
	"strings"
)

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// uniqueString returns 13 lower-case letters and digits that depend on its arguments alone: the same as Azure's.
func uniqueString(_ *evaluation, args []any) (any, error) {
	t, err := texts(args)
	if err != nil {
		return nil, err
	}
	return lowerBase32.EncodeToString(binary.BigEndian.AppendUint64(nil, murmur64([]byte(strings.Join(t, "-"))))), nil
}

// murmur64 is a member of the MurmurHash3 family with two lanes of 32 bits, blocks of 8 bytes and no seed. Azure does not
// document that uniqueString uses it; the test holds strings that Azure has made.
func murmur64(data []byte) uint64 {
	const c1, c2 = 0xab0e9789, 0x239b961b
	mix1 := func(k uint32) uint32 { return bits.RotateLeft32(k*c2, 15) * c1 }
	mix2 := func(k uint32) uint32 { return bits.RotateLeft32(k*c1, 17) * c2 }
	final := func(h uint32) uint32 {
		h = (h ^ h>>16) * 0x85ebca6b
		h = (h ^ h>>13) * 0xc2b2ae35
		return h ^ h>>16
	}
	length := uint32(len(data))
	var h1, h2 uint32
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= mix1(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= mix2(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	var tail [8]byte
	copy(tail[:], data)
	h1 ^= mix1(binary.LittleEndian.Uint32(tail[:])) // of nothing, nothing
	h2 ^= mix2(binary.LittleEndian.Uint32(tail[4:]))

	h2 ^= length
	h1 = (h1 ^ length) + h2
	h2 += h1
	h1, h2 = final(h1), final(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}
