package arm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// thinned is what a caller, who may not read all of a list's scope, may read of it. Reading it costs as much as the
// caller has role assignments, and then as much as lies inside of their scopes.
type thinned struct {
	subject *rbac.Subject
	scopes  []string // keys, in order, none inside another
}

// authorizeList decides on a list: all of it, what the caller may read of it, or, for who has no role at the scope, above
// or below it, nothing. Azure does the same with the lists of groups and of resources.
func (m *Manager) authorizeList(r *azure.Request) error {
	subject, err := m.o.RBAC.Subject(r.Context(), r.Caller.Principals())
	if err != nil {
		return fmt.Errorf("reading the roles of %s: %w", r.Caller.ObjectID, err)
	}
	if scopes := subject.Scopes(r.Scope); len(scopes) > 0 && !subject.May(r.Route.Action, r.Scope) {
		r.Extra = &thinned{subject, scopes}
		return nil
	}
	return m.authorizeAt(r, r.Route.Action)
}

// list serves GET of a collection.
func (m *Manager) list(t *Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, view, err := m.target(r)
		if err != nil {
			return err
		}
		scope := id.Parent()
		if err := m.gate(r.Context(), scope, Op{Target: id, Method: http.MethodGet, List: true}); err != nil {
			return err
		}
		size := t.PageSize
		if size == 0 {
			size = 100
		}
		where := `type = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4`
		return m.listPage(w, r, page{
			scope: scope, size: size, link: t.ListKey,
			rows: func(ctx context.Context, tx *store.Tx, from, to string, limit int) ([]*Resource, error) {
				if t.atSubscription { // those at the scope alone, and not in its groups
					from, to = max(from, id.Key()+"/"), min(to, id.Key()+"0")
				}
				return query(ctx, tx, where, strings.ToLower(t.Name), from, to, limit)
			},
			show: func(ctx context.Context, tx *store.Tx, res *Resource) (any, error) {
				return m.show(ctx, tx, t, res, view)
			},
		})
	}
}

// page says how a list of resources is made.
type page struct {
	scope azure.ResourceID // which must exist
	size  int
	link  string // name of the link to the next page
	// rows returns resources in order of key, from the one that is not before from, up to to.
	rows func(ctx context.Context, tx *store.Tx, from, to string, limit int) ([]*Resource, error)
	show func(ctx context.Context, tx *store.Tx, res *Resource) (any, error)
	// properties that $filter may name, in lower case; nil is any.
	properties []string
}

// listScan is how many resources are looked through for one page, before it goes out as full as it is: a filter that
// matches nothing must not keep a reader of the database for as long as the list is.
const listScan = 10 * batch

// listing is one page in the making.
type listing struct {
	page
	m       *Manager
	thin    *thinned // nil shows all
	keep    func(item any) (bool, error)
	limit   int // items of this page
	items   []any
	scanned int
	last    string // key of the last resource that was looked at and needs no second look
	more    bool
}

// listPage answers with one page of a list: the resources below the scope that match $filter, at most $top in all. A page
// with a link to the next may be short, or empty.
func (m *Manager) listPage(w http.ResponseWriter, r *azure.Request, p page) error {
	ctx := r.Context()
	l := listing{page: p, m: m, limit: p.size}
	l.thin, _ = r.Extra.(*thinned)
	var err error
	if l.keep, err = parseFilter(queryValue(r.URL, "$filter"), p.properties...); err != nil {
		return err
	}
	if order := strings.ToLower(strings.TrimSpace(queryValue(r.URL, "$orderby"))); order != "" && order != "name" && order != "name asc" {
		return azure.Errorf(http.StatusBadRequest, "InvalidOrderBy", "$orderby '%s' is not supported; lists are ordered by 'name'.", order)
	}
	top, err := parseTop(queryValue(r.URL, "$top"))
	if err != nil {
		return err
	}
	from, to := below(p.scope)
	start, err := parseSkipToken(queryValue(r.URL, "$skiptoken"), from, to)
	if err != nil {
		return err
	}
	if start != from {
		start = following(start)
	}
	if top >= 0 {
		l.limit = min(l.limit, top)
	}
	err = m.o.DB.View(ctx, func(tx *store.Tx) error {
		l.items, l.scanned, l.more = []any{}, 0, false
		if err := m.checkExists(ctx, tx, p.scope); err != nil {
			return err
		}
		return l.fill(ctx, tx, start, to)
	})
	if err != nil {
		return err
	}
	body := map[string]any{"value": l.items}
	if l.more && (top < 0 || top > len(l.items)) {
		link := p.link
		if link == "" {
			link = "nextLink"
		}
		body[link] = m.nextLink(r, l.last, top-len(l.items))
	}
	return azure.WriteJSON(w, http.StatusOK, body)
}

