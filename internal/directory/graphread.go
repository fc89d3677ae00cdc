package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	defaultTop = 100
	maxTop     = 999
	scanBatch  = 500 // rows that are read at a time
)

// query is what a read may ask for.
type query struct {
	filter filter
	equal  map[string]string
	fields []string // nil: all
	top    int
	after  string // id
	count  bool
}

func parseQuery(r *azure.Request, s *objectSet) (query, error) {
	q := query{top: defaultTop, filter: func(map[string]any) bool { return true }}
	properties := s.properties()
	var err error
	for name, values := range r.URL.Query() {
		value := values[0]
		switch strings.ToLower(name) {
		case "$filter":
			q.filter, q.equal, err = parseFilter(value, properties)
		case "$select":
			for _, field := range strings.Split(value, ",") {
				q.fields = append(q.fields, strings.TrimSpace(field))
			}
		case "$top":
			if q.top, err = strconv.Atoi(value); err != nil || q.top < 1 || q.top > maxTop {
				return q, azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid page size '%s'. Must be between 1 and %d inclusive.", value, maxTop)
			}
		case "$skiptoken":
			if q.after = key(value); q.after == "" {
				return q, azure.Errorf(http.StatusBadRequest, "Directory_ExpiredPageToken", "The skiptoken is not one of this server's.")
			}
		case "$count":
			q.count = strings.EqualFold(value, "true")
		case "api-version":
		default:
			if strings.HasPrefix(name, "$") {
				return q, azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", "The query option '%s' is not supported.", name)
			}
		}
		if err != nil {
			return q, err
		}
	}
	for _, field := range q.fields {
		if !slices.ContainsFunc(properties, func(p string) bool { return strings.EqualFold(p, field) }) && !slices.Contains(s.kept, field) {
			return q, azure.Errorf(http.StatusBadRequest, "Request_UnsupportedQuery", "Could not find a property named '%s' on type '%s'.", field, s.odata[1:])
		}
	}
	return q, nil
}

// pick leaves the selected properties.
func (q *query) pick(shown map[string]any) map[string]any {
	if q.fields != nil {
		maps.DeleteFunc(shown, func(name string, _ any) bool {
			return !slices.ContainsFunc(q.fields, func(f string) bool { return strings.EqualFold(f, name) })
		})
	}
	return shown
}

// page reads objects in order of their ids, from after q.after on, until q.top of them match; more says that there may
// be others, after the last id.
func (g *Graph) page(ctx context.Context, tx *store.Tx, s *objectSet, q *query) (shown []map[string]any, last string, more bool, err error) {
	shown = []map[string]any{}
	where, args := ``, []any{}
	for property, column := range map[string]string{"id": s.id, "appId": `p.app_id`} {
		if value, ok := q.equal[property]; ok {
			args = append(args, key(value))
			where += fmt.Sprintf(` AND %s = $%d`, column, len(args))
		}
	}
	args = append(args, q.after)
	where += fmt.Sprintf(` AND %s > $%d ORDER BY %s LIMIT %d`, s.id, len(args), s.id, scanBatch)
	for {
		batch, err := s.objects(ctx, tx, where, args...)
		if err != nil {
			return nil, "", false, err
		}
		for i, o := range batch {
			last = o.ID
			if s == applicationSet {
				last = o.registration
			}
			if !q.filter(s.show(g, o)) {
				continue
			}
			v, err := g.present(ctx, tx, s, o)
			if err != nil {
				return nil, "", false, err
			}
			if shown = append(shown, q.pick(v)); len(shown) == q.top {
				return shown, last, i+1 < len(batch) || len(batch) == scanBatch, nil
			}
		}
		if len(batch) < scanBatch {
			return shown, last, false, nil
		}
		args[len(args)-1] = last
	}
}

func (g *Graph) list(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		q, err := parseQuery(r, s)
		if err != nil {
			return err
		}
		var shown []map[string]any
		var last string
		var more bool
		total := 0
		err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			if shown, last, more, err = g.page(r.Context(), tx, s, &q); err != nil || !q.count {
				return err
			}
			all := q
			all.after, all.top = "", int(^uint(0)>>1)
			every, _, _, err := g.page(r.Context(), tx, s, &all)
			total = len(every)
			return err
		})
		if err != nil {
			return err
		}
		urls := g.Hosts.For(r.Request)
		answer := map[string]any{"@odata.context": g.context(urls, s.name), "value": shown}
		if more {
			next := r.URL.Query()
			next.Set("$skiptoken", last)
			// Spaces as %20: not every client takes a + for one in a link that it follows.
			answer["@odata.nextLink"] = urls.Graph() + "/v1.0/" + s.name + "?" + strings.ReplaceAll(next.Encode(), "+", "%20")
		}
		if q.count {
			answer["@odata.count"] = total
		}
		return azure.WriteJSON(w, http.StatusOK, answer)
	}
}

