package encode

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Preset is a validated Media Services preset.
type Preset struct {
	name     string // of a built-in preset; empty for a StandardEncoderPreset
	copies   bool   // streams are copied, not encoded
	adaptive bool   // the ladder depends on the source
	rungs    []rung // the fixed ladder of a built-in preset
	limits   limits
	layers   []layer // of a StandardEncoderPreset
	speed    string  // x264's preset
	keyframe time.Duration
	scenes   bool // sync samples at scene changes too
	audio    *audioCodec
	separate bool // audio in a file of its own
	pattern  string
	files    [][]string // labels, by output file; nil is one file for each layer
}

// layer is one H264Layer.
type layer struct {
	width, height        int // 0 follows from the other
	relWidth, relHeight  float64
	bitrate, maxBitrate  int
	buffer               time.Duration
	profile, level, name string
	bFrames              int // -1 is the encoder's choice
}

// audioCodec is one AacAudio.
type audioCodec struct {
	bitrate, channels, rate int
	name                    string
}

// limits narrow a ladder.
type limits struct {
	minBitrate, maxBitrate, minHeight, maxHeight, maxLayers int
}

var complexities = map[string]string{"Speed": "veryfast", "Balanced": "medium", "Quality": "slow"}

const (
	adaptiveStreaming = "AdaptiveStreaming"
	copyAll           = "CopyAllBitrateNonInterleaved"
	goodAudio         = "AACGoodQualityAudio"
)

// builtIn lists the built-in presets that are served.
func builtIn() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(ladders)), adaptiveStreaming, copyAll, goodAudio)))
}

// ParsePreset reads a preset as it stands in a transform output: an object with "@odata.type"
// "#Microsoft.Media.BuiltInStandardEncoderPreset" or "#Microsoft.Media.StandardEncoderPreset". A preset or property
// that is unknown or not built gives an *azure.Error 400 with the property in Target. Use it when a transform is made.
func ParsePreset(raw json.RawMessage) (*Preset, error) {
	o, err := parseObject("preset", raw)
	if err != nil {
		return nil, err
	}
	switch o.kind {
	case "BuiltInStandardEncoderPreset":
		return parseBuiltIn(o)
	case "StandardEncoderPreset":
		return parseStandard(o)
	}
	return nil, badPreset(o.at("@odata.type"), "A preset of type %q is not supported. These are: BuiltInStandardEncoderPreset, StandardEncoderPreset.", o.kind)
}

func parseBuiltIn(o *object) (*Preset, error) {
	p := &Preset{speed: complexities["Speed"], keyframe: 2 * time.Second, pattern: "{Basename}_{Resolution}_{Bitrate}{Extension}"}
	if err := o.take("presetName", &p.name); err != nil {
		return nil, err
	}
	if !slices.Contains(builtIn(), p.name) {
		return nil, badPreset(o.at("presetName"), "The preset %q is not supported. These are: %s.", p.name, strings.Join(builtIn(), ", "))
	}
	p.rungs = ladders[p.name]
	p.adaptive = p.name == adaptiveStreaming
	p.copies = p.name == copyAll
	p.separate = p.adaptive || p.copies || len(p.rungs) > 1
	p.audio = &audioCodec{bitrate: 128_000, channels: 2, rate: 48000, name: "AACAudio"}
	if p.name == goodAudio {
		p.audio.bitrate = 192_000
	}
	var raw json.RawMessage
	if err := o.take("configurations", &raw); err != nil {
		return nil, err
	}
	if raw != nil {
		if err := p.configure(o.at("configurations"), raw); err != nil {
			return nil, err
		}
	}
	return p, o.done()
}

