package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
)

// maxSamples bounds the samples of a track: 99 hours of 48 kHz AAC, 77 hours of 60 Hz video.
const maxSamples = 1 << 24

// sampleTable says of every sample of a track where it lies and when it is decoded and shown. Samples are numbered
// from 0; times are in the track's timescale, without its edit list.
type sampleTable struct {
	count    uint32
	fixed    uint32   // the size of every sample, when sizes is nil
	sizes    []uint32 // by sample
	chunks   []chunk  // by first sample
	runs     []run    // by first sample
	offsets  []int32  // composition offsets by sample; nil when all are zero
	syncs    []uint32 // sync samples; nil when all are
	duration uint64
	bytes    uint64
}

// chunk is samples that lie one behind the other.
type chunk struct {
	first  uint32
	offset int64 // in the file
}

// run is samples of equal duration.
type run struct {
	first uint32
	delta uint32
	start uint64 // decode time of the first
}

func (t *sampleTable) footprint() int64 {
	return int64(4*cap(t.sizes) + 16*cap(t.chunks) + 16*cap(t.runs) + 4*cap(t.offsets) + 4*cap(t.syncs))
}

func (t *sampleTable) size(i uint32) uint32 {
	if t.sizes == nil {
		return t.fixed
	}
	return t.sizes[i]
}

// runOf returns the index in runs of sample i.
func (t *sampleTable) runOf(i uint32) int {
	return sort.Search(len(t.runs), func(k int) bool { return t.runs[k].first > i }) - 1
}

// decodeTime returns when sample i is decoded; for i == count, the end of the track.
func (t *sampleTable) decodeTime(i uint32) uint64 {
	r := t.runs[t.runOf(i)]
	return r.start + uint64(i-r.first)*uint64(r.delta)
}

// composition returns when sample i is shown, less its decode time.
func (t *sampleTable) composition(i uint32) int32 {
	if t.offsets == nil {
		return 0
	}
	return t.offsets[i]
}

// nearest returns the sample whose decode time is nearest to at, or count when that is the end of the track.
func (t *sampleTable) nearest(at uint64) uint32 {
	if at >= t.duration {
		return t.count
	}
	k := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].start > at }) - 1
	r := t.runs[k]
	i, delta := r.first, uint64(r.delta)
	if delta > 0 {
		i += uint32((at - r.start + delta/2) / delta)
	}
	return min(i, t.count)
}

// extents calls yield with the file ranges of samples [first, end) in order, adjacent chunks joined.
func (t *sampleTable) extents(first, end uint32, yield func(offset, length int64)) {
	k := sort.Search(len(t.chunks), func(k int) bool { return t.chunks[k].first > first }) - 1
	at := t.chunks[k].offset
	for i := t.chunks[k].first; i < first; i++ {
		at += int64(t.size(i))
	}
	start, length := at, int64(0)
	for i := first; i < end; i++ {
		if k+1 < len(t.chunks) && t.chunks[k+1].first == i {
			k++
			if t.chunks[k].offset != start+length {
				if length > 0 {
					yield(start, length)
				}
				start, length = t.chunks[k].offset, 0
			}
		}
		length += int64(t.size(i))
	}
	if length > 0 {
		yield(start, length)
	}
}

