package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// AssignSystem returns the system-assigned identity of a resource and makes it when there is none.
func (d *Directory) AssignSystem(ctx context.Context, tx *store.Tx, resource azure.ResourceID) (principalID, clientID string, err error) {
	return makeIdentity(ctx, tx, SystemAssigned, resource)
}

// RemoveSystem deletes the system-assigned identity of a resource; its tokens die with it. A resource without one is
// no error.
func (d *Directory) RemoveSystem(ctx context.Context, tx *store.Tx, resource azure.ResourceID) error {
	return d.removeIdentity(ctx, tx, SystemAssigned, resource)
}

// UserAssigned returns the ids of a user-assigned identity; azure.Error 404 ResourceNotFound when there is none.
func (d *Directory) UserAssigned(ctx context.Context, tx *store.Tx, id azure.ResourceID) (principalID, clientID string, err error) {
	p, err := identity(ctx, tx, UserAssigned, id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", azure.Errorf(http.StatusNotFound, "ResourceNotFound",
			"The Resource '%s/%s' under resource group '%s' was not found.", id.Type(), id.Name(), id.ResourceGroup())
	}
	return p.ID, p.AppID, err
}

// makeIdentity returns the managed identity that belongs to an ARM ID and makes it when there is none.
func makeIdentity(ctx context.Context, tx *store.Tx, kind Kind, id azure.ResourceID) (principalID, clientID string, err error) {
	p := Principal{ID: azure.NewGUID(), AppID: azure.NewGUID(), Kind: kind, Name: id.Name(), IdentityID: id.String(), Enabled: true}
	made, err := insert(ctx, tx, p)
	if err != nil {
		return "", "", err
	}
	if !made {
		if p, err = identity(ctx, tx, kind, id); err != nil {
			return "", "", err
		}
	}
	return p.ID, p.AppID, nil
}

func identity(ctx context.Context, tx *store.Tx, kind Kind, id azure.ResourceID) (Principal, error) {
	p, err := find(ctx, tx, `identity_key = $1 AND kind = $2`, id.Key(), string(kind))
	if err != nil {
		return p, fmt.Errorf("reading the identity of %s: %w", id, err)
	}
	return p, nil
}

func (d *Directory) removeIdentity(ctx context.Context, tx *store.Tx, kind Kind, id azure.ResourceID) error {
	p, err := identity(ctx, tx, kind, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Delete(ctx, tx, p.ID)
}

// Living reports whether a principal is there and enabled.
func (d *Directory) Living(ctx context.Context, tx *store.Tx, id string) (bool, error) {
	p, err := find(ctx, tx, `id = $1`, key(id))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading principal %s: %w", id, err)
	}
	return p.Enabled, nil
}
