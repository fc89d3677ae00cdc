package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// A $filter is OData's: comparisons of a property with a literal, joined by and, or, not and parentheses.
//
//	resourceType eq 'Microsoft.Media/mediaServices' and tagName eq 'env' and tagValue eq 'test'
//	properties/created gt 2023-01-01T00:00:00Z or name eq 'a'
//	properties/state eq Microsoft.Media.JobState'Scheduled'
//	substringof('demo', name) or startswith(tagName, 'cost') or contains(name, 'x') or endswith(name, 'y')
//
// Properties are found in the item as it is shown, in any case; strings compare without case.

// maxFilter bounds the length of a filter, and with it the depth of its parentheses.
const maxFilter = 4096

// condition decides whether an item, decoded from its JSON, stays in a list.
type condition func(item map[string]any) bool

// parseFilter reads a filter; "" keeps everything. With properties, in lower case, it may name those alone.
func parseFilter(text string, properties ...string) (func(item any) (bool, error), error) {
	if strings.TrimSpace(text) == "" {
		return func(any) (bool, error) { return true, nil }, nil
	}
	bad := func(why string, args ...any) error {
		return azure.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string: %s.",
			text, fmt.Sprintf(why, args...))
	}
	if len(text) > maxFilter {
		return nil, bad("it is longer than %d bytes", maxFilter)
	}
	tokens, err := filterTokens(text)
	if err != nil {
		return nil, bad("%v", err)
	}
	p := &filterParser{tokens: tokens, properties: properties}
	cond, err := p.or()
	if err == nil && p.pos < len(p.tokens) {
		err = fmt.Errorf("'%s' was not expected", p.tokens[p.pos])
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	return func(item any) (bool, error) {
		v, err := asMap(item)
		return err == nil && cond(v), err
	}, nil
}

// filterTokens cuts a filter into words, quoted strings (with what stands before the quote), parentheses and commas.
func filterTokens(s string) ([]string, error) {
	var tokens []string
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t':
			i++
			continue
		case '(', ')', ',':
			tokens = append(tokens, string(c))
			i++
			continue
		}
		start := i
		for i < len(s) && !strings.ContainsRune(" \t(),", rune(s[i])) {
			if s[i] != '\'' {
				i++
				continue
			}
			for i++; ; i++ { // a quote inside a string is doubled
				if i >= len(s) {
					return nil, fmt.Errorf("a string has no closing quote")
				}
				if s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'' {
					i++
				} else if s[i] == '\'' {
					break
				}
			}
			i++
		}
		tokens = append(tokens, s[start:i])
	}
	return tokens, nil
}

type filterParser struct {
	tokens     []string
	pos        int
	tagName    string   // of "tagName eq '...'": a tagValue that follows is that tag's
	properties []string // that may be named; none is any
}

func (p *filterParser) next() string {
	if p.pos == len(p.tokens) {
		return ""
	}
	p.pos++
	return p.tokens[p.pos-1]
}

func (p *filterParser) take(word string) bool {
	if p.pos < len(p.tokens) && strings.EqualFold(p.tokens[p.pos], word) {
		p.pos++
		return true
	}
	return false
}

func (p *filterParser) or() (condition, error) {
	left, err := p.and()
	for err == nil && p.take("or") {
		var right condition
		l := left
		right, err = p.and()
		left = func(item map[string]any) bool { return l(item) || right(item) }
	}
	return left, err
}

func (p *filterParser) and() (condition, error) {
	left, err := p.term()
	for err == nil && p.take("and") {
		var right condition
		l := left
		right, err = p.term()
		left = func(item map[string]any) bool { return l(item) && right(item) }
	}
	return left, err
}

func (p *filterParser) term() (condition, error) {
	if p.take("not") {
		cond, err := p.term()
		return func(item map[string]any) bool { return !cond(item) }, err
	}
	if p.take("(") {
		cond, err := p.or()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return cond, err
	}
	if p.pos+1 < len(p.tokens) && p.tokens[p.pos+1] == "(" {
		return p.function()
	}
	path, op, literal := p.next(), strings.ToLower(p.next()), p.next()
	holds, ok := comparisons[op]
	if !ok {
		return nil, fmt.Errorf("'%s' after '%s' is not one of eq, ne, gt, ge, lt, le", op, path)
	}
	want, err := parseLiteral(literal)
	if err != nil {
		return nil, err
	}
	if name, ok := want.(string); ok && op == "eq" && strings.EqualFold(path, "tagName") {
		p.tagName = name
	}
	return p.field(path, func(got any) bool {
		order, ok := compare(got, want)
		return ok && holds(order)
	})
}

