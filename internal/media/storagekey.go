package media

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// storageKey is the key of a storage account as a media account with storageAuthentication System holds it.
type storageKey struct {
	storage string // ARM ID, lower case
	sealed  []byte
}

// fetchStorageKeys lists the keys of the account's storage accounts as the caller, who must have that right, and seals
// the first of each under the account key. Whether storage takes it is found out by use: System accounts may be tied to
// a storage account whose firewall does not let them in, as in Azure.
func (s *Service) fetchStorageKeys(ctx context.Context, caller *azure.Caller, a *account) ([]storageKey, error) {
	keys := make([]storageKey, 0, len(a.StorageAccounts))
	for _, sa := range a.StorageAccounts {
		k, err := s.fetchStorageKey(ctx, caller, a, sa.ID)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (s *Service) fetchStorageKey(ctx context.Context, caller *azure.Caller, a *account, storage string) (storageKey, error) {
	id, err := azure.ParseResourceID(storage)
	if err != nil {
		return storageKey{}, err
	}
	k := storageKey{storage: id.Key()}
	accountKey, err := s.o.Keys.Key(ctx, a.key())
	if err != nil {
		return k, inaccessible(a.Resource.ID, err)
	}
	raw, err := s.o.Manager.Perform(ctx, caller, http.MethodPost, id.String()+"/listKeys?api-version=2023-01-01", nil)
	if err != nil {
		return k, err
	}
	var body struct {
		Keys []struct {
			Value string `json:"value"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || len(body.Keys) == 0 {
		return k, fmt.Errorf("listing the keys of %s: the answer holds none", storage)
	}
	if _, err := base64.StdEncoding.DecodeString(body.Keys[0].Value); err != nil {
		return k, fmt.Errorf("listing the keys of %s: the first is not base64", storage)
	}
	k.sealed = s.seal(accountKey, []byte(body.Keys[0].Value), "media_storage_keys", a.key(), k.storage, "sealed")
	return k, nil
}

// putStorageKeys stores keys in the place of those that the account held of the same storage accounts.
func putStorageKeys(ctx context.Context, tx *store.Tx, account string, keys []storageKey) error {
	for _, k := range keys {
		_, err := tx.Exec(ctx, `INSERT INTO media_storage_keys (account, storage, sealed) VALUES ($1, $2, $3)
			ON CONFLICT (account, storage) DO UPDATE SET sealed = excluded.sealed`, account, k.storage, k.sealed)
		if err != nil {
			return fmt.Errorf("storing the key of %s: %w", k.storage, err)
		}
	}
	return nil
}

// keepStorageKeys forgets the keys of storage accounts that the account does not use, or not with keys, any more.
func keepStorageKeys(ctx context.Context, tx *store.Tx, a *account) error {
	held, err := tx.Query(ctx, `SELECT storage FROM media_storage_keys WHERE account = $1`, a.key())
	if err != nil {
		return fmt.Errorf("reading whose keys %s holds: %w", a.Resource.ID, err)
	}
	defer held.Close()
	var gone []string
	for held.Next() {
		var storage string
		if err := held.Scan(&storage); err != nil {
			return err
		}
		if !a.usesKeyOf(storage) {
			gone = append(gone, storage)
		}
	}
	if err := held.Err(); err != nil {
		return err
	}
	for _, storage := range gone {
		if _, err := tx.Exec(ctx, `DELETE FROM media_storage_keys WHERE account = $1 AND storage = $2`, a.key(), storage); err != nil {
			return fmt.Errorf("forgetting the key of %s: %w", storage, err)
		}
	}
	return nil
}

func (a *account) usesKeyOf(storage string) bool {
	for _, sa := range a.StorageAccounts {
		if a.StorageAuthentication == storageSystem && strings.EqualFold(sa.ID, storage) {
			return true
		}
	}
	return false
}

// storageKey returns the key that the media account holds of a storage account.
func (s *Service) storageKey(ctx context.Context, t storageTarget) (string, error) {
	accountKey, err := s.o.Keys.Key(ctx, t.account)
	if err != nil {
		id, perr := azure.ParseResourceID(t.account)
		if perr != nil {
			return "", perr
		}
		return "", inaccessible(id, err)
	}
	var sealed []byte
	err = s.o.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT sealed FROM media_storage_keys WHERE account = $1 AND storage = $2`, t.account, t.storage).Scan(&sealed)
	})
	if isNoRows(err) {
		return "", azure.Errorf(http.StatusConflict, "Conflict", "The media account holds no key of the storage account '%s'. Bring one with syncStorageKeys.", t.name)
	} else if err != nil {
		return "", fmt.Errorf("reading the key of %s: %w", t.storage, err)
	}
	plain, err := s.unseal(accountKey, sealed, "media_storage_keys", t.account, t.storage, "sealed")
	return string(plain), err
}

// syncStorageKeys brings the key of a storage account anew, after it was regenerated. With managed identities there is
// nothing to bring; the mapping is tried instead.
func (s *Service) syncStorageKeys(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	ctx := r.Context()
	var body struct {
		ID string `json:"id"`
	}
	if err := r.DecodeJSON("BadRequest", &body); err != nil {
		return err
	}
	a, err := decodeAccount(res)
	if err != nil {
		return err
	}
	for _, sa := range a.StorageAccounts {
		if !strings.EqualFold(sa.ID, body.ID) {
			continue
		}
		if a.StorageAuthentication == storageSystem {
			if err := s.syncStorageKey(ctx, r.Caller, a, sa); err != nil {
				return err
			}
		} else if err := s.tryStorageAccount(ctx, a, sa); err != nil {
			return storageRefused(err)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return badRequest("id", "The storage account '%s' is not attached to the media account '%s'.", body.ID, res.ID.Name())
}

func (s *Service) syncStorageKey(ctx context.Context, caller *azure.Caller, a *account, sa storageAccount) error {
	k, err := s.fetchStorageKey(ctx, caller, a, sa.ID)
	if err != nil {
		return err
	}
	err = s.o.DB.Update(ctx, func(tx *store.Tx) error {
		res, err := s.o.Manager.Get(ctx, tx, a.Resource.ID)
		if err != nil {
			return err
		}
		now, err := decodeAccount(res)
		if err != nil {
			return err
		}
		if !now.usesKeyOf(k.storage) { // a write came between
			return azure.Errorf(http.StatusConflict, "Conflict", "The media account was changed meanwhile. Try again.")
		}
		return putStorageKeys(ctx, tx, a.key(), []storageKey{k})
	})
	if err != nil {
		return err
	}
	return s.watchMapping(ctx, a, sa) // for its status
}
