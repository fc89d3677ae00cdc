package keyvault

import (
	"context"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// moveVault follows a vault into another resource group. Its keys are kept by the vault's own id and stay where they are.
func (v *Vaults) moveVault(ctx context.Context, tx *store.Tx, res *arm.Resource, _ azure.ResourceID) error {
	name := strings.ToLower(res.ID.Name())
	_, err := tx.Exec(ctx, `UPDATE keyvault_vaults SET resource = $2, subscription = $3 WHERE name = $1 AND deleted = 0`,
		name, res.ID.String(), strings.ToLower(res.ID.Subscription()))
	if err != nil {
		return err
	}
	return v.vaultChanged(ctx, tx, name)
}
