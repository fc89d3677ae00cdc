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

// Provider returns Microsoft.ManagedIdentity: user-assigned identities and their federated credentials as resources.
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
			Show:    d.showIdentity,
			Actions: []arm.Action{{Name: "assign", Handle: d.lease}},
		}, d.federatedType()},
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
