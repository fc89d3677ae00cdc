package directory

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// filter is a parsed $filter: it decides on an object as it is shown.
type filter func(object map[string]any) bool

// graphFilter reads the part of OData's $filter that clients use: eq, ne, in, startswith, endswith, ge, le, gt and lt of
// times, {collection}/any(x:x eq '...') and any(x:startswith(x,'...')), not, and, or, parentheses. Text is compared without case, as Entra does.
// https://learn.microsoft.com/graph/filter-query-parameter
type graphFilter struct {
	text       string
	words      []string
	properties []string          // that objects have
	equal      map[string]string // properties that must equal a text, when nothing but "and" joins the terms
	alone      bool              // still true when only "and" was seen
}

const maxFilter = 4 << 10 // bytes

var filterWord = regexp.MustCompile(`^(?:'(?:[^']|'')*'|[()=,:]|[A-Za-z_@][\w./@-]*|[0-9][\w:.-]*)`)

// parseFilter returns what decides, and the properties whose value a match must have.
func parseFilter(text string, properties []string) (filter, map[string]string, error) {
	p := &graphFilter{text: text, properties: properties, equal: map[string]string{}, alone: true}
	if len(text) > maxFilter {
		return nil, nil, p.bad("it is longer than %d bytes", maxFilter)
	}
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		word := filterWord.FindString(rest)
		if word == "" {
			return nil, nil, p.bad("'%s' is not understood", rest)
		}
		p.words, rest = append(p.words, word), rest[len(word):]
	}
	f, err := p.or()
	if err == nil && len(p.words) > 0 {
		err = p.bad("there is '%s' after its end", p.words[0])
	}
	if err != nil {
		return nil, nil, err
	}
	if !p.alone {
		p.equal = nil
	}
	return f, p.equal, nil
}

func (p *graphFilter) bad(format string, args ...any) error {
	e := azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause: "+format, args...)
	e.Message += "; supported are eq, ne, in, startswith, endswith, ge, le, gt and lt of times, any(x:x eq ...), any(x:startswith(x,...)), not, and, or."
	return e
}

// next takes the next word when it is one of these, in any case.
func (p *graphFilter) next(words ...string) (string, bool) {
	if len(p.words) == 0 {
		return "", false
	}
	for _, w := range words {
		if strings.EqualFold(p.words[0], w) {
			p.words = p.words[1:]
			return w, true
		}
	}
	return "", false
}

func (p *graphFilter) need(words ...string) (string, error) {
	w, ok := p.next(words...)
	if !ok {
		return "", p.bad("one of %s is missing", strings.Join(words, " "))
	}
	return w, nil
}

func (p *graphFilter) or() (filter, error) {
	left, err := p.and()
	for err == nil {
		if _, ok := p.next("or"); !ok {
			return left, nil
		}
		p.alone = false
		l := left
		var right filter
		right, err = p.and()
		left = func(o map[string]any) bool { return l(o) || right(o) }
	}
	return nil, err
}

func (p *graphFilter) and() (filter, error) {
	left, err := p.not()
	for err == nil {
		if _, ok := p.next("and"); !ok {
			return left, nil
		}
		l := left
		var right filter
		right, err = p.not()
		left = func(o map[string]any) bool { return l(o) && right(o) }
	}
	return nil, err
}

func (p *graphFilter) not() (filter, error) {
	if _, ok := p.next("not"); ok {
		p.alone = false
		f, err := p.not()
		return func(o map[string]any) bool { return !f(o) }, err
	}
	if _, ok := p.next("("); ok {
		f, err := p.or()
		if err == nil {
			_, err = p.need(")")
		}
		return f, err
	}
	return p.term()
}

func (p *graphFilter) term() (filter, error) {
	if name, ok := p.next("startswith", "endswith"); ok {
		return p.function(name)
	}
	property, err := p.property()
	if err != nil {
		return nil, err
	}
	if collection, ok := strings.CutSuffix(property, "/any"); ok {
		return p.any(collection)
	}
	operator, err := p.need("eq", "ne", "in", "ge", "le", "gt", "lt")
	if err != nil {
		return nil, err
	}
	if operator == "in" {
		return p.in(property)
	}
	want, err := p.literal()
	if err != nil {
		return nil, err
	}
	if operator != "eq" && operator != "ne" {
		return p.time(property, operator, want)
	}
	if text, ok := want.(string); ok && operator == "eq" {
		p.equal[property] = text
	}
	return func(o map[string]any) bool { return same(o[property], want) == (operator == "eq") }, nil
}

