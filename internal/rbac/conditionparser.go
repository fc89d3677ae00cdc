package rbac

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ConditionVersion is the version of the condition language that is understood.
const ConditionVersion = "2.0"

const (
	maxCondition = 8 << 10 // bytes of a condition, as in Azure
	maxNesting   = 50      // parentheses and negations around an expression
)

// conditionError is a fault in a condition.
type conditionError struct {
	position int // of the fault, in characters from 1
	fault    string
}

// Error says where the fault is and what was expected.
func (e *conditionError) Error() string { return fmt.Sprintf("position %d: %s", e.position, e.fault) }

// parseCondition reads a condition.
//
//	condition  = operand { ("AND" | "&&") operand } | operand { ("OR" | "||") operand }
//	operand    = ("NOT" | "!") operand | "(" condition ")" | function | comparison
//	function   = ("ActionMatches" | "SubOperationMatches") set | "Exists" attribute
//	comparison = side [ cross ":" ] operator side
//	side       = attribute | literal | set
//	attribute  = "@" ("Resource" | "Request" | "Principal" | "Environment") "[" name "]"
//	set        = "{" literal { "," literal } "}"
//
// AND beside OR needs parentheses, as the documentation asks for. The case of words does not count.
func parseCondition(text string) (expression, error) {
	if len(text) > maxCondition {
		return nil, &conditionError{1, fmt.Sprintf("the condition has %d bytes; %d are allowed", len(text), maxCondition)}
	}
	p := &conditionParser{text: text}
	if err := p.advance(); err != nil {
		return nil, err
	}
	e, err := p.condition(0)
	if err != nil {
		return nil, err
	}
	if p.token.kind != endToken {
		return nil, p.unexpected("AND, OR or the end")
	}
	return e, nil
}

type tokenKind byte

const (
	endToken       tokenKind = iota
	signToken                // ( ) { } , ! && ||
	wordToken                // names, numbers, GUIDs
	textToken                // 'text', without its quotes
	attributeToken           // @Source[name]
)

type token struct {
	kind  tokenKind
	at    int // byte offset
	text  string
	lower string    // text in lower case
	attr  attribute // of an attributeToken
}

func (t token) is(words ...string) bool {
	if t.kind != signToken && t.kind != wordToken {
		return false
	}
	for _, w := range words {
		if t.lower == w {
			return true
		}
	}
	return false
}

type conditionParser struct {
	text  string
	next  int // byte offset behind token
	token token
}

func (p *conditionParser) fault(at int, format string, args ...any) error {
	return &conditionError{utf8.RuneCountInString(p.text[:at]) + 1, fmt.Sprintf(format, args...)}
}

func (p *conditionParser) unexpected(wanted string) error {
	found := "the end"
	if p.token.kind != endToken {
		found = "'" + p.text[p.token.at:p.next] + "'"
	}
	return p.fault(p.token.at, "%s is expected, not %s", wanted, found)
}

// advance reads the next token.
func (p *conditionParser) advance() error {
	rest := strings.TrimLeft(p.text[p.next:], " \t\r\n")
	at := len(p.text) - len(rest)
	take := func(kind tokenKind, n int) error {
		p.token = token{kind: kind, at: at, text: rest[:n], lower: strings.ToLower(rest[:n])}
		p.next = at + n
		return nil
	}
	switch {
	case rest == "":
		return take(endToken, 0)
	case strings.HasPrefix(rest, "&&"), strings.HasPrefix(rest, "||"):
		return take(signToken, 2)
	case strings.IndexByte("(){},!", rest[0]) >= 0:
		return take(signToken, 1)
	case rest[0] == '\'':
		end := strings.IndexByte(rest[1:], '\'')
		if end < 0 {
			return p.fault(at, "the text that begins here has no closing quote")
		}
		p.token = token{kind: textToken, at: at, text: rest[1 : end+1]}
		p.next = at + end + 2
		return nil
	case rest[0] == '@':
		return p.advanceAttribute(at, rest)
	}
	n := 0
	for n < len(rest) && wordByte(rest[n]) {
		n++
	}
	if n == 0 {
		c, _ := utf8.DecodeRuneInString(rest)
		return p.fault(at, "%q has no meaning here", c)
	}
	return take(wordToken, n)
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == ':' || c == '-'
}

func (p *conditionParser) advanceAttribute(at int, rest string) error {
	source, name, ok := strings.Cut(rest[1:], "[")
	switch source = strings.TrimSpace(source); strings.ToLower(source) {
	case "resource", "request", "principal", "environment":
	default:
		ok = false
	}
	if !ok {
		return p.fault(at, "an attribute is @Resource[...], @Request[...], @Principal[...] or @Environment[...]")
	}
	name, behind, ok := strings.Cut(name, "]")
	if !ok || strings.TrimSpace(name) == "" {
		return p.fault(at, "the attribute that begins here has no name or no closing ']'")
	}
	p.next = len(p.text) - len(behind)
	p.token = token{kind: attributeToken, at: at, attr: newAttribute(source, strings.TrimSpace(name))}
	return nil
}

