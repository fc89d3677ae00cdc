package seal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrCorrupt is in the chain of every error about sealed bytes that do not open: they were sealed under another key
// or for another place, or they were changed, cut or extended.
var ErrCorrupt = errors.New("sealed data does not open: another key, another place, or changed bytes")

const redacted = "redacted"

// Key is a 256-bit AES key. It prints as "redacted".
type Key [32]byte

// NewKey returns a random key.
func NewKey() Key {
	var key Key
	rand.Read(key[:])
	return key
}

// Zero overwrites the key. Copies of it stay as they are.
func (key *Key) Zero() { clear(key[:]) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format implements fmt.Formatter for every verb.
func (Key) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON's form.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Secret is a string that must not reach a log. It prints as "redacted".
type Secret string

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format implements fmt.Formatter for every verb.
func (Secret) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON's form. Decoding gives the text as it stands.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Seal encrypts a small value under a key, as Keyring.Seal does. The result is 40 bytes longer than the value.
func (key Key) Seal(plaintext []byte, aad ...string) []byte {
	x := newXAES(key)
	return x.seal(make([]byte, 0, len(plaintext)+xaesOverhead), plaintext, joinAAD(aad))
}

// Open decrypts what Key.Seal made, or gives ErrCorrupt.
func (key Key) Open(sealed []byte, aad ...string) ([]byte, error) {
	x := newXAES(key)
	return x.open(sealed, joinAAD(aad))
}

// joinAAD writes every part after its length, so that no two lists give the same bytes.
func joinAAD(parts []string) []byte {
	n := 0
	for _, p := range parts {
		n += 4 + len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
