package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// player plays HLS: it fetches the playlists and every segment, and asks ffprobe, which knows nothing of Keyreel, what
// can be decoded.
type player struct {
	http *http.Client
	dir  string // for what it fetched
	n    int
}

// played is what a presentation gave.
type played struct {
	renditions []string
	segments   int
	bytes      int64
	frames     int // decoded video frames, per video rendition
}

// refusal is an HTTP error answer.
type refusal struct {
	status int
	body   string
}

func (r *refusal) Error() string { return fmt.Sprintf("HTTP %d: %s", r.status, r.body) }

func (p *player) get(ctx context.Context, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &refusal{resp.StatusCode, strings.TrimSpace(string(body))}
	}
	return body, nil
}

// play fetches all renditions of a master playlist, segment by segment, and counts the frames of the video ones.
func (p *player) play(ctx context.Context, master string) (played, error) {
	var out played
	text, err := p.get(ctx, master)
	if err != nil {
		return out, err
	}
	list, err := parsePlaylist(master, text)
	if err != nil {
		return out, err
	}
	if len(list.variants) == 0 {
		return out, errors.New("the master playlist has no variants")
	}
	for _, v := range list.variants {
		frames, err := p.rendition(ctx, v, &out)
		if err != nil {
			return out, fmt.Errorf("%s: %w", v.label, err)
		}
		out.frames = frames
		out.renditions = append(out.renditions, fmt.Sprintf("%s: %d frames", v.label, frames))
	}
	for _, a := range list.audio {
		if _, err := p.rendition(ctx, a, &out); err != nil {
			return out, fmt.Errorf("%s: %w", a.label, err)
		}
		out.renditions = append(out.renditions, a.label)
	}
	return out, nil
}

// rendition fetches one media playlist with all its segments into a file and counts its frames.
func (p *player) rendition(ctx context.Context, v variant, out *played) (int, error) {
	text, err := p.get(ctx, v.url)
	if err != nil {
		return 0, err
	}
	list, err := parsePlaylist(v.url, text)
	if err != nil {
		return 0, err
	}
	if len(list.segments) == 0 {
		return 0, errors.New("the media playlist has no segments")
	}
	p.n++
	f, err := os.Create(filepath.Join(p.dir, fmt.Sprintf("rendition-%d.mp4", p.n)))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, u := range append([]string{list.init}, list.segments...) {
		data, err := p.get(ctx, u)
		if err != nil {
			return 0, err
		}
		out.bytes += int64(len(data))
		if _, err := f.Write(data); err != nil {
			return 0, err
		}
	}
	out.segments += len(list.segments)
	if v.label == "audio" {
		return countPackets(ctx, f.Name(), "a:0")
	}
	return countFrames(ctx, f.Name(), "v:0")
}

type variant struct{ url, label string }

type playlist struct {
	variants, audio []variant
	init            string
	segments        []string
	encrypted       bool
}

// parsePlaylist reads the few tags of RFC 8216 that the player needs.
func parsePlaylist(base string, text []byte) (playlist, error) {
	var out playlist
	b, err := url.Parse(base)
	if err != nil {
		return out, err
	}
	resolve := func(ref string) (string, error) {
		u, err := b.Parse(ref)
		if err != nil {
			return "", err
		}
		return u.String(), nil
	}
	if !bytes.HasPrefix(text, []byte("#EXTM3U")) {
		return out, fmt.Errorf("%s is not a playlist", base)
	}
	label, scan := "", bufio.NewScanner(bytes.NewReader(text))
	isVariant := false
	for scan.Scan() {
		line := strings.TrimSpace(scan.Text())
		tag, rest, _ := strings.Cut(line, ":")
		switch {
		case tag == "#EXT-X-STREAM-INF":
			isVariant, label = true, attribute(rest, "RESOLUTION")
		case tag == "#EXT-X-MEDIA" && attribute(rest, "TYPE") == "AUDIO" && attribute(rest, "URI") != "":
			u, err := resolve(attribute(rest, "URI"))
			if err != nil {
				return out, err
			}
			out.audio = append(out.audio, variant{u, "audio"})
		case tag == "#EXT-X-MAP":
			if out.init, err = resolve(attribute(rest, "URI")); err != nil {
				return out, err
			}
		case tag == "#EXT-X-KEY":
			out.encrypted = attribute(rest, "METHOD") != "NONE"
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			u, err := resolve(line)
			if err != nil {
				return out, err
			}
			if isVariant {
				out.variants = append(out.variants, variant{u, label})
			} else {
				out.segments = append(out.segments, u)
			}
			isVariant = false
		}
	}
	return out, scan.Err()
}

// attribute returns a value of an attribute list, without quotes.
func attribute(list, name string) string {
	for list != "" {
		key, rest, _ := strings.Cut(list, "=")
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, rest, _ = strings.Cut(quoted, `"`)
			rest = strings.TrimPrefix(rest, ",")
		} else {
			value, rest, _ = strings.Cut(rest, ",")
		}
		if key == name {
			return value
		}
		list = rest
	}
	return ""
}

func countFrames(ctx context.Context, input, stream string, options ...string) (int, error) {
	return ffprobeCount(ctx, input, stream, "-count_frames", "nb_read_frames", options)
}

func countPackets(ctx context.Context, input, stream string) (int, error) {
	return ffprobeCount(ctx, input, stream, "-count_packets", "nb_read_packets", nil)
}

func ffprobeCount(ctx context.Context, input, stream, flag, field string, options []string) (int, error) {
	args := append([]string{"-v", "error"}, options...)
	args = append(args, flag, "-select_streams", stream, "-show_entries", "stream="+field, "-of", "csv=p=0", input)
	cmd := exec.CommandContext(ctx, "ffprobe", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("ffprobe: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	n, err := strconv.Atoi(strings.Trim(first, ", \r"))
	if err != nil {
		return 0, fmt.Errorf("ffprobe counted %q: %s", first, strings.TrimSpace(stderr.String()))
	}
	return n, nil
}
