package media

import (
	"context"
	"encoding/json"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// connectionProperties are stored as a private endpoint connection's properties. A connection is a record of who was
// let in; there is no private network here that it would carry.
type connectionProperties struct {
	PrivateEndpoint *privateEndpoint `json:"privateEndpoint,omitempty"`
	State           connectionState  `json:"privateLinkServiceConnectionState"`
}

type privateEndpoint struct {
	ID string `json:"id"`
}

type connectionState struct {
	Status          string `json:"status"` // Pending, Approved, Rejected
	Description     string `json:"description"`
	ActionsRequired string `json:"actionsRequired"`
}

func (s *Service) connectionType() arm.Type {
	t := child(connectionType)
	t.NoPatch, t.CreateStatus = true, 200
	t.Validate, t.Prepare, t.Show = s.validateConnection, s.prepareConnection, showConnection
	return t
}

func (s *Service) validateConnection(_ context.Context, _ *store.Tx, w *arm.Write) error {
	var p connectionProperties
	if w.Old != nil {
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
	}
	if err := decodeProperties(w.Body, &p); err != nil {
		return err
	}
	if err := oneOf("properties.privateLinkServiceConnectionState.status", &p.State.Status, "Pending", "Approved", "Rejected"); err != nil {
		return err
	}
	if p.PrivateEndpoint != nil {
		if _, err := azure.ParseResourceID(p.PrivateEndpoint.ID); err != nil {
			return badRequest("properties.privateEndpoint.id", "'%s' is not the ID of a private endpoint.", p.PrivateEndpoint.ID)
		}
	}
	return encodeProperties(w.New, p)
}

// prepareConnection asks for the right of its own that deciding on a connection needs.
func (s *Service) prepareConnection(ctx context.Context, w *arm.Write) error {
	var p connectionProperties
	if err := decodeStored(w.New, &p); err != nil || p.State.Status == "Pending" {
		return err
	}
	return s.o.Manager.Authorize(ctx, w.Caller, accountType+"/PrivateEndpointConnectionsApproval/action", accountID(w.New.ID))
}

func showConnection(_ context.Context, _ *store.Tx, res *arm.Resource, _ arm.View) (any, error) {
	return connectionView(res)
}

type shownConnectionProperties struct {
	connectionProperties
	ProvisioningState string `json:"provisioningState"`
}

func connectionView(res *arm.Resource) (p shownConnectionProperties, err error) {
	p.ProvisioningState = res.State
	return p, decodeStored(res, &p.connectionProperties)
}

// shownConnection is a connection as its account shows it.
type shownConnection struct {
	ID         string                    `json:"id"`
	Name       string                    `json:"name"`
	Type       string                    `json:"type"`
	Properties shownConnectionProperties `json:"properties"`
}

// connections returns the private endpoint connections of an account; never nil.
func (s *Service) connections(ctx context.Context, tx *store.Tx, account azure.ResourceID) ([]shownConnection, error) {
	list, err := s.o.Manager.List(ctx, tx, connectionType, account)
	if err != nil {
		return nil, err
	}
	shown := make([]shownConnection, 0, len(list))
	for _, res := range list {
		p, err := connectionView(res)
		if err != nil {
			return nil, err
		}
		shown = append(shown, shownConnection{res.ID.String(), res.ID.Name(), res.ID.Type(), p})
	}
	return shown, nil
}

// linkGroups are the parts of an account that a private endpoint may connect to.
var linkGroups = []string{"keydelivery", "liveevent", "streamingendpoint"}

func (s *Service) linkResourceType() arm.Type {
	t := child(linkResourceType)
	t.ReadOnly = true
	return t
}

func (s *Service) createPrivateLinkResources(ctx context.Context, tx *store.Tx, acct *arm.Resource) error {
	for _, group := range linkGroups {
		properties, err := json.Marshal(map[string]any{
			"groupId": group, "requiredMembers": []string{group}, "requiredZoneNames": []string{"privatelink.media.azure.net"},
		})
		if err != nil {
			return err
		}
		err = s.o.Manager.Create(ctx, tx, &arm.Resource{ID: acct.ID.Child("privateLinkResources", group), Properties: properties})
		if err != nil {
			return err
		}
	}
	return nil
}
