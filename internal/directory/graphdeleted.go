package directory

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// showDeleted shapes what was deleted as it was when it was there.
func (g *Graph) showDeleted(b deleted) (map[string]any, error) {
	c := b.Content
	o := &object{Principal: Principal{ID: b.ID, AppID: b.AppID, Kind: b.Kind, Name: c.Name, Enabled: c.Enabled}, created: store.Time(c.Created)}
	if err := json.Unmarshal(c.Attributes, &o.attributes); err != nil {
		return nil, fmt.Errorf("attributes of %s, which was deleted: %w", b.ID, err)
	}
	o.set = map[Kind]*objectSet{registration: applicationSet, Application: servicePrincipalSet, User: userSet, Group: groupSet}[b.Kind]
	shown := typed(o.set, o.set.show(g, o))
	shown["deletedDateTime"] = b.At
	return shown, nil
}

// listDeleted answers what of one type can be restored.
func (g *Graph) listDeleted(w http.ResponseWriter, r *azure.Request) error {
	i := slices.IndexFunc(sets(), func(s *objectSet) bool {
		return s.odata[1:] == "microsoft.graph."+key(r.Vars["type"]) || key(s.odata[1:]) == key(r.Vars["type"])
	})
	if i < 0 {
		return azure.Errorf(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '%s'.", r.Vars["type"])
	}
	s := sets()[i]
	q, err := parseQuery(r, s.odata[1:], s.properties())
	if err != nil {
		return err
	}
	kind := map[*objectSet]Kind{applicationSet: registration, servicePrincipalSet: Application, userSet: User, groupSet: Group}[s]
	shown := []map[string]any{}
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		shown = shown[:0]
		list, err := buried(r.Context(), tx, `kind = $1`, string(kind))
		if err != nil {
			return err
		}
		for _, b := range list {
			v, err := g.showDeleted(b)
			if err != nil {
				return err
			}
			if q.filter(v) {
				shown = append(shown, q.pick(v))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	answer := map[string]any{"@odata.context": g.context(r, "directoryObjects"), "value": shown}
	if q.count {
		answer["@odata.count"] = len(shown)
	}
	return azure.WriteJSON(w, http.StatusOK, answer)
}

// oneDeleted reads the deleted object that a request names.
func oneDeleted(r *azure.Request, tx *store.Tx) (deleted, error) {
	list, err := buried(r.Context(), tx, `id = $1`, key(r.Vars["id"]))
	if err == nil && len(list) == 0 {
		err = errNoObject(r.Vars["id"])
	}
	if err != nil {
		return deleted{}, err
	}
	return list[0], nil
}

func (g *Graph) getDeleted(w http.ResponseWriter, r *azure.Request) error {
	if len(r.Vars["id"]) > 0 && !guidPattern.MatchString(r.Vars["id"]) { // deletedItems/microsoft.graph.user
		r.Vars["type"] = r.Vars["id"]
		return g.listDeleted(w, r)
	}
	var shown map[string]any
	err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		b, err := oneDeleted(r, tx)
		if err == nil {
			shown, err = g.showDeleted(b)
		}
		return err
	})
	if err != nil {
		return err
	}
	shown["@odata.context"] = g.context(r, "directoryObjects/$entity")
	return azure.WriteJSON(w, http.StatusOK, shown)
}

// restoreDeleted puts a deleted object back, an application with the service principal that was deleted with it.
func (g *Graph) restoreDeleted(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	var shown map[string]any
	err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
		b, err := oneDeleted(r, tx)
		if err != nil {
			return err
		}
		if err := g.Directory.restore(ctx, tx, b); err != nil {
			return err
		}
		if b.Kind == registration {
			sp, err := buried(ctx, tx, `app_id = $1 AND kind = $2 AND deleted = $3`, b.AppID, string(Application), store.Micros(b.At))
			if err != nil {
				return err
			}
			for _, p := range sp {
				if err := g.Directory.restore(ctx, tx, p); err != nil {
					return err
				}
			}
		}
		o, err := anyObject(ctx, tx, b.ID)
		if err == nil {
			shown, err = g.present(ctx, tx, o)
			shown = typed(o.set, shown)
		}
		return err
	})
	if err != nil {
		return err
	}
	shown["@odata.context"] = g.context(r, "directoryObjects/$entity")
	return azure.WriteJSON(w, http.StatusOK, shown)
}

// deleteDeleted deletes for good, an application with its deleted service principals.
func (g *Graph) deleteDeleted(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
		b, err := oneDeleted(r, tx)
		if err != nil {
			return err
		}
		if b.Kind == registration {
			sp, err := buried(ctx, tx, `app_id = $1 AND kind = $2`, b.AppID, string(Application))
			if err != nil {
				return err
			}
			for _, p := range sp {
				if err := g.Directory.forget(ctx, tx, p); err != nil {
					return err
				}
			}
		}
		return g.Directory.forget(ctx, tx, b)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
