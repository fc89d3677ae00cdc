package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
)

// Kind is the kind of a track.
type Kind string

// Kinds of tracks.
const (
	Video Kind = "video"
	Audio Kind = "audio"
)

const (
	maxMoov     = 256 << 20   // bytes; the index of a day of video takes about 100 MiB
	maxBoxes    = 1 << 10     // at the top level
	maxDuration = 1000 * 3600 // seconds
	unitsPerSec = 10_000_000  // times in URLs, 100 ns
	prefixSize  = 64 << 10    // what the first read takes; holds the moov of a short faststart file
	maxTracks   = 64          // of one file
	maxEntry    = 64 << 10    // bytes of a sample entry
)

// Movie is the index of one progressive MP4 file: where every sample lies and when it plays. It holds no media and
// no reader. It is immutable and may be shared and cached.
type Movie struct {
	Tracks []*Track // those with H.264, H.265 or AAC; others are ignored
}

// Track is one track of a movie.
type Track struct {
	ID        uint32
	Kind      Kind
	Codec     string // RFC 6381, e.g. "avc1.64001f", "mp4a.40.2"
	Language  string // ISO 639-2, "und" when the file does not say
	Timescale uint32
	Width     int // video: as displayed
	Height    int
	Channels  int // audio
	Rate      int // audio: samples per second

	samples *sampleTable
	entry   []byte // the sample entry box as it stands in stsd
	delay   int64  // initial empty edit, in Timescale
	skip    int64  // media time at which the presentation starts, in Timescale
}

// Open reads the index of the progressive MP4 file r of the given size. The moov box may stand before or behind the
// media. It reads a few times and never more than the box headers and the moov. A file that is something else gives an
// *azure.Error 400 with code ContentMalformed (not an MP4, damaged) or ContentUnsupported (fragmented, encrypted, no
// track that can be streamed); an error of r is returned wrapped.
func Open(r io.ReaderAt, size int64) (*Movie, error) {
	moov, err := readMoov(r, size)
	if err != nil {
		return nil, err
	}
	m, err := parseMoov(moov, size)
	var wire *azure.Error
	if err != nil && !errors.As(err, &wire) {
		return nil, malformed("the movie header is damaged: %v", err)
	}
	return m, err
}

func malformed(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "ContentMalformed", format, args...)
}

func unsupported(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "ContentUnsupported", format, args...)
}

// readMoov finds the moov box and returns its body.
func readMoov(r io.ReaderAt, size int64) ([]byte, error) {
	if size < 8 {
		return nil, malformed("the file has %d bytes; it is not an MP4 file", size)
	}
	prefix := make([]byte, min(size, prefixSize))
	if err := readFull(r, prefix, 0); err != nil {
		return nil, err
	}
	var at int64
	for range maxBoxes {
		if size-at < 8 {
			break
		}
		var header [16]byte
		n := min(int64(len(header)), size-at)
		if at+n <= int64(len(prefix)) {
			copy(header[:], prefix[at:at+n])
		} else if err := readFull(r, header[:n], at); err != nil {
			return nil, err
		}
		kind, length, body := string(header[4:8]), int64(binary.BigEndian.Uint32(header[:])), int64(8)
		switch {
		case length == 0:
			length = size - at
		case length == 1 && n == 16:
			length, body = int64(binary.BigEndian.Uint64(header[8:])), 16
		}
		switch kind {
		case "moov":
			if length < body || length > size-at {
				return nil, malformed("the moov box says %d bytes, the file has %d left", length, size-at)
			}
			if length > maxMoov {
				return nil, unsupported("the moov box has %d bytes, more than %d", length, maxMoov)
			}
			if at+length <= int64(len(prefix)) {
				return prefix[at+body : at+length], nil
			}
			moov := make([]byte, length-body)
			return moov, readFull(r, moov, at+body)
		case "moof", "styp", "sidx":
			return nil, unsupported("the file is fragmented; only progressive MP4 files can be streamed")
		case "ftyp", "mdat", "free", "skip", "wide", "uuid", "meta", "pdin", "udta", "pnot":
		default:
			if at == 0 {
				return nil, malformed("the file does not start with an MP4 box")
			}
		}
		if length < body || length > size-at {
			return nil, malformed("box %q at %d says %d bytes, the file has %d left: the file is cut short or not an MP4 file",
				kind, at, length, size-at)
		}
		at += length
	}
	return nil, malformed("the file has no moov box: it is cut short or not an MP4 file")
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(b), at, err)
}

