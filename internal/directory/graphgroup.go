package directory

import (
	"database/sql"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// objectOf returns the id at the end of a reference, such as https://graph.microsoft.com/v1.0/directoryObjects/{id}.
func objectOf(reference string) string {
	return reference[strings.LastIndexByte(reference, '/')+1:]
}

func (g *Graph) group(r *azure.Request) error {
	return g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		_, err := groupSet.find(r.Context(), tx, r.Vars["id"])
		return err
	})
}

func (g *Graph) listMembers(w http.ResponseWriter, r *azure.Request) error {
	if err := g.group(r); err != nil {
		return err
	}
	members, err := g.Directory.Members(r.Context(), r.Vars["id"])
	if err != nil {
		return err
	}
	shown, err := g.byIDs(r.Context(), members, nil)
	if err != nil {
		return err
	}
	return g.answerList(w, r, shown)
}

func (g *Graph) addMember(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		Reference string `json:"@odata.id"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	if err := g.group(r); err != nil {
		return err
	}
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		if _, err := principalNamed(r.Context(), tx, objectOf(req.Reference)); err != nil {
			return err
		}
		added, err := g.Directory.AddMember(r.Context(), tx, r.Vars["id"], objectOf(req.Reference))
		if err == nil && !added {
			err = errGraph("One or more added object references already exist for the following modified properties: 'members'.")
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Graph) removeMember(w http.ResponseWriter, r *azure.Request) error {
	if err := g.group(r); err != nil {
		return err
	}
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		removed, err := g.Directory.RemoveMember(r.Context(), tx, r.Vars["id"], r.Vars["member"])
		if err == nil && !removed {
			err = errNoObject(r.Vars["member"])
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// groupsOf returns the ids of the groups that an object is in, directly or through other groups too.
func (g *Graph) groupsOf(r *azure.Request, s *objectSet, transitive bool) (groups []string, err error) {
	var id string
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		o, err := s.find(r.Context(), tx, r.Vars["id"])
		if err != nil {
			return err
		}
		id = o.ID
		groups, err = ids(r.Context(), tx, `SELECT group_id FROM directory_members WHERE member_id = $1 ORDER BY group_id`, id)
		return err
	})
	if err == nil && transitive {
		groups, err = g.Directory.Groups(r.Context(), id)
	}
	return groups, err
}

func (g *Graph) memberOf(s *objectSet, transitive bool) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		groups, err := g.groupsOf(r, s, transitive)
		if err != nil {
			return err
		}
		shown, err := g.byIDs(r.Context(), groups, nil)
		if err != nil {
			return err
		}
		return g.answerList(w, r, shown)
	}
}

func (g *Graph) memberGroups(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		groups, err := g.groupsOf(r, s, true)
		if err != nil {
			return err
		}
		if groups == nil {
			groups = []string{}
		}
		return g.answerIDs(w, r, groups)
	}
}

// checkMemberGroups answers which of the groups named in the request a principal is in, through other groups too.
func (g *Graph) checkMemberGroups(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		GroupIDs []string `json:"groupIds"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	if _, err := g.Directory.Principal(r.Context(), r.Vars["id"]); errors.Is(err, sql.ErrNoRows) {
		return errNoObject(r.Vars["id"])
	} else if err != nil {
		return err
	}
	groups, err := g.Directory.Groups(r.Context(), r.Vars["id"])
	if err != nil {
		return err
	}
	in := []string{}
	for _, id := range req.GroupIDs {
		if slices.Contains(groups, key(id)) {
			in = append(in, id)
		}
	}
	return g.answerIDs(w, r, in)
}

func (g *Graph) answerIDs(w http.ResponseWriter, r *azure.Request, ids []string) error {
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(g.Hosts.For(r.Request), "Collection(Edm.String)"), "value": ids})
}
