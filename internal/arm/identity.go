package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Identity types as they are stored and shown.
const (
	typeNone   = "None"
	typeSystem = "SystemAssigned"
	typeUser   = "UserAssigned"
	typeBoth   = "SystemAssigned,UserAssigned"
)

// maxIdentities is how many user-assigned identities a request can name.
const maxIdentities = 200

const assignAction = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"

func (id *Identity) hasSystem() bool {
	return id != nil && (id.Type == typeSystem || id.Type == typeBoth)
}

// identityRequest is an identity block as a client sends it. A null in UserAssigned removes that identity.
type identityRequest struct {
	Type         *string                     `json:"type"`
	UserAssigned map[string]*json.RawMessage `json:"userAssignedIdentities"`
}

// parseIdentity reads an identity block; nil for none.
func parseIdentity(raw json.RawMessage) (*identityRequest, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var req identityRequest
	if err := json.Unmarshal(raw, &req); err != nil {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The 'identity' block is not valid: %v.", err)
	}
	if n := len(req.UserAssigned); n > maxIdentities {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidIdentityValues", "There are %d user-assigned identities; a resource can have %d.", n, maxIdentities)
	}
	for text := range req.UserAssigned {
		if _, err := userAssignedID(text); err != nil {
			return nil, err
		}
	}
	return &req, nil
}

func userAssignedID(text string) (azure.ResourceID, error) {
	id, err := azure.ParseResourceID(text)
	if err == nil && (id.IsCollection() || !strings.EqualFold(id.Type(), "Microsoft.ManagedIdentity/userAssignedIdentities")) {
		err = errors.New("it is not the ID of a Microsoft.ManagedIdentity/userAssignedIdentities")
	}
	if err != nil {
		return id, azure.Errorf(http.StatusBadRequest, "LinkedInvalidPropertyId",
			"Property id '%s' at path 'identity.userAssignedIdentities' is invalid: %v.", text, err)
	}
	return id, nil
}

// authorizeIdentities checks that the caller may assign every user-assigned identity that a block names.
func (m *Manager) authorizeIdentities(ctx context.Context, caller *azure.Caller, target azure.ResourceID, req *identityRequest) error {
	if req == nil {
		return nil
	}
	for _, text := range slices.Sorted(maps.Keys(req.UserAssigned)) {
		if req.UserAssigned[text] == nil { // removes it
			continue
		}
		id, err := userAssignedID(text)
		if err != nil {
			return err
		}
		err = m.Authorize(ctx, caller, assignAction, id)
		var denied *azure.Error
		if errors.As(err, &denied) && denied.Code == "AuthorizationFailed" {
			return azure.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed",
				"The client '%s' with object id '%s' has permission to write '%s'; however, it does not have permission to perform "+
					"action '%s' on the linked scope '%s'. %s", caller.Name, caller.ObjectID, target, assignAction, id, denied.Message)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeIdentity works out the identity block after a write; ids of new identities are still empty. Without a block a
// write leaves the identity as it is. PUT replaces the user-assigned identities, PATCH adds to them.
func mergeIdentity(old *Identity, req *identityRequest, patch bool) (*Identity, error) {
	if req == nil {
		return old, nil
	}
	next := &Identity{Type: typeNone, UserAssigned: map[string]UserIdentity{}}
	if old != nil && patch {
		next.Type = old.Type
		maps.Copy(next.UserAssigned, old.UserAssigned)
	}
	if req.Type != nil {
		t, ok := normalIdentityType(*req.Type)
		if !ok {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidIdentityType",
				"The identity type '%s' is not one of 'None', 'SystemAssigned', 'UserAssigned', 'SystemAssigned,UserAssigned'.", *req.Type)
		}
		next.Type = t
	} else if !patch {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The 'identity' block has no 'type'.")
	}
	removed := false
	for text, value := range req.UserAssigned {
		known := text
		for k := range next.UserAssigned {
			if strings.EqualFold(k, text) {
				known = k
			}
		}
		if value == nil {
			delete(next.UserAssigned, known)
			removed = true
		} else {
			next.UserAssigned[known] = UserIdentity{} // read anew: it may have been deleted and made again
		}
	}
	wantsUser := next.Type == typeUser || next.Type == typeBoth
	switch {
	case !wantsUser && slices.ContainsFunc(slices.Collect(maps.Values(req.UserAssigned)), func(v *json.RawMessage) bool { return v != nil }):
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidIdentityValues",
			"'userAssignedIdentities' needs an identity type with 'UserAssigned'; the type is '%s'.", next.Type)
	case !wantsUser:
		next.UserAssigned = nil
	case len(next.UserAssigned) == 0 && removed && next.Type == typeBoth:
		next.Type, next.UserAssigned = typeSystem, nil
	case len(next.UserAssigned) == 0 && removed:
		next.Type, next.UserAssigned = typeNone, nil
	case len(next.UserAssigned) == 0:
		return nil, azure.Errorf(http.StatusBadRequest, "MissingIdentityIds",
			"The identity ids must not be null or empty for '%s' identity type.", next.Type)
	}
	if next.hasSystem() && old.hasSystem() {
		next.PrincipalID, next.ClientID, next.TenantID = old.PrincipalID, old.ClientID, old.TenantID
	}
	return next, nil
}

