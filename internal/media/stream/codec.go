package stream

import (
	"fmt"
	"math/bits"
	"strings"
)

// parseSampleEntry reads the one sample entry of stsd. An *otherTrack says that the codec is not streamed.
func (t *Track) parseSampleEntry(stbl []byte) error {
	stsd, err := needBox(stbl, "stsd")
	if err != nil {
		return err
	}
	f := fields{b: stsd}
	f.version()
	if n := f.u32(); f.err != nil || n == 0 {
		return fmt.Errorf("stsd of track %d: no sample entry", t.ID)
	}
	kind, body, rest, err := nextBox(f.b)
	if err != nil {
		return fmt.Errorf("stsd of track %d: %w", t.ID, err)
	}
	t.entry = append([]byte(nil), f.b[:len(f.b)-len(rest)]...)
	if len(t.entry) > maxEntry {
		return fmt.Errorf("stsd of track %d: a sample entry of %d bytes", t.ID, len(t.entry))
	}
	switch {
	case kind == "encv" || kind == "enca":
		return unsupported("track %d is encrypted; only clear files can be packaged", t.ID)
	case t.Kind == Video && (kind == "avc1" || kind == "avc3"):
		err = t.parseVideoEntry(kind, body, "avcC", avcCodec)
	case t.Kind == Video && (kind == "hvc1" || kind == "hev1"):
		err = t.parseVideoEntry(kind, body, "hvcC", hevcCodec)
	case t.Kind == Audio && kind == "mp4a":
		err = t.parseAudioEntry(body)
	default:
		return &otherTrack{fmt.Sprintf("track %d has codec %q", t.ID, kind)}
	}
	if err != nil {
		return fmt.Errorf("%s of track %d: %w", kind, t.ID, err)
	}
	return nil
}

func (t *Track) parseVideoEntry(kind string, body []byte, config string, codec func(kind string, config []byte) (string, error)) error {
	f := fields{b: body}
	f.bytes(24)
	width, height := int(f.u16()), int(f.u16())
	f.bytes(50)
	if f.err != nil {
		return f.err
	}
	if t.Width == 0 || t.Height == 0 {
		t.Width, t.Height = width, height
	}
	b, err := needBox(f.b, config)
	if err != nil {
		return err
	}
	t.Codec, err = codec(kind, b)
	return err
}

// avcCodec names an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, RFC 6381 section 3.3).
func avcCodec(kind string, config []byte) (string, error) {
	if len(config) < 7 || config[0] != 1 {
		return "", fmt.Errorf("avcC: %d bytes, or of an unknown version", len(config))
	}
	return fmt.Sprintf("%s.%02x%02x%02x", kind, config[1], config[2], config[3]), nil
}

// hevcCodec names an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 annex E).
func hevcCodec(kind string, config []byte) (string, error) {
	if len(config) < 23 || config[0] != 1 {
		return "", fmt.Errorf("hvcC: %d bytes, or of an unknown version", len(config))
	}
	space, tier, profile := config[1]>>6, config[1]>>5&1, config[1]&31
	f := fields{b: config[2:6]}
	compatibility := bits.Reverse32(f.u32())
	constraints := config[6:12]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s.%s%d.%x.%c%d", kind, []string{"", "A", "B", "C"}[space], profile, compatibility, "LH"[tier], config[12])
	for _, c := range constraints {
		fmt.Fprintf(&s, ".%x", c)
	}
	return s.String(), nil
}

func (t *Track) parseAudioEntry(body []byte) error {
	f := fields{b: body}
	f.bytes(8)
	version := f.u16()
	f.bytes(6)
	t.Channels = int(f.u16())
	f.bytes(6)
	t.Rate = int(f.u32() >> 16)
	if f.err != nil {
		return f.err
	}
	if version != 0 {
		return unsupported("audio track %d is in QuickTime form; write the file as MP4", t.ID)
	}
	esds, err := needBox(f.b, "esds")
	if err != nil {
		return err
	}
	config, err := audioConfig(esds)
	if err != nil {
		return fmt.Errorf("esds: %w", err)
	}
	if config == nil {
		return &otherTrack{fmt.Sprintf("track %d is mp4a, but not AAC", t.ID)}
	}
	return t.parseAAC(config)
}

// audioConfig returns the AudioSpecificConfig in an esds box (ISO/IEC 14496-1 7.2.6), or nil when the stream is not MPEG-4 audio.
func audioConfig(esds []byte) ([]byte, error) {
	f := fields{b: esds}
	f.version()
	stream := fields{b: f.descriptor(3)}
	stream.bytes(2)
	flags := stream.u8()
	if flags&0x80 != 0 {
		stream.bytes(2)
	}
	if flags&0x40 != 0 {
		stream.bytes(int(stream.u8()))
	}
	if flags&0x20 != 0 {
		stream.bytes(2)
	}
	decoder := fields{b: stream.descriptor(4)}
	const mpeg4Audio = 0x40
	if kind := decoder.u8(); decoder.err == nil && kind != mpeg4Audio {
		return nil, nil
	}
	decoder.bytes(12)
	config := decoder.descriptor(5)
	for _, err := range []error{f.err, stream.err, decoder.err} {
		if err != nil {
			return nil, err
		}
	}
	return config, nil
}

// descriptor reads an MPEG-4 descriptor of the tag and returns its body.
func (f *fields) descriptor(tag uint8) []byte {
	if got := f.u8(); f.err == nil && got != tag {
		f.err = fmt.Errorf("descriptor %d where %d is expected", got, tag)
	}
	length := 0
	for range 4 {
		b := f.u8()
		length = length<<7 | int(b&0x7f)
		if b&0x80 == 0 {
			break
		}
	}
	return f.bytes(length)
}

// parseAAC reads the head of an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
func (t *Track) parseAAC(config []byte) error {
	if len(config) < 2 {
		return fmt.Errorf("AudioSpecificConfig of %d bytes", len(config))
	}
	var window [8]byte
	copy(window[:], config)
	f := fields{b: window[:]}
	v, left := f.uint(8), 64
	take := func(n int) int {
		left -= n
		return int(v >> left & (1<<n - 1))
	}
	object := take(5)
	if object == 31 {
		object = 32 + take(6)
	}
	if take(4) == 15 {
		take(24)
	}
	switch channels := take(4); {
	case channels == 7:
		t.Channels = 8
	case channels > 0 && channels < 7:
		t.Channels = channels
	}
	switch object {
	case 2, 5, 29: // AAC LC, HE-AAC, HE-AAC v2
	default:
		return &otherTrack{fmt.Sprintf("track %d has MPEG-4 audio object type %d", t.ID, object)}
	}
	t.Codec = fmt.Sprintf("mp4a.40.%d", object)
	return nil
}
