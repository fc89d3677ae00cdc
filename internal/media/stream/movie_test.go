package stream_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

// tiny is a file of one second with both tracks.
func tiny(t testing.TB, extra ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.mp4")
	args := []string{
		"-f", "lavfi", "-i", "testsrc2=size=64x36:rate=10:duration=1", "-f", "lavfi", "-i", "sine=duration=1",
		"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "5", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k", "-metadata:s:a:0", "language=fra",
	}
	ffmpeg(t, append(append(args, extra...), path)...)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	t.Parallel()
	b := tiny(t)
	m, err := stream.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := []*stream.Track{
		{ID: 1, Kind: stream.Video, Codec: "avc1.4d400a", Language: "und", Timescale: 10240, Width: 64, Height: 36},
		{ID: 2, Kind: stream.Audio, Codec: "mp4a.40.2", Language: "fra", Timescale: 44100, Channels: 1, Rate: 44100},
	}
	if diff := cmp.Diff(want, m.Tracks, cmpopts.IgnoreUnexported(stream.Track{})); diff != "" {
		t.Errorf("tracks (-want +got):\n%s", diff)
	}
	hevc := tiny(t, "-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1")
	if m, err = stream.Open(bytes.NewReader(hevc), int64(len(hevc))); err != nil {
		t.Fatal(err)
	}
	if got := m.Tracks[0].Codec; got != "hvc1.1.6.L30.90" {
		t.Errorf("H.265 codec %q", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := tiny(t)
	edited := func(kind string, edit func(box []byte)) []byte { // box starts at its kind
		b := bytes.Clone(good)
		i := bytes.Index(b, []byte(kind))
		if i < 0 {
			t.Fatalf("no box %q", kind)
		}
		edit(b[i:])
		return b
	}
	be := binary.BigEndian
	for _, tc := range []struct {
		name string
		file []byte
		code string
	}{
		{"empty", nil, "ContentMalformed"},
		{"text", []byte("#EXTM3U and so on, certainly no MP4"), "ContentMalformed"},
		{"header only", good[:40], "ContentMalformed"},
		{"cut short", good[:len(good)/2], "ContentMalformed"},
		{"fragmented", tiny(t, "-movflags", "frag_keyframe+empty_moov"), "ContentUnsupported"},
		{"fragments without header", append([]byte("\x00\x00\x00\x08styp"), good...), "ContentUnsupported"},
		{"other codecs", tiny(t, "-c:v", "mpeg4", "-c:a", "mp3"), "ContentUnsupported"},
		{"encrypted", edited("avc1\x00", func(b []byte) { copy(b, "encv") }), "ContentUnsupported"},
		{"no timescale", edited("mdhd", func(b []byte) { be.PutUint32(b[16:], 0) }), "ContentMalformed"},
		{"more samples than sizes", edited("stsz", func(b []byte) { be.PutUint32(b[12:], 1<<31) }), "ContentMalformed"},
		{"billions of equal samples", edited("stsz", func(b []byte) { be.PutUint32(b[8:], 1); be.PutUint32(b[12:], 1<<32-1) }), "ContentMalformed"},
		{"samples outside the file", edited("stco", func(b []byte) { be.PutUint32(b[12:], uint32(len(good))) }), "ContentMalformed"},
		{"sync sample out of range", edited("stss", func(b []byte) { be.PutUint32(b[12:], 1000) }), "ContentMalformed"},
		{"first sample not sync", edited("stss", func(b []byte) { be.PutUint32(b[12:], 2) }), "ContentUnsupported"},
		{"edit behind the end", edited("elst", func(b []byte) { be.PutUint32(b[16:], 1<<30) }), "ContentMalformed"},
		{"edit at double speed", edited("elst", func(b []byte) { be.PutUint16(b[20:], 2) }), "ContentUnsupported"},
		{"second sample description", edited("stsc", func(b []byte) { be.PutUint32(b[20:], 2) }), "ContentMalformed"},
		{"box larger than its parent", edited("minf", func(b []byte) { be.PutUint32(b[4:], 1<<30) }), "ContentMalformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := stream.Open(bytes.NewReader(tc.file), int64(len(tc.file)))
			wantCode(t, err, 400, tc.code)
		})
	}
	_, err := stream.Open(&countingReader{ReaderAt: bytes.NewReader(good), limit: -1}, 1<<20)
	var wire *azure.Error
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &wire) {
		t.Errorf("a source shorter than it says gives %v, want an unexpected EOF", err)
	}
}