// configure reads PresetConfigurations.
func (p *Preset) configure(path string, raw json.RawMessage) error {
	o, err := parseObject(path, raw)
	if err != nil {
		return err
	}
	if p.copies || p.name == goodAudio {
		return badPreset(path, "%s does not apply to %s; leave it out.", path, p.name)
	}
	if p.speed, err = takeChoice(o, "complexity", "Speed", complexities); err != nil {
		return err
	}
	if p.separate, err = takeChoice(o, "interleaveOutput", map[bool]string{true: "NonInterleavedOutput", false: "InterleavedOutput"}[p.separate],
		map[string]bool{"NonInterleavedOutput": true, "InterleavedOutput": false}); err != nil {
		return err
	}
	var interval float64
	if err := o.take("keyFrameIntervalInSeconds", &interval); err != nil {
		return err
	}
	if interval != 0 {
		if interval < 0.5 || interval > 20 {
			return badPreset(o.at("keyFrameIntervalInSeconds"), "%s is %v; it must be between 0.5 and 20.", o.at("keyFrameIntervalInSeconds"), interval)
		}
		p.keyframe = time.Duration(interval * float64(time.Second))
	}
	for _, n := range []struct {
		name      string
		v         *int
		low, high int
	}{
		{"minBitrateBps", &p.limits.minBitrate, 1, 100_000_000},
		{"maxBitrateBps", &p.limits.maxBitrate, 10_000, 100_000_000},
		{"minHeight", &p.limits.minHeight, 1, 8192},
		{"maxHeight", &p.limits.maxHeight, 2, 8192},
		{"maxLayers", &p.limits.maxLayers, 1, 20},
	} {
		if err := o.takeNumber(n.name, n.v, n.low, n.high); err != nil {
			return err
		}
	}
	return o.done()
}

// apply narrows a ladder, highest rung first. The lowest rung below all limits stays when nothing else does.
func (l *limits) apply(rungs []rung) []rung {
	kept := slices.DeleteFunc(slices.Clone(rungs), func(r rung) bool {
		return l.minBitrate > 0 && r.bitrate < l.minBitrate || l.maxBitrate > 0 && r.bitrate > l.maxBitrate ||
			l.minHeight > 0 && r.height < l.minHeight || l.maxHeight > 0 && r.height > l.maxHeight
	})
	if l.maxLayers > 0 && len(kept) > l.maxLayers {
		kept = kept[:l.maxLayers]
	}
	return kept
}

