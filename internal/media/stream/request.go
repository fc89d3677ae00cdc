package stream

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// Target is what a request asks for.
type Target int

// What a request may ask for.
const (
	Master   Target = iota // master playlist or MPD: manifest(format=...)
	Playlist               // HLS media playlist: QualityLevels(b)/Manifest(track,format=...)
	Init                   // QualityLevels(b)/Fragments(track=i,format=...)
	Fragment               // QualityLevels(b)/Fragments(track=time,format=...)
)

// Format is a streaming format, as it stands in URLs.
type Format string

// The formats that are served.
const (
	HLSCMAF  Format = "m3u8-cmaf"
	DASHCMAF Format = "mpd-time-cmaf"
	DASHCSF  Format = "mpd-time-csf"
)

const formatsServed = "format=m3u8-cmaf (HLS), format=mpd-time-cmaf and format=mpd-time-csf (DASH)"

// Request is a parsed streaming URL.
type Request struct {
	Manifest  string // the server manifest, "{name}.ism"
	Target    Target
	Format    Format
	Encrypted bool   // encryption=cbc
	Bitrate   int64  // of the rendition; not for Master
	Track     string // track name; not for Master
	Time      int64  // fragment start, 100 ns; Fragment only
}

func badURL(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "MPE_BAD_URL_SYNTAX", format, args...)
}

func noResource(path string) error {
	return azure.Errorf(http.StatusNotFound, "MPE_RESOURCE_NOT_FOUND",
		"There is nothing at %q. A manifest stands at {locatorId}/{name}.ism/manifest(%s).", path, "format=m3u8-cmaf")
}

// ParseRequest parses the part of a streaming URL's path that follows "/{locatorId}/", already unescaped:
// "{name}.ism/manifest(format=m3u8-cmaf,encryption=cbc)", with an optional ".m3u8" or ".mpd" behind, or one of the
// relative URLs that manifests hold. Words are matched without regard to case. What is not understood gives an
// *azure.Error: 404 for a path of another shape, 400 for a format, encryption or parameter that is not served; the
// message lists what is.
func ParseRequest(path string) (Request, error) {
	name, rest, found := strings.Cut(path, "/")
	if !found || len(name) <= len(".ism") || !hasSuffixFold(name, ".ism") {
		return Request{}, noResource(path)
	}
	req := Request{Manifest: name}
	first, last, nested := strings.Cut(rest, "/")
	if !nested {
		word, args, ok := call(trimExtension(first))
		if !strings.EqualFold(word, "manifest") || !ok {
			return Request{}, noResource(path)
		}
		return req, req.parameters(args)
	}

	word, args, ok := call(first)
	if !strings.EqualFold(word, "QualityLevels") || !ok || len(args) != 1 {
		return Request{}, noResource(path)
	}
	bitrate, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil {
		return Request{}, badURL("QualityLevels(%s): the bitrate is not a number.", args[0])
	}
	req.Bitrate = int64(bitrate)
	word, args, ok = call(trimExtension(last))
	if !ok || len(args) == 0 {
		return Request{}, noResource(path)
	}
	switch {
	case strings.EqualFold(word, "Manifest"):
		req.Target, req.Track = Playlist, args[0]
	case strings.EqualFold(word, "Fragments"):
		track, at, _ := strings.Cut(args[0], "=")
		req.Target, req.Track = Fragment, track
		if strings.EqualFold(at, "i") {
			req.Target = Init
			break
		}
		start, err := strconv.ParseUint(at, 10, 63)
		if err != nil {
			return Request{}, badURL("Fragments(%s): the fragment's start is not a number (units of 100 ns) and not i, for the init segment.", args[0])
		}
		req.Time = int64(start)
	default:
		return Request{}, noResource(path)
	}
	if req.Track == "" || strings.Contains(req.Track, "=") {
		return Request{}, badURL("%s: the track's name is missing.", last)
	}
	if err := req.parameters(args[1:]); err != nil {
		return Request{}, err
	}
	if req.Target == Playlist && req.Format != HLSCMAF {
		return Request{}, badURL("Only format=m3u8-cmaf has a playlist for each track; %s has one manifest.", req.Format)
	}
	return req, nil
}

// call splits "word(a,b=c)". Without parentheses, ok is true and args empty.
func call(s string) (word string, args []string, ok bool) {
	word, rest, found := strings.Cut(s, "(")
	if !found {
		return s, nil, true
	}
	inside, found := strings.CutSuffix(rest, ")")
	if !found || strings.ContainsAny(inside, "()") {
		return "", nil, false
	}
	return word, strings.Split(inside, ","), true
}

// trimExtension removes an extension that some players need to see.
func trimExtension(s string) string {
	for _, ext := range []string{".m3u8", ".mpd", ".mp4", ".m4s"} {
		if hasSuffixFold(s, ")"+ext) {
			return s[:len(s)-len(ext)]
		}
	}
	return s
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// parameters reads format, encryption and the like.
func (req *Request) parameters(args []string) error {
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name, value = strings.ToLower(strings.TrimSpace(name)), strings.ToLower(strings.TrimSpace(value)); name {
		case "format":
			switch f := Format(value); f {
			case HLSCMAF, DASHCMAF, DASHCSF:
				req.Format = f
			default:
				return badURL("format=%s is not served. These are: %s.", value, formatsServed)
			}
		case "encryption":
			if value != "cbc" {
				return badURL("encryption=%s is not served. encryption=cbc (AES-128 envelope) is, with format=m3u8-cmaf.", value)
			}
			req.Encrypted = true
		case "filter":
			return azure.Errorf(http.StatusBadRequest, "MPE_EGRESS_FILTER_NOT_FOUND", "Manifest filters are not served; leave out filter=%s.", value)
		case "audio-only":
			if value != "false" {
				return badURL("audio-only=%s is not served; audio is a track of its own.", value)
			}
		default:
			return badURL("The parameter %q is not known. These are: format, encryption.", arg)
		}
	}
	if req.Format == "" {
		return badURL("Smooth Streaming (no format) is not served. Add one of %s.", formatsServed)
	}
	if req.Encrypted && req.Format != HLSCMAF {
		return badURL("encryption=cbc is served with format=m3u8-cmaf only, not with format=%s.", req.Format)
	}
	return nil
}

// parameterList renders the parameters for the URLs of a manifest: ",format=...[,encryption=cbc]".
func (req *Request) parameterList() string {
	s := ",format=" + string(req.Format)
	if req.Encrypted {
		s += ",encryption=cbc"
	}
	return s
}