func (g *Graph) get(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error { return g.answerObject(w, r, s, r.Vars["id"]) }
}

func (g *Graph) answerObject(w http.ResponseWriter, r *azure.Request, s *objectSet, id string) error {
	q, err := parseQuery(r, s)
	if err != nil {
		return err
	}
	var shown map[string]any
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		o, err := s.find(r.Context(), tx, id)
		if err == nil {
			shown, err = g.present(r.Context(), tx, s, o)
		}
		return err
	})
	if err != nil {
		return err
	}
	shown = q.pick(shown)
	shown["@odata.context"] = g.context(g.Hosts.For(r.Request), s.name+"/$entity")
	return azure.WriteJSON(w, http.StatusOK, shown)
}

func (g *Graph) me(w http.ResponseWriter, r *azure.Request) error {
	if r.Caller.Type != azure.TypeUser {
		return azure.Errorf(http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow.")
	}
	return g.answerObject(w, r, userSet, r.Caller.ObjectID)
}

// none answers a collection of an object that is always empty.
func (g *Graph) none(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			_, err := s.find(r.Context(), tx, r.Vars["id"])
			return err
		})
		if err != nil {
			return err
		}
		return g.answerList(w, r, []map[string]any{})
	}
}

func (g *Graph) answerList(w http.ResponseWriter, r *azure.Request, shown any) error {
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(g.Hosts.For(r.Request), "directoryObjects"), "value": shown})
}

func (g *Graph) getObject(w http.ResponseWriter, r *azure.Request) error {
	shown, err := g.byIDs(r.Context(), []string{r.Vars["id"]}, nil)
	if err != nil {
		return err
	}
	if len(shown) == 0 {
		return errNoObject(r.Vars["id"])
	}
	return azure.WriteJSON(w, http.StatusOK, shown[0])
}

// byIDs shows principals and applications in the order of their ids; those that do not exist, or are of none of the
// types that were asked for, are left out.
func (g *Graph) byIDs(ctx context.Context, ids, types []string) ([]map[string]any, error) {
	shown := []map[string]any{}
	err := g.Directory.DB.View(ctx, func(tx *store.Tx) error {
		shown = shown[:0]
		for _, id := range ids {
			for _, s := range []*objectSet{servicePrincipalSet, userSet, groupSet, applicationSet} {
				short := strings.TrimPrefix(s.odata, "#microsoft.graph.")
				if len(types) > 0 && !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, short) || strings.EqualFold(t, "directoryObject") }) {
					continue
				}
				o, err := s.find(ctx, tx, id)
				if errors.Is(err, errNoObject(id)) {
					continue
				}
				if err != nil {
					return err
				}
				v, err := g.present(ctx, tx, s, o)
				if err != nil {
					return err
				}
				shown = append(shown, typed(s, v))
				break
			}
		}
		return nil
	})
	return shown, err
}

func (g *Graph) getByIDs(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	if len(req.IDs) == 0 || len(req.IDs) > 1000 {
		return errGraph("'ids' names %d objects; it takes 1 to 1000.", len(req.IDs))
	}
	shown, err := g.byIDs(r.Context(), req.IDs, req.Types)
	if err != nil {
		return err
	}
	return g.answerList(w, r, shown)
}

// listOld answers as Azure AD Graph 1.6 did, whose ids are called objectId.
func (g *Graph) listOld(w http.ResponseWriter, r *azure.Request) error {
	if t := r.Vars["tenant"]; !strings.EqualFold(t, g.Directory.TenantID) && !strings.EqualFold(t, "myorganization") {
		return azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "The tenant '%s' is not this directory's, '%s'.", t, g.Directory.TenantID)
	}
	q, err := parseQuery(r, servicePrincipalSet)
	if err != nil {
		return err
	}
	var shown []map[string]any
	var last string
	var more bool
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		shown, last, more, err = g.page(r.Context(), tx, servicePrincipalSet, &q)
		return err
	})
	if err != nil {
		return err
	}
	for _, v := range shown {
		if id, ok := v["id"]; ok {
			v["objectId"], v["objectType"], v["odata.type"] = id, "ServicePrincipal", "Microsoft.DirectoryServices.ServicePrincipal"
			delete(v, "id")
		}
	}
	answer := map[string]any{"odata.metadata": g.Hosts.For(r.Request).Graph() + "/" + g.Directory.TenantID + "/$metadata#directoryObjects", "value": shown}
	if more {
		answer["odata.nextLink"] = "servicePrincipals?$skiptoken=" + url.QueryEscape(last)
	}
	return azure.WriteJSON(w, http.StatusOK, answer)
}
