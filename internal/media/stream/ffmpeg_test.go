package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

// ffmpeg runs ffmpeg, the foreign encoder and player of these tests, and returns its standard output.
func ffmpeg(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("ffmpeg is missing; install it with: apt-get install ffmpeg")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-nostdin", "-hide_banner", "-loglevel", "warning", "-threads", "1"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, &stderr)
	}
	return stdout.String()
}

const (
	testVideo = "testsrc2=size=320x180:rate=30:duration=7"
	testAudio = "sine=frequency=440:sample_rate=48000:duration=7"
)

func x264(gop int, extra ...string) []string {
	return append([]string{
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2", "-g", fmt.Sprint(gop),
		"-x264-params", "scenecut=0:open-gop=0:b-pyramid=none:bframes=2:b-adapt=0", "-movflags", "+faststart",
	}, extra...)
}

// encodeVideo writes a video-only file with B-frames.
func encodeVideo(t testing.TB, path string, gop int, extra ...string) {
	t.Helper()
	args := append([]string{"-f", "lavfi", "-i", testVideo}, x264(gop, extra...)...)
	ffmpeg(t, append(args, path)...)
}

func encodeAudio(t testing.TB, path string) {
	t.Helper()
	ffmpeg(t, "-f", "lavfi", "-i", testAudio, "-c:a", "aac", "-b:a", "64k", "-ac", "2", path)
}

// encodeBoth writes a file with audio and video interleaved.
func encodeBoth(t testing.TB, path string, gop int) {
	t.Helper()
	args := append([]string{"-f", "lavfi", "-i", testVideo, "-f", "lavfi", "-i", testAudio}, x264(gop)...)
	ffmpeg(t, append(args, "-c:a", "aac", "-b:a", "64k", path)...)
}

func open(t testing.TB, path string) *stream.Movie {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.Open(f, info.Size())
	if err != nil {
		t.Fatalf("Open(%s): %v", filepath.Base(path), err)
	}
	return m
}

func present(t testing.TB, dir string, m *stream.ServerManifest) *stream.Presentation {
	t.Helper()
	movies := map[string]*stream.Movie{}
	for _, name := range m.Sources() {
		movies[name] = open(t, filepath.Join(dir, name))
	}
	p, err := stream.NewPresentation(m, movies)
	if err != nil {
		t.Fatalf("NewPresentation: %v", err)
	}
	return p
}

// origin serves a presentation below /locator/, and the key at /key, as package media does.
type origin struct {
	t     *testing.T
	dir   string
	p     *stream.Presentation
	key   *stream.Key
	token string // asked for on every request; empty asks for none
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("token") != o.token {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/key" {
		w.Write(o.key.Secret)
		return
	}
	if err := o.serve(w, r); err != nil {
		e, _ := azure.AsError(err)
		o.t.Errorf("GET %s: %v", r.URL, err)
		http.Error(w, e.Message, e.Status)
	}
}

func (o *origin) serve(w http.ResponseWriter, r *http.Request) error {
	req, err := stream.ParseRequest(strings.TrimPrefix(r.URL.Path, "/locator/"))
	if err != nil {
		return err
	}
	opts := stream.Options{}
	if o.token != "" {
		opts.Query = url.Values{"token": {o.token}}
	}
	if req.Encrypted {
		opts.Key = &stream.Key{ID: o.key.ID, URI: "http://" + r.Host + "/key", Secret: o.key.Secret}
	}
	resp, err := o.p.Respond(req, opts)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", resp.ContentType)
	w.Header().Set("Content-Length", fmt.Sprint(resp.Size))
	if resp.Source == "" {
		return resp.Write(r.Context(), w, nil)
	}
	f, err := os.Open(filepath.Join(o.dir, resp.Source))
	if err != nil {
		return err
	}
	defer f.Close()
	body := &bytes.Buffer{}
	if err := resp.Write(r.Context(), body, f); err != nil {
		return err
	}
	if int64(body.Len()) != resp.Size {
		o.t.Errorf("GET %s: %d bytes written, Size says %d", r.URL, body.Len(), resp.Size)
	}
	_, err = body.WriteTo(w)
	if context.Cause(r.Context()) != nil {
		return nil // the player left
	}
	return err
}

var testKey = &stream.Key{ID: "11111111-2222-3333-4444-555555555555", Secret: []byte("0123456789abcdef")}

// frames decodes one stream of input and returns presentation time and hash of each frame that is shown: what comes
// before zero is the encoder's priming, which the edit list cuts off.
func frames(t testing.TB, input, selector string) []string {
	t.Helper()
	args := []string{"-copyts"}
	if strings.Contains(strings.ToLower(input), "m3u8") {
		args = append(args, "-extension_picky", "0", "-allowed_extensions", "ALL")
	}
	args = append(args, "-i", input, "-map", selector)
	if strings.Contains(selector, ":v") {
		args = append(args, "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
	}
	var list []string
	for line := range strings.Lines(ffmpeg(t, append(args, "-f", "framemd5", "-")...)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), ",")
		if at := strings.TrimSpace(f[2]); !strings.HasPrefix(at, "-") {
			list = append(list, at+" "+strings.TrimSpace(f[5]))
		}
	}
	if len(list) == 0 {
		t.Fatalf("no frames in %s %s", input, selector)
	}
	return list
}

