package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"
)

// Fragments are built by hand into one buffer, which is three times as fast as a general box encoder.

const (
	maxGap  = 64 << 10 // bytes that are read and thrown away rather than reading twice
	maxRead = 4 << 20  // bytes of one read

	syncFlags    = 0x02000000 // sample_depends_on 2
	nonSyncFlags = 0x01010000 // sample_depends_on 1, sample_is_non_sync_sample
)

// fragmentBuffers keeps buffers for reuse; it holds nothing between two uses that anyone may rely on.
var fragmentBuffers = sync.Pool{New: func() any { return new([]byte) }}

// initSegment returns the rendition's CMAF header.
func (r *rendition) initSegment() ([]byte, error) {
	init := mp4.NewMP4Init()
	init.AddChild(mp4.NewFtyp("iso6", 0, []string{"iso6", "cmfc", "dash"}))
	moov := mp4.NewMoovBox()
	init.AddChild(moov)
	moov.AddChild(mp4.CreateMvhd())
	moov.AddChild(mp4.NewMvexBox())
	trak := init.AddEmptyTrack(r.Timescale, string(r.Kind), r.Language)
	if r.Kind == Video {
		trak.Tkhd.Width, trak.Tkhd.Height = mp4.Fixed32(r.Width<<16), mp4.Fixed32(r.Height<<16)
	}
	if start := r.skip - r.base; start > 0 {
		edts := &mp4.EdtsBox{}
		edts.AddChild(&mp4.ElstBox{Version: 1, Entries: []mp4.ElstEntry{{MediaTime: start, MediaRateInteger: 1}}})
		trak.Edts = edts
		trak.Children = slices.Insert(trak.Children, 1, mp4.Box(edts)) // behind tkhd
	}
	stsd := trak.Mdia.Minf.Stbl.Stsd
	stsd.Children, stsd.SampleCount = []mp4.Box{rawBox(r.entry)}, 1
	var b bytes.Buffer
	if err := init.Encode(&b); err != nil {
		return nil, fmt.Errorf("encoding the init segment: %w", err)
	}
	return b.Bytes(), nil
}

// rawBox is a box kept as it was read, header included.
type rawBox []byte

func (b rawBox) Type() string { return string(b[4:8]) }
func (b rawBox) Size() uint64 { return uint64(len(b)) }
func (b rawBox) Encode(w io.Writer) error {
	_, err := w.Write(b)
	return err
}

func (b rawBox) EncodeSW(sw bits.SliceWriter) error {
	sw.WriteBytes(b)
	return sw.AccError()
}
func (b rawBox) Info(io.Writer, string, string, string) error { return nil }

// perSample is how many bytes a sample takes in trun: duration and size; flags and composition offset for video.
func (t *Track) perSample() int64 {
	if t.Kind == Video {
		return 16
	}
	return 8
}

const (
	mfhdSize = 16
	tfhdSize = 20 // with default sample flags
	tfdtSize = 20
	trunHead = 20 // with data offset
)

// headSize is the size of a fragment's moof and its mdat header.
func (t *Track) headSize(samples uint32) int64 {
	return 8 + mfhdSize + 8 + tfhdSize + tfdtSize + trunHead + int64(samples)*t.perSample() + 8
}

// size returns the size of the segment s in bytes.
func (r *rendition) size(s *segment) int64 { return r.headSize(s.end-s.first) + s.media }

