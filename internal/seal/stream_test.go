package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sizes stand around every border of the format.
var sizes = []int{
	0, 1, 15, 16, 17, firstPlain - 1, firstPlain, firstPlain + 1, firstPlain + otherPlain - 1,
	firstPlain + otherPlain, firstPlain + otherPlain + 1, firstPlain + 2*otherPlain + 5,
	firstPlain + (runSegments+1)*otherPlain, firstPlain + (2*runSegments+1)*otherPlain + 7,
}

func pattern(n int) []byte {
	b := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(n)})
	rnd.Read(b)
	return b
}

func sealStream(t testing.TB, plain []byte, key Key, aad ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, key, aad...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func openStream(sealed []byte, key Key, aad ...string) ([]byte, error) {
	r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key, aad...)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, r.Size())
	if len(plain) == 0 {
		return plain, nil
	}
	_, err = r.ReadAt(plain, 0)
	return plain, err
}

// tinkParameters are those of a key of Tink's AES-GCM-HKDF streaming format.
type tinkParameters struct {
	hash             func() hash.Hash
	derived, segment int // bytes
}

// open decrypts by the format's specification, with nothing of this package.
func (p tinkParameters) open(sealed, key, aad []byte) ([]byte, error) {
	header := 1 + p.derived + 7
	if len(sealed) < header || int(sealed[0]) != header {
		return nil, fmt.Errorf("header of %d bytes", sealed[0])
	}
	salt, prefix := sealed[1:1+p.derived], sealed[1+p.derived:header]
	derived, err := hkdf.Key(p.hash, key, salt, string(aad), p.derived)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	var plain []byte
	rest, room := sealed[header:], p.segment-header
	for i := uint32(0); ; i++ {
		n := min(room, len(rest))
		nonce := binary.BigEndian.AppendUint32(bytes.Clone(prefix), i)
		if n == len(rest) {
			nonce = append(nonce, 1)
		} else {
			nonce = append(nonce, 0)
		}
		part, err := gcm.Open(nil, nonce, rest[:n], nil)
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", i, err)
		}
		plain = append(plain, part...)
		if rest = rest[n:]; len(rest) == 0 {
			return plain, nil
		}
		room = p.segment
	}
}

// The vectors are Tink's own, from its cross-language tests: they check the check.
func TestTinksVectors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		p                tinkParameters
		key, aad, sealed string
		want             string
	}{
		{
			"three segments",
			tinkParameters{hash: sha1.New, derived: 16, segment: 64},
			"6eb56cdc726dfbe5d57f2fcdc6e9345b", "aad",
			"1893b3af5e14ab378d065addfc8484da642c0862877baea8" +
				"db92d9c77406a406168478821c4298eab3e6d531277f4c1a051714faebcaefcbca7b7be05e9445ea" +
				"a0bb2904153398a25084dd80ae0edcd1c3079fcea2cd3770630ee36f7539207b8ec9d754956d486b71cdf989f0ed6fba6779b63558be0a66e668df14e1603cd2" +
				"af8944844078345286d0b292e772e7190775c51a0f83e40c0b75821027e7e538e111",
			"This is a fairly long plaintext. It is of the exact length to create three output blocks. ",
		},
		{
			"empty, SHA-256",
			tinkParameters{hash: sha256.New, derived: 16, segment: 64},
			"6eb56cdc726dfbe5d57f2fcdc6e9345b", "",
			"18be78bce0cab6fd38a9041eea8ab0ffc4cf17e3c00b661d3927f5f79069f41a210fedc40b25648c", "",
		},
		{
			"full first segment, 256-bit keys",
			tinkParameters{hash: sha1.New, derived: 32, segment: 120},
			"00112233445566778899aabbccddeeff6eb56cdc726dfbe5d57f2fcdc6e9345b", "\x00\x01\x02\x03",
			"28782994617714a80fa085e15051a16854522330d6d0f26c049b2192f09cdd98b2eb90c753bfff277a29e54fa4afb15d648c28477eb07f012535c767f5" +
				"fdce24ffffae318480c1d37357d6d3c511159318afa09ef38aa3f5456fd7817c5c02dd6e1a7fef174c8bd24e38b5982ac105497c0101ac5581fe5b",
			"BLOCK 1.BLOCK 2.BLOCK 3.BLOCK 4.BLOCK 5.BLOCK 6.BLOCK 7.BLOCK 8.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sealed, err := hex.DecodeString(tt.sealed)
			if err != nil {
				t.Fatal(err)
			}
			key, err := hex.DecodeString(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tt.p.open(sealed, key, []byte(tt.aad)); err != nil || string(got) != tt.want {
				t.Errorf("opened %q, %v", got, err)
			}
		})
	}
}

