package directory

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

func showFederated(c FederatedCredential) map[string]any {
	shown := map[string]any{"id": c.ID, "name": c.Name, "issuer": c.Issuer, "subject": c.Subject, "audiences": c.Audiences, "description": nil}
	if c.Description != "" {
		shown["description"] = c.Description
	}
	return shown
}

// federated returns the federated credentials of the application that a request names.
func (g *Graph) federated(r *azure.Request) (list []FederatedCredential, err error) {
	err = g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
		o, err := applicationSet.find(r.Context(), tx, r.Vars["id"])
		if err == nil {
			list, err = federatedOf(r.Context(), tx, o.AppID)
		}
		return err
	})
	return list, err
}

// namedFederated finds a credential by its id, its name, or "name=" and its name.
func namedFederated(list []FederatedCredential, name string) (FederatedCredential, error) {
	want := strings.TrimPrefix(key(name), "name=")
	for _, c := range list {
		if want == c.ID || want == key(c.Name) {
			return c, nil
		}
	}
	return FederatedCredential{}, errNoObject(name)
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
	return g.answerFiltered(w, r, "federatedIdentityCredentials", shown, []string{"id", "name", "issuer", "subject", "description", "audiences"})
}

func (g *Graph) getFederated(w http.ResponseWriter, r *azure.Request) error {
	list, err := g.federated(r)
	if err != nil {
		return err
	}
	c, err := namedFederated(list, r.Vars["credential"])
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, showFederated(c))
}

// federatedRequest is the body of a create or update.
type federatedRequest struct {
	Name        *string   `json:"name"`
	Description *string   `json:"description"`
	Issuer      *string   `json:"issuer"`
	Subject     *string   `json:"subject"`
	Audiences   *[]string `json:"audiences"`
	Expression  any       `json:"claimsMatchingExpression"`
}

// apply puts what the body has into a credential, and checks it.
func (req *federatedRequest) apply(c *FederatedCredential) error {
	if req.Expression != nil {
		return errProperty("claimsMatchingExpression", "subjects are compared exactly")
	}
	for from, into := range map[*string]*string{req.Description: &c.Description, req.Issuer: &c.Issuer, req.Subject: &c.Subject} {
		if from != nil {
			*into = *from
		}
	}
	if req.Audiences != nil {
		c.Audiences = *req.Audiences
	}
	if c.Description != "" && !federatedText(c.Description) {
		return errProperty("description", "it has up to %d characters", maxFederatedText)
	}
	if err := checkFederatedName(c.Name); err != nil {
		return err
	}
	return c.check()
}

func (g *Graph) createFederated(w http.ResponseWriter, r *azure.Request) error {
	var req federatedRequest
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	var c FederatedCredential
	if req.Name != nil {
		c.Name = *req.Name
	}
	if err := req.apply(&c); err != nil {
		return err
	}
	var made FederatedCredential
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		o, err := applicationSet.find(r.Context(), tx, r.Vars["id"])
		if err != nil {
			return err
		}
		list, err := federatedOf(r.Context(), tx, o.AppID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(have FederatedCredential) bool { return key(have.Name) == key(c.Name) }) {
			return azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name %s already exists.", c.Name)
		}
		if err := putFederated(r.Context(), tx, o.AppID, c); err != nil {
			return err
		}
		if list, err = federatedOf(r.Context(), tx, o.AppID); err != nil {
			return err
		}
		made, err = namedFederated(list, c.Name)
		return err
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusCreated, showFederated(made))
}

// changeFederated runs a change of the credential that a request names, and answers 204.
func (g *Graph) changeFederated(w http.ResponseWriter, r *azure.Request, change func(tx *store.Tx, appID string, c FederatedCredential) error) error {
	return g.changed(w, r, applicationSet, func(tx *store.Tx, o *object) error {
		list, err := federatedOf(r.Context(), tx, o.AppID)
		if err != nil {
			return err
		}
		c, err := namedFederated(list, r.Vars["credential"])
		if err != nil {
			return err
		}
		return change(tx, o.AppID, c)
	})
}

func (g *Graph) updateFederated(w http.ResponseWriter, r *azure.Request) error {
	var req federatedRequest
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	return g.changeFederated(w, r, func(tx *store.Tx, appID string, c FederatedCredential) error {
		if req.Name != nil && key(*req.Name) != key(c.Name) {
			return errProperty("name", "it cannot be changed")
		}
		if err := req.apply(&c); err != nil {
			return err
		}
		return putFederated(r.Context(), tx, appID, c)
	})
}

func (g *Graph) deleteFederated(w http.ResponseWriter, r *azure.Request) error {
	return g.changeFederated(w, r, func(tx *store.Tx, appID string, c FederatedCredential) error {
		_, err := removeFederated(r.Context(), tx, appID, c.Name)
		return err
	})
}
