package stream

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// masterPlaylist returns the HLS master playlist: one variant for each video rendition, all audio in one group.
func (p *Presentation) masterPlaylist(req *Request, o *Options) []byte {
	var b bytes.Buffer
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	if len(p.video) == 0 {
		for _, r := range p.audio {
			variant(&b, r, nil)
			b.WriteString(r.playlistURI(req, o) + "\n")
		}
		return b.Bytes()
	}
	for i, r := range p.audio {
		fmt.Fprintf(&b, `#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="%s"`, r.label(p.audio))
		if r.language != "" {
			fmt.Fprintf(&b, `,LANGUAGE="%s"`, r.language)
		}
		b.WriteString(map[bool]string{true: ",DEFAULT=YES", false: ",DEFAULT=NO"}[i == 0])
		fmt.Fprintf(&b, ",AUTOSELECT=YES,CHANNELS=\"%d\",URI=\"%s\"\n", r.Channels, r.playlistURI(req, o))
	}
	for _, r := range p.video {
		variant(&b, r, p.audio)
		b.WriteString(r.playlistURI(req, o) + "\n")
	}
	return b.Bytes()
}

// label returns the NAME of an audio rendition, which no two of a group may share.
func (r *rendition) label(group []*rendition) string {
	for _, other := range group {
		if other != r && strings.EqualFold(other.name, r.name) {
			return fmt.Sprintf("%s %d", r.name, r.bitrate)
		}
	}
	return r.name
}

// variant writes the EXT-X-STREAM-INF of r, played together with one of audio.
func variant(b *bytes.Buffer, r *rendition, audio []*rendition) {
	var peak, average int64
	codecs := []string{r.Codec}
	for _, a := range audio {
		peak, average = max(peak, a.peak), max(average, a.average)
		if !slices.Contains(codecs, a.Codec) {
			codecs = append(codecs, a.Codec)
		}
	}
	fmt.Fprintf(b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS=\"%s\"", r.peak+peak, r.average+average, strings.Join(codecs, ","))
	if r.Kind == Video {
		fmt.Fprintf(b, ",RESOLUTION=%dx%d,FRAME-RATE=%.3f", r.Width, r.Height, r.frameRate())
	}
	if len(audio) > 0 {
		b.WriteString(`,AUDIO="audio"`)
	}
	b.WriteString("\n")
}

// frameRate returns the average number of samples in a second.
func (t *Track) frameRate() float64 {
	return float64(t.samples.count) * float64(t.Timescale) / float64(t.samples.duration)
}

// playlist returns the rendition's HLS media playlist.
func (r *rendition) playlist(req *Request, o *Options) []byte {
	var longest int64
	for _, s := range r.segments {
		longest = max(longest, s.duration)
	}
	base := "Fragments(" + url.PathEscape(r.name) + "="
	tail := req.parameterList() + ")" + query(o.Query)

	var b bytes.Buffer
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	fmt.Fprintf(&b, "#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n", max((longest+unitsPerSec/2)/unitsPerSec, 1))
	// The map stands before any key and so stays clear (RFC 8216 section 4.3.2.5).
	fmt.Fprintf(&b, "#EXT-X-MAP:URI=\"%si%s\"\n", base, tail)
	for _, s := range r.segments {
		if o.Key != nil {
			fmt.Fprintf(&b, "#EXT-X-KEY:METHOD=AES-128,URI=\"%s\",IV=0x%X\n", addQuery(o.Key.URI, o.Query), o.Key.iv(r, s.start))
		}
		fmt.Fprintf(&b, "#EXTINF:%s,no-desc\n%s%d%s\n", seconds(s.duration), base, s.start, tail)
	}
	b.WriteString("#EXT-X-ENDLIST\n")
	return b.Bytes()
}

// playlistURI returns the URI of the rendition's playlist, relative to the master's.
func (r *rendition) playlistURI(req *Request, o *Options) string {
	return fmt.Sprintf("QualityLevels(%d)/Manifest(%s%s)%s", r.bitrate, url.PathEscape(r.name), req.parameterList(), query(o.Query))
}

// query renders q with its question mark, or nothing.
func query(q url.Values) string {
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// addQuery adds q to a URI that may have a query already.
func addQuery(uri string, q url.Values) string {
	if len(q) > 0 && strings.Contains(uri, "?") {
		return uri + "&" + q.Encode()
	}
	return uri + query(q)
}