func TestWriterMakesTinksFormat(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			key, plain := NewKey(), pattern(n)
			sealed := sealStream(t, plain, key, "a", "bc")
			if int64(len(sealed)) != SealedSize(int64(n)) {
				t.Errorf("sealed to %d bytes, SealedSize says %d", len(sealed), SealedSize(int64(n)))
			}
			tink := tinkParameters{hash: sha256.New, derived: 32, segment: 64 << 10}
			got, err := tink.open(sealed, key[:], []byte("\x00\x00\x00\x01a\x00\x00\x00\x02bc"))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestReaderGivesWhatWriterMakes(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			key, plain := NewKey(), pattern(n)
			for name, read := range map[string]func(io.Reader) ([]byte, error){
				"ReadAll": io.ReadAll,
				"WriteTo": func(r io.Reader) ([]byte, error) {
					var buf bytes.Buffer
					n, err := r.(io.WriterTo).WriteTo(&buf)
					if n != int64(buf.Len()) {
						t.Errorf("WriteTo says %d of %d bytes", n, buf.Len())
					}
					return buf.Bytes(), err
				},
				"Read and WriteTo": func(r io.Reader) ([]byte, error) {
					var buf bytes.Buffer
					io.CopyN(&buf, r, 17)
					_, err := r.(io.WriterTo).WriteTo(&buf)
					return buf.Bytes(), err
				},
			} {
				sealed, err := read(NewReader(bytes.NewReader(plain), key, "x"))
				if err != nil {
					t.Fatal(name, err)
				}
				if got, err := openStream(sealed, key, "x"); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s: opened %d bytes, %v", name, len(got), err)
				}
			}
		})
	}
}

func TestReaderPassesErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, n := range sizes {
		src := io.MultiReader(bytes.NewReader(pattern(n)), iotest.ErrReader(broken))
		sealed, err := io.ReadAll(NewReader(src, Key{1}))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if _, err := openStream(sealed, Key{1}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("half of a stream of %d bytes opens: %v", n, err)
		}
	}
}

func TestUnclosedWriterDoesNotOpen(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		var buf bytes.Buffer
		w, _ := NewWriter(&buf, Key{1})
		w.Write(pattern(n))
		if _, err := openStream(buf.Bytes(), Key{1}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("an unclosed stream of %d bytes opens: %v", n, err)
		}
	}
}

func TestWriterKeepsItsFirstError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	w, _ := NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }), Key{1})
	if n, err := w.Write(pattern(3 * segmentSize)); !errors.Is(err, broken) || n >= 3*segmentSize {
		t.Errorf("wrote %d, %v", n, err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("closed: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("wrote after close")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestSizes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, maxPlainSize).Draw(t, "n")
		if got, err := PlainSize(SealedSize(n)); err != nil || got != n {
			t.Fatalf("PlainSize(SealedSize(%d)) = %d, %v", n, got, err)
		}
	})
	for _, sealed := range []int64{
		-1, 0, 39, 55, segmentSize + 1, segmentSize + tagSize, 3*segmentSize + 3,
		SealedSize(maxPlainSize) + 1, 1 << 62,
	} {
		if n, err := PlainSize(sealed); !errors.Is(err, ErrCorrupt) {
			t.Errorf("PlainSize(%d) = %d, %v", sealed, n, err)
		}
	}
}

