package template

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText is how long a string may become, in bytes.
const maxText = 1 << 20

var errText = fmt.Errorf("the string becomes longer than %d bytes", maxText)

func bounded(s string) (any, error) {
	if len(s) > maxText {
		return nil, errText
	}
	return s, nil
}

// plain is a value as it goes into a string.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

func onText(f func(string) string) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		s, err := textAt(args, 0)
		return f(s), err
	}
}

// onTexts compares two strings without case.
func onTexts(f func(s, part string) bool) func(*evaluation, []any) (any, error) {
	return func(_ *evaluation, args []any) (any, error) {
		s, err := textAt(args, 0)
		if err != nil {
			return nil, err
		}
		part, err := textAt(args, 1)
		return f(strings.ToLower(s), strings.ToLower(part)), err
	}
}

// concat joins arrays, when the first argument is one, or else strings.
func concat(_ *evaluation, args []any) (any, error) {
	if len(args) > 0 {
		if _, ok := args[0].([]any); ok {
			list := []any{}
			for i := range args {
				more, err := listAt(args, i)
				if err != nil {
					return nil, err
				}
				if list = append(list, more...); len(list) > maxText/16 {
					return nil, errWork
				}
			}
			return list, nil
		}
	}
	var b strings.Builder
	for i, arg := range args {
		switch arg.(type) {
		case []any, map[string]any, nil:
			return nil, wants(i, "a string, number or boolean", arg)
		}
		s, err := plain(arg)
		if err != nil {
			return nil, err
		}
		if b.WriteString(s); b.Len() > maxText {
			return nil, errText
		}
	}
	return b.String(), nil
}

// format knows {0}; "{{" and "}}" stand for braces. A format after a colon is left out.
func format(_ *evaluation, args []any) (any, error) {
	pattern, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if (c == '{' || c == '}') && i+1 < len(pattern) && pattern[i+1] == c {
			b.WriteByte(c)
			i++
			continue
		}
		if c != '{' {
			b.WriteByte(c)
			continue
		}
		end := strings.IndexByte(pattern[i:], '}')
		if end < 0 {
			return nil, errors.New("a brace is not closed")
		}
		number, _, styled := strings.Cut(pattern[i+1:i+end], ":")
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || n < 0 || n+1 >= len(args) {
			return nil, fmt.Errorf("'{%s}' names no argument", pattern[i+1:i+end])
		}
		if styled {
			return nil, fmt.Errorf("the style in '{%s}' is not supported", pattern[i+1:i+end])
		}
		s, err := plain(args[n+1])
		if err != nil {
			return nil, err
		}
		if b.WriteString(s); b.Len() > maxText {
			return nil, errText
		}
		i += end
	}
	return bounded(b.String())
}

