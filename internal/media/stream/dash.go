package stream

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math/big"
	"net/url"
	"strings"
)

// mpd returns the DASH manifest: one period, the video renditions in one adaptation set, each audio track in its own.
// It addresses segments by $Bandwidth$ and $Time$ of a SegmentTimeline, as Azure did.
func (p *Presentation) mpd(req *Request, o *Options) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	fmt.Fprintf(&b, `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static" mediaPresentationDuration="PT%sS" minBufferTime="PT%sS">`+"\n <Period>\n",
		seconds(p.duration), seconds(targetDuration))
	id := 0
	set := func(renditions []*rendition) {
		id++
		writeAdaptationSet(&b, id, renditions, req, o)
	}
	for _, group := range byName(p.video) {
		set(group)
	}
	for _, r := range p.audio {
		set([]*rendition{r})
	}
	b.WriteString(" </Period>\n</MPD>\n")
	return b.Bytes()
}

// byName groups renditions that share a name, and so a template, and a timeline.
func byName(renditions []*rendition) [][]*rendition {
	var groups [][]*rendition
	for _, r := range renditions {
		k := 0
		for k < len(groups) && !(strings.EqualFold(groups[k][0].name, r.name) && r.sameTimeline(groups[k][0])) {
			k++
		}
		if k == len(groups) {
			groups = append(groups, nil)
		}
		groups[k] = append(groups[k], r)
	}
	return groups
}

// sameTimeline reports whether r and other have segments at the same times. The last may be longer in one.
func (r *rendition) sameTimeline(other *rendition) bool {
	if len(r.segments) != len(other.segments) {
		return false
	}
	for i := range r.segments {
		if r.segments[i].start != other.segments[i].start {
			return false
		}
	}
	return true
}

func writeAdaptationSet(b *bytes.Buffer, id int, renditions []*rendition, req *Request, o *Options) {
	r := renditions[0]
	fmt.Fprintf(b, `  <AdaptationSet id="%d" contentType="%s" mimeType="%s/mp4" segmentAlignment="true" startWithSAP="1"`, id, r.Kind, r.Kind)
	if r.language != "" {
		fmt.Fprintf(b, ` lang="%s"`, r.language)
	}
	b.WriteString(">\n")
	// In a template "$" is written "$$".
	name := strings.ReplaceAll(url.PathEscape(r.name), "$", "$$")
	tail := req.parameterList() + ")" + strings.ReplaceAll(query(o.Query), "$", "$$")
	fmt.Fprintf(b, `   <SegmentTemplate timescale="%d" media="%s" initialization="%s">`+"\n    <SegmentTimeline>\n", unitsPerSec,
		escape("QualityLevels($Bandwidth$)/Fragments("+name+"=$Time$"+tail), escape("QualityLevels($Bandwidth$)/Fragments("+name+"=i"+tail))
	for i := 0; i < len(r.segments); {
		s, n := r.segments[i], 1
		for i+n < len(r.segments) && r.segments[i+n].duration == s.duration && r.segments[i+n].start == s.start+int64(n)*s.duration {
			n++
		}
		fmt.Fprintf(b, `     <S t="%d" d="%d" r="%d"/>`+"\n", s.start, s.duration, n-1)
		i += n
	}
	b.WriteString("    </SegmentTimeline>\n   </SegmentTemplate>\n")
	for i, r := range renditions {
		letter := map[Kind]string{Video: "V", Audio: "A"}[r.Kind]
		fmt.Fprintf(b, `   <Representation id="%d_%s_%s_%d" bandwidth="%d" codecs="%s"`, id, letter, escape(r.name), i+1, r.bitrate, r.Codec)
		if r.Kind == Video {
			rate := big.NewRat(int64(r.samples.count)*int64(r.Timescale), int64(r.samples.duration))
			fmt.Fprintf(b, ` width="%d" height="%d" frameRate="%s"/>`+"\n", r.Width, r.Height, rate)
			continue
		}
		fmt.Fprintf(b, ` audioSamplingRate="%d"><AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="%d"/></Representation>`+"\n",
			r.Rate, r.Channels)
	}
	b.WriteString("  </AdaptationSet>\n")
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}
