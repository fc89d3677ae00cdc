package encode

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PlanOptions are what a job adds to a preset.
type PlanOptions struct {
	BaseName string // {Basename}: prefix of all output names; the input's file name without extension
	Threads  int    // ffmpeg's threads for each codec; 0 lets ffmpeg choose
}

// Plan is one run of ffmpeg.
type Plan struct {
	Args     []string // between the input and the end; outputs are relative to the output directory
	Outputs  []Output // the media files that the run must leave
	Manifest string   // "{BaseName}.ism"
	Duration time.Duration

	threads int
}

// Output is one media file of a plan.
type Output struct {
	Name  string
	Video bool
	Audio bool
}

// rendition is a layer fitted to a source.
type rendition struct {
	layer
	width, height int
}

// NewPlan plans the encoding of media with preset. It never scales up. An input that the preset cannot take (no video for
// a video preset) gives a *JobError.
func NewPlan(preset *Preset, media *Media, o PlanOptions) (*Plan, error) {
	if o.BaseName == "" || o.BaseName != filepath.Base(o.BaseName) || strings.ContainsAny(o.BaseName, "\\\x00\n") {
		return nil, jobError(configurationUnsupported, fmt.Sprintf("The input's name %q cannot name output files.", o.BaseName), nil)
	}
	p := &Plan{Manifest: o.BaseName + ".ism", Duration: media.Duration, threads: o.Threads}
	if preset.copies {
		return p, p.copy(media, o)
	}
	if preset.hasVideo() && media.Video == nil {
		return nil, jobError(contentUnsupported, "The preset makes video; the input has none.", nil)
	}
	if !preset.hasVideo() && media.Audio == nil {
		return nil, jobError(contentUnsupported, "The preset makes audio; the input has none.", nil)
	}
	var renditions []rendition
	if preset.hasVideo() {
		if renditions = preset.renditions(media.Video); len(renditions) == 0 {
			return nil, jobError(configurationUnsupported, "The preset's configurations leave no layer for this input; widen them.", nil)
		}
	}
	audio := preset.audio
	if media.Audio == nil {
		audio = nil
	}
	return p, p.encode(preset, media, renditions, audio, o)
}

func (p *Preset) hasVideo() bool { return p.adaptive || len(p.rungs) > 0 || len(p.layers) > 0 }

// renditions fits the preset's layers to a source.
func (p *Preset) renditions(v *VideoStream) []rendition {
	var list []rendition
	if len(p.layers) > 0 {
		for _, l := range p.layers {
			w, h := l.fit(v)
			list = append(list, rendition{l, w, h})
		}
		return list
	}
	var rungs []rung
	if p.adaptive {
		rungs = adaptiveLadder(v)
	} else {
		rungs = fit(p.rungs, v)
	}
	for _, r := range p.limits.apply(rungs) {
		w, h := v.size(r.height)
		list = append(list, rendition{layer{bitrate: r.bitrate, maxBitrate: r.bitrate, buffer: 5 * time.Second, profile: "high", bFrames: -1}, w, h})
	}
	return list
}

// fit returns the size of the layer for a source: inside the box that the layer gives, with the source's aspect ratio
// (stretchMode AutoSize), and not larger than the source.
func (l *layer) fit(v *VideoStream) (width, height int) {
	scale := 1.0
	for _, side := range []struct {
		pixels   int
		relative float64
		source   int
	}{{l.width, l.relWidth, v.Width}, {l.height, l.relHeight, v.Height}} {
		switch {
		case side.pixels > 0:
			scale = min(scale, float64(side.pixels)/float64(side.source))
		case side.relative > 0:
			scale = min(scale, side.relative)
		}
	}
	even := func(n int) int { return max(int(math.Round(float64(n)*scale/2))*2, 2) }
	return even(v.Width), even(v.Height)
}

// copy plans CopyAllBitrateNonInterleaved: each stream into a file of its own.
func (p *Plan) copy(media *Media, o PlanOptions) error {
	if v := media.Video; v != nil {
		if v.Codec != "h264" && v.Codec != "hevc" {
			return jobError(contentUnsupported, fmt.Sprintf("The input's video has codec %s; only H.264 and H.265 can be copied into a stream.", v.Codec), nil)
		}
		name := fmt.Sprintf("%s_%dx%d_copy.mp4", o.BaseName, v.Width, v.Height)
		p.Args = append(p.Args, "-map", "0:V:0", "-c", "copy")
		if v.Codec == "hevc" {
			p.Args = append(p.Args, "-tag:v", "hvc1")
		}
		p.output(Output{Name: name, Video: true}, "")
	}
	if a := media.Audio; a != nil {
		if a.Codec != "aac" {
			return jobError(contentUnsupported, fmt.Sprintf("The input's audio has codec %s; only AAC can be copied into a stream.", a.Codec), nil)
		}
		p.Args = append(p.Args, "-map", "0:a:0", "-c", "copy")
		p.output(Output{Name: o.BaseName + "_AACAudio_copy.mp4", Audio: true}, a.Language)
	}
	return nil
}

// file is one output: a rendition by index or -1, and the audio or not.
type file struct {
	video int
	audio bool
	label string
}

