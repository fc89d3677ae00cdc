package blob

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// moveAccount follows an account into another resource group. Its blobs are kept by the account's own id and stay where
// they are, and its account key goes with it. An account under a customer's key stays: its vault knows it by its ID.
func (s *Storage) moveAccount(ctx context.Context, tx *store.Tx, res *arm.Resource, old azure.ResourceID) error {
	var p accountProperties
	if err := json.Unmarshal(res.Properties, &p); err != nil {
		return err
	}
	if p.Encryption != nil && p.Encryption.KeySource != keySourceStorage {
		return azure.Errorf(http.StatusConflict, "ResourceMoveNotSupported",
			"Resource move is not supported for '%s', which a customer's key encrypts. Set encryption.keySource to 'Microsoft.Storage' before the move.", old)
	}
	if err := s.Keys.Rename(ctx, tx, old.Key(), res.ID.Key()); err != nil {
		return err
	}
	name := res.ID.Name()
	n, err := tx.Exec(ctx, `UPDATE blob_accounts SET resource = $2 WHERE name = $1`, name, res.ID.String())
	if err == nil && n != 1 {
		err = fmt.Errorf("storage account %s has no row", name)
	}
	tx.AfterCommit(func() { s.accounts.drop(name) })
	return err
}
