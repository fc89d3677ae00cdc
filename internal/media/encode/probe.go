package encode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Media describes an input file.
type Media struct {
	Duration time.Duration // zero when the file does not say
	Video    *VideoStream  // the first video stream; nil when there is none
	Audio    *AudioStream  // the first audio stream; nil when there is none
}

// VideoStream is the video of an input.
type VideoStream struct {
	Codec         string // ffmpeg's name, e.g. "h264"
	Width, Height int    // as displayed: after rotation, with square pixels
	FrameRate     float64
	Bitrate       int64 // bits per second; 0 when unknown
}

// AudioStream is the audio of an input.
type AudioStream struct {
	Codec    string
	Channels int
	Rate     int
	Bitrate  int64
	Language string // ISO 639-2; may be empty
}

// inputOptions keep ffmpeg and ffprobe to the one file they are given. Playlists, concatenation scripts and the like, which
// name other files, are not among the formats.
var inputOptions = []string{
	"-max_pixels", strconv.Itoa(maxPixels),
	"-protocol_whitelist", "file",
	"-format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,mxf,ogg,wav,w64,mp3,aac,ac3,eac3,flac,gxf,dv",
}

func inputArgs(path string) ([]string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolving the input: %w", err)
	}
	return append(append([]string{}, inputOptions...), "-i", "file:"+abs), nil
}

// Check reports whether ffmpeg and ffprobe are installed; its error says how to install them.
func Check() error {
	for _, program := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			return jobError(serviceError, program+" is not installed on this machine; install it with: apt-get install ffmpeg", err)
		}
	}
	return nil
}

// answer is what ffprobe says, up to maxAnswer.
type answer struct {
	bytes.Buffer
	tooLong bool
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	if a.tooLong = a.Len()+len(p) > maxAnswer; a.tooLong {
		return 0, io.ErrShortBuffer // which closes ffprobe's pipe, and so ends it
	}
	return a.Buffer.Write(p)
}

type probeResult struct {
	Format struct {
		Duration string `json:"duration"`
	} `json:"format"`
	Streams []struct {
		Type        string `json:"codec_type"`
		Codec       string `json:"codec_name"`
		Width       int    `json:"width"`
		Height      int    `json:"height"`
		Aspect      string `json:"sample_aspect_ratio"`
		FrameRate   string `json:"avg_frame_rate"`
		RealRate    string `json:"r_frame_rate"`
		BitRate     string `json:"bit_rate"`
		Duration    string `json:"duration"`
		Channels    int    `json:"channels"`
		SampleRate  string `json:"sample_rate"`
		Disposition struct {
			AttachedPicture int `json:"attached_pic"`
		} `json:"disposition"`
		Tags struct {
			Language string `json:"language"`
		} `json:"tags"`
		SideData []struct {
			Rotation float64 `json:"rotation"`
		} `json:"side_data_list"`
	} `json:"streams"`
}

// Probe asks ffprobe about the local file at path. A file that is no media, or holds neither audio nor video, gives a
// *JobError; a done ctx gives its error.
func Probe(ctx context.Context, path string) (*Media, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	input, err := inputArgs(path)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-v", "error", "-of", "json", "-show_format", "-show_streams"}, input...)
	cmd := exec.CommandContext(ctx, "ffprobe", args...)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdout, stderr := &answer{}, &tail{limit: 2 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case stdout.tooLong:
		return nil, jobError(contentUnsupported, "The input describes itself at a greater length than is read.", err)
	case err != nil:
		return nil, classify(fmt.Errorf("ffprobe: %w", err), stderr.String())
	case strings.Contains(stderr.String(), tooLarge): // which ends the stream's part of the answer, and not ffprobe
		return nil, classify(errors.New("ffprobe did not decode a picture"), stderr.String())
	}
	var result probeResult
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return nil, fmt.Errorf("reading ffprobe's answer: %w", err)
	}
	return result.media()
}

func (p *probeResult) media() (*Media, error) {
	m := &Media{Duration: parseSeconds(p.Format.Duration)}
	for _, s := range p.Streams {
		bitrate, _ := strconv.ParseInt(s.BitRate, 10, 64)
		switch {
		case s.Type == "video" && m.Video == nil && s.Disposition.AttachedPicture == 0 && s.Width > 0 && s.Height > 0:
			v := &VideoStream{Codec: s.Codec, Width: s.Width, Height: s.Height, FrameRate: ratio(s.FrameRate), Bitrate: bitrate}
			if v.FrameRate == 0 {
				v.FrameRate = ratio(s.RealRate)
			}
			if v.FrameRate <= 0 || v.FrameRate > 1000 {
				v.FrameRate = 30
			}
			if aspect := ratio(s.Aspect); aspect > 0 {
				v.Width = max(int(math.Round(float64(v.Width)*aspect)), 1)
			}
			for _, side := range s.SideData {
				if int(math.Abs(side.Rotation))%180 == 90 {
					v.Width, v.Height = v.Height, v.Width
				}
			}
			if float64(v.Width)*float64(v.Height) > maxPixels { // as displayed, which is what renditions are made of
				return nil, jobError(contentUnsupported, fmt.Sprintf("The input's picture has %dx%d pixels; it can have %d in all.", v.Width, v.Height, maxPixels), nil)
			}
			m.Video = v
		case s.Type == "audio" && m.Audio == nil && s.Channels > 0:
			rate, _ := strconv.Atoi(s.SampleRate)
			m.Audio = &AudioStream{Codec: s.Codec, Channels: s.Channels, Rate: rate, Bitrate: bitrate}
			if iso639.MatchString(s.Tags.Language) && s.Tags.Language != "und" {
				m.Audio.Language = s.Tags.Language
			}
		default:
			continue
		}
		m.Duration = max(m.Duration, parseSeconds(s.Duration))
	}
	if m.Video == nil && m.Audio == nil {
		return nil, jobError(contentUnsupported, "The input holds neither audio nor video.", nil)
	}
	return m, nil
}

var iso639 = regexp.MustCompile(`^[a-z]{3}$`)

func parseSeconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1e7 || math.IsNaN(f) {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// ratio parses "30000/1001" or "4:3"; zero when it is not one.
func ratio(s string) float64 {
	r, ok := new(big.Rat).SetString(strings.Replace(s, ":", "/", 1))
	if !ok {
		return 0
	}
	f, _ := r.Float64()
	return f
}
