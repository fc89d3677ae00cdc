package template

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var isoSpan = regexp.MustCompile(`^(-?)P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?$`)

// dateTimeAdd adds an ISO 8601 duration to a time.
func dateTimeAdd(_ *evaluation, args []any) (any, error) {
	t, err := texts(args)
	if err != nil {
		return nil, err
	}
	base, err := parseDateTime(t[0])
	if err != nil {
		return nil, err
	}
	span := isoSpan.FindStringSubmatch(t[1])
	if span == nil || strings.HasSuffix(t[1], "P") || strings.HasSuffix(t[1], "T") {
		return nil, fmt.Errorf("'%s' is not a duration such as 'P3DT1H' or '-PT5M'", t[1])
	}
	var n [7]int
	for i, digits := range span[2:] {
		if n[i], _ = strconv.Atoi(digits); span[1] == "-" { // digits alone, or none
			n[i] = -n[i]
		}
	}
	clock := time.Duration(n[4])*time.Hour + time.Duration(n[5])*time.Minute + time.Duration(n[6])*time.Second
	moved := base.AddDate(n[0], n[1], 7*n[2]+n[3]).Add(clock)
	if year := moved.Year(); year < 1 || year > 9999 {
		return nil, errors.New("the time lies outside of the years 1 to 9999")
	}
	if len(t) == 3 {
		return formatDateTime(moved, t[2]), nil
	}
	return moved.Format("2006-01-02T15:04:05Z"), nil
}

func parseDateTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z", "2006-01-02T15:04:05", "20060102T150405Z", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("'%s' is not a time such as '2030-01-31T12:00:00Z'", s)
}

func dateTimeFromEpoch(_ *evaluation, args []any) (any, error) {
	n, err := intAt(args, 0)
	if err != nil {
		return nil, err
	}
	if n < -62135596800 || n > 253402300799 {
		return nil, errors.New("the time lies outside of the years 1 to 9999")
	}
	return time.Unix(n, 0).UTC().Format("2006-01-02T15:04:05Z"), nil
}

func dateTimeToEpoch(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	t, err := parseDateTime(s)
	return t.Unix(), err
}

func toDataURI(_ *evaluation, args []any) (any, error) {
	s, err := plain(args[0])
	if err != nil {
		return nil, err
	}
	return bounded("data:text/plain;charset=utf8;base64," + base64.StdEncoding.EncodeToString([]byte(s)))
}

func fromDataURI(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	head, body, ok := strings.Cut(s, ",")
	if !ok || !strings.HasPrefix(strings.ToLower(head), "data:") {
		return nil, errors.New("the string is not a data URI")
	}
	var text []byte
	if strings.HasSuffix(strings.ToLower(head), ";base64") {
		text, err = base64.StdEncoding.DecodeString(body)
	} else {
		body, err = url.PathUnescape(body)
		text = []byte(body)
	}
	if err != nil || !utf8.Valid(text) {
		return nil, errors.New("the string is not a data URI of text")
	}
	return string(text), nil
}

// utcNow formats the deployment's time by the patterns of .NET that templates use.
func utcNow(e *evaluation, args []any) (any, error) {
	if !e.defaults {
		return nil, errors.New("it is allowed in the default of a parameter alone")
	}
	pattern := "yyyyMMddTHHmmssZ"
	if len(args) == 1 {
		var err error
		if pattern, err = textAt(args, 0); err != nil {
			return nil, err
		}
	}
	return formatDateTime(e.d.scope.Now.UTC(), pattern), nil
}

// formatDateTime formats a time by one of .NET's standard letters or by a pattern.
func formatDateTime(t time.Time, pattern string) string {
	switch pattern {
	case "u":
		return t.Format("2006-01-02 15:04:05Z")
	case "d":
		return t.Format("01/02/2006")
	case "o":
		return t.Format("2006-01-02T15:04:05.0000000Z")
	case "s":
		return t.Format("2006-01-02T15:04:05")
	}
	return formatTime(t, pattern)
}

func formatTime(t time.Time, pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); {
		n := 1
		for i+n < len(pattern) && pattern[i+n] == pattern[i] {
			n++
		}
		word := pattern[i : i+n]
		layout := map[string]string{
			"yyyy": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "dd": "02", "d": "2", "HH": "15", "hh": "03", "h": "3",
			"mm": "04", "m": "4", "ss": "05", "s": "5", "tt": "PM", "dddd": "Monday", "ddd": "Mon",
		}[word]
		switch {
		case layout != "":
			b.WriteString(t.Format(layout))
		case strings.Trim(word, "fF") == "":
			b.WriteString((fmt.Sprintf("%09d", t.Nanosecond()) + strings.Repeat("0", n))[:n])
		default:
			b.WriteString(word)
		}
		i += n
	}
	return b.String()
}
