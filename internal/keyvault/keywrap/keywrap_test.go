package keywrap_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"testing"

	josecipher "github.com/go-jose/go-jose/v4/cipher"

	"github.com/keyreel/keyreel/internal/keyvault/keywrap"
	"github.com/keyreel/keyreel/internal/keyvault/wycheproof"
)

func block(t testing.TB, key []byte) cipher.Block {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 3394, section 4, and RFC 5649, section 6.
func TestRFC(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wrap, unwrap     func(cipher.Block, []byte) ([]byte, error)
		kek, key, wanted string
	}{
		"3394 4.1": {keywrap.Wrap, keywrap.Unwrap, "000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF", "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"},
		"3394 4.2": {keywrap.Wrap, keywrap.Unwrap, "000102030405060708090A0B0C0D0E0F1011121314151617", "00112233445566778899AABBCCDDEEFF", "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"},
		"3394 4.3": {keywrap.Wrap, keywrap.Unwrap, "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"},
		"3394 4.6": {
			keywrap.Wrap, keywrap.Unwrap, "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
			"28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
		},
		"5649 20 bytes": {keywrap.WrapPad, keywrap.UnwrapPad, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		"5649 7 bytes":  {keywrap.WrapPad, keywrap.UnwrapPad, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		kek, _ := hex.DecodeString(tt.kek)
		key, _ := hex.DecodeString(tt.key)
		want, _ := hex.DecodeString(tt.wanted)
		got, err := tt.wrap(block(t, kek), key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: wrapped %x, %v", name, got, err)
		}
		got, err = tt.unwrap(block(t, kek), want)
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: unwrapped %x, %v", name, got, err)
		}
	}
}

func TestWycheproof(t *testing.T) {
	t.Parallel()
	for file, f := range map[string]struct {
		wrap, unwrap func(cipher.Block, []byte) ([]byte, error)
	}{
		"aes_wrap_test.json": {keywrap.Wrap, keywrap.Unwrap},
		"aes_kwp_test.json":  {keywrap.WrapPad, keywrap.UnwrapPad},
	} {
		var vectors struct {
			TestGroups []struct {
				Tests []struct {
					wycheproof.Case
					Key, Msg, CT wycheproof.Hex
				}
			}
		}
		wycheproof.Load(t, file, &vectors)
		n := 0
		for _, group := range vectors.TestGroups {
			for _, tt := range group.Tests {
				n++
				b := block(t, tt.Key)
				wrapped, err := f.wrap(b, tt.Msg)
				// Only the sizes of some vectors are wrong; of the others with Invalid it is the ciphertext alone.
				if tt.Result == wycheproof.Valid && (err != nil || !bytes.Equal(wrapped, tt.CT)) {
					t.Errorf("%s %d (%s): wrapping: %x, %v", file, tt.ID, tt.Comment, wrapped, err)
				}
				if tt.Result == wycheproof.Invalid && err == nil && bytes.Equal(wrapped, tt.CT) {
					t.Errorf("%s %d (%s): it wraps what it must not", file, tt.ID, tt.Comment)
				}
				key, err := f.unwrap(b, tt.CT)
				switch {
				case tt.Result == wycheproof.Valid && (err != nil || !bytes.Equal(key, tt.Msg)):
					t.Errorf("%s %d (%s): unwrapping: %x, %v", file, tt.ID, tt.Comment, key, err)
				case tt.Result == wycheproof.Invalid && err == nil:
					t.Errorf("%s %d (%s): it unwraps", file, tt.ID, tt.Comment)
				case tt.Result == wycheproof.Acceptable && err == nil && !bytes.Equal(key, tt.Msg):
					t.Errorf("%s %d (%s): unwrapping: %x", file, tt.ID, tt.Comment, key)
				}
			}
		}
		t.Logf("%s: %d vectors", file, n)
		if n < 100 {
			t.Errorf("%s has only %d vectors", file, n)
		}
	}
}

func TestLengths(t *testing.T) {
	t.Parallel()
	b := block(t, make([]byte, 32))
	for name, f := range map[string]struct {
		do    func(cipher.Block, []byte) ([]byte, error)
		takes func(n int) bool
	}{
		"Wrap":      {keywrap.Wrap, func(n int) bool { return n >= 16 && n%8 == 0 }},
		"Unwrap":    {keywrap.Unwrap, func(n int) bool { return n >= 24 && n%8 == 0 }},
		"WrapPad":   {keywrap.WrapPad, func(n int) bool { return n > 0 }},
		"UnwrapPad": {keywrap.UnwrapPad, func(n int) bool { return n >= 16 && n%8 == 0 }},
	} {
		for n := range 80 {
			if _, err := f.do(b, make([]byte, n)); errors.Is(err, keywrap.ErrLength) == f.takes(n) {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
}

// Every bit counts.
func TestChangedBits(t *testing.T) {
	t.Parallel()
	b := block(t, make([]byte, 16))
	for name, f := range map[string]struct {
		wrap, unwrap func(cipher.Block, []byte) ([]byte, error)
	}{
		"KW": {keywrap.Wrap, keywrap.Unwrap}, "KWP": {keywrap.WrapPad, keywrap.UnwrapPad},
	} {
		wrapped, err := f.wrap(b, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(wrapped) * 8 {
			wrapped[i/8] ^= 1 << (i % 8)
			if _, err := f.unwrap(b, wrapped); !errors.Is(err, keywrap.ErrIntegrity) {
				t.Errorf("%s: bit %d: %v", name, i, err)
			}
			wrapped[i/8] ^= 1 << (i % 8)
		}
	}
}

// UnwrapPad is told lengths and paddings of every kind: the ciphertexts are made with Wrap's function over what an honest
// WrapPad never has.
func FuzzUnwrap(f *testing.F) {
	f.Add(make([]byte, 16), make([]byte, 24))
	f.Add(make([]byte, 32), make([]byte, 16))
	f.Fuzz(func(t *testing.T, kek, data []byte) {
		b, err := aes.NewCipher(kek)
		if err != nil {
			return
		}
		if key, err := keywrap.Unwrap(b, data); err == nil {
			if again, err := keywrap.Wrap(b, key); err != nil || !bytes.Equal(again, data) {
				t.Errorf("KW: %x unwraps, and wraps to %x, %v", data, again, err)
			}
		}
		if key, err := keywrap.UnwrapPad(b, data); err == nil {
			if again, err := keywrap.WrapPad(b, key); err != nil || !bytes.Equal(again, data) {
				t.Errorf("KWP: %x unwraps, and wraps to %x, %v", data, again, err)
			}
		}
		if len(data) > 0 {
			wrapped, err := keywrap.WrapPad(b, data)
			if err != nil {
				t.Fatal(err)
			}
			if key, err := keywrap.UnwrapPad(b, wrapped); err != nil || !bytes.Equal(key, data) {
				t.Errorf("KWP: %x comes back as %x, %v", data, key, err)
			}
		}
		if len(data) >= 16 && len(data)%8 == 0 {
			wrapped, err := keywrap.Wrap(b, data)
			if err != nil {
				t.Fatal(err)
			}
			other, err := josecipher.KeyWrap(b, data)
			if err != nil || !bytes.Equal(wrapped, other) {
				t.Errorf("KW: %x, where go-jose has %x, %v", wrapped, other, err)
			}
		}
	})
}

func BenchmarkWrap(b *testing.B) {
	c := block(b, make([]byte, 32))
	key := make([]byte, 32)
	b.Run("A256KW/wrap", func(b *testing.B) {
		for b.Loop() {
			keywrap.Wrap(c, key)
		}
	})
	wrapped, err := keywrap.Wrap(c, key)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("A256KW/unwrap", func(b *testing.B) {
		for b.Loop() {
			keywrap.Unwrap(c, wrapped)
		}
	})
}
