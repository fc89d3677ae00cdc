package blob

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// byteRange is a range as asked for. end is the last byte's offset, -1 for the blob's end.
type byteRange struct{ start, end int64 }

// rangeOf reads x-ms-range, or else Range. A Range that is not of the form that the service knows is ignored, as
// RFC 9110 allows; such an x-ms-range is refused.
func rangeOf(h http.Header) (*byteRange, error) {
	if value := h.Get("X-Ms-Range"); value != "" {
		r, ok := parseRange(value)
		if !ok {
			return nil, badHeader("x-ms-range", value, "it is not bytes=start-end or bytes=start-")
		}
		return r, nil
	}
	r, _ := parseRange(h.Get("Range"))
	return r, nil
}

func parseRange(value string) (*byteRange, bool) {
	spec, ok := strings.CutPrefix(strings.TrimSpace(value), "bytes=")
	if !ok {
		return nil, false
	}
	first, last, ok := strings.Cut(spec, "-")
	start, err := parseOffset(first)
	if !ok || err != nil {
		return nil, false
	}
	if last == "" {
		return &byteRange{start, -1}, true
	}
	end, err := parseOffset(last)
	if err != nil || end < start {
		return nil, false
	}
	return &byteRange{start, end}, true
}

func parseOffset(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// within returns the part [start, end) of a blob of the given size, or 416.
func (r *byteRange) within(size int64) (start, end int64, err error) {
	if r == nil {
		return 0, size, nil
	}
	if r.start >= size {
		return 0, 0, azure.Errorf(http.StatusRequestedRangeNotSatisfiable, "InvalidRange",
			"The range specified is invalid for the current size of the resource.").WithHeader("Content-Range", fmt.Sprintf("bytes */%d", size))
	}
	end = size
	if r.end >= 0 && r.end < size {
		end = r.end + 1
	}
	return r.start, end, nil
}
