package media

import (
	"context"
	"net/http"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// accountView is an account's properties as an api-version shows them: what was added later is left out. What a client
// sends is understood in every version, so that none of it is passed over in silence.
type accountView struct {
	MediaServiceID             string             `json:"mediaServiceId"`
	StorageAccounts            []storageAccount   `json:"storageAccounts"`
	StorageAuthentication      string             `json:"storageAuthentication,omitempty"`
	Encryption                 *encryption        `json:"encryption,omitempty"`
	KeyDelivery                *keyDelivery       `json:"keyDelivery,omitempty"`
	PublicNetworkAccess        string             `json:"publicNetworkAccess,omitempty"`
	MinimumTLSVersion          string             `json:"minimumTlsVersion,omitempty"`
	ProvisioningState          string             `json:"provisioningState,omitempty"`
	PrivateEndpointConnections *[]shownConnection `json:"privateEndpointConnections,omitempty"`
}

// viewOf shapes an account for an api-version; ams.md A.1 says what each added.
func viewOf(a *account, connections []shownConnection, version string) accountView {
	v := accountView{MediaServiceID: a.MediaServiceID, StorageAccounts: a.StorageAccounts}
	if version >= "2020-05-01" {
		v.StorageAuthentication, v.Encryption = a.StorageAuthentication, &a.Encryption
	}
	if version >= "2021-05-01" {
		v.KeyDelivery = &a.KeyDelivery
	}
	if version >= "2021-06-01" {
		v.PublicNetworkAccess = a.PublicNetworkAccess
	} else {
		a.Encryption.Identity, a.Encryption.Status = nil, ""
		for i := range v.StorageAccounts {
			v.StorageAccounts[i].Identity, v.StorageAccounts[i].Status = nil, ""
		}
	}
	if version >= "2021-11-01" {
		v.ProvisioningState, v.PrivateEndpointConnections = a.Resource.State, &connections
	}
	if version >= "2023-01-01" {
		v.MinimumTLSVersion = a.MinimumTLSVersion
	}
	return v
}

func (s *Service) showAccount(ctx context.Context, tx *store.Tx, res *arm.Resource, v arm.View) (any, error) {
	a, err := decodeAccount(res)
	if err != nil {
		return nil, err
	}
	if a.Encryption.Type == customerKey {
		state, err := s.o.Keys.StateIn(ctx, tx, a.key())
		if err != nil {
			return nil, err
		}
		a.Encryption.Status = "Connected"
		if state.Problem != nil {
			a.Encryption.Status = "Disconnected: " + state.Problem.Error()
		}
		a.Encryption.KeyVaultProperties.CurrentKeyIdentifier = state.KeyID
	}
	if err := s.showStorageStatus(ctx, tx, a); err != nil {
		return nil, err
	}
	connections, err := s.connections(ctx, tx, res.ID)
	if err != nil {
		return nil, err
	}
	return viewOf(a, connections, v.Version), nil
}

// listEdgePolicies answers what Media Services gives IoT Edge modules by default. Nobody collects their usage here, so
// there is no event hub to report to.
func (s *Service) listEdgePolicies(w http.ResponseWriter, r *azure.Request, _ *arm.Resource) error {
	var body struct {
		DeviceID string `json:"deviceId"`
	}
	if err := r.DecodeJSON("BadRequest", &body); err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"usageDataCollectionPolicy": map[string]string{
		"dataCollectionFrequency": "PT10M", "dataReportingFrequency": "PT1H", "maxAllowedUnreportedUsageDuration": "PT36H",
	}})
}
