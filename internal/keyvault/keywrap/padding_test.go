package keywrap

import (
	"encoding/binary"
	"testing"
)

// Every length and every single byte of padding is decided on as RFC 5649, section 3, does.
func TestPaddedLength(t *testing.T) {
	t.Parallel()
	for _, padded := range []int{8, 16, 24} {
		for _, length := range []uint32{0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 32, 1 << 31, 1<<32 - 1, 1<<32 - 8} {
			for dirty := range padded + 1 { // the byte that is not zero; padded is none
				out := make([]byte, semiblock+padded)
				copy(out, alternativeInitialValue[:])
				binary.BigEndian.PutUint32(out[4:], length)
				if dirty < padded {
					out[semiblock+dirty] = 1
				}
				want := int64(length) > int64(padded-semiblock) && int64(length) <= int64(padded) && (dirty == padded || int64(dirty) < int64(length))
				if n, ok := paddedLength(out); ok != want || ok && n != int(length) {
					t.Errorf("%d bytes, length %d, byte %d not zero: %d, %v; want %v", padded, length, dirty, n, ok, want)
				}
				out[0] ^= 1
				if _, ok := paddedLength(out); ok {
					t.Errorf("%d bytes, length %d: another constant is taken", padded, length)
				}
			}
		}
	}
}
