package encode

import "math"

// rung is one video rendition before it is fitted to a source: height is the shorter side of the picture.
type rung struct {
	height  int
	bitrate int // bits per second
}

// ladders of the built-in presets with fixed bitrates.
var ladders = map[string][]rung{
	"H264SingleBitrateSD":      {{480, 2200_000}},
	"H264SingleBitrate720p":    {{720, 4500_000}},
	"H264SingleBitrate1080p":   {{1080, 6750_000}},
	"H264MultipleBitrateSD":    {{480, 1900_000}, {360, 1300_000}, {360, 900_000}, {240, 650_000}, {240, 400_000}},
	"H264MultipleBitrate720p":  {{720, 3400_000}, {540, 2250_000}, {540, 1500_000}, {360, 1000_000}, {360, 650_000}, {180, 400_000}},
	"H264MultipleBitrate1080p": {{1080, 6000_000}, {1080, 4700_000}, {720, 3400_000}, {540, 2250_000}, {540, 1500_000}, {360, 1000_000}, {360, 650_000}, {180, 400_000}},
}

// adaptive is the documented AdaptiveStreaming ladder of a 1080p source at 29.97 frames a second.
var adaptive = []rung{{1080, 6780_000}, {720, 3520_000}, {540, 2210_000}, {360, 1150_000}, {270, 720_000}, {180, 380_000}}

// adaptiveLadder returns the AdaptiveStreaming ladder of a source. The documented ladders fix its shape: bitrates follow
// the frame rate to the power of 0.8 (720p at 23.97), and a 360p source gets 0.61 of what the 360p rung of a larger one
// gets. Between 360p and 720p that factor is interpolated here. A source that lies well above its highest rung gets one at its own height. No ladder exceeds the
// source's own bitrate.
func adaptiveLadder(v *VideoStream) []rung {
	height := min(v.Width, v.Height)
	factor := math.Pow(min(v.FrameRate, 60)/29.97, 0.8) * (0.61 + 0.39*min(max(float64(height-360)/360, 0), 1))
	var rungs []rung
	for i, r := range adaptive {
		if r.height > height {
			continue
		}
		if len(rungs) == 0 && i > 0 && float64(r.height) < 0.9*float64(height) {
			rungs = append(rungs, rung{height &^ 1, between(adaptive[i-1], r, height)})
		}
		rungs = append(rungs, r)
	}
	if len(rungs) == 0 {
		low := adaptive[len(adaptive)-1]
		rungs = []rung{{max(height&^1, 2), between(low, rung{1, 10_000}, height)}}
	}
	if top := float64(rungs[0].bitrate) * factor; v.Bitrate > 0 && top > float64(v.Bitrate) {
		factor *= float64(v.Bitrate) / top
	}
	for i := range rungs {
		rungs[i].bitrate = roundTo(float64(rungs[i].bitrate)*factor, 10_000)
	}
	return rungs
}

// between interpolates the bitrate at height between two rungs: bitrates follow a power of the height.
func between(high, low rung, height int) int {
	p := math.Log(float64(high.bitrate)/float64(low.bitrate)) / math.Log(float64(high.height)/float64(low.height))
	return int(float64(low.bitrate) * math.Pow(float64(height)/float64(low.height), p))
}

func roundTo(v float64, step int) int {
	return max(int(math.Round(v/float64(step)))*step, step)
}

// fit removes the rungs that lie above the source. When all do, the lowest is kept at the source's own height.
func fit(rungs []rung, v *VideoStream) []rung {
	height := min(v.Width, v.Height)
	var kept []rung
	for _, r := range rungs {
		if r.height <= height {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		last := rungs[len(rungs)-1]
		kept = []rung{{max(height&^1, 2), last.bitrate}}
	}
	return kept
}

// size returns the width and height, both even, of v scaled so that its shorter side is side.
func (v *VideoStream) size(side int) (width, height int) {
	even := func(long, short int) int {
		return max(int(math.Round(float64(side)*float64(long)/float64(short)/2))*2, 2)
	}
	if v.Width >= v.Height {
		return even(v.Width, v.Height), max(side&^1, 2)
	}
	return max(side&^1, 2), even(v.Height, v.Width)
}