func TestReadAt(t *testing.T) {
	t.Parallel()
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			key, plain := NewKey(), pattern(n)
			sealed := sealStream(t, plain, key)
			r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key)
			if err != nil || r.Size() != int64(n) {
				t.Fatal(r, err)
			}
			for _, off := range sizes {
				for _, length := range sizes {
					compareReadAt(t, r, plain, int64(off), length)
					compareReadAt(t, r, plain, int64(max(off-3, 0)), length)
				}
			}
			if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
				t.Errorf("ReadAt(-1): %v", err)
			}
		})
	}
}

func compareReadAt(t *testing.T, r *ReaderAt, plain []byte, off int64, length int) {
	t.Helper()
	got, want := make([]byte, length), make([]byte, length)
	n, err := r.ReadAt(got, off)
	wantN, wantErr := bytes.NewReader(plain).ReadAt(want, off)
	if length == 0 {
		wantErr = nil
	}
	if n != wantN || err != wantErr || !bytes.Equal(got, want) {
		t.Fatalf("ReadAt(%d bytes, %d) of %d = %d, %v; want %d, %v", length, off, len(plain), n, err, wantN, wantErr)
	}
	var buf bytes.Buffer
	err = r.WriteRange(&buf, off, int64(length))
	if inside := off+int64(length) <= int64(len(plain)); !inside {
		if !errors.Is(err, io.ErrUnexpectedEOF) || buf.Len() > 0 {
			t.Fatalf("WriteRange(%d, %d) of %d: %v", off, length, len(plain), err)
		}
	} else if err != nil || !bytes.Equal(buf.Bytes(), want) {
		t.Fatalf("WriteRange(%d, %d) of %d: %v", off, length, len(plain), err)
	}
}

// countingReaderAt remembers how often each segment was read.
type countingReaderAt struct {
	io.ReaderAt
	segments map[int64]int
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	for s := off / segmentSize; s <= (off+int64(len(p))-1)/segmentSize; s++ {
		c.segments[s]++
	}
	return c.ReaderAt.ReadAt(p, off)
}

