package directory

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

const (
	defaultTop = 100
	maxTop     = 999
)

// query is what a read may ask for.
type query struct {
	filter  filter
	equal   map[string]string
	fields  []string // nil: all
	expand  []string
	top     int
	after   string // what the last page ended with
	count   bool
	orderBy string // property; empty: by id
	down    bool
	binding []byte // what a page token is good for
}

var expandable = []string{"owners", "members", "memberOf", "appRoleAssignments", "appRoleAssignedTo", "federatedIdentityCredentials"}

// orderable are the properties by which Graph sorts.
var orderable = []string{"id", "displayName", "userPrincipalName", "mail", "createdDateTime", "appId"}

func errQuery(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", format, args...)
}

// parseQuery reads the query string of a read of objects that have these properties.
func parseQuery(r *azure.Request, kind string, properties []string) (query, error) {
	q := query{top: defaultTop, filter: func(map[string]any) bool { return true }}
	var search filter
	options := r.URL.Query()
	for name, values := range options {
		var err error
		value := values[0]
		switch strings.ToLower(name) {
		case "$filter":
			q.filter, q.equal, err = parseFilter(value, properties)
		case "$search":
			search, err = parseSearch(value, properties)
		case "$select":
			for _, field := range strings.Split(value, ",") {
				i := slices.IndexFunc(properties, func(p string) bool { return strings.EqualFold(p, strings.TrimSpace(field)) })
				if i < 0 {
					return q, errQuery("Could not find a property named '%s' on type '%s'.", field, kind)
				}
				q.fields = append(q.fields, properties[i])
			}
		case "$expand":
			err = q.parseExpand(value)
		case "$orderby":
			err = q.parseOrder(value, properties)
		case "$top":
			if q.top, err = strconv.Atoi(value); err != nil || q.top < 1 || q.top > maxTop {
				return q, errQuery("Invalid page size '%s'. Must be between 1 and %d inclusive.", value, maxTop)
			}
		case "$count":
			q.count = strings.EqualFold(value, "true")
		case "$skiptoken", "$format", "api-version":
		default:
			if strings.HasPrefix(name, "$") {
				return q, errQuery("The query option '%s' is not supported.", name)
			}
		}
		if err != nil {
			return q, err
		}
	}
	if search != nil {
		if !strings.EqualFold(r.Header.Get("ConsistencyLevel"), "eventual") {
			return q, errQuery("Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'")
		}
		match := q.filter
		q.filter = func(o map[string]any) bool { return match(o) && search(o) }
	}
	return q, q.readToken(r.URL.Path, options)
}

func (q *query) parseExpand(value string) error {
	for _, name := range strings.Split(value, ",") {
		name = strings.TrimSpace(name)
		if plain, _, ok := strings.Cut(name, "($select="); ok {
			name = plain // all of an expanded object is more than what was selected
		}
		i := slices.IndexFunc(expandable, func(e string) bool { return strings.EqualFold(e, name) })
		if i < 0 {
			return errQuery("The query specifies $expand=%s; of a relation, one of %s can be expanded.", name, strings.Join(expandable, ", "))
		}
		q.expand = append(q.expand, expandable[i])
	}
	return nil
}

func (q *query) parseOrder(value string, properties []string) error {
	name, direction, _ := strings.Cut(strings.TrimSpace(value), " ")
	i := slices.IndexFunc(orderable, func(p string) bool { return strings.EqualFold(p, name) && slices.Contains(properties, p) })
	switch direction = strings.TrimSpace(direction); {
	case i < 0:
		return errQuery("Sorting by '%s' is not supported; it is by one of %s.", name, strings.Join(orderable, ", "))
	case direction != "" && !strings.EqualFold(direction, "asc") && !strings.EqualFold(direction, "desc"):
		return errQuery("'%s' is no direction to sort in: it is asc or desc.", direction)
	}
	q.orderBy, q.down = orderable[i], strings.EqualFold(direction, "desc")
	return nil
}