// Whatever a file says, it is refused or served in the sizes promised; it does not panic and takes no undue memory.
func FuzzOpen(f *testing.F) {
	f.Add(tiny(f))
	f.Add(tiny(f, "-movflags", "+faststart"))
	f.Add(tiny(f, "-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := stream.Open(bytes.NewReader(b), int64(len(b)))
		var wire *azure.Error
		if err != nil {
			if !errors.As(err, &wire) {
				t.Errorf("error %v is not for the wire", err)
			}
			return
		}
		manifest := &stream.ServerManifest{}
		for _, track := range m.Tracks {
			manifest.Tracks = append(manifest.Tracks, stream.ServerTrack{
				Kind: track.Kind, Source: "x", TrackID: track.ID,
				Bitrate: int64(len(manifest.Tracks)), Name: fmt.Sprint("t", len(manifest.Tracks)),
			})
		}
		p, err := stream.NewPresentation(manifest, map[string]*stream.Movie{"x": m})
		if err != nil {
			if !errors.As(err, &wire) {
				t.Errorf("error %v is not for the wire", err)
			}
			return
		}
		for _, req := range []stream.Request{{Format: stream.HLSCMAF}, {Format: stream.DASHCMAF}} {
			if _, err := p.Respond(req, stream.Options{}); err != nil {
				t.Error(err)
			}
		}
		for i, track := range manifest.Tracks {
			resp, err := p.Respond(stream.Request{Target: stream.Fragment, Format: stream.HLSCMAF, Bitrate: track.Bitrate, Track: track.Name}, stream.Options{})
			if err != nil || track.Bitrate == 0 && i > 0 {
				continue // starts later
			}
			var n counter
			if err := resp.Write(t.Context(), &n, bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
			if int64(n) != resp.Size {
				t.Errorf("%d bytes, Size says %d", n, resp.Size)
			}
		}
	})
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// Segments of about 1.2 MB, taken in turn from a file of some 150 MB in the page cache: more than the processor's caches hold.
func BenchmarkSegment(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "big.mp4")
	ffmpeg(b, "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=8,noise=alls=40:allf=t", "-c:v", "libx264", "-preset", "ultrafast",
		"-b:v", "5M", "-minrate", "5M", "-maxrate", "5M", "-bufsize", "5M", "-g", "60", "-sc_threshold", "0", "-movflags", "+faststart", path)
	short := path
	path = filepath.Join(dir, "looped.mp4")
	ffmpeg(b, "-stream_loop", "29", "-i", short, "-c", "copy", "-movflags", "+faststart", path)
	p := present(b, dir, &stream.ServerManifest{Tracks: []stream.ServerTrack{{Kind: stream.Video, Source: "looped.mp4", Bitrate: 5_000_000}}})
	var starts []int64
	for _, m := range regexp.MustCompile(`video=(\d+),`).FindAllStringSubmatch(body(b, p, dir, "a.ism/QualityLevels(5000000)/Manifest(video,format=m3u8-cmaf)", stream.Options{}), -1) {
		at, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		starts = append(starts, at)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, bc := range []struct {
		name string
		key  *stream.Key
	}{{"clear", nil}, {"aes-128", testKey}} {
		b.Run(bc.name, func(b *testing.B) {
			req := stream.Request{Target: stream.Fragment, Format: stream.HLSCMAF, Encrypted: bc.key != nil, Bitrate: 5_000_000, Track: "video"}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				req.Time = starts[i*37%len(starts)]
				resp, err := p.Respond(req, stream.Options{Key: bc.key})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(resp.Size)
				if err := resp.Write(b.Context(), io.Discard, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		info, err := f.Stat()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := stream.Open(f, info.Size()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