func TestSegmentsAreReadOnce(t *testing.T) {
	t.Parallel()
	sealed := sealStream(t, pattern(40*otherPlain), Key{1})
	c := &countingReaderAt{ReaderAt: bytes.NewReader(sealed)}
	c.segments = map[int64]int{}
	r, err := NewReaderAt(c, int64(len(sealed)), Key{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		off, n   int64
		from, to int64 // segments
	}{
		{"one byte", 5 * otherPlain, 1, 5, 5},
		{"within the first", 0, 100, 0, 0},
		{"over a border", firstPlain - 1, 2, 0, 1},
		{"64 KiB", 10*otherPlain + 9, 64 << 10, 10, 11},
		{"many", 3, 30 * otherPlain, 0, 30},
		{"all", 0, 40 * otherPlain, 0, 40},
	} {
		for kind, read := range map[string]func() error{
			"ReadAt":     func() error { _, err := r.ReadAt(make([]byte, tt.n), tt.off); return err },
			"WriteRange": func() error { return r.WriteRange(io.Discard, tt.off, tt.n) },
		} {
			c.segments = map[int64]int{}
			if err := read(); err != nil {
				t.Fatal(err)
			}
			for s := range int64(41) {
				want := 0
				if s >= tt.from && s <= tt.to {
					want = 1
				}
				if c.segments[s] != want {
					t.Errorf("%s, %s: segment %d was read %d times, want %d", tt.name, kind, s, c.segments[s], want)
				}
			}
		}
	}
}

// streamingSource has ReadRange, as a remote object has.
type streamingSource struct {
	*bytes.Reader
	ranges []string
	body   func(io.Reader) io.Reader
}

func (s *streamingSource) ReadRange(off, n int64) (io.ReadCloser, error) {
	s.ranges = append(s.ranges, fmt.Sprintf("%d+%d", off, n))
	return io.NopCloser(s.body(io.NewSectionReader(s.Reader, off, n))), nil
}

func TestWriteRangeFromOneLongRead(t *testing.T) {
	t.Parallel()
	plain := pattern(20*otherPlain + 5)
	sealed := sealStream(t, plain, Key{1})
	for name, body := range map[string]func(io.Reader) io.Reader{
		"as it comes":    func(r io.Reader) io.Reader { return r },
		"in halves":      iotest.HalfReader,
		"end with bytes": iotest.DataErrReader,
	} {
		src := &streamingSource{Reader: bytes.NewReader(sealed), body: body}
		r, err := NewReaderAt(src, int64(len(sealed)), Key{1})
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			off, n int64
			want   []string
		}{
			{5, 100, nil},
			{3 * otherPlain, 12 * otherPlain, []string{fmt.Sprintf("%d+%d", 3*segmentSize, 13*segmentSize)}},
			{0, int64(len(plain)), []string{fmt.Sprintf("0+%d", len(sealed))}},
		} {
			src.ranges = nil
			var buf bytes.Buffer
			if err := r.WriteRange(&buf, tt.off, tt.n); err != nil || !bytes.Equal(buf.Bytes(), plain[tt.off:tt.off+tt.n]) {
				t.Errorf("%s, %d+%d: %v", name, tt.off, tt.n, err)
			}
			if diff := cmp.Diff(tt.want, src.ranges); diff != "" {
				t.Errorf("%s, %d+%d: ranges (-want +got):\n%s", name, tt.off, tt.n, diff)
			}
		}
	}
	for name, tt := range map[string]struct {
		body func(io.Reader) io.Reader
		want error
	}{
		"too short": {func(r io.Reader) io.Reader { return io.LimitReader(r, 10*segmentSize+1) }, ErrCorrupt},
		"broken": {func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 100), iotest.ErrReader(io.ErrClosedPipe))
		}, io.ErrClosedPipe},
	} {
		src := &streamingSource{Reader: bytes.NewReader(sealed), body: tt.body}
		r, err := NewReaderAt(src, int64(len(sealed)), Key{1})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.WriteRange(io.Discard, 0, r.Size()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	key := NewKey()
	plain := pattern(firstPlain + 3*otherPlain) // the last segment is full
	sealed := sealStream(t, plain, key, "place")
	cut := func(n int) []byte { return bytes.Clone(sealed[:n]) }
	swap := func(a, b int) []byte {
		c := bytes.Clone(sealed)
		copy(c[a*segmentSize:], sealed[b*segmentSize:(b+1)*segmentSize])
		copy(c[b*segmentSize:], sealed[a*segmentSize:(a+1)*segmentSize])
		return c
	}
	flip := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 0x80
		return c
	}
	other := sealStream(t, plain, key, "place")
	mixed := append(cut(segmentSize), other[segmentSize:]...)
	type test struct {
		name   string
		sealed []byte
		key    Key
		aad    string
	}
	tests := []test{
		{"another key", sealed, NewKey(), "place"},
		{"another place", sealed, key, "elsewhere"},
		{"segments swapped", swap(1, 2), key, "place"},
		{"last segment swapped", swap(2, 3), key, "place"},
		{"a segment left out", append(cut(segmentSize), sealed[2*segmentSize:]...), key, "place"},
		{"a segment twice", append(cut(2*segmentSize), sealed[segmentSize:]...), key, "place"},
		{"one byte more", append(bytes.Clone(sealed), 0), key, "place"},
		{"a tag more", append(bytes.Clone(sealed), make([]byte, tagSize)...), key, "place"},
		{"a segment more", append(bytes.Clone(sealed), sealed[3*segmentSize:]...), key, "place"},
		{"another stream's segments", mixed, key, "place"},
		{"empty", nil, key, "place"},
		{"header only", cut(headerSize), key, "place"},
		{"one byte short", cut(len(sealed) - 1), key, "place"},
		{"a tag short", cut(len(sealed) - tagSize), key, "place"},
	}
	for i := 1; i <= 3; i++ {
		for d := -1; d <= tagSize+1; d++ {
			tests = append(tests, test{fmt.Sprintf("cut at border %d%+d", i, d), cut(i*segmentSize + d), key, "place"})
		}
	}
	for _, i := range []int{0, 1, 33, 39, 40, segmentSize - 1, segmentSize, 2*segmentSize - tagSize, len(sealed) - 1} {
		tests = append(tests, test{fmt.Sprintf("bit of byte %d flipped", i), flip(i), key, "place"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := openStream(tt.sealed, tt.key, tt.aad); !errors.Is(err, ErrCorrupt) {
				t.Errorf("ReadAt: %v, want ErrCorrupt", err)
			}
			r, err := NewReaderAt(bytes.NewReader(tt.sealed), int64(len(tt.sealed)), tt.key, tt.aad)
			if err == nil {
				err = r.WriteRange(io.Discard, 0, r.Size())
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("WriteRange: %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestForgedEmptyStreamDoesNotOpen(t *testing.T) {
	t.Parallel()
	sealed := sealStream(t, pattern(1000), Key{1})
	if _, err := NewReaderAt(bytes.NewReader(sealed[:headerSize+tagSize]), headerSize+tagSize, Key{1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}
}

func TestShorterThanItsSize(t *testing.T) {
	t.Parallel()
	sealed := sealStream(t, pattern(1000), Key{1})
	r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed))+1000, Key{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
}

func TestUnderlyingErrorIsNotCorruption(t *testing.T) {
	t.Parallel()
	sealed := sealStream(t, pattern(3*segmentSize), Key{1})
	down := errors.New("store is down")
	src := &switchableReaderAt{r: bytes.NewReader(sealed)}
	r, err := NewReaderAt(src, int64(len(sealed)), Key{1})
	if err != nil {
		t.Fatal(err)
	}
	src.err = down
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, down) || errors.Is(err, ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
}

type switchableReaderAt struct {
	r   io.ReaderAt
	err error
}

func (s *switchableReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.r.ReadAt(p, off)
}

func TestConcurrentReadAt(t *testing.T) {
	t.Parallel()
	plain := pattern(20 * segmentSize)
	sealed := sealStream(t, plain, Key{1})
	r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), Key{1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range 50 {
				off := rnd.IntN(len(plain))
				p := make([]byte, rnd.IntN(len(plain)-off)+1)
				if n, err := r.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, plain[off:off+n]) {
					t.Errorf("ReadAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzReaderAt(f *testing.F) {
	key := Key{1}
	plain := pattern(firstPlain + otherPlain + 5)
	sealed := sealStream(f, plain, key)
	for _, n := range []int{0, 1, 40, 55, 56, 57, segmentSize, segmentSize + 17, len(sealed)} {
		f.Add(sealed[:n], int64(0), uint16(100))
	}
	f.Add(sealed, int64(firstPlain-1), uint16(3))
	f.Add(sealed, int64(-1), uint16(3))
	f.Fuzz(func(t *testing.T, data []byte, off int64, n uint16) {
		r, err := NewReaderAt(bytes.NewReader(data), int64(len(data)), key)
		if err != nil {
			return
		}
		p := make([]byte, n)
		got, _ := r.ReadAt(p, off)
		if got > 0 && !bytes.Equal(p[:got], plain[off:off+int64(got)]) {
			t.Errorf("forged %d bytes at %d", got, off)
		}
		r.WriteRange(io.Discard, off, int64(n))
	})
}

const benchSize = 64 << 20

func BenchmarkStreamEncrypt(b *testing.B) {
	plain := make([]byte, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		w, _ := NewWriter(io.Discard, Key{1})
		w.Write(plain)
		w.Close()
	}
}

func BenchmarkStreamReader(b *testing.B) {
	plain := make([]byte, benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		io.Copy(io.Discard, NewReader(bytes.NewReader(plain), Key{1}))
	}
}

func BenchmarkStreamDecrypt(b *testing.B) {
	sealed := sealStream(b, make([]byte, benchSize), Key{1})
	b.SetBytes(benchSize)
	for b.Loop() {
		r, _ := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), Key{1})
		if err := r.WriteRange(io.Discard, 0, r.Size()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadAt64KiB(b *testing.B) {
	sealed := sealStream(b, make([]byte, benchSize), Key{1})
	r, _ := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), Key{1})
	p := make([]byte, 64<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := r.ReadAt(p, rnd.Int64N(r.Size()-int64(len(p)))); err != nil {
			b.Fatal(err)
		}
	}
}