// fill collects the items between two keys, of a list that is thinned out those inside of the caller's scopes.
func (l *listing) fill(ctx context.Context, tx *store.Tx, from, to string) error {
	if l.thin == nil {
		return l.fillRange(ctx, tx, from, to)
	}
	for _, scope := range l.thin.scopes {
		if err := l.fillRange(ctx, tx, max(from, scope), min(to, scope+"0")); err != nil || l.more { // '0' follows '/'
			return err
		}
	}
	return nil
}

func (l *listing) fillRange(ctx context.Context, tx *store.Tx, from, to string) error {
	for from < to {
		list, err := l.rows(ctx, tx, from, to, batch)
		if err != nil {
			return err
		}
		for _, res := range list {
			if l.more = l.scanned == listScan; l.more {
				return nil
			}
			l.scanned++
			item, ok, err := l.item(ctx, tx, res)
			if err != nil {
				return err
			}
			if l.more = ok && len(l.items) == l.limit; l.more {
				return nil
			}
			if ok {
				l.items = append(l.items, item)
			}
			l.last = res.ID.Key()
			from = following(l.last)
		}
		if len(list) < batch {
			break
		}
	}
	return nil
}

// item returns a resource as the list shows it; false when it is not shown.
func (l *listing) item(ctx context.Context, tx *store.Tx, res *Resource) (any, bool, error) {
	if l.thin != nil && !l.thin.subject.May(l.m.types[typeKey(res.ID)].prefix()+"/read", res.ID.String()) {
		return nil, false, nil
	}
	item, err := l.show(ctx, tx, res)
	if err != nil {
		return nil, false, err
	}
	ok, err := l.keep(item)
	return item, ok, err
}

// following is the least key after a key: keys hold no control characters.
func following(key string) string { return key + "\x01" }

// nextLink is the request's own URL, further on.
func (m *Manager) nextLink(r *azure.Request, after string, top int) string {
	q := url.Values{}
	for key, values := range r.URL.Query() {
		if !strings.EqualFold(key, "$skiptoken") && !strings.EqualFold(key, "$top") {
			q[key] = values
		}
	}
	q.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(after)))
	if top > 0 {
		q.Set("$top", strconv.Itoa(top))
	}
	path := "/" + strings.Trim(r.URL.EscapedPath(), "/")
	return m.view(r).URLs.Management() + path + "?" + q.Encode()
}

func parseTop(s string) (int, error) {
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, azure.Errorf(http.StatusBadRequest, "InvalidTopValue", "$top '%s' is not a positive number.", s)
	}
	return n, nil
}

// parseSkipToken returns the key that the page follows, which must lie within the list.
func parseSkipToken(s, from, to string) (string, error) {
	if s == "" {
		return from, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(key) || slices.Contains(key, 0) || string(key) <= from || string(key) >= to {
		return "", errSkipToken(s)
	}
	return string(key), nil
}

func errSkipToken(s string) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidSkipToken", "$skiptoken '%s' is not one of this list's.", s)
}

// asMap turns an item as it is shown into what a filter looks into.
func asMap(item any) (map[string]any, error) {
	text, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	var v map[string]any
	return v, json.Unmarshal(text, &v)
}
