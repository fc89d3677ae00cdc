package template

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxExpression is how many bytes an expression may have, as in Azure.
const maxExpression = 24576

// node is a part of a parsed expression: a literal, a call, a member or an element.
type node struct {
	literal any    // when call and of are empty
	call    string // function, in lower case
	args    []*node
	of      *node  // what a member or element is taken from
	member  string // its name; "" takes the element that index gives
	index   *node
}

// isExpression tells an expression, "[...]", from text.
func isExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' && !strings.HasPrefix(s, "[[")
}

// parseExpression parses what stands between the brackets of an expression.
func parseExpression(s string) (*node, error) {
	if len(s) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d characters", maxExpression)
	}
	p := &expressionParser{s: s}
	n, err := p.expression(0)
	if err == nil && p.space() && p.pos < len(p.s) {
		err = fmt.Errorf("'%s' was not expected", p.s[p.pos:])
	}
	if err != nil {
		return nil, fmt.Errorf("the expression '%s' is not valid at character %d: %w", s, p.pos+1, err)
	}
	return n, nil
}

type expressionParser struct {
	s   string
	pos int
}

// space skips white space; it returns true.
func (p *expressionParser) space() bool {
	for p.pos < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.pos]) >= 0 {
		p.pos++
	}
	return true
}

func (p *expressionParser) take(c byte) bool {
	if p.space() && p.pos < len(p.s) && p.s[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *expressionParser) expression(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	n, err := p.primary(depth)
	for links := 0; err == nil; links++ {
		switch {
		case links > maxDepth:
			return nil, fmt.Errorf("it has more than %d members in a row", maxDepth)
		case p.take('.'):
			p.space()
			name := p.name()
			if name == "" {
				return nil, errors.New("the name of a property is needed after '.'")
			}
			n = &node{of: n, member: name}
		case p.take('['):
			index, failed := p.expression(depth + 1)
			if failed != nil {
				return nil, failed
			}
			if !p.take(']') {
				return nil, errors.New("']' is needed")
			}
			n = &node{of: n, index: index}
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *expressionParser) primary(depth int) (*node, error) {
	if p.space(); p.pos == len(p.s) {
		return nil, errors.New("a value is needed")
	}
	switch c := p.s[p.pos]; {
	case c == '\'':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		start := p.pos
		for p.pos++; p.pos < len(p.s) && p.s[p.pos] >= '0' && p.s[p.pos] <= '9'; p.pos++ {
		}
		i, err := strconv.ParseInt(p.s[start:p.pos], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("'%s' is not an integer of 64 bits", p.s[start:p.pos])
		}
		return &node{literal: i}, nil
	}
	name := p.name()
	if name == "" {
		return nil, fmt.Errorf("'%s' is not the beginning of a value", p.s[p.pos:min(len(p.s), p.pos+1)])
	}
	if p.take('.') { // of a function of the template's own: its namespace
		p.space()
		name += "." + p.name()
	}
	if !p.take('(') {
		return nil, fmt.Errorf("'(' is needed after '%s'", name)
	}
	n := &node{call: strings.ToLower(name)}
	for !p.take(')') {
		if len(n.args) > 0 && !p.take(',') {
			return nil, errors.New("',' or ')' is needed")
		}
		arg, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
	}
	return n, nil
}

// text reads a string, in which a quote is doubled.
func (p *expressionParser) text() (*node, error) {
	var b strings.Builder
	for p.pos++; p.pos < len(p.s); p.pos++ {
		if p.s[p.pos] != '\'' {
			b.WriteByte(p.s[p.pos])
			continue
		}
		if p.pos++; p.pos == len(p.s) || p.s[p.pos] != '\'' {
			return &node{literal: b.String()}, nil
		}
		b.WriteByte('\'')
	}
	return nil, errors.New("a string has no closing quote")
}

func (p *expressionParser) name() string {
	start := p.pos
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || p.pos == start) {
			break
		}
		p.pos++
	}
	return p.s[start:p.pos]
}
