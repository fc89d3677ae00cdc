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
	"github.com/keyreel/keyreel/internal/store"
)

// get serves GET of one resource.
func (m *Manager) get(t *Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodGet}); err != nil {
			return err
		}
		return m.showOne(w, r, t, id)
	}
}

// showOne answers with a resource.
func (m *Manager) showOne(w http.ResponseWriter, r *azure.Request, t *Type, id azure.ResourceID) error {
	ctx := r.Context()
	var res *Resource
	var body shown
	err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		if res, err = m.existing(ctx, tx, id); err != nil {
			return err
		}
		body, err = m.show(ctx, tx, t, res, m.view(r))
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", res.ETag)
	return azure.WriteJSON(w, http.StatusOK, body)
}

// ServeResource answers a command's GET with a resource, as its own GET would: past the gates, shaped by its type's Show.
// The command was authorized at the scope of its path; that it shows no more than that is the service's care.
func (m *Manager) ServeResource(w http.ResponseWriter, r *azure.Request, id azure.ResourceID) error {
	rows := m.types[typeKey(id)]
	if rows == nil {
		return fmt.Errorf("serving %s: type %s is not registered", id, id.Type())
	}
	if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodGet}); err != nil {
		return err
	}
	return m.showOne(w, r, rows.Type, id)
}

// existing returns a resource, or the 404 that says what is missing: its group, its parent or itself.
func (m *Manager) existing(ctx context.Context, tx *store.Tx, id azure.ResourceID) (*Resource, error) {
	res, err := load(ctx, tx, id.Key())
	if err != nil || res != nil {
		return res, err
	}
	if _, err := m.ancestors(ctx, tx, id); err != nil {
		if e, unexpected := azure.AsError(err); unexpected || e.Status == http.StatusNotFound {
			return nil, err
		}
	}
	return nil, errMissing(id)
}

// checkExists checks that a scope exists, or, for one that the manager does not keep, what it stands below.
func (m *Manager) checkExists(ctx context.Context, tx *store.Tx, scope azure.ResourceID) error {
	for m.types[typeKey(scope)] == nil {
		if scope.Scope == "/" {
			return nil
		}
		scope = scope.Parent()
	}
	_, err := m.existing(ctx, tx, scope)
	return err
}

// head serves HEAD: 204 when the resource is there.
func (m *Manager) head(*Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodHead}); err != nil {
			return err
		}
		err = m.o.DB.View(r.Context(), func(tx *store.Tx) error {
			_, err := m.existing(r.Context(), tx, id)
			return err
		})
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}
}

// act serves a POST operation on a resource.
func (m *Manager) act(_ *Type, a Action) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(ctx, id, Op{Target: id, Method: http.MethodPost, Action: a.Name}); err != nil {
			return err
		}
		var res *Resource
		err = m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
			res, err = m.existing(ctx, tx, id)
			return err
		})
		switch {
		case err != nil:
			return err
		case !res.ready || res.State == Deleting:
			return errNotReady(res)
		}
		return a.Handle(w, r, res)
	}
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
		where := `type = $1 AND key > $2 AND key < $3 ORDER BY key LIMIT $4`
		return m.listPage(w, r, page{
			scope: scope, size: size, link: t.ListKey,
			rows: func(ctx context.Context, tx *store.Tx, after, to string, limit int) ([]*Resource, error) {
				if t.atSubscription { // those at the scope alone, and not in its groups
					own := id.Key() + "/"
					after, to = max(after, own), id.Key()+"0"
				}
				return query(ctx, tx, where, strings.ToLower(t.Name), after, to, limit)
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
	rows  func(ctx context.Context, tx *store.Tx, after, to string, limit int) ([]*Resource, error)
	show  func(ctx context.Context, tx *store.Tx, res *Resource) (any, error)
}

// listPage answers with one page of a list: the resources below the scope that match $filter, at most $top in all.
func (m *Manager) listPage(w http.ResponseWriter, r *azure.Request, p page) error {
	ctx := r.Context()
	keep, err := parseFilter(queryValue(r.URL, "$filter"))
	if err != nil {
		return err
	}
	if order := queryValue(r.URL, "$orderby"); order != "" && !strings.EqualFold(strings.TrimSpace(order), "name") && !strings.EqualFold(strings.TrimSpace(order), "name asc") {
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
	size := p.size
	if top >= 0 {
		size = min(size, top)
	}
	var items []any
	var last string
	var more bool
	err = m.o.DB.View(ctx, func(tx *store.Tx) error {
		items, more = []any{}, false
		if err := m.checkExists(ctx, tx, p.scope); err != nil {
			return err
		}
		for after := start; size > 0; {
			list, err := p.rows(ctx, tx, after, to, batch)
			if err != nil {
				return err
			}
			for _, res := range list {
				item, err := p.show(ctx, tx, res)
				if err != nil {
					return err
				}
				if ok, err := keep(item); err != nil {
					return err
				} else if !ok {
					continue
				}
				if len(items) == size {
					more = true
					return nil
				}
				items, last = append(items, item), res.ID.Key()
			}
			if len(list) < batch {
				return nil
			}
			after = list[len(list)-1].ID.Key()
		}
		return nil
	})
	if err != nil {
		return err
	}
	body := map[string]any{"value": items}
	if more && (top < 0 || top > size) {
		link := p.link
		if link == "" {
			link = "nextLink"
		}
		body[link] = m.nextLink(r, last, top-size)
	}
	return azure.WriteJSON(w, http.StatusOK, body)
}

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
