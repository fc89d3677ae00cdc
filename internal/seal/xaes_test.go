package seal

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"testing"
)

// The two vectors and the accumulated one are those of c2sp.org/XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	t.Parallel()
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	for _, tt := range []struct {
		name, aad, want string
		key             byte
	}{
		{"MSB of L clear, no associated data", "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271", 1},
		{"MSB of L set, associated data", "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := newXAES(Key(bytes.Repeat([]byte{tt.key}, 32)))
			sealed := x.sealWith(nil, nonce, []byte("XAES-256-GCM"), []byte(tt.aad))
			if got := hex.EncodeToString(sealed[xaesNonceSize:]); got != tt.want {
				t.Errorf("sealed %s, want %s", got, tt.want)
			}
			plain, err := x.open(sealed, []byte(tt.aad))
			if err != nil || string(plain) != "XAES-256-GCM" {
				t.Errorf("opened %q, %v", plain, err)
			}
		})
	}
}

func TestXAESAccumulated(t *testing.T) {
	t.Parallel()
	in, out := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	take := func(n int) []byte {
		b := make([]byte, n)
		in.Read(b)
		return b
	}
	for range 10_000 {
		x := newXAES(Key(take(32)))
		nonce := take(xaesNonceSize)
		plaintext := take(int(take(1)[0]))
		aad := take(int(take(1)[0]))
		sealed := x.sealWith(nil, nonce, plaintext, aad)
		out.Write(sealed[xaesNonceSize:])
		if plain, err := x.open(sealed, aad); err != nil || !bytes.Equal(plain, plaintext) {
			t.Fatalf("opened %x, %v; want %x", plain, err, plaintext)
		}
	}
	sum := make([]byte, 32)
	out.Read(sum)
	if got, want := hex.EncodeToString(sum), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"; got != want {
		t.Errorf("accumulated %s, want %s", got, want)
	}
}