func parseMoov(moov []byte, size int64) (*Movie, error) {
	if mvex, err := findBox(moov, "mvex"); err != nil || mvex != nil {
		if err == nil {
			err = unsupported("the file is fragmented; only progressive MP4 files can be streamed")
		}
		return nil, err
	}
	mvhd, err := needBox(moov, "mvhd")
	if err != nil {
		return nil, err
	}
	f := fields{b: mvhd}
	wide := 4 + 4*int(min(f.version(), 1)) // creation and modification time
	f.bytes(2 * wide)
	timescale := f.u32()
	if f.err != nil || timescale == 0 {
		return nil, fmt.Errorf("mvhd: no timescale")
	}
	m := &Movie{}
	var skipped error
	for len(moov) >= 8 {
		kind, body, rest, err := nextBox(moov)
		if err != nil {
			return nil, err
		}
		moov = rest
		if kind != "trak" {
			continue
		}
		t, err := parseTrack(body, timescale, size)
		var other *otherTrack
		switch {
		case errors.As(err, &other):
			skipped = err
		case err != nil:
			return nil, err
		case len(m.Tracks) == maxTracks:
			return nil, unsupported("the file has more than %d tracks", maxTracks)
		default:
			m.Tracks = append(m.Tracks, t)
		}
	}
	if len(m.Tracks) == 0 {
		if skipped == nil {
			skipped = errors.New("it has no tracks")
		}
		return nil, unsupported("the file has no track that can be streamed (H.264, H.265 or AAC): %v", skipped)
	}
	return m, nil
}

// otherTrack is a track that is passed over: of another kind or codec, or empty.
type otherTrack struct{ reason string }

func (e *otherTrack) Error() string { return e.reason }

func parseTrack(trak []byte, movieScale uint32, size int64) (*Track, error) {
	tkhd, err := needBox(trak, "tkhd")
	if err != nil {
		return nil, err
	}
	hdlr, err := needBox(trak, "mdia", "hdlr")
	if err != nil {
		return nil, err
	}
	mdhd, err := needBox(trak, "mdia", "mdhd")
	if err != nil {
		return nil, err
	}
	t := &Track{}
	f := fields{b: tkhd}
	f.bytes(2 * (4 + 4*int(min(f.version(), 1))))
	t.ID = f.u32()
	if f.err != nil {
		return nil, fmt.Errorf("tkhd: %w", f.err)
	}
	t.Width, t.Height = displaySize(tkhd)

	f = fields{b: hdlr}
	f.bytes(8)
	switch kind := string(f.bytes(4)); kind {
	case "vide":
		t.Kind = Video
	case "soun":
		t.Kind = Audio
	default:
		return nil, &otherTrack{fmt.Sprintf("track %d is of kind %q", t.ID, kind)}
	}

	f = fields{b: mdhd}
	wide := 4 + 4*int(min(f.version(), 1))
	f.bytes(2 * wide)
	t.Timescale = f.u32()
	f.bytes(wide)
	t.Language = languageOf(f.u16())
	if f.err != nil || t.Timescale == 0 {
		return nil, fmt.Errorf("mdhd of track %d: no timescale or cut short", t.ID)
	}

	stbl, err := needBox(trak, "mdia", "minf", "stbl")
	if err != nil {
		return nil, err
	}
	if err := t.parseSampleEntry(stbl); err != nil {
		return nil, err
	}
	t.samples, err = parseSampleTable(stbl, size)
	if errors.Is(err, errNoSamples) {
		return nil, &otherTrack{fmt.Sprintf("track %d has no samples", t.ID)}
	}
	if err != nil {
		return nil, fmt.Errorf("track %d: %w", t.ID, err)
	}
	if t.samples.duration == 0 || t.samples.duration/uint64(t.Timescale) > maxDuration {
		return nil, fmt.Errorf("track %d: a duration of %d/%d s", t.ID, t.samples.duration, t.Timescale)
	}
	if t.Kind == Audio {
		t.samples.syncs = nil // every AAC frame can be decoded by itself
	} else if s := t.samples.syncs; s != nil && (len(s) == 0 || s[0] != 0) {
		return nil, unsupported("video track %d does not start with a sync sample", t.ID)
	}
	if err := t.parseEdits(trak, movieScale); err != nil {
		return nil, fmt.Errorf("elst of track %d: %w", t.ID, err)
	}
	return t, nil
}