// expect steps over a sign.
func (p *conditionParser) expect(sign string) error {
	if !p.token.is(sign) {
		return p.unexpected("'" + sign + "'")
	}
	return p.advance()
}

func (p *conditionParser) condition(depth int) (expression, error) {
	left, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	for joined := ""; ; {
		var how string
		join := and
		switch {
		case p.token.is("and", "&&"):
			how = "AND"
		case p.token.is("or", "||"):
			how, join = "OR", or
		default:
			return left, nil
		}
		if joined != "" && joined != how {
			return nil, p.fault(p.token.at, "AND and OR stand side by side; parentheses must say which comes first")
		}
		joined = how
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		left = join(left, right)
	}
}

func (p *conditionParser) operand(depth int) (expression, error) {
	if depth++; depth > maxNesting {
		return nil, p.fault(p.token.at, "the condition is nested deeper than %d levels", maxNesting)
	}
	first := p.token
	switch {
	case first.is("!", "not"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		e, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		return not(e), nil
	case first.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		e, err := p.condition(depth)
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case first.is("actionmatches", "suboperationmatches"):
		return p.patterns(first)
	case first.is("exists"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.token.kind != attributeToken {
			return nil, p.unexpected("an attribute")
		}
		return exists(p.token.attr), p.advance()
	}
	return p.comparison()
}

// patterns reads the set of ActionMatches or SubOperationMatches.
func (p *conditionParser) patterns(function token) (expression, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.token.is("{") {
		return nil, p.unexpected("'{'")
	}
	literals, err := p.set()
	if err != nil {
		return nil, err
	}
	var patterns []string
	for _, l := range literals {
		if l.kind != textToken || l.text == "" || strings.Count(l.text, "*") > 3 {
			return nil, p.fault(l.at, "a pattern is text in single quotes with at most three wildcards")
		}
		patterns = append(patterns, l.text)
	}
	if function.is("actionmatches") {
		return actionMatches(patterns), nil
	}
	return subOperationMatches(patterns), nil
}

// side reads one side of a comparison and returns its literals for a check against the operator.
func (p *conditionParser) side() (operand, []token, error) {
	first := p.token
	switch {
	case first.kind == attributeToken:
		return operand{attribute: &first.attr}, nil, p.advance()
	case first.is("{"):
		set, err := p.set()
		if err != nil {
			return operand{}, nil, err
		}
		var o operand
		for _, l := range set {
			o.literals = append(o.literals, l.text)
		}
		return o, set, nil
	case first.kind == wordToken || first.kind == textToken:
		return operand{literals: []string{first.text}}, []token{first}, p.advance()
	}
	return operand{}, nil, p.unexpected("an attribute or a value")
}

// set reads literals in braces.
func (p *conditionParser) set() ([]token, error) {
	var list []token
	for {
		if err := p.advance(); err != nil { // over the brace or the comma
			return nil, err
		}
		if p.token.kind != wordToken && p.token.kind != textToken {
			return nil, p.unexpected("a value")
		}
		list = append(list, p.token)
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.token.is(",") {
			return list, p.expect("}")
		}
	}
}

func (p *conditionParser) comparison() (expression, error) {
	left, literals, err := p.side()
	if err != nil {
		return nil, err
	}
	name := p.token
	if name.kind != wordToken {
		return nil, p.unexpected("an operator")
	}
	var crossed *cross
	before, after, found := strings.Cut(name.lower, ":")
	if c, ok := crosses[before]; found && ok {
		crossed, before = &c, after
	} else if found {
		return nil, p.fault(name.at, "'%s' is not a cross product; there are ForAnyOfAnyValues, ForAllOfAnyValues, ForAnyOfAllValues and ForAllOfAllValues", name.text)
	}
	op, ok := findOperator(before)
	if !ok {
		return nil, p.fault(name.at, "'%s' is not an operator, such as StringEquals", name.text)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	right, more, err := p.side()
	if err != nil {
		return nil, err
	}
	if crossed == nil && (len(literals) > 1 || len(more) > 1) {
		return nil, p.fault(name.at, "several values need a cross product, such as ForAnyOfAnyValues:%s", name.text)
	}
	for _, l := range append(literals, more...) {
		if !op.valid(l.text, l.kind == textToken) {
			return nil, p.fault(l.at, "%s compares with %s, not '%s'", name.text, op.kind, l.text)
		}
	}
	return compare(left, op, crossed, right), nil
}
