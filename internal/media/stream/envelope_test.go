package stream

import (
	"bytes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"testing"
)

// However the plain text is split into writes, the envelope is CBC with PKCS #7 over all of it.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	iv := [16]byte{1, 2, 3}
	c, err := (&Key{Secret: []byte("0123456789abcdef")}).block()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 15, 16, 17, 31, 32, 1000, 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			plain := make([]byte, size)
			for i := range plain {
				plain[i] = byte(i * 7)
			}
			rng := rand.New(rand.NewPCG(1, uint64(size)))
			for range 20 {
				var out bytes.Buffer
				e := newEnvelope(&out, c, iv)
				for left := bytes.Clone(plain); len(left) > 0; {
					n := 1 + rng.IntN(len(left))
					if _, err := e.Write(left[:n]); err != nil {
						t.Fatal(err)
					}
					left = left[n:]
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				if int64(out.Len()) != envelopeSize(int64(size)) {
					t.Fatalf("%d bytes, envelopeSize says %d", out.Len(), envelopeSize(int64(size)))
				}
				got := out.Bytes()
				cipher.NewCBCDecrypter(c, iv[:]).CryptBlocks(got, got)
				pad := int(got[len(got)-1])
				if !bytes.Equal(got[:len(got)-pad], plain) {
					t.Fatal("the plain text does not come back")
				}
			}
		})
	}
}

func TestEnvelopeWantsAWholeKey(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 5, 24, 32} {
		if _, err := (&Key{Secret: make([]byte, size)}).block(); err == nil {
			t.Errorf("a key of %d bytes was taken", size)
		}
	}
}

func TestRescale(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		v        int64
		to, from uint32
		want     int64
	}{
		{1, 10_000_000, 30_000, 333}, {-1, 10_000_000, 30_000, -333}, {1 << 44, 10_000_000, 1, 1<<63 - 1}, {48_000, 10_000_000, 48_000, 10_000_000},
	} {
		if got := rescale(tc.v, tc.to, tc.from); got != tc.want {
			t.Errorf("rescale(%d, %d, %d) = %d, want %d", tc.v, tc.to, tc.from, got, tc.want)
		}
	}
}