func TestPlayback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encodeVideo(t, filepath.Join(dir, "high.mp4"), 60, "-b:v", "600k")
	encodeVideo(t, filepath.Join(dir, "low.mp4"), 30, "-b:v", "200k", "-s", "160x90")
	encodeAudio(t, filepath.Join(dir, "audio.mp4"))
	encodeBoth(t, filepath.Join(dir, "both.mp4"), 60)
	// The fragments of a file whose moov stands behind the media and whose GOPs are longer than the target.
	encodeVideo(t, filepath.Join(dir, "long.mp4"), 90, "-movflags", "-faststart")

	// Edit lists: video that starts three seconds after the audio, and a copy cut out of the middle of GOPs.
	ffmpeg(t, append([]string{"-itsoffset", "3", "-i", filepath.Join(dir, "high.mp4"), "-i", filepath.Join(dir, "audio.mp4"), "-c", "copy"}, filepath.Join(dir, "late.mp4"))...)
	ffmpeg(t, "-ss", "2.7", "-i", filepath.Join(dir, "both.mp4"), "-c", "copy", filepath.Join(dir, "cut.mp4"))

	both := func(source string) *stream.ServerManifest {
		return &stream.ServerManifest{Tracks: []stream.ServerTrack{{Kind: stream.Video, Source: source}, {Kind: stream.Audio, Source: source}}}
	}
	ladder := &stream.ServerManifest{Tracks: []stream.ServerTrack{
		{Kind: stream.Audio, Source: "audio.mp4", Bitrate: 64000, Language: "eng", Name: "aac_eng_2_64000_1_1"},
		{Kind: stream.Video, Source: "low.mp4", Bitrate: 200000, Name: "video"},
		{Kind: stream.Video, Source: "high.mp4", Bitrate: 600000, Name: "video"},
	}}
	interleaved := &stream.ServerManifest{Tracks: []stream.ServerTrack{
		{Kind: stream.Video, Source: "both.mp4", TrackID: 1}, {Kind: stream.Audio, Source: "both.mp4", TrackID: 2},
	}}
	type check struct{ selector, source, sourceSelector string }
	times := func(list []string) []string { // of whole frames, without their hashes
		var times []string
		for _, frame := range list {
			if at, _, _ := strings.Cut(frame, " "); at != "0" {
				times = append(times, at)
			}
		}
		return times
	}
	for _, tc := range []struct {
		name     string
		manifest *stream.ServerManifest
		path     string
		token    string
		checks   []check
	}{
		{"hls", ladder, "manifest(format=m3u8-cmaf)", "", []check{{"0:v:0", "high.mp4", "0:v"}, {"0:v:1", "low.mp4", "0:v"}, {"0:a:0", "audio.mp4", "0:a"}}},
		{"hls with extension", ladder, "Manifest(Format=m3u8-cmaf).m3u8", "", []check{{"0:v:1", "low.mp4", "0:v"}}},
		{"hls aes-128", ladder, "manifest(format=m3u8-cmaf,encryption=cbc)", "", []check{{"0:v:0", "high.mp4", "0:v"}, {"0:a:0", "audio.mp4", "0:a"}}},
		{"hls aes-128 with token", ladder, "manifest(format=m3u8-cmaf,encryption=cbc)", "e30.a+b/&c=", []check{{"0:v:1", "low.mp4", "0:v"}}},
		{"hls interleaved", interleaved, "manifest(format=m3u8-cmaf)", "", []check{{"0:v:0", "both.mp4", "0:v"}, {"0:a:0", "both.mp4", "0:a"}}},
		{
			"hls moov last, long GOP", &stream.ServerManifest{Tracks: []stream.ServerTrack{{Kind: stream.Video, Source: "long.mp4"}}},
			"manifest(format=m3u8-cmaf)", "",
			[]check{{"0:v:0", "long.mp4", "0:v"}},
		},
		{"hls late video", both("late.mp4"), "manifest(format=m3u8-cmaf)", "", []check{{"0:v:0", "late.mp4", "0:v"}, {"0:a:0", "late.mp4", "0:a"}}},
		{"dash late video", both("late.mp4"), "manifest(format=mpd-time-cmaf)", "", []check{{"0:v:0", "late.mp4", "0:v"}, {"0:a:0", "late.mp4", "0:a"}}},
		{"hls cut", both("cut.mp4"), "manifest(format=m3u8-cmaf)", "", []check{{"0:v:0", "cut.mp4", "0:v"}, {"0:a:0", "cut.mp4", "0:a"}}},
		{
			"hls audio only", &stream.ServerManifest{Tracks: []stream.ServerTrack{{Kind: stream.Audio, Source: "audio.mp4"}}},
			"manifest(format=m3u8-cmaf)", "",
			[]check{{"0:a:0", "audio.mp4", "0:a"}},
		},
		{"dash cmaf", ladder, "manifest(format=mpd-time-cmaf)", "", []check{{"0:v:0", "high.mp4", "0:v"}, {"0:v:1", "low.mp4", "0:v"}, {"0:a:0", "audio.mp4", "0:a"}}},
		{"dash csf with token", interleaved, "manifest(format=mpd-time-csf).mpd", "a$b", []check{{"0:v:0", "both.mp4", "0:v"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := &origin{t: t, dir: dir, p: present(t, dir, tc.manifest), key: testKey, token: tc.token}
			server := httptest.NewServer(o)
			defer server.Close()
			input := server.URL + "/locator/test.ism/" + tc.path
			if tc.token != "" {
				input += "?token=" + url.QueryEscape(tc.token)
			}
			for _, c := range tc.checks {
				got, want := frames(t, input, c.selector), frames(t, filepath.Join(dir, c.source), c.sourceSelector)
				if tc.name == "hls cut" && c.selector == "0:a:0" {
					// The decoder starts at another frame, and AAC's noise substitution depends on how many it has seen.
					got, want = times(got), times(want)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: frames differ from those of %s (-source +played):\n%s", c.selector, c.source, diff)
				}
			}
		})
	}
}
