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

const maxOwners = 100 // of an object, as in Entra

// objectOf returns the id at the end of a reference, such as https://graph.microsoft.com/v1.0/directoryObjects/{id}.
func objectOf(reference string) string {
	return reference[strings.LastIndexByte(reference, '/')+1:]
}

// reference reads the body of a request that adds one.
func reference(r *azure.Request) (string, error) {
	var req struct {
		Reference string `json:"@odata.id"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return "", err
	}
	if req.Reference == "" {
		return "", errProperty("@odata.id", "it is the address of an object, such as https://graph.microsoft.com/v1.0/directoryObjects/{id}")
	}
	return key(objectOf(req.Reference)), nil
}

// owns reports whether one of these principals owns an object.
func owns(ctx context.Context, tx *store.Tx, principals []string, id string) (bool, error) {
	owners, err := ids(ctx, tx, `SELECT owner_id FROM directory_owners WHERE object_id = $1`, id)
	if err != nil {
		return false, fmt.Errorf("reading the owners of %s: %w", id, err)
	}
	return slices.ContainsFunc(owners, func(o string) bool { return slices.Contains(principals, o) }), nil
}

// addOwner lets a user or service principal manage an object; an error when it does already.
func addOwner(ctx context.Context, tx *store.Tx, id, owner string) error {
	p, err := principalNamed(ctx, tx, owner)
	if err != nil {
		return err
	}
	if p.Kind == Group {
		return errGraph("The owner '%s' is a group; owners are users and service principals.", owner)
	}
	owners, err := ids(ctx, tx, `SELECT owner_id FROM directory_owners WHERE object_id = $1`, id)
	switch {
	case err != nil:
		return fmt.Errorf("reading the owners of %s: %w", id, err)
	case slices.Contains(owners, p.ID):
		return errGraph("One or more added object references already exist for the following modified properties: 'owners'.")
	case len(owners) >= maxOwners:
		return errGraph("The object has %d owners, and can have no more. Remove one of them.", len(owners))
	}
	if _, err := tx.Exec(ctx, `INSERT INTO directory_owners (object_id, owner_id) VALUES ($1, $2)`, id, p.ID); err != nil {
		return fmt.Errorf("adding an owner of %s: %w", id, err)
	}
	return nil
}

// firstOwners gives a new object the owners that its request names, and the user who made it.
func (g *Graph) firstOwners(ctx context.Context, tx *store.Tx, r *azure.Request, id string, references []string) error {
	var owners []string
	if r.Caller.Type == azure.TypeUser {
		owners = append(owners, r.Caller.ObjectID)
	}
	for _, reference := range references {
		if owner := key(objectOf(reference)); !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	for _, owner := range owners {
		if err := addOwner(ctx, tx, id, owner); err != nil {
			return err
		}
	}
	return nil
}

func (g *Graph) postOwner(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		owner, err := reference(r)
		if err != nil {
			return err
		}
		return g.changed(w, r, s, func(tx *store.Tx, o *object) error {
			if err := o.unchangeable(); err != nil {
				return err
			}
			return addOwner(r.Context(), tx, o.ID, owner)
		})
	}
}

func (g *Graph) deleteOwner(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		return g.changed(w, r, s, func(tx *store.Tx, o *object) error {
			n, err := tx.Exec(r.Context(), `DELETE FROM directory_owners WHERE object_id = $1 AND owner_id = $2`, o.ID, key(r.Vars["owner"]))
			if err == nil && n == 0 {
				return errNoObject(r.Vars["owner"])
			}
			if err != nil || s != groupSet {
				return err
			}
			left, err := ids(r.Context(), tx, `SELECT owner_id FROM directory_owners WHERE object_id = $1`, o.ID)
			if err == nil && len(left) == 0 {
				err = errGraph("The group must have at least one owner, hence this owner cannot be removed.")
			}
			return err
		})
	}
}

// linked answers the objects to which a query leads from the one that the request names; with references only their
// addresses. A {cast} such as microsoft.graph.user leaves those of one type.
func (g *Graph) linked(s *objectSet, query string, references bool) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var list []string
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				list, err = ids(r.Context(), tx, query, o.ID)
			}
			return err
		})
		if err != nil {
			return err
		}
		if references {
			shown := []map[string]any{}
			for _, id := range list {
				shown = append(shown, map[string]any{"@odata.id": g.root(r) + "/directoryObjects/" + id})
			}
			return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(r, "Collection($ref)"), "value": shown})
		}
		return g.answerLinked(w, r, list)
	}
}

func (g *Graph) answerLinked(w http.ResponseWriter, r *azure.Request, list []string) error {
	var types []string
	if cast := r.Vars["cast"]; cast != "" {
		known := slices.ContainsFunc(sets(), func(s *objectSet) bool { return strings.EqualFold(cast, s.odata[1:]) })
		if !known {
			return azure.Errorf(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '%s'.", cast)
		}
		types = []string{cast}
	}
	return g.answerPage(w, r, "directoryObjects", mixed(these(list, types...)))
}
