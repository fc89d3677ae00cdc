package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
)

// Key is the content key of the AES-128 envelope (RFC 8216 section 4.3.2.4).
type Key struct {
	ID     string // the key id, a GUID
	URI    string // where players get the key; used in playlists only
	Secret []byte // 16 bytes; used in segments only
}

// iv derives the initialization vector of a segment. It is public, and differs for every segment under a key.
func (k *Key) iv(r *rendition, start int64) [aes.BlockSize]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "aes-128 envelope iv\x00%s\x00%s\x00%d\x00%d", strings.ToLower(k.ID), r.name, r.bitrate, start))
	return [aes.BlockSize]byte(sum[:aes.BlockSize])
}

// block returns the key's cipher.
func (k *Key) block() (cipher.Block, error) {
	if len(k.Secret) != aes.BlockSize { // a longer AES key would do for Go, but not for players
		return nil, fmt.Errorf("content key %s has %d bytes; AES-128 takes %d", k.ID, len(k.Secret), aes.BlockSize)
	}
	return aes.NewCipher(k.Secret)
}

// envelopeSize is the size of size bytes in the envelope: PKCS #7 always pads.
func envelopeSize(size int64) int64 { return (size/aes.BlockSize + 1) * aes.BlockSize }

// envelope encrypts what is written to it with AES-128-CBC and writes it on. Unlike other writers it encrypts in the
// caller's buffer. Close pads and writes the last block.
type envelope struct {
	w     io.Writer
	mode  cipher.BlockMode
	block [aes.BlockSize]byte // of it, held bytes wait for the rest of their block
	held  int
}

func newEnvelope(w io.Writer, block cipher.Block, iv [aes.BlockSize]byte) *envelope {
	return &envelope{w: w, mode: cipher.NewCBCEncrypter(block, iv[:])}
}

func (e *envelope) Write(p []byte) (int, error) {
	total := len(p)
	if e.held > 0 {
		n := copy(e.block[e.held:], p)
		e.held += n
		p = p[n:]
		if e.held < len(e.block) {
			return total, nil
		}
		e.mode.CryptBlocks(e.block[:], e.block[:])
		e.held = 0
		if _, err := e.w.Write(e.block[:]); err != nil {
			return 0, err
		}
	}
	whole := len(p) &^ (aes.BlockSize - 1)
	e.held = copy(e.block[:], p[whole:])
	if whole == 0 {
		return total, nil
	}
	e.mode.CryptBlocks(p[:whole], p[:whole])
	if _, err := e.w.Write(p[:whole]); err != nil {
		return 0, err
	}
	return total, nil
}

// Close writes the last block. It does not close the writer below.
func (e *envelope) Close() error {
	pad := byte(len(e.block) - e.held)
	for i := e.held; i < len(e.block); i++ {
		e.block[i] = pad
	}
	e.mode.CryptBlocks(e.block[:], e.block[:])
	_, err := e.w.Write(e.block[:])
	return err
}
