package stream

import (
	"encoding/binary"
	"fmt"
)

// Boxes are read by hand, each at its one place in the tree: a general decoder follows nesting wherever a file leads
// it, and takes memory for what a file only claims.

// nextBox splits the first box off b.
func nextBox(b []byte) (kind string, body, rest []byte, err error) {
	if len(b) < 8 {
		return "", nil, nil, fmt.Errorf("box header cut short: %d bytes are left", len(b))
	}
	kind, size, header := string(b[4:8]), uint64(binary.BigEndian.Uint32(b)), uint64(8)
	switch size {
	case 0:
		size = uint64(len(b))
	case 1:
		if len(b) < 16 {
			return "", nil, nil, fmt.Errorf("box %q: header cut short", kind)
		}
		size, header = binary.BigEndian.Uint64(b[8:]), 16
	}
	if size < header || size > uint64(len(b)) {
		return "", nil, nil, fmt.Errorf("box %q says %d bytes, its parent has %d left", kind, size, len(b))
	}
	return kind, b[header:size], b[size:], nil
}

// findBox returns the body of the first box of the kind in b, or nil when there is none. It follows path downwards.
func findBox(b []byte, path ...string) ([]byte, error) {
	for _, want := range path {
		var found []byte
		for found == nil {
			if len(b) < 8 { // what is left behind the last box (a terminator, padding) is no box
				return nil, nil
			}
			kind, body, rest, err := nextBox(b)
			if err != nil {
				return nil, err
			}
			if kind == want {
				found = body
			}
			b = rest
		}
		b = found
	}
	return b, nil
}

// needBox is findBox for a box that must be there.
func needBox(b []byte, path ...string) ([]byte, error) {
	body, err := findBox(b, path...)
	if err == nil && body == nil {
		err = fmt.Errorf("box %q is missing", path[len(path)-1])
	}
	return body, err
}

// fields reads big-endian fields. A read past the end gives zero and is remembered in err.
type fields struct {
	b   []byte
	err error
}

func (f *fields) bytes(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.err, f.b = fmt.Errorf("box ends where %d more bytes are expected", n), nil
		return nil
	}
	head := f.b[:n]
	f.b = f.b[n:]
	return head
}

func (f *fields) uint(n int) uint64 {
	var v uint64
	for _, c := range f.bytes(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (f *fields) u8() uint8   { return uint8(f.uint(1)) }
func (f *fields) u16() uint16 { return uint16(f.uint(2)) }
func (f *fields) u32() uint32 { return uint32(f.uint(4)) }

// version reads the version and flags that a full box starts with.
func (f *fields) version() uint8 { return uint8(f.uint(4) >> 24) }

// table reads an entry count and returns that many entries of width bytes.
func (f *fields) table(width int) []byte {
	n := f.u32()
	if uint64(n)*uint64(width) > uint64(len(f.b)) {
		f.err = fmt.Errorf("table of %d entries does not fit its box of %d bytes", n, len(f.b))
		return nil
	}
	return f.bytes(int(n) * width)
}