// parseStandard reads a StandardEncoderPreset: one H264Video, one AacAudio, or both, into MP4 files.
func parseStandard(o *object) (*Preset, error) {
	p := &Preset{speed: complexities["Balanced"], keyframe: 2 * time.Second}
	codecs, err := o.takeObjects("codecs")
	if err != nil {
		return nil, err
	}
	for _, c := range codecs {
		switch {
		case c.kind == "H264Video" && p.layers == nil:
			err = p.parseVideo(c)
		case c.kind == "AacAudio" && p.audio == nil:
			err = p.parseAudio(c)
		case c.kind == "H264Video" || c.kind == "AacAudio":
			err = badPreset(c.path, "%s: a second %s is not supported.", c.path, c.kind)
		default:
			err = badPreset(c.at("@odata.type"), "%s: a codec of type %q is not supported. These are: H264Video, AacAudio.", c.path, c.kind)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(codecs) == 0 {
		return nil, badPreset(o.at("codecs"), "%s names no codec.", o.at("codecs"))
	}
	formats, err := o.takeObjects("formats")
	if err != nil {
		return nil, err
	}
	if len(formats) != 1 {
		return nil, badPreset(o.at("formats"), "%s must hold one Mp4Format; it has %d.", o.at("formats"), len(formats))
	}
	if err := p.parseFormat(formats[0]); err != nil {
		return nil, err
	}
	return p, o.done()
}

func (p *Preset) parseVideo(o *object) (err error) {
	if p.speed, err = takeChoice(o, "complexity", "Balanced", complexities); err != nil {
		return err
	}
	if p.keyframe, err = o.takeDuration("keyFrameInterval", 2*time.Second, 500*time.Millisecond, 20*time.Second); err != nil {
		return err
	}
	if err := o.take("sceneChangeDetection", &p.scenes); err != nil {
		return err
	}
	var label string
	if err := o.take("label", &label); err != nil {
		return err
	}
	for name, only := range map[string]string{"stretchMode": "AutoSize", "syncMode": "Auto", "rateControlMode": "ABR"} {
		if _, err := takeChoice(o, name, only, map[string]bool{only: true}); err != nil {
			return err
		}
	}
	layers, err := o.takeObjects("layers")
	if err != nil {
		return err
	}
	if len(layers) == 0 || len(layers) > 20 {
		return badPreset(o.at("layers"), "%s has %d layers; it must have 1 to 20.", o.at("layers"), len(layers))
	}
	for _, lo := range layers {
		l, err := parseLayer(lo, label)
		if err != nil {
			return err
		}
		p.layers = append(p.layers, l)
	}
	slices.SortStableFunc(p.layers, func(a, b layer) int { return b.bitrate - a.bitrate })
	return o.done()
}

func parseLayer(o *object, label string) (layer, error) {
	l := layer{bFrames: -1, name: label}
	if o.kind != "" && o.kind != "H264Layer" {
		return l, badPreset(o.at("@odata.type"), "%s: a layer of type %q is not supported; it must be H264Layer.", o.path, o.kind)
	}
	if err := o.takeNumber("bitrate", &l.bitrate, 10_000, 100_000_000); err != nil {
		return l, err
	}
	if l.bitrate == 0 {
		return l, badPreset(o.at("bitrate"), "%s is required, in bits per second.", o.at("bitrate"))
	}
	l.maxBitrate = l.bitrate
	if err := o.takeNumber("maxBitrate", &l.maxBitrate, l.bitrate, 200_000_000); err != nil {
		return l, err
	}
	if err := o.takeNumber("bFrames", &l.bFrames, 0, 16); err != nil {
		return l, err
	}
	var err error
	if l.buffer, err = o.takeDuration("bufferWindow", 5*time.Second, 100*time.Millisecond, 100*time.Second); err != nil {
		return l, err
	}
	if l.width, l.relWidth, err = o.takeLength("width"); err != nil {
		return l, err
	}
	if l.height, l.relHeight, err = o.takeLength("height"); err != nil {
		return l, err
	}
	if l.profile, err = takeChoice(o, "profile", "Auto", map[string]string{"Auto": "high", "Baseline": "baseline", "Main": "main", "High": "high"}); err != nil {
		return l, err
	}
	level := "auto"
	if err := o.take("level", &level); err != nil {
		return l, err
	}
	if !strings.EqualFold(level, "auto") {
		if !regexp.MustCompile(`^[1-6](\.[0-3])?$`).MatchString(level) {
			return l, badPreset(o.at("level"), "%s %q is not an H.264 level, such as 4.1, and not auto.", o.at("level"), level)
		}
		l.level = level
	}
	if err := o.take("label", &l.name); err != nil {
		return l, err
	}
	return l, o.done()
}

func (p *Preset) parseAudio(o *object) error {
	a := &audioCodec{bitrate: 128_000, channels: 2, rate: 48000}
	if err := o.takeNumber("bitrate", &a.bitrate, 8_000, 512_000); err != nil {
		return err
	}
	if err := o.takeNumber("channels", &a.channels, 1, 2); err != nil {
		return err
	}
	if err := o.takeNumber("samplingRate", &a.rate, 8_000, 96_000); err != nil {
		return err
	}
	if !slices.Contains([]int{8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000}, a.rate) {
		return badPreset(o.at("samplingRate"), "%s is %d; AAC does not have it.", o.at("samplingRate"), a.rate)
	}
	if _, err := takeChoice(o, "profile", "AacLc", map[string]bool{"AacLc": true}); err != nil {
		return err
	}
	if err := o.take("label", &a.name); err != nil {
		return err
	}
	p.audio = a
	return o.done()
}

func (p *Preset) parseFormat(o *object) error {
	if o.kind != "Mp4Format" {
		return badPreset(o.at("@odata.type"), "%s: a format of type %q is not supported; it must be Mp4Format.", o.path, o.kind)
	}
	if err := o.take("filenamePattern", &p.pattern); err != nil {
		return err
	}
	if err := checkPattern(o.at("filenamePattern"), p.pattern); err != nil {
		return err
	}
	files, err := o.takeObjects("outputFiles")
	if err != nil {
		return err
	}
	for _, f := range files {
		var labels []string
		if err := f.take("labels", &labels); err != nil {
			return err
		}
		if err := p.checkLabels(f.at("labels"), labels); err != nil {
			return err
		}
		p.files = append(p.files, labels)
		if err := f.done(); err != nil {
			return err
		}
	}
	return o.done()
}

// checkLabels checks that labels name at most one layer and the audio.
func (p *Preset) checkLabels(path string, labels []string) error {
	layers := 0
	for _, name := range labels {
		found := p.audio != nil && p.audio.name == name
		for _, l := range p.layers {
			if l.name == name {
				found = true
				layers++
			}
		}
		if !found || name == "" {
			return badPreset(path, "%s: no layer and no audio codec has the label %q.", path, name)
		}
	}
	if len(labels) == 0 || layers > 1 {
		return badPreset(path, "%s must name one video layer, the audio, or both.", path)
	}
	return nil
}

var macro = regexp.MustCompile(`\{[^{}]*\}`)

func checkPattern(path, pattern string) error {
	for _, m := range macro.FindAllString(pattern, -1) {
		switch m {
		case "{Basename}", "{Label}", "{Bitrate}", "{Resolution}", "{Codec}", "{Index}", "{Extension}":
		default:
			return badPreset(path, "%s has the macro %s. These are supported: {Basename}, {Label}, {Bitrate}, {Resolution}, {Codec}, {Index}, {Extension}.", path, m)
		}
	}
	if pattern == "" || strings.ContainsAny(macro.ReplaceAllString(pattern, ""), "/\\{}\x00") {
		return badPreset(path, "%s %q is not a pattern for file names.", path, pattern)
	}
	return nil
}

// takeLength decodes a width or height: pixels or a percentage, as a string.
func (o *object) takeLength(name string) (pixels int, relative float64, err error) {
	var s string
	if err := o.take(name, &s); err != nil || s == "" {
		return 0, 0, err
	}
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		relative, err = strconv.ParseFloat(percent, 64)
		if err == nil && relative > 0 && relative <= 100 {
			return 0, relative / 100, nil
		}
	} else if pixels, err = strconv.Atoi(s); err == nil && pixels >= 2 && pixels <= 8192 {
		return pixels, 0, nil
	}
	return 0, 0, badPreset(o.at(name), "%s %q is not a number of pixels between 2 and 8192, and not a percentage up to 100%%.", o.at(name), s)
}

var isoDuration = regexp.MustCompile(`^PT(?:(\d{1,3})M)?(?:(\d{1,4}(?:\.\d{1,6})?)S)?$`)

// takeDuration decodes an ISO 8601 duration of minutes and seconds, within bounds.
func (o *object) takeDuration(name string, absent, low, high time.Duration) (time.Duration, error) {
	var s string
	if err := o.take(name, &s); err != nil {
		return 0, err
	}
	if s == "" {
		return absent, nil
	}
	m := isoDuration.FindStringSubmatch(s)
	if m == nil {
		return 0, badPreset(o.at(name), "%s %q is not an ISO 8601 duration such as PT2S.", o.at(name), s)
	}
	d, err := time.ParseDuration(fmt.Sprintf("%sm%ss", orZero(m[1]), orZero(m[2])))
	if err != nil || d < low || d > high {
		return 0, badPreset(o.at(name), "%s is %s; it must be between %v and %v.", o.at(name), s, low, high)
	}
	return d, nil
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}
