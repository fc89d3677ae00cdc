package stream

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

const (
	maxManifest   = 1 << 20 // bytes of an .ism file
	maxRenditions = 100     // of a presentation
)

// ServerManifest is a server manifest, {name}.ism: the SMIL document that says which files a presentation is made of.
type ServerManifest struct {
	ClientManifest string   // head: clientManifestRelativePath; may be empty
	Formats        []string // head: formats, e.g. "mp4"; may be empty
	Tracks         []ServerTrack
}

// ServerTrack is one audio or video element of a server manifest.
type ServerTrack struct {
	Kind     Kind
	Source   string // file name in the same container
	Bitrate  int64  // systemBitrate, bits per second; 0 when absent
	Language string // systemLanguage; may be empty
	TrackID  uint32 // param trackID; 0 is the file's first track of the kind
	Name     string // param trackName; may be empty
}

type smil struct {
	XMLName xml.Name   `xml:"smil"`
	Xmlns   string     `xml:"xmlns,attr,omitempty"`
	Meta    []smilPair `xml:"head>meta"`
	Body    struct {
		Media []smilMedia `xml:",any"`
	} `xml:"body>switch"`
}

type smilMedia struct {
	XMLName  xml.Name
	Source   string     `xml:"src,attr"`
	Bitrate  string     `xml:"systemBitrate,attr,omitempty"`
	Language string     `xml:"systemLanguage,attr,omitempty"`
	Params   []smilPair `xml:"param"`
}

type smilPair struct {
	Name      string `xml:"name,attr"`
	Value     string `xml:"value,attr,omitempty"`
	Content   string `xml:"content,attr,omitempty"`
	ValueType string `xml:"valuetype,attr,omitempty"`
}

func badManifest(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "ContentMalformed", "The server manifest cannot be used: "+format+".", args...)
}

// ParseServerManifest reads a server manifest as Azure wrote it. Text tracks are left out. A document that is no
// server manifest, names files outside its container, or describes a live archive gives an *azure.Error 400; an
// error of r is returned wrapped.
func ParseServerManifest(r io.Reader) (*ServerManifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("reading the server manifest: %w", err)
	}
	if len(b) > maxManifest {
		return nil, badManifest("it has more than %d bytes", maxManifest)
	}
	var doc smil
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, badManifest("%v", err)
	}
	m := &ServerManifest{}
	for _, meta := range doc.Meta {
		switch strings.ToLower(meta.Name) {
		case "clientmanifestrelativepath":
			m.ClientManifest = meta.Content
		case "formats":
			m.Formats = strings.FieldsFunc(meta.Content, func(c rune) bool { return c == ',' || c == ' ' })
		}
	}
	for _, format := range m.Formats {
		if strings.HasPrefix(strings.ToLower(format), "vod-") {
			return nil, badManifest("it describes a live archive (formats %q), which is not supported", format)
		}
	}
	for _, media := range doc.Body.Media {
		kind := Kind(strings.ToLower(media.XMLName.Local))
		if kind != Video && kind != Audio {
			continue
		}
		track, err := media.track(kind)
		if err != nil {
			return nil, err
		}
		m.Tracks = append(m.Tracks, track)
	}
	switch n := len(m.Tracks); {
	case n == 0:
		return nil, badManifest("it lists no audio and no video")
	case n > maxRenditions:
		return nil, badManifest("it lists %d tracks, more than %d", n, maxRenditions)
	}
	return m, nil
}

func (m *smilMedia) track(kind Kind) (ServerTrack, error) {
	t := ServerTrack{Kind: kind, Source: m.Source, Language: m.Language}
	if m.Source == "" || m.Source == "." || m.Source == ".." || strings.ContainsAny(m.Source, "/\\\x00") {
		return t, badManifest("src %q is not the name of a file beside it", m.Source)
	}
	var err error
	if m.Bitrate != "" {
		if t.Bitrate, err = strconv.ParseInt(m.Bitrate, 10, 64); err != nil || t.Bitrate < 0 {
			return t, badManifest("systemBitrate %q of %s is not a number", m.Bitrate, m.Source)
		}
	}
	for _, p := range m.Params {
		switch strings.ToLower(p.Name) {
		case "trackid":
			id, err := strconv.ParseUint(p.Value, 10, 32)
			if err != nil {
				return t, badManifest("trackID %q of %s is not a number", p.Value, m.Source)
			}
			t.TrackID = uint32(id)
		case "trackname":
			t.Name = p.Value
		case "systembitrate":
			if n, err := strconv.ParseInt(p.Value, 10, 64); err == nil && n > 0 && t.Bitrate == 0 {
				t.Bitrate = n
			}
		case "systemlanguage":
			if t.Language == "" {
				t.Language = p.Value
			}
		}
	}
	return t, nil
}

// Write writes the manifest as an .ism file.
func (m *ServerManifest) Write(w io.Writer) error {
	doc := smil{Xmlns: "http://www.w3.org/2001/SMIL20/Language"}
	if len(m.Formats) > 0 {
		doc.Meta = append(doc.Meta, smilPair{Name: "formats", Content: strings.Join(m.Formats, ",")})
	}
	if m.ClientManifest != "" {
		doc.Meta = append(doc.Meta, smilPair{Name: "clientManifestRelativePath", Content: m.ClientManifest})
	}
	for _, t := range m.Tracks {
		media := smilMedia{XMLName: xml.Name{Local: string(t.Kind)}, Source: t.Source, Language: t.Language}
		if t.Bitrate > 0 {
			media.Bitrate = strconv.FormatInt(t.Bitrate, 10)
			media.Params = append(media.Params, smilPair{Name: "systemBitrate", Value: media.Bitrate, ValueType: "data"})
		}
		if t.TrackID > 0 {
			media.Params = append(media.Params, smilPair{Name: "trackID", Value: strconv.FormatUint(uint64(t.TrackID), 10), ValueType: "data"})
		}
		if t.Name != "" {
			media.Params = append(media.Params, smilPair{Name: "trackName", Value: t.Name, ValueType: "data"})
		}
		doc.Body.Media = append(doc.Body.Media, media)
	}
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the server manifest: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	return err
}

// Sources lists the files of the manifest, each once, in order.
func (m *ServerManifest) Sources() []string {
	var names []string
	for _, t := range m.Tracks {
		if !slices.Contains(names, t.Source) {
			names = append(names, t.Source)
		}
	}
	return names
}
