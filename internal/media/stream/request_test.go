package stream_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

func TestParseRequest(t *testing.T) {
	t.Parallel()
	const hls, ism = stream.HLSCMAF, "ignite.ism"
	for _, tc := range []struct {
		path string
		want stream.Request
	}{
		{"ignite.ism/manifest(format=m3u8-cmaf)", stream.Request{Manifest: ism, Format: hls}},
		{"ignite.ism/manifest(format=m3u8-cmaf,encryption=cbc)", stream.Request{Manifest: ism, Format: hls, Encrypted: true}},
		{"ignite.ism/manifest(encryption=cbc,format=m3u8-cmaf).m3u8", stream.Request{Manifest: ism, Format: hls, Encrypted: true}},
		{"ignite.ISM/MANIFEST(Format=M3U8-CMAF,audio-only=false)", stream.Request{Manifest: "ignite.ISM", Format: hls}},
		{"ignite.ism/manifest(format=mpd-time-cmaf).mpd", stream.Request{Manifest: ism, Format: stream.DASHCMAF}},
		{"ignite.ism/Manifest(format=mpd-time-csf)", stream.Request{Manifest: ism, Format: stream.DASHCSF}},
		{
			"ignite.ism/QualityLevels(1154816)/Manifest(video,format=m3u8-cmaf)",
			stream.Request{Manifest: ism, Target: stream.Playlist, Format: hls, Bitrate: 1154816, Track: "video"},
		},
		{
			"ignite.ism/qualitylevels(128041)/fragments(aac_eng_2_128041_2_1=i,format=m3u8-cmaf)",
			stream.Request{Manifest: ism, Target: stream.Init, Format: hls, Bitrate: 128041, Track: "aac_eng_2_128041_2_1"},
		},
		{
			"ignite.ism/QualityLevels(1154816)/Fragments(video=20000000,format=m3u8-cmaf,encryption=cbc)",
			stream.Request{Manifest: ism, Target: stream.Fragment, Format: hls, Encrypted: true, Bitrate: 1154816, Track: "video", Time: 20000000},
		},
		{
			"a b (1).ism/QualityLevels(1)/Fragments(video=0,format=mpd-time-csf)",
			stream.Request{Manifest: "a b (1).ism", Target: stream.Fragment, Format: stream.DASHCSF, Bitrate: 1, Track: "video"},
		},
	} {
		t.Run(tc.path, func(t *testing.T) {
			t.Parallel()
			got, err := stream.ParseRequest(tc.path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		path   string
		status int
		says   string
	}{
		{"", 404, "manifest(format=m3u8-cmaf)"},
		{"ignite.ism", 404, ""},
		{".ism/manifest(format=m3u8-cmaf)", 404, ""},
		{"ignite.mp4/manifest(format=m3u8-cmaf)", 404, ""},
		{"ignite.ism/index.m3u8", 404, ""},
		{"ignite.ism/manifest(format=m3u8-cmaf", 404, ""},
		{"ignite.ism/manifest(format=m3u8-cmaf)/more", 404, ""},
		{"ignite.ism/QualityLevels(1)/Keys(video,format=m3u8-cmaf)", 404, ""},
		{"ignite.ism/QualityLevels(1)", 404, ""},
		{"ignite.ism/manifest", 400, "Smooth"},
		{"ignite.ism/manifest(format=fmp4-v20)", 400, "m3u8-cmaf"},
		{"ignite.ism/manifest(format=m3u8-aapl)", 400, "mpd-time-cmaf"},
		{"ignite.ism/manifest(format=m3u8-cmaf,encryption=cbcs-aapl)", 400, "encryption=cbc"},
		{"ignite.ism/manifest(format=mpd-time-cmaf,encryption=cbc)", 400, "m3u8-cmaf only"},
		{"ignite.ism/manifest(format=m3u8-cmaf,filter=a;b)", 400, "filter"},
		{"ignite.ism/manifest(format=m3u8-cmaf,type=keyframes)", 400, "type"},
		{"ignite.ism/QualityLevels(x)/Manifest(video,format=m3u8-cmaf)", 400, "bitrate"},
		{"ignite.ism/QualityLevels(1)/Manifest(format=m3u8-cmaf)", 400, "name"},
		{"ignite.ism/QualityLevels(1)/Manifest(video,format=mpd-time-cmaf)", 400, "m3u8-cmaf"},
		{"ignite.ism/QualityLevels(1)/Fragments(video=-1,format=m3u8-cmaf)", 400, "start"},
		{"ignite.ism/QualityLevels(1)/Fragments(video,format=m3u8-cmaf)", 400, "start"},
		{"ignite.ism/QualityLevels(1)/Fragments(video=99999999999999999999,format=m3u8-cmaf)", 400, "start"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			t.Parallel()
			_, err := stream.ParseRequest(tc.path)
			var e *azure.Error
			if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(e.Message, tc.says) {
				t.Errorf("error %v, want %d saying %q", err, tc.status, tc.says)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add("ignite.ism/manifest(format=m3u8-cmaf,encryption=cbc).m3u8")
	f.Add("ignite.ism/QualityLevels(1154816)/Fragments(video=20000000,format=m3u8-cmaf)")
	f.Fuzz(func(t *testing.T, path string) {
		req, err := stream.ParseRequest(path)
		var e *azure.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("error %v is not for the wire", err)
		}
		if err == nil && (req.Bitrate < 0 || req.Time < 0 || strings.Contains(req.Manifest, "/")) {
			t.Errorf("parsed %+v", req)
		}
	})
}