func normalIdentityType(s string) (string, bool) {
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "none":
		return typeNone, true
	case "systemassigned":
		return typeSystem, true
	case "userassigned":
		return typeUser, true
	case "systemassigned,userassigned", "userassigned,systemassigned":
		return typeBoth, true
	}
	return "", false
}

// assign makes the system-assigned identity that next asks for, and fills in the ids of all its identities.
func (m *Manager) assign(ctx context.Context, tx *store.Tx, resource azure.ResourceID, next *Identity) error {
	if next == nil {
		return nil
	}
	if next.hasSystem() && next.PrincipalID == "" {
		principal, client, err := m.o.Identities.AssignSystem(ctx, tx, resource)
		if err != nil {
			return fmt.Errorf("giving %s an identity: %w", resource, err)
		}
		next.PrincipalID, next.ClientID, next.TenantID = principal, client, m.o.TenantID
	}
	for text, known := range next.UserAssigned {
		if known.PrincipalID != "" {
			continue
		}
		id, err := userAssignedID(text)
		if err != nil {
			return err
		}
		principal, client, err := m.o.Identities.UserAssigned(ctx, tx, id)
		var missing *azure.Error
		if errors.As(err, &missing) && missing.Status == http.StatusNotFound {
			return azure.Errorf(http.StatusBadRequest, "FailedIdentityOperation",
				"Identity operation for resource '%s' failed: the user-assigned identity '%s' was not found.", resource, text)
		}
		if err != nil {
			return fmt.Errorf("reading identity %s: %w", text, err)
		}
		next.UserAssigned[text] = UserIdentity{PrincipalID: principal, ClientID: client}
	}
	return nil
}

// union is the identity of a resource while a write from old to next is on its way: what either has.
func union(old, next *Identity) *Identity {
	if old == nil || next == nil {
		if old == nil {
			return next
		}
		return old
	}
	both := *next
	if old.hasSystem() && !next.hasSystem() {
		both.PrincipalID, both.ClientID, both.TenantID = old.PrincipalID, old.ClientID, old.TenantID
	}
	both.UserAssigned = maps.Clone(old.UserAssigned)
	if both.UserAssigned == nil {
		both.UserAssigned = map[string]UserIdentity{}
	}
	maps.Copy(both.UserAssigned, next.UserAssigned)
	switch system := old.hasSystem() || next.hasSystem(); {
	case system && len(both.UserAssigned) > 0:
		both.Type = typeBoth
	case system:
		both.Type = typeSystem
	case len(both.UserAssigned) > 0:
		both.Type = typeUser
	}
	return &both
}

// retire deletes the system-assigned identity that a resource has and is not to keep, with its role assignments.
func (m *Manager) retire(ctx context.Context, tx *store.Tx, resource azure.ResourceID, has, keeps *Identity) error {
	if !has.hasSystem() || keeps.hasSystem() {
		return nil
	}
	if err := m.o.Identities.RemoveSystem(ctx, tx, resource); err != nil {
		return fmt.Errorf("removing the identity of %s: %w", resource, err)
	}
	if err := m.o.RBAC.Purge(ctx, tx, has.PrincipalID, ""); err != nil {
		return fmt.Errorf("removing the role assignments of %s: %w", has.PrincipalID, err)
	}
	return nil
}

const systemIdentityType = "Microsoft.ManagedIdentity/identities"

// getSystemIdentity shows the system-assigned identity of the resource that is the scope. Its only name is "default".
func (m *Manager) getSystemIdentity(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	scope, err := azure.ParseResourceID(id.Scope)
	if err != nil {
		return err
	}
	var res *Resource
	err = m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		res, err = m.existing(r.Context(), tx, scope)
		return err
	})
	if err != nil {
		return err
	}
	if !res.Identity.hasSystem() || !strings.EqualFold(id.Name(), "default") {
		return azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The resource '%s' has no system-assigned identity of that name.", res.ID)
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"id": res.ID.String() + "/providers/" + systemIdentityType + "/default", "name": "default", "type": systemIdentityType, "location": res.Location,
		"properties": map[string]string{
			"tenantId": res.Identity.TenantID, "principalId": res.Identity.PrincipalID, "clientId": res.Identity.ClientID,
		},
	})
}
