package media

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// commands are the provider's operations that are not on one resource.
func (s *Service) commands() []arm.Command {
	return []arm.Command{
		{
			Name: "Locations.CheckNameAvailability", Method: http.MethodPost,
			Pattern: "/subscriptions/{subscription}/providers/Microsoft.Media/locations/{location}/checkNameAvailability",
			Action:  "Microsoft.Media/checknameavailability/action", Handle: s.checkNameAvailability,
		},
		{
			Name: "Operations.List", Method: http.MethodGet, Pattern: "/providers/Microsoft.Media/operations",
			Public: "a list of operations that is the same for everyone", Handle: s.listOperations,
		},
	}
}

func (s *Service) checkNameAvailability(w http.ResponseWriter, r *azure.Request) error {
	var body struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := r.DecodeJSON("BadRequest", &body); err != nil {
		return err
	}
	if t := strings.ToLower(body.Type); t != "mediaservices" && t != "microsoft.media/mediaservices" {
		return badRequest("type", "'%s' is not a type whose names can be checked. Use 'MediaServices'.", body.Type)
	}
	answer := struct {
		NameAvailable bool   `json:"nameAvailable"`
		Reason        string `json:"reason"`
		Message       string `json:"message"`
	}{NameAvailable: true, Reason: "None"}
	if err := checkAccountName(body.Name); err != nil {
		e, _ := azure.AsError(err)
		answer.NameAvailable, answer.Reason, answer.Message = false, "Invalid", e.Message
		return azure.WriteJSON(w, http.StatusOK, answer)
	}
	err := s.o.DB.View(r.Context(), func(tx *store.Tx) error {
		_, err := s.o.Manager.Find(r.Context(), tx, accountType, body.Name)
		return err
	})
	switch e, unexpected := azure.AsError(err); {
	case err == nil:
		answer.NameAvailable, answer.Reason = false, "AlreadyExists"
		answer.Message = "Already in use by another Media Service account. Please try again with a name that is not likely to be in use."
	case unexpected || e.Status != http.StatusNotFound:
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, answer)
}

// listOperations lists the RBAC actions of what is built.
func (s *Service) listOperations(w http.ResponseWriter, _ *azure.Request) error {
	type display struct {
		Provider  string `json:"provider"`
		Resource  string `json:"resource"`
		Operation string `json:"operation"`
	}
	type operation struct {
		Name    string  `json:"name"`
		Display display `json:"display"`
	}
	list := []operation{}
	for _, t := range s.Provider().Types {
		verbs := []string{"read", "write", "delete"}
		for _, a := range t.Actions {
			verbs = append(verbs, a.Name+"/action")
		}
		for _, v := range verbs {
			list = append(list, operation{t.Name + "/" + v, display{"Microsoft Media Services", t.Name[strings.LastIndexByte(t.Name, '/')+1:], v}})
		}
	}
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(a.Name, b.Name) })
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": list})
}
