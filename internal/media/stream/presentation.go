package stream

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

const (
	targetDuration = 2 * unitsPerSec    // a fragment lasts this long, or a GOP when that is longer
	tolerance      = unitsPerSec / 1000 // what two renditions' times may differ by: a millisecond, the coarsest timescale
	endTolerance   = unitsPerSec        // what the renditions' ends may differ by
	maxFragment    = 1 << 16            // samples
	maxFragmentLen = 1 << 31            // bytes
)

// Presentation is a server manifest joined with its movies: renditions cut into segments on one timeline. It is
// immutable, safe for concurrent use and may be cached; it refers to its movies.
type Presentation struct {
	video    []*rendition // by bitrate, highest first
	audio    []*rendition // in the manifest's order
	duration int64        // 100 ns
}

// rendition is one track at one bitrate.
type rendition struct {
	*Track
	name     string // as it stands in URLs
	bitrate  int64  // as it stands in URLs
	language string // "" when unknown
	source   string
	base     int64 // decode time, in Timescale, of the sample that the fragments start with; at most skip
	init     []byte
	segments []segment
	peak     int64 // bits per second of the densest segment
	average  int64
}

// segment is one fragment of a rendition.
type segment struct {
	first, end uint32 // samples
	start      int64  // 100 ns, presentation time
	duration   int64  // 100 ns
	media      int64  // bytes of samples
}

// NewPresentation joins m with its movies, by file name. It gives an *azure.Error 400 when a movie or track is
// missing, two renditions have the same name and bitrate, or the video renditions are not aligned.
func NewPresentation(m *ServerManifest, movies map[string]*Movie) (*Presentation, error) {
	p := &Presentation{}
	seen := map[string]string{}
	for i := range m.Tracks {
		r, err := newRendition(&m.Tracks[i], movies)
		if err != nil {
			return nil, err
		}
		id := fmt.Sprintf("%s\x00%d", strings.ToLower(r.name), r.bitrate)
		if other, taken := seen[id]; taken {
			return nil, badManifest("%s and %s both have track name %q and bitrate %d", other, r.source, r.name, r.bitrate)
		}
		seen[id] = r.source
		if r.Kind == Video {
			p.video = append(p.video, r)
		} else {
			p.audio = append(p.audio, r)
		}
	}
	slices.SortStableFunc(p.video, func(a, b *rendition) int { return cmp.Compare(b.bitrate, a.bitrate) })

	cuts, err := cutVideo(p.video)
	if err != nil {
		return nil, err
	}
	for _, r := range p.audio {
		r.cutAudio(cuts)
	}
	for _, r := range slices.Concat(p.video, p.audio) {
		if err := r.finish(); err != nil {
			return nil, err
		}
		last := r.segments[len(r.segments)-1]
		p.duration = max(p.duration, last.start+last.duration)
	}
	return p, nil
}

func newRendition(t *ServerTrack, movies map[string]*Movie) (*rendition, error) {
	movie := movies[t.Source]
	if movie == nil {
		return nil, badManifest("its file %s is missing", t.Source)
	}
	r := &rendition{name: t.Name, bitrate: t.Bitrate, language: t.Language, source: t.Source}
	for _, track := range movie.Tracks {
		if track.Kind == t.Kind && (t.TrackID == 0 || track.ID == t.TrackID) {
			r.Track = track
			break
		}
	}
	if r.Track == nil {
		return nil, badManifest("%s has no %s track%s that can be streamed", t.Source, t.Kind, idSuffix(t.TrackID))
	}
	if r.bitrate == 0 {
		r.bitrate = r.Bitrate()
	}
	if r.language == "" {
		r.language = r.Language
	}
	if r.language == "und" || strings.Trim(strings.ToLower(r.language), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		r.language = ""
	}
	if r.name == "" && r.Kind == Video {
		r.name = "video"
	} else if r.name == "" {
		r.name = fmt.Sprintf("aac_%s_%d_%d_%d", cmp.Or(r.language, "und"), r.Channels, r.bitrate, r.ID)
	}
	if strings.ContainsFunc(r.name, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`"(),=/$`, c) }) {
		return nil, badManifest("track name %q cannot stand in a URL", r.name)
	}
	return r, nil
}

func idSuffix(id uint32) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf(" %d", id)
}

// cut is a place where all video renditions can be cut.
type cut struct {
	at      int64    // 100 ns, presentation time
	samples []uint32 // the sync sample there, by rendition
}

