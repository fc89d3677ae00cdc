package encode_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/encode"
	"github.com/keyreel/keyreel/internal/media/stream"
)

// clip makes a test clip with ffmpeg.
func clip(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Fatal("ffmpeg is missing; install it with: apt-get install ffmpeg")
	}
	path := filepath.Join(t.TempDir(), name)
	args = append([]string{"-nostdin", "-v", "error", "-threads", "1"}, append(args, path)...)
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %q: %v\n%s", args, err, out)
	}
	return path
}

var (
	videoSource = []string{"-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=5"}
	audioSource = []string{"-f", "lavfi", "-i", "sine=frequency=440:duration=5"}
	x264        = []string{"-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-g", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p"}
)

func bothClip(t *testing.T) string {
	return clip(t, "talk.mp4", slices.Concat(videoSource, audioSource, x264, []string{"-c:a", "aac", "-metadata:s:a:0", "language=deu"})...)
}

func preset(t *testing.T, doc string) *encode.Preset {
	t.Helper()
	p, err := encode.ParsePreset(json.RawMessage(doc))
	if err != nil {
		t.Fatalf("ParsePreset(%s): %v", doc, err)
	}
	return p
}

func builtIn(name string) string {
	return `{"@odata.type":"#Microsoft.Media.BuiltInStandardEncoderPreset","presetName":"` + name + `"}`
}

const twoRungs = `{"@odata.type":"#Microsoft.Media.StandardEncoderPreset",
 "codecs":[
  {"@odata.type":"#Microsoft.Media.AacAudio","channels":2,"samplingRate":48000,"bitrate":96000,"profile":"AacLc"},
  {"@odata.type":"#Microsoft.Media.H264Video","keyFrameInterval":"PT2S","complexity":"Speed","layers":[
    {"@odata.type":"#Microsoft.Media.H264Layer","bitrate":200000,"width":"640","height":"180","label":"SD"},
    {"@odata.type":"#Microsoft.Media.H264Layer","bitrate":400000,"maxBitrate":500000,"bufferWindow":"PT5S","width":"100%","height":"100%","label":"HD","bFrames":2,"profile":"Main"}]}],
 "formats":[{"@odata.type":"#Microsoft.Media.Mp4Format","filenamePattern":"Video-{Basename}-{Label}-{Bitrate}{Extension}"}]}`

func TestRun(t *testing.T) {
	t.Parallel()
	source := bothClip(t)
	media, err := encode.Probe(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	want := &encode.Media{
		Duration: media.Duration,
		Video:    &encode.VideoStream{Codec: "h264", Width: 320, Height: 240, FrameRate: 25, Bitrate: media.Video.Bitrate},
		Audio:    &encode.AudioStream{Codec: "aac", Channels: 1, Rate: 44100, Bitrate: media.Audio.Bitrate, Language: "deu"},
	}
	if diff := cmp.Diff(want, media); diff != "" {
		t.Errorf("Probe (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		name, preset string
		files        []string
		sizes        [][2]int // of the video tracks
	}{
		{
			"AdaptiveStreaming", builtIn("AdaptiveStreaming"),
			[]string{"talk_320x240_*.mp4", "talk_240x180_*.mp4", "talk_AACAudio_128.mp4", "talk.ism"},
			[][2]int{{320, 240}, {240, 180}},
		},
		{"single bitrate is interleaved, never scaled up", builtIn("H264SingleBitrate720p"), []string{"talk_320x240_4500.mp4", "talk.ism"}, [][2]int{{320, 240}}},
		{"copy", builtIn("CopyAllBitrateNonInterleaved"), []string{"talk_320x240_copy.mp4", "talk_AACAudio_copy.mp4", "talk.ism"}, [][2]int{{320, 240}}},
		{"audio", builtIn("AACGoodQualityAudio"), []string{"talk_AACAudio_192.mp4", "talk.ism"}, nil},
		{"two rungs", twoRungs, []string{"Video-talk-HD-400.mp4", "Video-talk-SD-200.mp4", "talk.ism"}, [][2]int{{320, 240}, {240, 180}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			plan, err := encode.NewPlan(preset(t, tc.preset), media, encode.PlanOptions{BaseName: "talk", Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			last := -1.0
			names, err := encode.Run(t.Context(), plan, source, dir, func(percent float64) {
				if percent < last || percent > 100 {
					t.Errorf("progress went from %v to %v", last, percent)
				}
				last = percent
			})
			if err != nil {
				t.Fatal(err)
			}
			if last != 100 {
				t.Errorf("progress ended at %v, want 100", last)
			}
			if !slices.EqualFunc(names, tc.files, func(name, pattern string) bool { ok, _ := filepath.Match(pattern, name); return ok }) {
				t.Errorf("files %q, want %q", names, tc.files)
			}
			sizes, audio := present(t, dir, names[len(names)-1])
			if diff := cmp.Diff(tc.sizes, sizes); diff != "" {
				t.Errorf("video sizes (-want +got):\n%s", diff)
			}
			if audio != "deu" {
				t.Errorf("audio has language %q, want deu", audio)
			}
		})
	}
}

// present opens what an encode left as the origin does, and returns the video sizes and the audio's language.
func present(t *testing.T, dir, manifest string) (sizes [][2]int, audio string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, manifest))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := stream.ParseServerManifest(f)
	if err != nil {
		t.Fatal(err)
	}
	movies := map[string]*stream.Movie{}
	for _, track := range m.Tracks {
		b, err := os.ReadFile(filepath.Join(dir, track.Source))
		if err != nil {
			t.Fatal(err)
		}
		movie, err := stream.Open(strings.NewReader(string(b)), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		movies[track.Source] = movie
		for _, mt := range movie.Tracks {
			if mt.ID != track.TrackID {
				continue
			}
			if mt.Kind == stream.Audio {
				audio = mt.Language
			} else {
				sizes = append(sizes, [2]int{mt.Width, mt.Height})
			}
		}
	}
	if _, err := stream.NewPresentation(m, movies); err != nil {
		t.Fatal(err)
	}
	return sizes, audio
}

func TestRunFailures(t *testing.T) {
	t.Parallel()
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	source := bothClip(t)
	whole, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	// A matroska file ends where it was cut; its header still says five seconds.
	mkv := clip(t, "whole.mkv", append(slices.Clone(videoSource), x264...)...)
	long, err := os.ReadFile(mkv)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, input, preset, code string }{
		{"no media", write("a.mp4", "this is not a movie, whatever its name says"), "AdaptiveStreaming", "ContentMalformed"},
		{"empty", write("a.mp4", ""), "AdaptiveStreaming", "ContentMalformed"},
		{"no movie header", write("a.mp4", string(whole[:len(whole)/2])), "AdaptiveStreaming", "ContentMalformed"},
		{"cut short", write("a.mkv", string(long[:len(long)/4])), "H264SingleBitrateSD", "ContentMalformed"},
		{"playlist of local files", write("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:"+source+"\n#EXT-X-ENDLIST\n"), "AdaptiveStreaming", "Content"},
		{"script of local files", write("a.ffconcat", "ffconcat version 1.0\nfile '"+source+"'\n"), "AdaptiveStreaming", "Content"},
		{"playlist that says it is a movie", write("a.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:"+source+"\n#EXT-X-ENDLIST\n"), "AdaptiveStreaming", "Content"},
		{"playlist of the network", write("a.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n"), "AdaptiveStreaming", "Content"},
		{"DASH manifest of local files", write("a.mpd", `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>file:`+source+`</BaseURL></Representation></AdaptationSet></Period></MPD>`), "AdaptiveStreaming", "Content"},
		{"session description", write("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"), "AdaptiveStreaming", "Content"},
		{"picture that would fill the memory", clip(t, "a.avi", "-f", "lavfi", "-i", "color=size=8800x4400:rate=1:duration=1", "-frames:v", "1", "-c:v", "mjpeg"), "AdaptiveStreaming", "ContentUnsupported"},
		{"subtitles", write("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nHello\n"), "AdaptiveStreaming", "Content"},
		{"no video for a video preset", clip(t, "a.m4a", append(slices.Clone(audioSource), "-c:a", "aac")...), "AdaptiveStreaming", "ContentUnsupported"},
		{"no audio for an audio preset", mkv, "AACGoodQualityAudio", "ContentUnsupported"},
		{"codec that cannot be copied", clip(t, "a.avi", append(slices.Clone(videoSource), "-c:v", "mpeg4")...), "CopyAllBitrateNonInterleaved", "ContentUnsupported"},
		{"missing file", filepath.Join(t.TempDir(), "none.mp4"), "AdaptiveStreaming", "ServiceError"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := func() error {
				media, err := encode.Probe(t.Context(), tc.input)
				if err != nil {
					return err
				}
				plan, err := encode.NewPlan(preset(t, builtIn(tc.preset)), media, encode.PlanOptions{BaseName: "a", Threads: 1})
				if err != nil {
					return err
				}
				_, err = encode.Run(t.Context(), plan, tc.input, t.TempDir(), nil)
				return err
			}()
			var je *encode.JobError
			if !errors.As(err, &je) || !strings.HasPrefix(je.Code, tc.code) {
				t.Fatalf("error %v, want a JobError %s", err, tc.code)
			}
			if je.Category == "" || je.Retry == "" || je.Message == "" {
				t.Errorf("incomplete: %+v", je)
			}
		})
	}
}

func TestCancelKillsTheGroup(t *testing.T) {
	t.Parallel()
	source := clip(t, "long.mp4", slices.Concat([]string{"-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=60"}, x264)...)
	media, err := encode.Probe(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Replace(builtIn("H264SingleBitrateSD"), "}", `,"configurations":{"complexity":"Quality"}}`, 1)
	plan, err := encode.NewPlan(preset(t, doc), media, encode.PlanOptions{BaseName: "a", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the job was canceled")
	_, err = encode.Run(ctx, plan, source, dir, func(percent float64) { cancel(reason) })
	if !errors.Is(err, reason) {
		t.Fatalf("Run returned %v, want the context's cause", err)
	}
	// The process is gone: nothing holds the directory as its working directory any more.
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && at == dir {
			t.Errorf("%s still runs in the output directory", filepath.Dir(link))
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := encode.Probe(ctx, bothClip(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe returned %v, want the deadline's error", err)
	}
}

func TestParsePresetRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, doc, target string }{
		{"no object", `[]`, "preset"},
		{"null", `null`, "preset"},
		{"no type", `{}`, "preset.@odata.type"},
		{"analyzer", `{"@odata.type":"#Microsoft.Media.AudioAnalyzerPreset"}`, "preset.@odata.type"},
		{"content aware", builtIn("ContentAwareEncoding"), "preset.presetName"},
		{"unknown property", strings.Replace(builtIn("AdaptiveStreaming"), "}", `,"turbo":1}`, 1), "preset.turbo"},
		{"wrong type", strings.Replace(builtIn("AdaptiveStreaming"), `"AdaptiveStreaming"`, `7`, 1), "preset.presetName"},
		{"configurations of a copy", strings.Replace(builtIn("CopyAllBitrateNonInterleaved"), "}", `,"configurations":{}}`, 1), "preset.configurations"},
		{"no codecs", `{"@odata.type":"#Microsoft.Media.StandardEncoderPreset","formats":[]}`, "preset.codecs"},
		{"H.265", strings.Replace(twoRungs, "H264Video", "H265Video", 1), "preset.codecs[1].@odata.type"},
		{"transport stream", strings.Replace(twoRungs, "Mp4Format", "TransportStreamFormat", 1), "preset.formats[0].@odata.type"},
		{"macro", strings.Replace(twoRungs, "{Label}", "{Secret}", 1), "preset.formats[0].filenamePattern"},
		{"path in the pattern", strings.Replace(twoRungs, "Video-", "../", 1), "preset.formats[0].filenamePattern"},
		{"overlay", strings.Replace(twoRungs, `"codecs"`, `"filters":{"overlays":[]},"codecs"`, 1), "preset.filters"},
		{"slices", strings.Replace(twoRungs, `"bFrames":2`, `"slices":4`, 1), "preset.codecs[1].layers[1].slices"},
		{"bitrate", strings.Replace(twoRungs, `"bitrate":200000`, `"bitrate":-1`, 1), "preset.codecs[1].layers[0].bitrate"},
		{"no bitrate", strings.Replace(twoRungs, `"bitrate":200000,`, ``, 1), "preset.codecs[1].layers[0].bitrate"},
		{"interval", strings.Replace(twoRungs, "PT2S", "PT2H", 1), "preset.codecs[1].keyFrameInterval"},
		{"width", strings.Replace(twoRungs, `"640"`, `"wide"`, 1), "preset.codecs[1].layers[0].width"},
		{"complexity", strings.Replace(twoRungs, "Speed", "Warp", 1), "preset.codecs[1].complexity"},
		{"label", strings.Replace(twoRungs, `"filenamePattern"`, `"outputFiles":[{"labels":["UHD"]}],"filenamePattern"`, 1), "preset.formats[0].outputFiles[0].labels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := encode.ParsePreset(json.RawMessage(tc.doc))
			var wire *azure.Error
			if !errors.As(err, &wire) || wire.Status != 400 || wire.Target != tc.target {
				t.Errorf("ParsePreset: %#v, want 400 with target %s", err, tc.target)
			}
		})
	}
}

func FuzzParsePreset(f *testing.F) {
	f.Add([]byte(builtIn("AdaptiveStreaming")))
	f.Add([]byte(twoRungs))
	media := &encode.Media{
		Duration: time.Second,
		Video:    &encode.VideoStream{Codec: "h264", Width: 1080, Height: 1921, FrameRate: 29.97}, Audio: &encode.AudioStream{Codec: "aac", Channels: 1},
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := encode.ParsePreset(doc)
		if err != nil {
			return
		}
		plan, err := encode.NewPlan(p, media, encode.PlanOptions{BaseName: "a"})
		if err != nil {
			return
		}
		for _, out := range plan.Outputs {
			if out.Name != filepath.Base(out.Name) {
				t.Errorf("output %q is not a file name", out.Name)
			}
		}
	})
}