func texts(args []any) ([]string, error) {
	list := make([]string, len(args))
	for i := range args {
		var err error
		if list[i], err = textAt(args, i); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func replace(_ *evaluation, args []any) (any, error) {
	t, err := texts(args)
	switch {
	case err != nil:
		return nil, err
	case t[1] == "":
		return nil, errors.New("argument 2 is empty")
	case len(t[0])+strings.Count(t[0], t[1])*len(t[2]) > maxText:
		return nil, errText
	}
	return strings.ReplaceAll(t[0], t[1], t[2]), nil
}

func split(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	delimiters := args[1:]
	if list, ok := args[1].([]any); ok {
		delimiters = list
	}
	by, err := texts(delimiters)
	if err != nil {
		return nil, err
	}
	parts := []string{s}
	for _, d := range by {
		if d == "" {
			continue
		}
		var next []string
		for _, part := range parts {
			next = append(next, strings.Split(part, d)...)
		}
		parts = next
	}
	return anys(parts), nil
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func joinTexts(_ *evaluation, args []any) (any, error) {
	list, err := listAt(args, 0)
	if err != nil {
		return nil, err
	}
	by, err := textAt(args, 1)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, item := range list {
		if i > 0 {
			b.WriteString(by)
		}
		s, err := plain(item)
		if err != nil {
			return nil, err
		}
		if b.WriteString(s); b.Len() > maxText {
			return nil, errText
		}
	}
	return b.String(), nil
}

func substring(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	runes := []rune(s)
	from, err := intAt(args, 1)
	if err != nil {
		return nil, err
	}
	n := int64(len(runes)) - from
	if len(args) == 3 {
		if n, err = intAt(args, 2); err != nil {
			return nil, err
		}
	}
	if from < 0 || n < 0 || from > int64(len(runes)) || n > int64(len(runes))-from {
		return nil, fmt.Errorf("the part from %d with the length %d is not inside of a string of %d", from, n, len(runes))
	}
	return string(runes[from : from+n]), nil
}

func indexOf(_ *evaluation, args []any) (any, error)     { return position(args, strings.Index) }
func lastIndexOf(_ *evaluation, args []any) (any, error) { return position(args, strings.LastIndex) }

func position(args []any, in func(s, part string) int) (any, error) {
	if list, ok := args[0].([]any); ok {
		for i, item := range list {
			if equal(item, args[1]) {
				return int64(i), nil
			}
		}
		return int64(-1), nil
	}
	t, err := texts(args)
	if err != nil {
		return nil, err
	}
	s := strings.ToLower(t[0])
	i := in(s, strings.ToLower(t[1]))
	if i > 0 {
		i = utf8.RuneCountInString(s[:i])
	}
	return int64(i), nil
}

func padLeft(_ *evaluation, args []any) (any, error) {
	s, err := plain(args[0])
	if err != nil {
		return nil, err
	}
	width, err := intAt(args, 1)
	if err != nil {
		return nil, err
	}
	with := " "
	if len(args) == 3 {
		if with, err = textAt(args, 2); err != nil {
			return nil, err
		}
	}
	missing := width - int64(utf8.RuneCountInString(s))
	if missing <= 0 {
		return s, nil
	}
	if missing > 1<<16 || utf8.RuneCountInString(with) != 1 {
		return nil, errors.New("the width is too large or the padding is not one character")
	}
	return strings.Repeat(with, int(missing)) + s, nil
}

func toText(_ *evaluation, args []any) (any, error) {
	s, err := plain(args[0])
	if err != nil {
		return nil, err
	}
	return bounded(s)
}

func toBase64(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	return bounded(base64.StdEncoding.EncodeToString([]byte(s)))
}

func fromBase64(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return nil, errors.New("the string is not the base64 of a text")
	}
	return string(b), nil
}

func base64JSON(e *evaluation, args []any) (any, error) {
	s, err := fromBase64(e, args)
	if err != nil {
		return nil, err
	}
	return fromJSON(e, []any{s})
}

func fromJSON(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	doc, err := parseJSON([]byte(s))
	if err != nil {
		return nil, errors.New("the string is not valid JSON")
	}
	return doc.root, nil
}

func joinURI(_ *evaluation, args []any) (any, error) {
	t, err := texts(args)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(t[0])
	if err != nil {
		return nil, errors.New("argument 1 is not a URI")
	}
	ref, err := url.Parse(t[1])
	if err != nil {
		return nil, errors.New("argument 2 is not a URI")
	}
	return base.ResolveReference(ref).String(), nil
}

func escapeURI(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	return bounded(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"))
}

func unescapeURI(_ *evaluation, args []any) (any, error) {
	s, err := textAt(args, 0)
	if err != nil {
		return nil, err
	}
	text, err := url.PathUnescape(s)
	if err != nil || !utf8.ValidString(text) {
		return nil, errors.New("the string is not URI-encoded text")
	}
	return text, nil
}

// guidSpace is the namespace of the GUIDs that guid makes.
const guidSpace = "\x11\xfb\x06\xfb\x71\x2d\x4d\xdd\x98\xc7\xe7\x1b\xbd\x58\x88\x30"

// guid returns the UUID, version 5, of its arguments.
func guid(_ *evaluation, args []any) (any, error) {
	t, err := texts(args)
	if err != nil {
		return nil, err
	}
	return nameGUID(strings.Join(t, "-")), nil
}

func nameGUID(name string) string {
	sum := sha1.Sum([]byte(guidSpace + name))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newGUID draws from the deployment's seed, so that a deployment that goes on after a crash draws the same.
func newGUID(e *evaluation, _ []any) (any, error) {
	if !e.defaults {
		return nil, errors.New("it is allowed in the default of a parameter alone")
	}
	return nameGUID(fmt.Sprintf("%s/%d", e.d.scope.Seed, len(e.d.parameters))), nil
}
