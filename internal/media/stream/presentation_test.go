package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/media/stream"
)

// body answers a request with the movie's file at hand.
func body(t testing.TB, p *stream.Presentation, dir, path string, o stream.Options) string {
	t.Helper()
	req, err := stream.ParseRequest(path)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Respond(req, o)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var src io.ReaderAt
	if resp.Source != "" {
		f, err := os.Open(filepath.Join(dir, resp.Source))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		src = f
	}
	var b bytes.Buffer
	if err := resp.Write(t.Context(), &b, src); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != resp.Size {
		t.Fatalf("%s: %d bytes, Size says %d", path, b.Len(), resp.Size)
	}
	return b.String()
}

func TestPlaylists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encodeVideo(t, filepath.Join(dir, "high.mp4"), 60)
	encodeVideo(t, filepath.Join(dir, "low.mp4"), 30, "-s", "160x90")
	encodeAudio(t, filepath.Join(dir, "audio.mp4"))
	p := present(t, dir, &stream.ServerManifest{Tracks: []stream.ServerTrack{
		{Kind: stream.Audio, Source: "audio.mp4", Bitrate: 64000, Language: "eng", Name: "aac_eng_2_64000_1_1"},
		{Kind: stream.Video, Source: "low.mp4", Bitrate: 200000, Name: "video"},
		{Kind: stream.Video, Source: "high.mp4", Bitrate: 600000, Name: "video"},
	}})

	master := body(t, p, dir, "a.ism/manifest(format=m3u8-cmaf,encryption=cbc)",
		stream.Options{Key: &stream.Key{ID: "k", URI: "https://keys/?kid=k"}, Query: url.Values{"token": {"a b"}}})
	master = regexp.MustCompile(`BANDWIDTH=\d+`).ReplaceAllString(master, "BANDWIDTH=N") // x264's business
	want := `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="aac_eng_2_64000_1_1",LANGUAGE="eng",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="QualityLevels(64000)/Manifest(aac_eng_2_64000_1_1,format=m3u8-cmaf,encryption=cbc)?token=a+b"
#EXT-X-STREAM-INF:BANDWIDTH=N,AVERAGE-BANDWIDTH=N,CODECS="avc1.4d400d,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=30.000,AUDIO="audio"
QualityLevels(600000)/Manifest(video,format=m3u8-cmaf,encryption=cbc)?token=a+b
#EXT-X-STREAM-INF:BANDWIDTH=N,AVERAGE-BANDWIDTH=N,CODECS="avc1.4d400b,mp4a.40.2",RESOLUTION=160x90,FRAME-RATE=30.000,AUDIO="audio"
QualityLevels(200000)/Manifest(video,format=m3u8-cmaf,encryption=cbc)?token=a+b
`
	if diff := cmp.Diff(want, master); diff != "" {
		t.Errorf("master playlist (-want +got):\n%s", diff)
	}

	clear := body(t, p, dir, "a.ism/QualityLevels(200000)/Manifest(video,format=m3u8-cmaf)", stream.Options{})
	want = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-MAP:URI="Fragments(video=i,format=m3u8-cmaf)"
