package encode

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The documented AdaptiveStreaming ladders (encode-autogen-bitrate-ladder), and what follows for other sources.
func TestAdaptiveLadder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		source VideoStream
		want   [][3]int // width, height, kb/s
	}{
		{
			"documented 1080p29.97",
			VideoStream{Width: 1920, Height: 1080, FrameRate: 29.97},
			[][3]int{{1920, 1080, 6780}, {1280, 720, 3520}, {960, 540, 2210}, {640, 360, 1150}, {480, 270, 720}, {320, 180, 380}},
		},
		{
			"documented 720p23.97",
			VideoStream{Width: 1280, Height: 720, FrameRate: 23.97},
			[][3]int{{1280, 720, 2940}, {960, 540, 1850}, {640, 360, 960}, {480, 270, 600}, {320, 180, 320}},
		},
		{
			"documented 360p29.97",
			VideoStream{Width: 640, Height: 360, FrameRate: 29.97},
			[][3]int{{640, 360, 700}, {480, 270, 440}, {320, 180, 230}},
		},
		{
			"2160p is not encoded above 1080p",
			VideoStream{Width: 3840, Height: 2160, FrameRate: 29.97},
			[][3]int{{1920, 1080, 6780}, {1280, 720, 3520}, {960, 540, 2210}, {640, 360, 1150}, {480, 270, 720}, {320, 180, 380}},
		},
		{"portrait", VideoStream{Width: 360, Height: 640, FrameRate: 29.97}, [][3]int{{360, 640, 700}, {270, 480, 440}, {180, 320, 230}}},
		{"between rungs", VideoStream{Width: 853, Height: 480, FrameRate: 29.97}, [][3]int{{854, 480, 1350}, {640, 360, 850}, {480, 270, 530}, {320, 180, 280}}},
		{"smaller than all", VideoStream{Width: 161, Height: 121, FrameRate: 29.97}, [][3]int{{160, 120, 180}}},
		{"below the source's bitrate", VideoStream{Width: 640, Height: 360, FrameRate: 29.97, Bitrate: 350_000}, [][3]int{{640, 360, 350}, {480, 270, 220}, {320, 180, 120}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got [][3]int
			for _, r := range adaptiveLadder(&tc.source) {
				w, h := tc.source.size(r.height)
				got = append(got, [3]int{w, h, r.bitrate / 1000})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ladder (-want +got):\n%s", diff)
			}
		})
	}
}
