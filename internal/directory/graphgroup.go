package directory

import (
	"context"
	"net/http"
	"slices"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Ways from one object to others.
const (
	toOwners     = `SELECT owner_id FROM directory_owners WHERE object_id = $1`
	toOwned      = `SELECT object_id FROM directory_owners WHERE owner_id = $1`
	toMembers    = `SELECT member_id FROM directory_members WHERE group_id = $1`
	toMemberOf   = `SELECT group_id FROM directory_members WHERE member_id = $1`
	toAllMembers = `WITH RECURSIVE below(id) AS (SELECT member_id FROM directory_members WHERE group_id = $1
		UNION SELECT m.member_id FROM directory_members m JOIN below ON m.group_id = below.id) SELECT id FROM below`
	toAllMemberOf = `WITH RECURSIVE above(id) AS (SELECT group_id FROM directory_members WHERE member_id = $1
		UNION SELECT m.group_id FROM directory_members m JOIN above ON m.member_id = above.id) SELECT id FROM above`
)

// addMembers puts the objects of references into a group.
func (g *Graph) addMembers(ctx context.Context, tx *store.Tx, groupID string, references []string) error {
	for _, reference := range references {
		if err := g.addMember(ctx, tx, groupID, key(objectOf(reference))); err != nil {
			return err
		}
	}
	return nil
}

func (g *Graph) addMember(ctx context.Context, tx *store.Tx, groupID, memberID string) error {
	if _, err := principalNamed(ctx, tx, memberID); err != nil {
		return err
	}
	added, err := g.Directory.AddMember(ctx, tx, groupID, memberID)
	if err == nil && !added {
		err = errGraph("One or more added object references already exist for the following modified properties: 'members'.")
	}
	return err
}

func (g *Graph) postMember(w http.ResponseWriter, r *azure.Request) error {
	member, err := reference(r)
	if err != nil {
		return err
	}
	return g.changed(w, r, groupSet, func(tx *store.Tx, o *object) error { return g.addMember(r.Context(), tx, o.ID, member) })
}

func (g *Graph) removeMember(w http.ResponseWriter, r *azure.Request) error {
	return g.changed(w, r, groupSet, func(tx *store.Tx, o *object) error {
		removed, err := g.Directory.RemoveMember(r.Context(), tx, o.ID, r.Vars["member"])
		if err == nil && !removed {
			err = errNoObject(r.Vars["member"])
		}
		return err
	})
}

// groupsOf returns the ids of the groups that an object is in, through other groups too.
func (g *Graph) groupsOf(r *azure.Request, find func(tx *store.Tx) (*object, error)) (groups []string, err error) {
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		o, err := find(tx)
		if err == nil {
			groups, err = ids(r.Context(), tx, toAllMemberOf+` ORDER BY id`, o.ID)
		}
		return err
	})
	return groups, err
}

// find looks for the object that a request names in a set, or in all of them when it is nil.
func (g *Graph) find(r *azure.Request, s *objectSet) func(tx *store.Tx) (*object, error) {
	return func(tx *store.Tx) (*object, error) {
		if s == nil {
			return anyObject(r.Context(), tx, r.Vars["id"])
		}
		return s.find(r.Context(), tx, r.Vars["id"])
	}
}

// memberGroups answers the ids of all groups of an object. Every one is a security group, so securityEnabledOnly changes
// nothing; and there are no directory roles, so getMemberObjects answers the same.
func (g *Graph) memberGroups(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		groups, err := g.groupsOf(r, g.find(r, s))
		if err != nil {
			return err
		}
		return g.answerIDs(w, r, groups)
	}
}

// checkMemberGroups answers which of the groups named in the request an object is in, through other groups too.
func (g *Graph) checkMemberGroups(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			GroupIDs []string `json:"groupIds"`
			IDs      []string `json:"ids"`
		}
		if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
			return err
		}
		groups, err := g.groupsOf(r, g.find(r, s))
		if err != nil {
			return err
		}
		var in []string
		for _, id := range append(req.GroupIDs, req.IDs...) {
			if slices.Contains(groups, key(id)) {
				in = append(in, id)
			}
		}
		return g.answerIDs(w, r, in)
	}
}

func (g *Graph) answerIDs(w http.ResponseWriter, r *azure.Request, ids []string) error {
	if ids == nil {
		ids = []string{}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(r, "Collection(Edm.String)"), "value": ids})
}

// getManager answers the user's manager.
func (g *Graph) getManager(references bool) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var shown map[string]any
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := userSet.find(r.Context(), tx, r.Vars["id"])
			if err != nil {
				return err
			}
			id, _ := o.attributes[managerAttribute].(string)
			manager, err := userSet.find(r.Context(), tx, id)
			if err == nil {
				shown, err = g.present(r.Context(), tx, manager)
			}
			return err
		})
		if err != nil {
			return err
		}
		if references {
			shown = map[string]any{"@odata.id": g.root(r) + "/directoryObjects/" + shown["id"].(string)}
		}
		shown["@odata.context"] = g.context(r, "directoryObjects/$entity")
		return azure.WriteJSON(w, http.StatusOK, shown)
	}
}

func (g *Graph) putManager(w http.ResponseWriter, r *azure.Request) error {
	id, err := reference(r)
	if err != nil {
		return err
	}
	return g.changed(w, r, userSet, func(tx *store.Tx, o *object) error {
		manager, err := userSet.find(r.Context(), tx, id)
		if err != nil {
			return err
		}
		o.attributes = merge(o.attributes, map[string]any{managerAttribute: manager.ID})
		return o.save(r.Context(), tx)
	})
}

func (g *Graph) deleteManager(w http.ResponseWriter, r *azure.Request) error {
	return g.changed(w, r, userSet, func(tx *store.Tx, o *object) error {
		if o.attributes[managerAttribute] == nil {
			return errNoObject("manager")
		}
		delete(o.attributes, managerAttribute)
		return o.save(r.Context(), tx)
	})
}
