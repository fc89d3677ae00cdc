package directory

import (
	"context"
	"net/http"
	"regexp"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const namespace = "Microsoft.ManagedIdentity"

// Provider returns Microsoft.ManagedIdentity: user-assigned identities as resources.
// https://learn.microsoft.com/rest/api/managedidentity
func (d *Directory) Provider() arm.Provider {
	return arm.Provider{
		Namespace: namespace,
		Types: []arm.Type{{
			Name:      namespace + "/userAssignedIdentities",
			Versions:  []string{"2018-11-30", "2022-01-31-preview", "2023-01-31", "2024-11-30"},
			Tracked:   true,
			CheckName: checkIdentityName,
			Validate:  func(context.Context, *store.Tx, *arm.Write) error { return nil }, // every property is the server's
			Commit: func(ctx context.Context, tx *store.Tx, w *arm.Write) error {
				_, _, err := makeIdentity(ctx, tx, UserAssigned, w.New.ID)
				return err
			},
			Delete: func(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
				return d.removeIdentity(ctx, tx, UserAssigned, res.ID)
			},
			Show: d.showIdentity,
		}},
		Commands: []arm.Command{{
			Name: "ManagedIdentity.Operations", Method: http.MethodGet, Pattern: "/providers/" + namespace + "/operations",
			Public: "lists the names of operations and nothing of the tenant",
			Handle: listOperations,
		}},
	}
}

type identityProperties struct {
	TenantID    string `json:"tenantId"`
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

func (d *Directory) showIdentity(ctx context.Context, tx *store.Tx, res *arm.Resource, _ arm.View) (any, error) {
	principalID, clientID, err := d.UserAssigned(ctx, tx, res.ID)
	if err != nil {
		return nil, err
	}
	return identityProperties{TenantID: d.TenantID, PrincipalID: principalID, ClientID: clientID}, nil
}

var identityName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)

func checkIdentityName(name string) error {
	if identityName.MatchString(name) {
		return nil
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidResourceName",
		"The identity's name '%s' is invalid: it needs 3 to 128 letters, digits, '-' and '_', a letter or digit first.", name)
}

// operations are the actions of the provider that something here asks for.
var operations = []struct{ action, operation, description string }{
	{"userAssignedIdentities/read", "Get User Assigned Identity", "Gets an existing user assigned identity"},
	{"userAssignedIdentities/write", "Create/Update User Assigned Identity", "Creates a new user assigned identity or updates the tags associated with an existing user assigned identity"},
	{"userAssignedIdentities/delete", "Delete User Assigned Identity", "Deletes an existing user assigned identity"},
	{"userAssignedIdentities/assign/action", "Assign User Assigned Identity", "RBAC action for assigning an existing user assigned identity to a resource"},
}

func listOperations(w http.ResponseWriter, _ *azure.Request) error {
	type display struct {
		Provider    string `json:"provider"`
		Resource    string `json:"resource"`
		Operation   string `json:"operation"`
		Description string `json:"description"`
	}
	type operation struct {
		Name    string  `json:"name"`
		Display display `json:"display"`
	}
	value := make([]operation, len(operations))
	for i, o := range operations {
		value[i] = operation{
			Name:    namespace + "/" + o.action,
			Display: display{Provider: namespace, Resource: "userAssignedIdentities", Operation: o.operation, Description: o.description},
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}