// cutVideo cuts the renditions at sync samples that all of them have at the same time. It returns the times of the cuts
// and, behind them, the end of the video.
func cutVideo(renditions []*rendition) ([]int64, error) {
	if len(renditions) == 0 {
		return nil, nil
	}
	cuts, longest := []cut(nil), int64(targetDuration)
	for k, r := range renditions {
		syncs := r.syncTimes()
		end := r.end()
		if k == 0 {
			for i, at := range syncs {
				cuts = append(cuts, cut{at, append(make([]uint32, 0, len(renditions)), r.syncSample(i))})
			}
		} else {
			if diff := end - renditions[0].end(); diff > endTolerance || -diff > endTolerance {
				return nil, misaligned(renditions[0], r, fmt.Sprintf("they end %s s apart", seconds(max(diff, -diff))))
			}
			if diff := syncs[0] - cuts[0].at; diff > tolerance || -diff > tolerance {
				return nil, misaligned(renditions[0], r, fmt.Sprintf("they start %s s apart", seconds(max(diff, -diff))))
			}
			cuts = r.shared(cuts, syncs)
		}
		for i, at := range syncs {
			next := end
			if i+1 < len(syncs) {
				next = syncs[i+1]
			}
			longest = max(longest, next-at)
		}
	}
	chosen := cuts[:1]
	for _, c := range cuts[1:] {
		if c.at-chosen[len(chosen)-1].at >= targetDuration-tolerance {
			chosen = append(chosen, c)
		}
	}
	for len(chosen) > 1 && chosen[1].at <= tolerance { // edited away
		chosen = chosen[1:]
	}
	var times []int64
	for i, c := range chosen {
		times = append(times, max(c.at, 0))
		next := renditions[0].end()
		if i+1 < len(chosen) {
			next = chosen[i+1].at
		}
		if next-c.at > 2*longest {
			return nil, badManifest("the video renditions are not aligned: between %s s and %s s they share no sync sample. "+
				"Encode them together, with closed GOPs of one length", seconds(c.at), seconds(next))
		}
	}
	times = append(times, renditions[0].end())
	for k, r := range renditions {
		for i, c := range chosen {
			s := segment{first: c.samples[k], end: r.samples.count, start: times[i]}
			if i+1 < len(chosen) {
				s.end = chosen[i+1].samples[k]
				s.duration = times[i+1] - s.start
			} else {
				s.duration = r.end() - s.start
			}
			r.segments = append(r.segments, s)
		}
	}
	return times, nil
}

func misaligned(a, b *rendition, how string) error {
	return badManifest("the video renditions %s (%d) and %s (%d) are not aligned: %s. Encode them together",
		a.source, a.bitrate, b.source, b.bitrate, how)
}

// shared keeps of cuts those where r has a sync sample too.
func (r *rendition) shared(cuts []cut, syncs []int64) []cut {
	kept, i := cuts[:0], 0
	for _, c := range cuts {
		for i < len(syncs) && syncs[i] < c.at-tolerance {
			i++
		}
		if i < len(syncs) && syncs[i] <= c.at+tolerance {
			c.samples = append(c.samples, r.syncSample(i))
			kept = append(kept, c)
		}
	}
	return kept
}

// syncSample returns the number of the i-th sync sample.
func (t *Track) syncSample(i int) uint32 {
	if t.samples.syncs == nil {
		return uint32(i)
	}
	return t.samples.syncs[i]
}

// syncTimes returns when each sync sample is shown, in units of 100 ns.
func (t *Track) syncTimes() []int64 {
	n := len(t.samples.syncs)
	if t.samples.syncs == nil {
		n = int(t.samples.count)
	}
	times := make([]int64, n)
	k := 0
	for i := range times {
		s := t.syncSample(i)
		for k+1 < len(t.samples.runs) && t.samples.runs[k+1].first <= s {
			k++
		}
		r := t.samples.runs[k]
		decode := int64(r.start + uint64(s-r.first)*uint64(r.delta))
		times[i] = t.units(decode + int64(t.samples.composition(s)) - t.skip + t.delay)
		if i > 0 { // a file may lie about its order; segments may not
			times[i] = max(times[i], times[i-1])
		}
	}
	return times
}

// end returns when the track ends, in units of 100 ns.
func (t *Track) end() int64 {
	ticks := int64(t.samples.duration)
	if t.samples.offsets != nil { // the last samples shown are among the last decoded
		decode := ticks
		for i, left := t.samples.count, 32; i > 0 && left > 0; i, left = i-1, left-1 {
			next := decode
			decode = int64(t.samples.decodeTime(i - 1))
			ticks = max(ticks, next+int64(t.samples.composition(i-1)))
		}
	}
	return t.units(ticks - t.skip + t.delay)
}