// displaySize returns the width and height of a track header; both 16.16.
func displaySize(tkhd []byte) (width, height int) {
	if len(tkhd) < 8 {
		return 0, 0
	}
	f := fields{b: tkhd[len(tkhd)-8:]}
	return int(f.u32() >> 16), int(f.u32() >> 16)
}

// languageOf unpacks three letters of five bits.
func languageOf(v uint16) string {
	b := []byte{byte(v>>10)&31 + 0x60, byte(v>>5)&31 + 0x60, byte(v)&31 + 0x60}
	for _, c := range b {
		if c < 'a' || c > 'z' {
			return "und"
		}
	}
	return string(b)
}

// parseEdits reads the edit list: an empty edit and then one that plays the rest are what encoders write. More
// are montage, which needs the media cut anew.
func (t *Track) parseEdits(trak []byte, movieScale uint32) error {
	b, err := findBox(trak, "edts", "elst")
	if b == nil {
		return err
	}
	f := fields{b: b}
	wide := 4 + 4*int(min(f.version(), 1))
	n := f.u32()
	edits := 0
	for range n {
		duration, start := f.uint(wide), int64(f.uint(wide))
		rate := f.u32()
		if f.err != nil {
			return f.err
		}
		if wide == 4 {
			start = int64(int32(start))
		}
		switch {
		case start < 0 && edits == 0:
			if duration/uint64(movieScale) > maxDuration {
				return fmt.Errorf("an empty edit of %d/%d s", duration, movieScale)
			}
			t.delay += rescale(int64(duration), t.Timescale, movieScale)
		case edits > 0 || start < 0:
			return unsupported("track %d has an edit list with more than one edit", t.ID)
		case rate != 1<<16:
			return unsupported("track %d is edited to another speed", t.ID)
		case uint64(start) >= t.samples.duration:
			return fmt.Errorf("the edit starts at %d, the media ends at %d", start, t.samples.duration)
		default:
			t.skip = start
			edits++
		}
		if t.delay/int64(t.Timescale) > maxDuration {
			return fmt.Errorf("empty edits of %d/%d s", t.delay, t.Timescale)
		}
	}
	return nil
}

// Footprint is about how many bytes of memory the movie holds, for a cache's budget.
func (m *Movie) Footprint() int64 {
	var n int64
	for _, t := range m.Tracks {
		n += 512 + int64(len(t.entry)) + t.samples.footprint()
	}
	return n
}

// Bitrate is the track's average bits per second.
func (t *Track) Bitrate() int64 {
	return int64(mulDiv(t.samples.bytes*8, uint64(t.Timescale), t.samples.duration))
}

// Duration is how long the track plays, in units of 100 ns.
func (t *Track) Duration() int64 {
	return t.units(int64(t.samples.duration) - t.skip)
}

// units converts from the track's timescale to units of 100 ns.
func (t *Track) units(v int64) int64 { return rescale(v, unitsPerSec, t.Timescale) }

// ticks converts from units of 100 ns to the track's timescale.
func (t *Track) ticks(v int64) int64 { return rescale(v, t.Timescale, unitsPerSec) }
