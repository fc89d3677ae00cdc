package directory

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// showFederated shapes a federated credential; its name, which is unique in its application, is its id too.
func showFederated(c FederatedCredential) map[string]any {
	return map[string]any{"id": c.Name, "name": c.Name, "issuer": c.Issuer, "subject": c.Subject, "audiences": c.Audiences, "description": nil}
}

// federated returns the federated credentials of the application that a request names.
func (g *Graph) federated(r *azure.Request) ([]FederatedCredential, error) {
	var appID string
	err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		o, err := applicationSet.find(r.Context(), tx, r.Vars["id"])
		if err == nil {
			appID = o.AppID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return g.Directory.FederatedCredentials(r.Context(), appID)
}

func (g *Graph) listFederated(w http.ResponseWriter, r *azure.Request) error {
	list, err := g.federated(r)
	if err != nil {
		return err
	}
	shown := []map[string]any{}
	for _, c := range list {
		shown = append(shown, showFederated(c))
	}
	return g.answerList(w, r, shown)
}

func (g *Graph) getFederated(w http.ResponseWriter, r *azure.Request) error {
	list, err := g.federated(r)
	if err != nil {
		return err
	}
	for _, c := range list {
		if key(c.Name) == key(r.Vars["credential"]) {
			return azure.WriteJSON(w, http.StatusOK, showFederated(c))
		}
	}
	return errNoObject(r.Vars["credential"])
}

func (g *Graph) createFederated(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		Name        string  `json:"name"`
		Description *string `json:"description"`
		FederatedCredential
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	c := req.FederatedCredential
	c.Name = req.Name
	if req.Description != nil && *req.Description != "" {
		return errGraph("The property 'description' of a federated identity credential is not kept.")
	}
	if err := checkFederatedName(c.Name); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		o, err := applicationSet.find(r.Context(), tx, r.Vars["id"])
		if err != nil {
			return err
		}
		var there int
		err = tx.QueryRow(r.Context(), `SELECT count(*) FROM directory_federated_credentials WHERE app_id = $1 AND name_key = $2`, o.AppID, key(c.Name)).Scan(&there)
		if err != nil {
			return err
		}
		if there > 0 {
			return azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name %s already exists.", c.Name)
		}
		return putFederated(r.Context(), tx, o.AppID, c)
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusCreated, showFederated(c))
}

func (g *Graph) deleteFederated(w http.ResponseWriter, r *azure.Request) error {
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		o, err := applicationSet.find(r.Context(), tx, r.Vars["id"])
		if err != nil {
			return err
		}
		removed, err := removeFederated(r.Context(), tx, o.AppID, r.Vars["credential"])
		if err == nil && !removed {
			err = errNoObject(r.Vars["credential"])
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
