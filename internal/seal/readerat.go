package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// runSegments is how many segments are read at once where several are needed: enough to make a remote object's round
// trips rare.
const runSegments = 8

// runBuffers holds *[runSegments * segmentSize]byte.
var runBuffers = sync.Pool{New: func() any { return new([runSegments * segmentSize]byte) }}

// ReaderAt decrypts ranges of what a Writer made. It reads one segment for every 64 KiB touched, and each once.
type ReaderAt struct {
	r      io.ReaderAt
	cipher segmentCipher
	sealed int64 // size of the sealed stream
	plain  int64
}

// NewReaderAt opens a sealed stream of the given sealed size. Truncation and extension are found when the last
// segment is read and when the size is impossible; a wrong key or wrong associated data when any segment is read.
func NewReaderAt(r io.ReaderAt, sealedSize int64, key Key, aad ...string) (*ReaderAt, error) {
	plain, err := PlainSize(sealedSize)
	if err != nil {
		return nil, err
	}
	var header [headerSize]byte
	if err := readFull(r, header[:], 0); err != nil {
		return nil, fmt.Errorf("reading sealed stream's header: %w", err)
	}
	if header[0] != headerSize {
		return nil, fmt.Errorf("sealed stream's header has length %d, not %d: %w", header[0], headerSize, ErrCorrupt)
	}
	s := &ReaderAt{r: r, cipher: newSegmentCipher(header[:], key, aad), sealed: sealedSize, plain: plain}
	if plain == 0 { // no read will ever touch its only segment
		if err := s.each(r, 0, 0, nil, func([]byte) error { return nil }); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Size is the number of plaintext bytes. It is as trustworthy as sealedSize until the last segment was read.
func (r *ReaderAt) Size() int64 { return r.plain }

// ReadAt implements io.ReaderAt and is safe for concurrent use.
func (r *ReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading sealed stream: negative offset %d", off)
	}
	if off >= r.plain {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	want := min(int64(len(p)), r.plain-off)
	if want == 0 {
		return 0, nil
	}
	n := 0
	err := r.each(r.r, off, want, p[:want], func(plain []byte) error {
		n += copy(p[n:], plain) // over itself where the segment was decrypted in place
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// rangeReader is what a source may implement beside io.ReaderAt when one long read costs it less than many short
// ones: a remote object store does.
type rangeReader interface {
	ReadRange(off, n int64) (io.ReadCloser, error)
}

// WriteRange writes n bytes from off on to w: the short way for downloads. A range that is not within the stream is
// io.ErrUnexpectedEOF and writes nothing. From a source with a method ReadRange(off, n int64) (io.ReadCloser, error)
// it is read in one go.
func (r *ReaderAt) WriteRange(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > r.plain-n {
		return fmt.Errorf("reading sealed stream of %d bytes at %d+%d: %w", r.plain, off, n, io.ErrUnexpectedEOF)
	}
	if n == 0 {
		return nil
	}
	src := r.r
	first, _ := segmentOf(off)
	last, _ := segmentOf(off + n - 1)
	if rr, ok := r.r.(rangeReader); ok && last-first >= runSegments {
		start := first * segmentSize
		body, err := rr.ReadRange(start, min((last+1)*segmentSize, r.sealed)-start)
		if err != nil {
			return fmt.Errorf("reading sealed stream at %d: %w", start, err)
		}
		defer body.Close() // a reader: nothing is lost
		src = inOrder{body}
	}
	return r.each(src, off, n, nil, func(plain []byte) error {
		_, err := w.Write(plain)
		return err
	})
}

// inOrder is a stream as an io.ReaderAt for one who reads it in order.
type inOrder struct{ io.Reader }

func (r inOrder) ReadAt(p []byte, _ int64) (int, error) { return io.ReadFull(r, p) }

// segmentOf returns the segment that holds the plaintext byte at off, and where in the plaintext it begins.
func segmentOf(off int64) (segment, begin int64) {
	if off < firstPlain {
		return 0, 0
	}
	segment = 1 + (off-firstPlain)/otherPlain
	return segment, firstPlain + (segment-1)*otherPlain
}

// each reads src in order and calls emit with the plaintext of off..off+n, a segment's part at a time. A segment that lies wholly
// within the range is decrypted straight into its place in dst, if there is a dst; the others in the read buffer.
func (r *ReaderAt) each(src io.ReaderAt, off, n int64, dst []byte, emit func(plain []byte) error) error {
	first, begin := segmentOf(off)
	last := first
	if n > 0 {
		last, _ = segmentOf(off + n - 1)
	}
	var buf []byte
	if first == last {
		b := segmentBuffers.Get().(*[segmentSize]byte)
		defer segmentBuffers.Put(b)
		buf = b[:]
	} else {
		b := runBuffers.Get().(*[runSegments * segmentSize]byte)
		defer runBuffers.Put(b)
		buf = b[:]
	}
	var done int64
	for segment := first; segment <= last; {
		start := segment * segmentSize
		end := min(start+int64(len(buf)), (last+1)*segmentSize, r.sealed)
		run := buf[:end-start]
		if err := readFull(src, run, start); err != nil {
			return fmt.Errorf("reading sealed stream at %d: %w", start, err)
		}
		for len(run) > 0 {
			sealed := run[:min(segmentSize, len(run))]
			run = run[len(sealed):]
			if segment == 0 {
				sealed = sealed[headerSize:]
			}
			size := int64(len(sealed) - tagSize)
			from := max(off-begin, 0)
			to := min(off+n-begin, size)
			into := sealed[:0]
			if dst != nil && from == 0 && to == size {
				into = dst[done:done:min(done+size, int64(len(dst)))]
			}
			plain, err := r.open(into, sealed, segment)
			if err != nil {
				return err
			}
			if err := emit(plain[from:to]); err != nil {
				return err
			}
			done += to - from
			begin += size
			segment++
		}
	}
	return nil
}

func (r *ReaderAt) open(into, sealed []byte, segment int64) ([]byte, error) {
	last := (segment+1)*segmentSize >= r.sealed
	nonce := r.cipher.nonce(uint32(segment), last)
	plain, err := r.cipher.aead.Open(into, nonce[:], sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("segment %d of sealed stream: %w", segment, ErrCorrupt)
	}
	return plain, nil
}

// readFull fills p. Bytes that should be there and are not are ErrCorrupt.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it ends at %d: %w", off+int64(n), ErrCorrupt)
	}
	return err
}