// appendHead appends the moof of the index-th segment and the header of its mdat.
func (r *rendition) appendHead(b []byte, index int) []byte {
	s := &r.segments[index]
	be := binary.BigEndian
	n := s.end - s.first
	head := r.headSize(n)
	trun := trunHead + int64(n)*r.perSample()
	box := func(size int64, kind string) { b = append(be.AppendUint32(b, uint32(size)), kind...) }

	box(head-8, "moof")
	box(mfhdSize, "mfhd")
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, uint32(index+1))
	box(8+tfhdSize+tfdtSize+trun, "traf")
	box(tfhdSize, "tfhd")
	b = be.AppendUint32(b, 0x020020) // default-base-is-moof, default-sample-flags
	b = be.AppendUint32(b, 1)        // track_ID
	b = be.AppendUint32(b, syncFlags)
	box(tfdtSize, "tfdt")
	b = be.AppendUint32(b, 1<<24)
	b = be.AppendUint64(b, uint64(int64(r.samples.decodeTime(s.first))-r.base+r.delay))
	box(trun, "trun")
	flags := uint32(0x000301) // data-offset, sample-duration, sample-size
	if r.Kind == Video {
		flags |= 0x000c00 // sample-flags, sample-composition-time-offsets
	}
	b = be.AppendUint32(b, 1<<24|flags) // version 1: signed composition offsets
	b = be.AppendUint32(b, n)
	b = be.AppendUint32(b, uint32(head))
	b = r.appendSamples(b, s)
	box(8+s.media, "mdat")
	return b
}

func (r *rendition) appendSamples(b []byte, s *segment) []byte {
	be, t := binary.BigEndian, r.samples
	k := t.runOf(s.first)
	sync := 0
	for sync < len(t.syncs) && t.syncs[sync] < s.first {
		sync++
	}
	for i := s.first; i < s.end; i++ {
		for k+1 < len(t.runs) && t.runs[k+1].first <= i {
			k++
		}
		b = be.AppendUint32(b, t.runs[k].delta)
		b = be.AppendUint32(b, t.size(i))
		if r.Kind != Video {
			continue
		}
		flags := uint32(nonSyncFlags)
		if t.syncs == nil {
			flags = syncFlags
		} else if sync < len(t.syncs) && t.syncs[sync] == i {
			flags = syncFlags
			sync++
		}
		b = be.AppendUint32(b, flags)
		b = be.AppendUint32(b, uint32(t.composition(i)))
	}
	return b
}

// span is one read and what is kept of it.
type span struct {
	offset, length int64
	keep           []extent
}

type extent struct{ offset, length int64 }

// spans plans the reads of the segment's samples.
func (r *rendition) spans(s *segment) []span {
	var all []span
	r.samples.extents(s.first, s.end, func(offset, length int64) {
		for length > 0 {
			n := min(length, maxRead)
			if k := len(all) - 1; k >= 0 {
				last := &all[k]
				gap := offset - last.offset - last.length
				if gap >= 0 && gap <= maxGap && last.length+gap < maxRead {
					n = min(length, maxRead-last.length-gap)
					last.length += gap + n
					last.keep = append(last.keep, extent{offset, n})
					offset, length = offset+n, length-n
					continue
				}
			}
			all = append(all, span{offset, n, []extent{{offset, n}}})
			offset, length = offset+n, length-n
		}
	})
	return all
}

// writeSegment writes the index-th segment to w with the media read from src. The bytes handed to w may be changed by it:
// they are used no more.
func (r *rendition) writeSegment(ctx context.Context, w io.Writer, src io.ReaderAt, index int) error {
	s := &r.segments[index]
	pooled := fragmentBuffers.Get().(*[]byte)
	defer fragmentBuffers.Put(pooled)

	b := r.appendHead((*pooled)[:0], index)
	for _, sp := range r.spans(s) {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := len(b)
		b = slices.Grow(b, int(sp.length))[:at+int(sp.length)]
		if err := readFull(src, b[at:], sp.offset); err != nil {
			return fmt.Errorf("reading %s: %w", r.source, err)
		}
		end := at
		for _, e := range sp.keep {
			from := at + int(e.offset-sp.offset)
			end += copy(b[end:], b[from:from+int(e.length)])
		}
		if _, err := w.Write(b[:end]); err != nil {
			return fmt.Errorf("writing a segment: %w", err)
		}
		b = b[:0]
	}
	if len(b) > 0 { // samples without bytes
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("writing a segment: %w", err)
		}
	}
	*pooled = b[:0]
	return nil
}