var searchTerm = regexp.MustCompile(`^\s*"([A-Za-z]+):((?:[^"\\]|\\.)*)"\s*(?:(AND|OR)\b)?`)

// parseSearch reads $search: "property:text" terms, joined by AND or OR, which bind as in Graph. A text is found where a
// word begins with it. https://learn.microsoft.com/graph/search-query-parameter
func parseSearch(value string, properties []string) (filter, error) {
	if len(value) > maxFilter {
		return nil, errQuery("$search is longer than %d bytes.", maxFilter)
	}
	some := filter(func(map[string]any) bool { return false })
	all := filter(func(map[string]any) bool { return true })
	for rest, joined := value, true; ; {
		m := searchTerm.FindStringSubmatch(rest)
		if m == nil || !joined {
			return nil, errQuery("$search '%s' is not understood; it is \"property:text\", joined by AND or OR.", value)
		}
		i := slices.IndexFunc(properties, func(p string) bool { return strings.EqualFold(p, m[1]) })
		if i < 0 {
			return nil, errQuery("Could not find a property named '%s'.", m[1])
		}
		before, want := all, strings.ToLower(strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]))
		all = func(o map[string]any) bool {
			have, _ := o[properties[i]].(string)
			return before(o) && hasWord(strings.ToLower(have), want)
		}
		rest, joined = rest[len(m[0]):], m[3] != ""
		if m[3] == "OR" || rest == "" && !joined {
			left, right := some, all
			some, all = func(o map[string]any) bool { return left(o) || right(o) }, func(map[string]any) bool { return true }
		}
		if rest == "" && !joined {
			return some, nil
		}
	}
}

// hasWord reports whether one of the words of a text begins with want.
func hasWord(have, want string) bool {
	for i := 0; want != ""; i++ {
		n := strings.Index(have[i:], want)
		if n < 0 {
			return false
		}
		if i += n; i == 0 || strings.ContainsRune(" -_.@,;:/'()", rune(have[i-1])) {
			return true
		}
	}
	return true
}

const bindingSize = 12 // bytes

// readToken takes $skiptoken apart. A token is good for the query that it was given for, and for no other.
func (q *query) readToken(path string, options url.Values) error {
	options = maps.Clone(options)
	token := options.Get("$skiptoken")
	for name := range options {
		if strings.EqualFold(name, "$skiptoken") {
			delete(options, name)
		}
	}
	_, path, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/") // v1.0 and beta, or a tenant, read the same
	sum := sha256.Sum256([]byte(strings.ToLower(path) + "?" + options.Encode()))
	q.binding = sum[:bindingSize]
	if token == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) <= bindingSize || !bytes.Equal(raw[:bindingSize], q.binding) {
		return azure.Errorf(http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired or is not for this query.")
	}
	q.after = string(raw[bindingSize:])
	return nil
}

func (q *query) token(last string) string {
	return base64.RawURLEncoding.EncodeToString(append(slices.Clone(q.binding), last...))
}

// pick leaves the selected properties.
func (q *query) pick(shown map[string]any) map[string]any {
	if q.fields != nil {
		maps.DeleteFunc(shown, func(name string, _ any) bool {
			return !slices.Contains(q.fields, name) && !slices.Contains(q.expand, name)
		})
		for _, name := range q.fields {
			if _, ok := shown[name]; !ok {
				shown[name] = nil
			}
		}
	}
	return shown
}

// sortKey orders what is shown, and equal ones by their ids.
func (q *query) sortKey(shown map[string]any) string {
	value := ""
	switch v := shown[q.orderBy].(type) {
	case string:
		value = strings.ToLower(v)
	case time.Time:
		value = fmt.Sprintf("%020d", v.UnixMicro())
	}
	id, _ := shown["id"].(string)
	return value + "\x00" + id
}