// parseSampleTable reads stbl, whose samples must lie in a file of fileSize bytes.
func parseSampleTable(stbl []byte, fileSize int64) (*sampleTable, error) {
	t := &sampleTable{}
	for _, part := range []struct {
		name  string
		parse func(stbl []byte) error
	}{
		{"stsz", t.parseSizes},
		{"stts", t.parseDurations},
		{"ctts", t.parseCompositions},
		{"stss", t.parseSyncs},
		{"stsc", func(b []byte) error { return t.parseChunks(b, fileSize) }},
	} {
		if err := part.parse(stbl); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return t, nil
}

func (t *sampleTable) parseSizes(stbl []byte) error {
	b, err := needBox(stbl, "stsz")
	if err != nil {
		return err
	}
	f := fields{b: b}
	f.version()
	if t.fixed = f.u32(); t.fixed != 0 {
		t.count = f.u32()
		t.bytes = uint64(t.fixed) * uint64(t.count)
	} else {
		table := f.table(4)
		t.count = uint32(len(table) / 4)
		if t.count <= maxSamples {
			t.sizes = make([]uint32, t.count)
			for i := range t.sizes {
				t.sizes[i] = binary.BigEndian.Uint32(table[4*i:])
				t.bytes += uint64(t.sizes[i])
			}
		}
	}
	if t.count > maxSamples {
		return fmt.Errorf("%d samples, more than %d", t.count, maxSamples)
	}
	if t.count == 0 && f.err == nil {
		return errNoSamples
	}
	return f.err
}

var errNoSamples = errors.New("the track has no samples")

func (t *sampleTable) parseDurations(stbl []byte) error {
	b, err := needBox(stbl, "stts")
	if err != nil {
		return err
	}
	f := fields{b: b}
	f.version()
	var sample uint64
	for table := f.table(8); len(table) > 0 && sample < uint64(t.count); table = table[8:] {
		n, delta := binary.BigEndian.Uint32(table), binary.BigEndian.Uint32(table[4:])
		n = uint32(min(uint64(n), uint64(t.count)-sample))
		if n > 0 {
			t.runs = append(t.runs, run{uint32(sample), delta, t.duration})
		}
		sample += uint64(n)
		t.duration += uint64(n) * uint64(delta)
	}
	if f.err == nil && sample < uint64(t.count) {
		return fmt.Errorf("durations of %d samples, the track has %d", sample, t.count)
	}
	return f.err
}

func (t *sampleTable) parseCompositions(stbl []byte) error {
	b, err := findBox(stbl, "ctts")
	if b == nil {
		return err
	}
	f := fields{b: b}
	f.version() // version 0 is unsigned by the letter; files with negative offsets say 0 too
	table := f.table(8)
	if f.err != nil || len(table) == 0 {
		return f.err
	}
	t.offsets = make([]int32, t.count)
	sample := uint32(0)
	for ; len(table) > 0 && sample < t.count; table = table[8:] {
		n, offset := binary.BigEndian.Uint32(table), int32(binary.BigEndian.Uint32(table[4:]))
		for range min(n, t.count-sample) {
			t.offsets[sample] = offset
			sample++
		}
	}
	if sample < t.count {
		return fmt.Errorf("offsets of %d samples, the track has %d", sample, t.count)
	}
	return nil
}

func (t *sampleTable) parseSyncs(stbl []byte) error {
	b, err := findBox(stbl, "stss")
	if b == nil {
		return err
	}
	f := fields{b: b}
	f.version()
	table := f.table(4)
	t.syncs = make([]uint32, 0, len(table)/4)
	for ; len(table) > 0; table = table[4:] {
		n := binary.BigEndian.Uint32(table)
		if n == 0 || n > t.count || len(t.syncs) > 0 && n-1 <= t.syncs[len(t.syncs)-1] {
			return fmt.Errorf("sync sample %d is out of order or of range", n)
		}
		t.syncs = append(t.syncs, n-1)
	}
	return f.err
}

func (t *sampleTable) parseChunks(stbl []byte, fileSize int64) error {
	b, err := needBox(stbl, "stsc")
	if err != nil {
		return err
	}
	f := fields{b: b}
	f.version()
	groups := f.table(12)
	if f.err != nil {
		return f.err
	}
	offsets, width, err := chunkOffsets(stbl)
	if err != nil {
		return err
	}
	total := len(offsets) / width
	t.chunks = make([]chunk, 0, min(total, int(t.count)))
	sample, perChunk := uint32(0), uint32(0)
	for k := 0; k < total && sample < t.count; k++ {
		if len(groups) > 0 && binary.BigEndian.Uint32(groups) <= uint32(k+1) {
			perChunk = binary.BigEndian.Uint32(groups[4:])
			if entry := binary.BigEndian.Uint32(groups[8:]); entry != 1 {
				return fmt.Errorf("chunk %d uses sample description %d", k+1, entry)
			}
			groups = groups[12:]
		}
		if perChunk == 0 {
			return fmt.Errorf("chunk %d has no samples", k+1)
		}
		n := min(perChunk, t.count-sample)
		length := uint64(t.fixed) * uint64(n)
		for i := sample; t.sizes != nil && i < sample+n; i++ {
			length += uint64(t.sizes[i])
		}
		f := fields{b: offsets[k*width : (k+1)*width]}
		offset := f.uint(width)
		if offset > uint64(fileSize) || length > uint64(fileSize)-offset {
			return fmt.Errorf("chunk %d (%d bytes at %d) lies outside the file of %d bytes", k+1, length, offset, fileSize)
		}
		t.chunks = append(t.chunks, chunk{sample, int64(offset)})
		sample += n
	}
	if sample < t.count {
		return fmt.Errorf("chunks of %d samples, the track has %d", sample, t.count)
	}
	if t.bytes > uint64(fileSize) {
		return fmt.Errorf("samples overlap: they have %d bytes, the file %d", t.bytes, fileSize)
	}
	return nil
}

// chunkOffsets returns the table of stco or co64 and the width of its entries.
func chunkOffsets(stbl []byte) (table []byte, width int, err error) {
	width = 4
	b, err := findBox(stbl, "stco")
	if err == nil && b == nil {
		width = 8
		b, err = needBox(stbl, "co64")
	}
	if err != nil {
		return nil, 0, err
	}
	f := fields{b: b}
	f.version()
	table = f.table(width)
	return table, width, f.err
}
