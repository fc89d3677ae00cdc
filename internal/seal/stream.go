package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	segmentSize = 64 << 10 // ciphertext, tag and, in the first segment, header
	headerSize  = 1 + saltSize + prefixSize
	saltSize    = 32
	prefixSize  = 7
	tagSize     = 16

	firstPlain = segmentSize - headerSize - tagSize // plaintext of a full first segment
	otherPlain = segmentSize - tagSize              // plaintext of any other full segment

	maxSegments  = 1 << 32 // as many as the counter has values: 256 TiB
	maxPlainSize = firstPlain + (maxSegments-1)*otherPlain
)

// segmentBuffers holds *[segmentSize]byte for reuse: they are too large to make one a call.
var segmentBuffers = sync.Pool{New: func() any { return new([segmentSize]byte) }}

// SealedSize is how many bytes a Writer makes of n bytes.
func SealedSize(n int64) int64 {
	segments := int64(1)
	if n > firstPlain {
		segments += (n - firstPlain + otherPlain - 1) / otherPlain
	}
	return headerSize + n + segments*tagSize
}

// PlainSize is how many bytes a sealed stream of the given size holds. A size that no Writer makes is ErrCorrupt.
func PlainSize(sealed int64) (int64, error) {
	if sealed < headerSize+tagSize || sealed > SealedSize(maxPlainSize) {
		return 0, fmt.Errorf("sealed stream of %d bytes: %w", sealed, ErrCorrupt)
	}
	segments := (sealed + segmentSize - 1) / segmentSize
	last := sealed - (segments-1)*segmentSize
	if segments > 1 && last <= tagSize { // only the first segment may be empty
		return 0, fmt.Errorf("sealed stream of %d bytes is cut: %w", sealed, ErrCorrupt)
	}
	return sealed - headerSize - segments*tagSize, nil
}

// segmentCipher is the cipher of one stream.
type segmentCipher struct {
	aead   cipher.AEAD
	prefix [prefixSize]byte
}

// newSegmentCipher derives a stream's cipher from its header.
func newSegmentCipher(header []byte, key Key, aad []string) segmentCipher {
	derived, err := hkdf.Key(sha256.New, key[:], header[1:1+saltSize], string(joinAAD(aad)), len(Key{}))
	if err != nil {
		panic(err) // the length is one that HKDF gives
	}
	defer clear(derived)
	c := segmentCipher{aead: newGCM(derived)}
	copy(c.prefix[:], header[1+saltSize:])
	return c
}

func (c *segmentCipher) nonce(segment uint32, last bool) [12]byte {
	var n [12]byte
	copy(n[:], c.prefix[:])
	binary.BigEndian.PutUint32(n[prefixSize:], segment)
	if last {
		n[11] = 1
	}
	return n
}

// sealer turns plaintext into segments, one at a time in its one buffer.
type sealer struct {
	cipher  segmentCipher
	buf     *[segmentSize]byte
	start   int   // where the segment's ciphertext begins: behind the header or at 0
	n       int   // end of the plaintext in buf
	segment int64 // number of the segment in buf
}

func newSealer(key Key, aad []string) *sealer {
	s := &sealer{buf: segmentBuffers.Get().(*[segmentSize]byte), start: headerSize, n: headerSize}
	s.buf[0] = headerSize
	rand.Read(s.buf[1:headerSize])
	s.cipher = newSegmentCipher(s.buf[:headerSize], key, aad)
	return s
}

// room is the part of the buffer that takes more plaintext.
func (s *sealer) room() []byte { return s.buf[s.n : segmentSize-tagSize] }

// seal encrypts what the buffer holds and returns the segment, which is good until the next call of any method.
func (s *sealer) seal(last bool) ([]byte, error) {
	if s.segment >= maxSegments {
		return nil, fmt.Errorf("sealing stream: more than %d bytes", int64(maxPlainSize))
	}
	nonce := s.cipher.nonce(uint32(s.segment), last)
	s.cipher.aead.Seal(s.buf[s.start:s.start], nonce[:], s.buf[s.start:s.n], nil)
	segment := s.buf[:s.n+tagSize]
	s.segment++
	s.start, s.n = 0, 0
	return segment, nil
}

func (s *sealer) release() {
	segmentBuffers.Put(s.buf)
	s.buf = nil
}

// NewWriter encrypts a stream in 64 KiB segments (Tink's AES256_GCM_HKDF format). Close writes the last segment and
// does not close w. Whoever cannot write all of the plaintext must not call Close: it would make what was written so
// far look whole.
func NewWriter(w io.Writer, key Key, aad ...string) (io.WriteCloser, error) {
	return &writer{w: w, s: newSealer(key, aad)}, nil
}

type writer struct {
	w   io.Writer
	s   *sealer
	err error // of the first write that failed, or errClosed
}

var errClosed = errors.New("sealing stream: write after close")

func (w *writer) Write(p []byte) (int, error) {
	n := 0
	for w.err == nil && len(p) > 0 {
		// A full segment is held back until more comes, for it may be the last.
		if len(w.s.room()) == 0 {
			w.flush(false)
			continue
		}
		c := copy(w.s.room(), p)
		w.s.n += c
		n += c
		p = p[c:]
	}
	if len(p) > 0 {
		return n, w.err
	}
	return n, nil
}

func (w *writer) flush(last bool) {
	segment, err := w.s.seal(last)
	if err == nil {
		_, err = w.w.Write(segment)
	}
	w.err = err
}

// Close writes the last segment. After a failed Write it writes nothing and returns that error.
func (w *writer) Close() error {
	if w.s == nil {
		return nil
	}
	if w.err == nil {
		w.flush(true)
	}
	err := w.err
	w.s.release()
	w.s, w.err = nil, errClosed
	return err
}

// NewReader returns the sealed form of what r gives, for takers that read, such as object.Store.Put. An error of r
// ends it without a last segment.
func NewReader(r io.Reader, key Key, aad ...string) io.Reader {
	return &reader{r: r, s: newSealer(key, aad)}
}

type reader struct {
	r    io.Reader
	s    *sealer
	out  []byte // what is left of the sealed segment
	next byte   // the first byte of the next segment, read to know that there is one
	more bool   // next is valid
	err  error  // what follows after out
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// WriteTo saves io.Copy a buffer.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.out) > 0 {
			n, err := w.Write(r.out)
			r.out = r.out[n:]
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
		if r.err == io.EOF {
			return total, nil
		}
		if r.err != nil {
			return total, r.err
		}
		r.fill()
	}
}

// fill seals the next segment into out.
func (r *reader) fill() {
	s := r.s
	if r.more {
		s.buf[s.n] = r.next
		s.n++
		r.more = false
	}
	n, err := io.ReadFull(r.r, s.room())
	s.n += n
	if err == nil { // full: is it the last?
		var b [1]byte
		_, err = io.ReadFull(r.r, b[:])
		r.next, r.more = b[0], err == nil
	}
	last := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !last {
		r.err = err
		return
	}
	if r.out, r.err = s.seal(last); last && r.err == nil {
		r.err = io.EOF
	}
}