func (p *graphFilter) function(name string) (filter, error) {
	if _, err := p.need("("); err != nil {
		return nil, err
	}
	property, err := p.property()
	if err != nil {
		return nil, err
	}
	if _, err := p.need(","); err != nil {
		return nil, err
	}
	want, err := p.literal()
	if err != nil {
		return nil, err
	}
	text, ok := want.(string)
	if !ok {
		return nil, p.bad("%s compares text", name)
	}
	compare := strings.HasPrefix
	if name == "endswith" {
		compare = strings.HasSuffix
	}
	text = strings.ToLower(text)
	_, err = p.need(")")
	return func(o map[string]any) bool {
		have, ok := o[property].(string)
		return ok && compare(strings.ToLower(have), text)
	}, err
}

// time compares points in time, such as createdDateTime ge 2026-01-01T00:00:00Z.
func (p *graphFilter) time(property, operator string, want any) (filter, error) {
	at, ok := want.(time.Time)
	if !ok {
		return nil, p.bad("%s compares times such as 2026-01-31T12:00:00Z", operator)
	}
	return func(o map[string]any) bool {
		have, ok := o[property].(time.Time)
		if !ok {
			return false
		}
		order := have.Compare(at)
		return order == 0 && operator[1] == 'e' || order > 0 && operator[0] == 'g' || order < 0 && operator[0] == 'l'
	}, nil
}

// any reads the rest of {collection}/any(x:x eq 'text') and {collection}/any(x:startswith(x,'text')).
func (p *graphFilter) any(collection string) (filter, error) {
	if _, err := p.need("("); err != nil {
		return nil, err
	}
	begins := false
	switch {
	case len(p.words) > 4 && p.words[1] == ":" && p.words[0] == p.words[2] && strings.EqualFold(p.words[3], "eq"):
		p.words = p.words[4:]
	case len(p.words) > 7 && p.words[1] == ":" && strings.EqualFold(p.words[2], "startswith") && p.words[3] == "(" && p.words[4] == p.words[0] && p.words[5] == ",":
		begins, p.words = true, p.words[6:]
	default:
		return nil, p.bad("any() holds something else than x:x eq '...' or x:startswith(x,'...')")
	}
	want, err := p.literal()
	if err != nil {
		return nil, err
	}
	match := func(v any) bool { return same(v, want) }
	if begins {
		text, ok := want.(string)
		if !ok {
			return nil, p.bad("startswith compares text")
		}
		text = strings.ToLower(text)
		match = func(v any) bool {
			have, ok := v.(string)
			return ok && strings.HasPrefix(strings.ToLower(have), text)
		}
		if _, err := p.need(")"); err != nil {
			return nil, err
		}
	}
	_, err = p.need(")")
	return func(o map[string]any) bool {
		list, _ := o[collection].([]any)
		return slices.ContainsFunc(list, match)
	}, err
}

func (p *graphFilter) in(property string) (filter, error) {
	if _, err := p.need("("); err != nil {
		return nil, err
	}
	var wants []any
	for {
		want, err := p.literal()
		if err != nil {
			return nil, err
		}
		wants = append(wants, want)
		end, err := p.need(",", ")")
		if err != nil {
			return nil, err
		}
		if end == ")" {
			break
		}
	}
	return func(o map[string]any) bool {
		return slices.ContainsFunc(wants, func(w any) bool { return same(o[property], w) })
	}, nil
}

// property takes the name of a property and returns it in the case in which objects have it.
func (p *graphFilter) property() (string, error) {
	if len(p.words) == 0 {
		return "", p.bad("it ends too early")
	}
	word := p.words[0]
	p.words = p.words[1:]
	name, any := strings.CutSuffix(strings.ToLower(word), "/any")
	for _, known := range p.properties {
		if strings.EqualFold(name, known) {
			if any {
				known += "/any"
			}
			return known, nil
		}
	}
	return "", p.bad("there is no property '%s'", word)
}

// literal takes a text, a time, true, false or null.
func (p *graphFilter) literal() (any, error) {
	if len(p.words) == 0 {
		return nil, p.bad("it ends too early")
	}
	word := p.words[0]
	p.words = p.words[1:]
	switch {
	case strings.HasPrefix(word, "'"):
		return strings.ReplaceAll(word[1:len(word)-1], "''", "'"), nil
	case strings.EqualFold(word, "true"), strings.EqualFold(word, "false"):
		return strings.EqualFold(word, "true"), nil
	case strings.EqualFold(word, "null"):
		return nil, nil
	}
	if at, err := time.Parse(time.RFC3339, strings.ToUpper(word)); err == nil {
		return at, nil
	}
	return nil, p.bad("'%s' is no text in quotes, time, true, false or null", word)
}

func same(have, want any) bool {
	if h, ok := have.(string); ok {
		w, ok := want.(string)
		return ok && strings.EqualFold(h, w)
	}
	if h, ok := have.(bool); ok {
		w, ok := want.(bool)
		return ok && h == w
	}
	if h, ok := have.(time.Time); ok {
		w, ok := want.(time.Time)
		return ok && h.Equal(w)
	}
	return have == nil && want == nil
}