// cutAudio cuts at the samples nearest to the video's cuts; where there is no video (any more), every two seconds.
func (r *rendition) cutAudio(cuts []int64) {
	end := r.end()
	times := []int64{0}
	extend := func(to int64) {
		for at := times[len(times)-1] + targetDuration; at <= to-targetDuration/2; at += targetDuration {
			times = append(times, at)
		}
	}
	if len(cuts) > 0 {
		extend(min(cuts[0], end))
	}
	for _, at := range cuts {
		if at > times[len(times)-1] && at <= end-targetDuration/2 { // the end of the video is no cut unless enough follows
			times = append(times, at)
		}
	}
	extend(end)
	// Decoding starts a few frames before what the edit list shows, so that the first of these is whole.
	const preroll = 4
	firsts := []uint32{max(r.samples.nearest(uint64(r.skip)), preroll) - preroll}
	for _, at := range times[1:] {
		ticks := max(r.ticks(at)+r.skip-r.delay, 0)
		if s := r.samples.nearest(uint64(ticks)); s > firsts[len(firsts)-1] && s < r.samples.count {
			firsts = append(firsts, s)
		}
	}
	for i, first := range firsts {
		s := segment{first: first, end: r.samples.count}
		s.start = max(r.units(int64(r.samples.decodeTime(first))-r.skip+r.delay), 0)
		next := end
		if i+1 < len(firsts) {
			s.end = firsts[i+1]
			next = max(r.units(int64(r.samples.decodeTime(s.end))-r.skip+r.delay), 0)
		}
		s.duration = next - s.start
		r.segments = append(r.segments, s)
	}
}

// finish adds the init segment, the segments' sizes and the bitrates, and checks the limits of a fragment.
func (r *rendition) finish() (err error) {
	r.base = min(r.skip, int64(r.samples.decodeTime(r.segments[0].first)))
	if r.init, err = r.initSegment(); err != nil {
		return err
	}
	var total, length int64
	for i := range r.segments {
		s := &r.segments[i]
		for n := s.first; n < s.end; n++ {
			s.media += int64(r.samples.size(n))
		}
		if s.duration <= 0 || s.end-s.first > maxFragment || s.media > maxFragmentLen {
			return unsupported("%s: the fragment at %s s would have %d samples, %d bytes and last %s s. "+
				"Encode with a sync sample every few seconds", r.source, seconds(s.start), s.end-s.first, s.media, seconds(s.duration))
		}
		size := r.size(s)
		total += size
		length += s.duration
		if s.duration >= targetDuration/4 || len(r.segments) == 1 { // a short tail says little about the peak
			r.peak = max(r.peak, bitsPerSecond(size, s.duration))
		}
	}
	r.average = bitsPerSecond(total, length)
	r.peak = max(r.peak, r.average)
	return nil
}

func bitsPerSecond(bytes, duration int64) int64 {
	return int64(mulDiv(uint64(bytes)*8, unitsPerSec, uint64(duration)))
}

// seconds renders a time in units of 100 ns with six decimals.
func seconds(v int64) string {
	return fmt.Sprintf("%d.%06d", v/unitsPerSec, v%unitsPerSec/10)
}

// Footprint is about how many bytes of memory the presentation holds beside its movies.
func (p *Presentation) Footprint() int64 {
	n := int64(256)
	for _, r := range slices.Concat(p.video, p.audio) {
		n += 512 + int64(len(r.init)) + 40*int64(cap(r.segments))
	}
	return n
}

// find returns the rendition that req names.
func (p *Presentation) find(req *Request) (*rendition, error) {
	for _, r := range slices.Concat(p.video, p.audio) {
		if r.bitrate == req.Bitrate && strings.EqualFold(r.name, req.Track) {
			return r, nil
		}
	}
	return nil, azure.Errorf(http.StatusNotFound, "MPE_EGRESS_TRACK_NOT_FOUND",
		"The presentation has no track %q with bitrate %d.", req.Track, req.Bitrate)
}

// segmentAt returns the index of the segment that starts at the time.
func (r *rendition) segmentAt(start int64) (int, error) {
	i, found := slices.BinarySearchFunc(r.segments, start, func(s segment, at int64) int { return cmp.Compare(s.start, at) })
	if !found {
		return 0, azure.Errorf(http.StatusNotFound, "MPE_EGRESS_TIMESTAMP_NOT_FOUND",
			"Track %q with bitrate %d has no fragment that starts at %d.", r.name, r.bitrate, start)
	}
	return i, nil
}

// Duration is how long the presentation plays.
func (p *Presentation) Duration() time.Duration { return time.Duration(p.duration) * 100 }