// function reads a function of a property and a text. substringof alone has the text first.
func (p *filterParser) function() (condition, error) {
	name := strings.ToLower(p.next())
	p.next() // "("
	holds, ok := filterFunctions[name]
	if !ok {
		return nil, fmt.Errorf("'%s' is not one of substringof, contains, startswith, endswith", name)
	}
	path := p.next()
	if !p.take(",") {
		return nil, fmt.Errorf("'%s' takes two arguments", name)
	}
	literal := p.next()
	if name == "substringof" {
		path, literal = literal, path
	}
	if !p.take(")") {
		return nil, fmt.Errorf("'%s' takes two arguments", name)
	}
	want, err := parseLiteral(literal)
	if err != nil {
		return nil, err
	}
	part, ok := want.(string)
	if !ok {
		return nil, fmt.Errorf("'%s' looks for a string, not for %s", name, literal)
	}
	part = strings.ToLower(part)
	return p.field(path, func(got any) bool {
		text, ok := got.(string)
		return ok && holds(strings.ToLower(text), part)
	})
}

var filterFunctions = map[string]func(s, part string) bool{
	"substringof": strings.Contains, "contains": strings.Contains, "startswith": strings.HasPrefix, "endswith": strings.HasSuffix,
}

// field makes the condition that one of a property's values holds.
func (p *filterParser) field(path string, holds func(got any) bool) (condition, error) {
	if path == "" || strings.ContainsAny(path, "'(),") {
		return nil, fmt.Errorf("'%s' is not the name of a property", path)
	}
	if len(p.properties) > 0 && !slices.Contains(p.properties, strings.ToLower(path)) {
		return nil, fmt.Errorf("'%s' is not one of the properties %s", path, strings.Join(p.properties, ", "))
	}
	fields := strings.Split(path, "/")
	if p.tagName != "" && strings.EqualFold(path, "tagValue") {
		fields = []string{"tags", p.tagName}
	}
	return func(item map[string]any) bool {
		return slices.ContainsFunc(lookupField(item, fields), holds)
	}, nil
}

var comparisons = map[string]func(order int) bool{
	"eq": func(o int) bool { return o == 0 }, "ne": func(o int) bool { return o != 0 },
	"gt": func(o int) bool { return o > 0 }, "ge": func(o int) bool { return o >= 0 },
	"lt": func(o int) bool { return o < 0 }, "le": func(o int) bool { return o <= 0 },
}

// parseLiteral reads 'text', Type'text', a number, a time, true, false or null.
func parseLiteral(s string) (any, error) {
	if i := strings.IndexByte(s, '\''); i >= 0 {
		if len(s) < i+2 || !strings.HasSuffix(s, "'") {
			return nil, fmt.Errorf("%s is not a string", s)
		}
		return strings.ReplaceAll(s[i+1:len(s)-1], "''", "'"), nil
	}
	switch strings.ToLower(s) {
	case "true", "false":
		return strings.EqualFold(s, "true"), nil
	case "null":
		return nil, nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f, nil
	}
	if t, err := parseTime(s); err == nil {
		return t, nil
	}
	return nil, fmt.Errorf("'%s' is not a literal", s)
}

// parseTime reads a time with or without its zone, or a date. Azure CLI names no zone and means UTC.
func parseTime(s string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err = time.Parse(layout, s); err == nil {
			break
		}
	}
	return t, err
}

// lookupField returns the values of a property: one, or for the words of a resource list's filter those they stand for.
func lookupField(item map[string]any, fields []string) []any {
	if len(fields) == 1 {
		tags, _ := item["tags"].(map[string]any)
		switch strings.ToLower(fields[0]) {
		case "resourcetype":
			return []any{item["type"]}
		case "resourcegroup":
			text, _ := item["id"].(string)
			if id, err := azure.ParseResourceID(text); err == nil {
				return []any{id.ResourceGroup()}
			}
			return nil
		case "tagname":
			var names []any
			for name := range tags {
				names = append(names, name)
			}
			return names
		case "tagvalue":
			var values []any
			for _, value := range tags {
				values = append(values, value)
			}
			return values
		}
	}
	var value any = item
	for _, field := range fields {
		object, _ := value.(map[string]any)
		value = nil
		for name, v := range object {
			if strings.EqualFold(name, field) {
				value = v
			}
		}
	}
	return []any{value}
}

// compare orders two values of one kind; false when they cannot be compared.
func compare(got, want any) (int, bool) {
	switch want := want.(type) {
	case nil:
		if got == nil {
			return 0, true
		}
		return 1, true
	case string:
		got, ok := got.(string)
		// Azure's clients put times in quotes too; as text, 10:00:00Z would come after 10:00:00.5Z.
		if t, err := time.Parse(time.RFC3339, got); err == nil {
			if limit, err := parseTime(want); err == nil {
				return t.Compare(limit), true
			}
		}
		return strings.Compare(strings.ToLower(got), strings.ToLower(want)), ok
	case bool:
		got, ok := got.(bool)
		if got == want {
			return 0, ok
		}
		return 1, ok
	case float64:
		got, ok := got.(float64)
		switch {
		case got < want:
			return -1, ok
		case got > want:
			return 1, ok
		}
		return 0, ok
	case time.Time:
		text, _ := got.(string)
		t, err := parseTime(text)
		return t.Compare(want), err == nil
	}
	return 0, false
}