func (p *Plan) encode(preset *Preset, media *Media, renditions []rendition, audio *audioCodec, o PlanOptions) error {
	p.Args = append(p.Args, "-filter_complex_threads", strconv.Itoa(max(o.Threads, 1)))
	files := layout(preset, renditions, audio)
	if len(files) == 0 {
		return jobError(contentUnsupported, "The input has no stream for any of the preset's output files.", nil)
	}
	if graph := filterGraph(renditions, files); graph != "" {
		p.Args = append(p.Args, "-filter_complex", graph)
	}
	language := ""
	if media.Audio != nil {
		language = media.Audio.Language
	}
	for i, f := range files {
		var r *rendition
		bitrate := 0
		if f.video >= 0 {
			r = &renditions[f.video]
			bitrate = r.bitrate
			p.Args = append(p.Args, "-map", fmt.Sprintf("[v%d]", f.video))
			p.Args = append(p.Args, preset.videoArgs(r, media.Video)...)
		}
		if f.audio {
			if r == nil {
				bitrate = audio.bitrate
			}
			p.Args = append(p.Args, "-map", "0:a:0", "-c:a", "aac", "-b:a", strconv.Itoa(audio.bitrate),
				"-ac", strconv.Itoa(audio.channels), "-ar", strconv.Itoa(audio.rate))
		}
		if o.Threads > 0 {
			p.Args = append(p.Args, "-threads", strconv.Itoa(o.Threads))
		}
		name := fileName(preset.pattern, o.BaseName, f, r, bitrate, i)
		if slices.ContainsFunc(p.Outputs, func(out Output) bool { return strings.EqualFold(out.Name, name) }) {
			return jobError(configurationUnsupported, fmt.Sprintf("Two outputs would be named %s; put {Label} or {Bitrate} into filenamePattern.", name), nil)
		}
		p.output(Output{Name: name, Video: f.video >= 0, Audio: f.audio}, language)
	}
	return nil
}

// output ends the options of one output file.
func (p *Plan) output(o Output, language string) {
	p.Args = append(p.Args, "-map_metadata", "-1", "-map_chapters", "-1")
	if o.Audio && language != "" {
		p.Args = append(p.Args, "-metadata:s:a:0", "language="+language)
	}
	p.Args = append(p.Args, "-movflags", "+faststart", "-f", "mp4", "file:"+o.Name)
	p.Outputs = append(p.Outputs, o)
}

// layout says what goes into which file. What the input lacks audio for is left without.
func layout(preset *Preset, renditions []rendition, audio *audioCodec) []file {
	var files []file
	if preset.files == nil {
		for i := range renditions {
			files = append(files, file{i, audio != nil && !preset.separate, renditions[i].name})
		}
		if audio != nil && (preset.separate || len(renditions) == 0) {
			files = append(files, file{-1, true, audio.name})
		}
		return files
	}
	for _, labels := range preset.files {
		f := file{video: -1, label: strings.Join(labels, "_")}
		for _, name := range labels {
			if i := slices.IndexFunc(renditions, func(r rendition) bool { return r.name == name }); i >= 0 {
				f.video = i
			} else {
				f.audio = audio != nil
			}
		}
		if f.video >= 0 || f.audio {
			files = append(files, f)
		}
	}
	return files
}

// filterGraph decodes once and scales for each rendition that a file uses.
func filterGraph(renditions []rendition, files []file) string {
	var used []int
	for _, f := range files {
		if f.video >= 0 && !slices.Contains(used, f.video) {
			used = append(used, f.video)
		}
	}
	if len(used) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[0:V:0]split=%d", len(used))
	for _, i := range used {
		fmt.Fprintf(&b, "[s%d]", i)
	}
	for _, i := range used {
		fmt.Fprintf(&b, ";[s%d]scale=%d:%d:flags=bicubic,setsar=1,format=yuv420p[v%d]", i, renditions[i].width, renditions[i].height, i)
	}
	return b.String()
}

// videoArgs are x264's options. Sync samples are forced by time, equally in all renditions; the GOP limit lies beyond, for
// it counts frames.
func (p *Preset) videoArgs(r *rendition, v *VideoStream) []string {
	interval := p.keyframe.Seconds()
	args := []string{
		"-c:v", "libx264", "-preset", p.speed, "-profile:v", r.profile,
		"-b:v", strconv.Itoa(r.bitrate), "-maxrate", strconv.Itoa(r.maxBitrate),
		"-bufsize", strconv.Itoa(int(float64(r.maxBitrate) * r.buffer.Seconds())),
		"-force_key_frames", fmt.Sprintf("expr:gte(t,n_forced*%g)", interval), "-forced-idr", "1",
		"-g", strconv.Itoa(int(math.Ceil(v.FrameRate * interval * 2))), "-flags", "+cgop",
	}
	if !p.scenes {
		args = append(args, "-sc_threshold", "0")
	}
	if r.level != "" {
		args = append(args, "-level", r.level)
	}
	if r.bFrames >= 0 {
		args = append(args, "-bf", strconv.Itoa(r.bFrames))
	}
	return args
}

// fileName fills in a filenamePattern.
func fileName(pattern, base string, f file, r *rendition, bitrate, index int) string {
	codec, resolution := "AACAudio", "AACAudio"
	if r != nil {
		codec, resolution = "H264", fmt.Sprintf("%dx%d", r.width, r.height)
	}
	name := strings.NewReplacer("{Basename}", base, "{Label}", f.label, "{Bitrate}", strconv.Itoa(bitrate/1000),
		"{Resolution}", resolution, "{Codec}", codec, "{Index}", strconv.Itoa(index+1), "{Extension}", ".mp4").Replace(pattern)
	name = strings.Map(func(c rune) rune {
		if c < ' ' || strings.ContainsRune(`/\`, c) {
			return '_'
		}
		return c
	}, name)
	if !strings.HasSuffix(strings.ToLower(name), ".mp4") {
		name += ".mp4"
	}
	return name
}
