package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxDepth bounds how deep JSON and expressions may be nested.
const maxDepth = 100

// maxPath is how long, in bytes, the path of a value is told on to those within: with names as long as the template,
// paths would take its length squared.
const maxPath = 200

// document is JSON with the line of each value, by its path ("resources[0].name").
//
// Values are nil, bool, int64, float64, string, []any and map[string]any.
type document struct {
	root  any
	lines map[string]int
}

// parseJSON reads JSON as templates may have it.
func parseJSON(text []byte) (*document, error) {
	text = Strict(bytes.TrimPrefix(text, []byte("\ufeff")))
	r := reader{dec: json.NewDecoder(bytes.NewReader(text)), text: text, line: 1, lines: map[string]int{}}
	r.dec.UseNumber()
	root, err := r.value("", 0)
	if err == nil {
		if _, more := r.dec.Token(); more == nil {
			err = errors.New("there is more after its end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the JSON is not valid at line %d: %w", r.here(), err)
	}
	return &document{root, r.lines}, nil
}

type reader struct {
	dec   *json.Decoder
	text  []byte
	seen  int64 // bytes whose lines were counted
	line  int
	lines map[string]int
}

// here returns the line that the decoder has come to.
func (r *reader) here() int {
	at := min(r.dec.InputOffset(), int64(len(r.text)))
	r.line += bytes.Count(r.text[r.seen:at], []byte("\n"))
	r.seen = at
	return r.line
}

func (r *reader) value(path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	if _, known := r.lines[path]; !known {
		r.lines[path] = r.here()
	}
	switch token := token.(type) {
	case json.Number:
		return number(token)
	case json.Delim:
		if token == '[' {
			list := []any{}
			for i := 0; r.dec.More(); i++ {
				v, err := r.value(element(path, i), depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = r.dec.Token()
			return list, err
		}
		object, seen := map[string]any{}, map[string]bool{}
		for r.dec.More() {
			key, err := r.dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ := key.(string)
			if seen[fold(name)] {
				return nil, fmt.Errorf("the property '%s' is there twice", name)
			}
			seen[fold(name)] = true
			if object[name], err = r.value(join(path, name), depth+1); err != nil {
				return nil, err
			}
		}
		_, err = r.dec.Token()
		return object, err
	default:
		return token, nil
	}
}

func number(n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	return n.Float64()
}

// join is the path of a property, and element that of an array's element; below a long path all is where that is.
func join(path, name string) string {
	switch {
	case path == "":
		return name
	case len(path) > maxPath:
		return path
	}
	return path + "." + name
}

func element(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

// find returns a property of an object by name in any case.
func find(object map[string]any, name string) (any, bool) {
	if v, ok := object[name]; ok {
		return v, true
	}
	for key, v := range object {
		if strings.EqualFold(key, name) {
			return v, true
		}
	}
	return nil, false
}

// fold is the form in which names are equal whatever their case.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// properties finds many of an object's properties by name in any case.
type properties struct {
	object map[string]any
	folded map[string]string // names by their folded form; made when it is needed
}

func (p *properties) find(name string) (any, bool) {
	if v, ok := p.object[name]; ok {
		return v, true
	}
	if p.folded == nil {
		p.folded = make(map[string]string, len(p.object))
		for name := range p.object {
			p.folded[fold(name)] = name
		}
	}
	name, ok := p.folded[fold(name)]
	return p.object[name], ok
}

// Strict turns what templates may be written in into JSON, each value on the line where it was: comments go, strings of
// several lines get their line ends escaped, and names without quotes, as az sends "template", get theirs.
func Strict(text []byte) []byte {
	out := make([]byte, 0, len(text)+16)
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			i = strictString(&out, text, i)
		case bytes.HasPrefix(text[i:], []byte("//")):
			for ; i < len(text) && text[i] != '\n'; i++ {
			}
		case bytes.HasPrefix(text[i:], []byte("/*")):
			end := bytes.Index(text[i+2:], []byte("*/"))
			if end < 0 {
				return append(out, text[i:]...) // the parser says what is wrong
			}
			out = append(out, bytes.Repeat([]byte("\n"), bytes.Count(text[i:i+2+end], []byte("\n")))...)
			i += end + 4
		case isLetter(c):
			start := i
			for i < len(text) && (isLetter(text[i]) || text[i] >= '0' && text[i] <= '9') {
				i++
			}
			word := text[start:i]
			if next := bytes.TrimLeft(text[i:], " \t\r\n"); len(next) > 0 && next[0] == ':' {
				word = []byte(`"` + string(word) + `"`)
			}
			out = append(out, word...)
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

func isLetter(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// strictString appends the string that begins at i, and the line ends from inside of it after it. It returns its end.
func strictString(out *[]byte, text []byte, i int) int {
	lines := 0
	*out = append(*out, '"')
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n':
			*out = append(*out, `\n`...)
			lines++
		case c == '\r':
			*out = append(*out, `\r`...)
		case c == '\t':
			*out = append(*out, `\t`...)
		case c == '\\' && i+1 < len(text):
			*out = append(*out, c, text[i+1])
			i++
		default:
			*out = append(*out, c)
			if c == '"' {
				*out = append(*out, bytes.Repeat([]byte("\n"), lines)...)
				return i + 1
			}
		}
	}
	return i
}
