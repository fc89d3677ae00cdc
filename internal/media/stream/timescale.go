package stream

import (
	"math"
	"math/bits"
)

// mulDiv returns v*num/den, rounded, through 128 bits. A result that is no int64 is capped.
func mulDiv(v, num, den uint64) uint64 {
	hi, lo := bits.Mul64(v, num)
	lo, carry := bits.Add64(lo, den/2, 0)
	hi += carry
	if hi >= den {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, den)
	return min(q, math.MaxInt64)
}

// rescale converts the time v from units of 1/from to units of 1/to.
func rescale(v int64, to, from uint32) int64 {
	if v < 0 {
		return -int64(mulDiv(uint64(-v), uint64(to), uint64(from)))
	}
	return int64(mulDiv(uint64(v), uint64(to), uint64(from)))
}