#EXTINF:2.000000,no-desc
Fragments(video=0,format=m3u8-cmaf)
#EXTINF:2.000000,no-desc
Fragments(video=20000000,format=m3u8-cmaf)
#EXTINF:2.000000,no-desc
Fragments(video=40000000,format=m3u8-cmaf)
#EXTINF:1.000000,no-desc
Fragments(video=60000000,format=m3u8-cmaf)
#EXT-X-ENDLIST
`
	if diff := cmp.Diff(want, clear); diff != "" {
		t.Errorf("media playlist (-want +got):\n%s", diff)
	}

	sealed := body(t, p, dir, "a.ism/QualityLevels(64000)/Manifest(aac_eng_2_64000_1_1,format=m3u8-cmaf,encryption=cbc)",
		stream.Options{Key: &stream.Key{ID: "k", URI: "https://keys/?kid=k"}, Query: url.Values{"token": {"T"}}})
	if m, k := strings.Index(sealed, "#EXT-X-MAP"), strings.Index(sealed, "#EXT-X-KEY"); m < 0 || k < m {
		t.Error("the map does not stand before the key, so the init segment would have to be encrypted")
	}
	seen := map[string]bool{}
	keys := regexp.MustCompile(`#EXT-X-KEY:METHOD=AES-128,URI="https://keys/\?kid=k&token=T",IV=(0x[0-9A-F]{32})\n#EXTINF`).FindAllStringSubmatch(sealed, -1)
	for _, k := range keys {
		seen[k[1]] = true
	}
	if n := strings.Count(sealed, "#EXTINF"); len(keys) != n || len(seen) != n {
		t.Errorf("%d segments have %d keys with %d different IVs", n, len(keys), len(seen))
	}
	var total float64
	for _, d := range regexp.MustCompile(`#EXTINF:([\d.]+)`).FindAllStringSubmatch(sealed, -1) {
		f, _ := strconv.ParseFloat(d[1], 64)
		total += f
	}
	if total < 6.98 || total > 7.05 {
		t.Errorf("the audio segments last %v s together, want about 7", total)
	}

	// What is played in the clear and what comes out of the envelope is the same, and repeatable.
	path := "a.ism/QualityLevels(200000)/Fragments(video=20000000,format=m3u8-cmaf%s)"
	first := body(t, p, dir, fmt.Sprintf(path, ",encryption=cbc"), stream.Options{Key: testKey})
	if second := body(t, p, dir, fmt.Sprintf(path, ",encryption=cbc"), stream.Options{Key: testKey}); first != second {
		t.Error("a segment asked for twice differs")
	}
	if plain := body(t, p, dir, fmt.Sprintf(path, ""), stream.Options{}); strings.Contains(first, plain[len(plain)-64:]) {
		t.Error("the envelope holds plain text")
	}

	for _, tc := range []struct {
		path   string
		o      stream.Options
		status int
		code   string
	}{
		{"a.ism/QualityLevels(1)/Manifest(video,format=m3u8-cmaf)", stream.Options{}, 404, "MPE_EGRESS_TRACK_NOT_FOUND"},
		{"a.ism/QualityLevels(200000)/Manifest(audio,format=m3u8-cmaf)", stream.Options{}, 404, "MPE_EGRESS_TRACK_NOT_FOUND"},
		{"a.ism/QualityLevels(200000)/Fragments(video=1,format=m3u8-cmaf)", stream.Options{}, 404, "MPE_EGRESS_TIMESTAMP_NOT_FOUND"},
		{"a.ism/manifest(format=m3u8-cmaf,encryption=cbc)", stream.Options{}, 400, "MPE_BAD_URL_SYNTAX"},
		{"a.ism/manifest(format=m3u8-cmaf)", stream.Options{Key: testKey}, 400, "MPE_ENC_ENCRYPTION_NOT_SPECIFIED_IN_URL"},
		{"a.ism/QualityLevels(200000)/Fragments(video=0,format=mpd-time-csf)", stream.Options{Key: testKey}, 400, "MPE_ENC_ENCRYPTION_NOT_SPECIFIED_IN_URL"},
	} {
		req, err := stream.ParseRequest(tc.path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Respond(req, tc.o)
		wantCode(t, err, tc.status, tc.code)
	}
}

func TestNewPresentationRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encodeVideo(t, filepath.Join(dir, "a.mp4"), 60)
	encodeVideo(t, filepath.Join(dir, "b.mp4"), 47, "-s", "160x90") // shares a sync sample with a every 94 s
	encodeVideo(t, filepath.Join(dir, "short.mp4"), 60, "-t", "3")
	encodeVideo(t, filepath.Join(dir, "one.mp4"), 10000)
	encodeAudio(t, filepath.Join(dir, "audio.mp4"))
	movies := map[string]*stream.Movie{}
	for _, name := range []string{"a.mp4", "b.mp4", "short.mp4", "one.mp4", "audio.mp4"} {
		movies[name] = open(t, filepath.Join(dir, name))
	}
	video := func(source string, bitrate int64) stream.ServerTrack {
		return stream.ServerTrack{Kind: stream.Video, Source: source, Bitrate: bitrate}
	}
	named := func(t stream.ServerTrack, name string) stream.ServerTrack { t.Name = name; return t }
	for _, tc := range []struct {
		name   string
		tracks []stream.ServerTrack
		says   string
	}{
		{"missing file", []stream.ServerTrack{video("none.mp4", 1)}, "none.mp4 is missing"},
		{"missing kind", []stream.ServerTrack{video("audio.mp4", 1)}, "no video track"},
		{"missing track id", []stream.ServerTrack{{Kind: stream.Audio, Source: "audio.mp4", TrackID: 9}}, "no audio track 9"},
		{"same name and bitrate", []stream.ServerTrack{video("a.mp4", 1), video("short.mp4", 1)}, "both have"},
		{"GOPs that do not meet", []stream.ServerTrack{video("a.mp4", 1), video("b.mp4", 2)}, "not aligned"},
		{"different ends", []stream.ServerTrack{video("a.mp4", 1), video("short.mp4", 2)}, "4.000000 s apart"},
		{"name with a quote", []stream.ServerTrack{named(video("a.mp4", 1), `x"`)}, "track name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := stream.NewPresentation(&stream.ServerManifest{Tracks: tc.tracks}, movies)
			wantCode(t, err, 400, "ContentMalformed")
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want it to say %q", err, tc.says)
			}
		})
	}
	// The sound may end before the picture starts.
	ffmpeg(t, "-itsoffset", "9", "-i", filepath.Join(dir, "a.mp4"), "-i", filepath.Join(dir, "audio.mp4"), "-c", "copy", filepath.Join(dir, "late.mp4"))
	late := map[string]*stream.Movie{"late.mp4": open(t, filepath.Join(dir, "late.mp4"))}
	if _, err := stream.NewPresentation(&stream.ServerManifest{Tracks: []stream.ServerTrack{video("late.mp4", 1), {Kind: stream.Audio, Source: "late.mp4"}}}, late); err != nil {
		t.Error(err)
	}
	// A single GOP is one long fragment, not an error.
	if _, err := stream.NewPresentation(&stream.ServerManifest{Tracks: []stream.ServerTrack{video("one.mp4", 1)}}, movies); err != nil {
		t.Error(err)
	}
}

