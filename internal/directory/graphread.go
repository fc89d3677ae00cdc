package directory

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	scanBatch = 500            // rows that are read at a time
	scanPage  = 10 * scanBatch // rows that are looked through for one page, before it goes out as full as it is
)

// source reads objects in order of their ids, from after one on: up to scanBatch, and fewer at the end only.
type source func(ctx context.Context, tx *store.Tx, after string) ([]*object, error)

// all reads the objects of a set that can match.
func (s *objectSet) all(q *query) source {
	where, args := ``, []any{}
	for property, column := range map[string]string{"id": `o.id`, "appId": `o.app_id`} {
		if value, ok := q.equal[property]; ok && (property == "id" || s == applicationSet || s == servicePrincipalSet) {
			args = append(args, key(value))
			where += fmt.Sprintf(` AND %s = $%d`, column, len(args))
		}
	}
	where += fmt.Sprintf(` AND o.id > $%d ORDER BY o.id LIMIT %d`, len(args)+1, scanBatch)
	return func(ctx context.Context, tx *store.Tx, after string) ([]*object, error) {
		return s.objects(ctx, tx, where, append(slices.Clone(args), after)...)
	}
}

// these reads the objects with these ids; what is not there, or is of none of the types, is left out.
func these(list []string, types ...string) source {
	list = slices.Clone(list)
	slices.Sort(list)
	list = slices.Compact(list)
	return func(ctx context.Context, tx *store.Tx, after string) ([]*object, error) {
		var found []*object
		at, there := slices.BinarySearch(list, after)
		if there {
			at++
		}
		for at < len(list) && len(found) < scanBatch {
			chunk := list[at:min(at+scanBatch-len(found), len(list))]
			at += len(chunk)
			some, err := named(ctx, tx, chunk, types)
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
		return found, nil
	}
}

// named reads the objects with these ids, in order of their ids.
func named(ctx context.Context, tx *store.Tx, list, types []string) ([]*object, error) {
	var in []string
	var args []any
	for i, id := range list {
		in, args = append(in, fmt.Sprintf("$%d", i+1)), append(args, id)
	}
	var found []*object
	for _, s := range sets() {
		if !wanted(s, types) {
			continue
		}
		some, err := s.objects(ctx, tx, ` AND o.id IN (`+strings.Join(in, ", ")+`)`, args...)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	slices.SortFunc(found, func(a, b *object) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

func wanted(s *objectSet, types []string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t string) bool {
		t = strings.TrimPrefix(t, "microsoft.graph.")
		return strings.EqualFold(t, s.short()) || strings.EqualFold(t, "directoryObject")
	})
}

// collection is a list to be answered.
type collection struct {
	kind       string // for errors
	properties []string
	from       func(q *query) source
	mixed      bool // objects say of what type they are
}

func (s *objectSet) collection() collection {
	return collection{kind: s.odata[1:], properties: s.properties(), from: s.all}
}

func mixed(from source) collection {
	c := collection{kind: "microsoft.graph.directoryObject", from: func(*query) source { return from }, mixed: true}
	for _, s := range sets() {
		c.properties = append(c.properties, s.properties()...)
	}
	slices.Sort(c.properties)
	c.properties = slices.Compact(c.properties)
	return c
}

// page is one answer's worth of a collection.
type page struct {
	shown []map[string]any
	next  string // token; empty at the end
	total int    // when it was asked for
}

// view reads from the database, as store.DB.View does.
type view func(ctx context.Context, fn func(*store.Tx) error) error

// within is a view in a transaction that is there already.
func within(tx *store.Tx) view {
	return func(_ context.Context, fn func(*store.Tx) error) error { return fn(tx) }
}

// page reads from where the query stands on, until q.top match or scanPage were looked at. What has to be counted or
// sorted is read whole. Each batch is a view of its own, so that long lists leave others their turn; what changes
// meanwhile may be seen or not.
func (g *Graph) page(ctx context.Context, read view, c *collection, q *query) (page, error) {
	var matches []match
	from, after, scanned := c.from(q), q.after, 0
	whole := q.count || q.orderBy != ""
	if whole {
		after = ""
	}
	enough, unread := q.top+1, false
	for more := true; more; {
		var batch []*object
		err := read(ctx, func(tx *store.Tx) (err error) {
			batch, err = from(ctx, tx, after)
			return err
		})
		if err != nil {
			return page{}, err
		}
		more = len(batch) == scanBatch
		if scanned += len(batch); more && !whole && scanned >= scanPage {
			more, unread = false, true
		}
		for _, o := range batch {
			after = o.ID
			shown := o.set.show(g, o)
			if !q.filter(shown) {
				continue
			}
			m := match{object: o, place: o.ID}
			if q.orderBy != "" {
				m.place = q.sortKey(shown)
			}
			matches = append(matches, m)
			if !whole && len(matches) == enough {
				more = false
				break
			}
		}
	}
	p := page{total: len(matches)}
	matches = q.rest(matches)
	switch {
	case len(matches) > q.top:
		matches = matches[:q.top]
		p.next = q.token(matches[q.top-1].place)
	case unread:
		p.next = q.token(after)
	}
	err := read(ctx, func(tx *store.Tx) error {
		p.shown = []map[string]any{}
		for _, m := range matches {
			v, err := g.answer(ctx, tx, m.object, q)
			if err != nil {
				return err
			}
			if c.mixed {
				v = typed(m.object.set, v)
			}
			p.shown = append(p.shown, v)
		}
		return nil
	})
	return p, err
}

// match is an object that is asked for, and its place in the order.
type match struct {
	object *object
	place  string
}

// rest sorts, and leaves what comes after the last page.
func (q *query) rest(matches []match) []match {
	slices.SortFunc(matches, func(a, b match) int {
		if q.down {
			a, b = b, a
		}
		return strings.Compare(a.place, b.place)
	})
	if q.after == "" {
		return matches
	}
	return slices.DeleteFunc(matches, func(m match) bool {
		if q.down {
			return m.place >= q.after
		}
		return m.place <= q.after
	})
}

// answer shapes an object as the query wants it.
func (g *Graph) answer(ctx context.Context, tx *store.Tx, o *object, q *query) (map[string]any, error) {
	v, err := g.present(ctx, tx, o)
	if err != nil {
		return nil, err
	}
	if slices.Contains(q.fields, "keyCredentials") && len(o.keys) > 0 {
		showKeys(v, o.keys)
	}
	for _, relation := range q.expand {
		if v[relation], err = g.relation(ctx, tx, o, relation); err != nil {
			return nil, err
		}
	}
	return q.pick(v), nil
}

// relation returns what an object expands to.
func (g *Graph) relation(ctx context.Context, tx *store.Tx, o *object, name string) (any, error) {
	var list []string
	var err error
	switch name {
	case "owners":
		list, err = ids(ctx, tx, `SELECT owner_id FROM directory_owners WHERE object_id = $1`, o.ID)
	case "members":
		list, err = ids(ctx, tx, `SELECT member_id FROM directory_members WHERE group_id = $1`, o.ID)
	case "memberOf":
		list, err = ids(ctx, tx, `SELECT group_id FROM directory_members WHERE member_id = $1`, o.ID)
	case "appRoleAssignments":
		return g.assignments(ctx, tx, `r.principal_id = $1`, o.ID)
	case "appRoleAssignedTo":
		return g.assignments(ctx, tx, `r.resource_id = $1`, o.ID)
	case "federatedIdentityCredentials":
		credentials, err := federatedOf(ctx, tx, o.AppID)
		shown := []map[string]any{}
		for _, c := range credentials {
			shown = append(shown, showFederated(c))
		}
		return shown, err
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", name, o.ID, err)
	}
	c := mixed(these(list))
	p, err := g.page(ctx, within(tx), &c, &query{top: defaultTop, filter: func(map[string]any) bool { return true }})
	return p.shown, err
}

// answerPage answers a collection.
func (g *Graph) answerPage(w http.ResponseWriter, r *azure.Request, context string, c collection) error {
	q, err := parseQuery(r, c.kind, c.properties)
	if err != nil {
		return err
	}
	p, err := g.page(r.Context(), g.Directory.DB.View, &c, &q)
	if err != nil {
		return err
	}
	answer := map[string]any{"@odata.context": g.context(r, context), "value": p.shown}
	if p.next != "" {
		answer["@odata.nextLink"] = g.next(r, p.next)
	}
	if q.count {
		answer["@odata.count"] = p.total
	}
	return azure.WriteJSON(w, http.StatusOK, answer)
}

// next is where the next page of a request is.
func (g *Graph) next(r *azure.Request, token string) string {
	options := r.URL.Query()
	options.Set("$skiptoken", token)
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	// Spaces as %20: not every client takes a + for one in a link that it follows.
	return g.root(r) + "/" + path + "?" + strings.ReplaceAll(options.Encode(), "+", "%20")
}

func (g *Graph) list(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error { return g.answerPage(w, r, s.name, s.collection()) }
}

// number answers how many objects of a set there are, as plain text.
func (g *Graph) number(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		if !strings.EqualFold(r.Header.Get("ConsistencyLevel"), "eventual") {
			return errQuery("$count is not currently supported without the request header 'ConsistencyLevel: eventual'.")
		}
		c := s.collection()
		q, err := parseQuery(r, c.kind, c.properties)
		if err != nil {
			return err
		}
		q.count = true
		p, err := g.page(r.Context(), g.Directory.DB.View, &c, &q)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/plain")
		_, err = fmt.Fprint(w, p.total)
		return err
	}
}

func (g *Graph) get(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		q, err := parseQuery(r, s.odata[1:], s.properties())
		if err != nil {
			return err
		}
		var shown map[string]any
		err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				shown, err = g.answer(r.Context(), tx, o, &q)
			}
			return err
		})
		if err != nil {
			return err
		}
		shown["@odata.context"] = g.context(r, s.name+"/$entity")
		return azure.WriteJSON(w, http.StatusOK, shown)
	}
}

func (g *Graph) getObject(w http.ResponseWriter, r *azure.Request) error {
	c := mixed(these([]string{key(r.Vars["id"])}))
	q, err := parseQuery(r, c.kind, c.properties)
	if err != nil {
		return err
	}
	p, err := g.page(r.Context(), g.Directory.DB.View, &c, &q)
	if err != nil {
		return err
	}
	if len(p.shown) == 0 {
		return errNoObject(r.Vars["id"])
	}
	p.shown[0]["@odata.context"] = g.context(r, "directoryObjects/$entity")
	return azure.WriteJSON(w, http.StatusOK, p.shown[0])
}

const maxIDs = 1000 // of one request

func (g *Graph) getByIDs(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	if len(req.IDs) == 0 || len(req.IDs) > maxIDs {
		return errProperty("ids", "it names %d objects; it takes 1 to %d", len(req.IDs), maxIDs)
	}
	for i := range req.IDs {
		req.IDs[i] = key(req.IDs[i])
	}
	c := mixed(these(req.IDs, req.Types...))
	p, err := g.page(r.Context(), g.Directory.DB.View, &c, &query{top: maxIDs, filter: func(map[string]any) bool { return true }})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(r, "directoryObjects"), "value": p.shown})
}
