package media

import (
	"net/http"
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
			Name: "MediaServices.GetBySubscription", Method: http.MethodGet,
			Pattern: "/subscriptions/{subscription}/providers/Microsoft.Media/mediaServices/{accountName}",
			Action:  accountType + "/read", Handle: s.getBySubscription,
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

// getBySubscription finds an account by its name alone. The api-versions after 2021-05-01 have no such operation.
func (s *Service) getBySubscription(w http.ResponseWriter, r *azure.Request) error {
	if version := r.URL.Query().Get("api-version"); version > "2021-05-01" {
		return azure.Errorf(http.StatusNotFound, "InvalidResourceType",
			"In api-version '%s' a media account is found in its resource group alone; '%s' names none.", version, r.URL.Path)
	}
	var account *arm.Resource
	err := s.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		account, err = s.o.Manager.Find(r.Context(), tx, accountType, r.Vars["accountName"])
		return err
	})
	if err != nil {
		return err
	}
	if !strings.EqualFold(account.ID.Subscription(), r.Vars["subscription"]) {
		return azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' was not found.", accountType, r.Vars["accountName"])
	}
	return s.o.Manager.ServeResource(w, r, account.ID)
}