// countingReader counts reads, and fails after some.
type countingReader struct {
	io.ReaderAt
	reads atomic.Int64
	limit int64
}

var errBroken = errors.New("storage is gone")

func (r *countingReader) ReadAt(b []byte, at int64) (int, error) {
	if n := r.reads.Add(1); r.limit > 0 && n > r.limit {
		return 0, errBroken
	}
	return r.ReaderAt.ReadAt(b, at)
}

// Behind an io.ReaderAt there may be a storage account: each read is a request.
func TestReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encodeVideo(t, filepath.Join(dir, "front.mp4"), 60)
	encodeVideo(t, filepath.Join(dir, "behind.mp4"), 60, "-movflags", "-faststart", "-b:v", "2M")
	encodeBoth(t, filepath.Join(dir, "both.mp4"), 60)
	for _, tc := range []struct {
		name        string
		toOpen, max int64 // reads; of one video segment
	}{{"front.mp4", 1, 1}, {"behind.mp4", 3, 1}, {"both.mp4", 1, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(filepath.Join(dir, tc.name))
			if err != nil {
				t.Fatal(err)
			}
			r := &countingReader{ReaderAt: bytes.NewReader(b)}
			movie, err := stream.Open(r, int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if n := r.reads.Load(); n > tc.toOpen {
				t.Errorf("Open took %d reads, want at most %d", n, tc.toOpen)
			}
			p, err := stream.NewPresentation(&stream.ServerManifest{Tracks: []stream.ServerTrack{{Kind: stream.Video, Source: "x", Bitrate: 5}}},
				map[string]*stream.Movie{"x": movie})
			if err != nil {
				t.Fatal(err)
			}
			if f := movie.Footprint(); f < 500 || f > 20_000 {
				t.Errorf("footprint of 7 s is %d bytes", f)
			}
			resp, err := p.Respond(stream.Request{Target: stream.Fragment, Format: stream.HLSCMAF, Bitrate: 5, Track: "video"}, stream.Options{})
			if err != nil {
				t.Fatal(err)
			}
			r.reads.Store(0)
			if err := resp.Write(t.Context(), io.Discard, r); err != nil {
				t.Fatal(err)
			}
			if n := r.reads.Load(); n > tc.max {
				t.Errorf("a segment took %d reads, want at most %d", n, tc.max)
			}
			if err := resp.Write(t.Context(), io.Discard, &countingReader{ReaderAt: r, limit: -1 + 1<<62}); err != nil {
				t.Error(err)
			}
			broken := &countingReader{ReaderAt: r, limit: 1}
			broken.reads.Store(1)
			if err := resp.Write(t.Context(), io.Discard, broken); !errors.Is(err, errBroken) {
				t.Errorf("a failing source gives %v", err)
			}
			if err := resp.Write(t.Context(), io.Discard, bytes.NewReader(b[:len(b)/8])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a source that has shrunk gives %v", err)
			}
			done, cancel := context.WithCancel(t.Context())
			cancel()
			if err := resp.Write(done, io.Discard, r); !errors.Is(err, context.Canceled) {
				t.Errorf("a done context gives %v", err)
			}
		})
	}
}
