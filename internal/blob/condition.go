package blob

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// newETag returns an entity tag without quotes, new with each change.
func newETag() string {
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("0x%X", b[:])
}

func quoted(etag string) string { return `"` + etag + `"` }

// conditions are the conditional headers of a request.
type conditions struct {
	match, noneMatch     []string // entity tags without quotes; "*" is any
	modified, unmodified time.Time
}

func conditionsOf(h http.Header) (c conditions, err error) {
	c.match, c.noneMatch = etags(h.Get("If-Match")), etags(h.Get("If-None-Match"))
	for _, d := range []struct {
		name string
		to   *time.Time
	}{{"If-Modified-Since", &c.modified}, {"If-Unmodified-Since", &c.unmodified}} {
		value := h.Get(d.name)
		if value == "" {
			continue
		}
		if *d.to, err = http.ParseTime(value); err != nil {
			return c, badHeader(d.name, value, "it is not a date in RFC 1123 form")
		}
	}
	return c, nil
}

func etags(list string) []string {
	var tags []string
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

func has(tags []string, etag string) bool {
	for _, t := range tags {
		if t == "*" || t == etag {
			return true
		}
	}
	return false
}

var errCondition = azure.Errorf(http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")

// read decides whether an existing blob or container may be read: 412, or 304 when the client has it already.
func (c *conditions) read(etag string, modified time.Time) error {
	if err := c.preconditions(etag, modified); err != nil {
		return err
	}
	if has(c.noneMatch, etag) || len(c.noneMatch) == 0 && !c.modified.IsZero() && !modified.Truncate(time.Second).After(c.modified) {
		e := *errCondition
		e.Status = http.StatusNotModified
		return e.WithHeader("ETag", quoted(etag)).WithHeader("Last-Modified", httpDate(modified))
	}
	return nil
}

// write decides whether an existing blob or container may be changed. exists is the error for If-None-Match: *.
func (c *conditions) write(etag string, modified time.Time, exists *azure.Error) error {
	if err := c.preconditions(etag, modified); err != nil {
		return err
	}
	for _, tag := range c.noneMatch {
		if tag == "*" && exists != nil {
			return exists
		}
		if tag == "*" || tag == etag {
			return errCondition
		}
	}
	if !c.modified.IsZero() && !modified.Truncate(time.Second).After(c.modified) {
		return errCondition
	}
	return nil
}

func (c *conditions) preconditions(etag string, modified time.Time) error {
	if len(c.match) > 0 && !has(c.match, etag) {
		return errCondition
	}
	if !c.unmodified.IsZero() && modified.Truncate(time.Second).After(c.unmodified) {
		return errCondition
	}
	return nil
}

// create decides whether a blob that does not exist may be made.
func (c *conditions) create() error {
	if len(c.match) > 0 {
		return errCondition
	}
	return nil
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
