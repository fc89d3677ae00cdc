package blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/seal"
)

// newDataKey makes a new account's data key and seals it under the account key.
func newDataKey(accountKey seal.Key, name string) []byte {
	data := seal.NewKey()
	defer data.Zero()
	return accountKey.Seal(data[:], dataKeyAAD(name)...)
}

func dataKeyAAD(name string) []string { return []string{"blob_accounts", name, "data_key"} }

// underKey reports whether an operation is refused while the account key is inaccessible: whatever reads or writes a
// blob's content, properties or metadata. As in Azure names can be listed, and blobs deleted.
func underKey(r *azure.Request) bool {
	switch r.Route.Name {
	case "Containers.ListBlobs":
		return slices.ContainsFunc(r.URL.Query()["include"], func(v string) bool {
			return slices.Contains(strings.Split(strings.ToLower(v), ","), "metadata")
		})
	case "Blobs.Delete", "Blobs.GetAccountInformation":
		return false
	}
	return r.Route.Pattern == atBlob
}

// unlock gives a request that was let through the key to its account's blobs, when it needs it.
func (s *Storage) unlock(r *azure.Request) error {
	if !underKey(r) {
		return nil
	}
	acc := accessOf(r)
	key, err := s.Keys.Key(r.Context(), acc.account.owner)
	if err != nil {
		return inaccessible(err)
	}
	data, err := key.Open(acc.account.sealed, dataKeyAAD(acc.account.name)...)
	if err == nil && len(data) != len(key) {
		err = fmt.Errorf("it has %d bytes", len(data))
	}
	if err != nil {
		return fmt.Errorf("opening the data key of storage account %s: %w", acc.account.name, err)
	}
	unlocked := *acc.account // the cache's is everybody's, and outlives the permission
	copy(unlocked.data[:], data)
	acc.account = &unlocked
	return nil
}

// accessible reports whether the account key still is to be had.
func (s *Storage) accessible(ctx context.Context, a *account) error {
	_, err := s.Keys.Key(ctx, a.owner)
	return inaccessible(err)
}

// inaccessible renders the problem that keeps an account from its key, with the Blob service's codes.
func inaccessible(err error) error {
	var p *customerkey.Problem
	if !errors.As(err, &p) {
		return err
	}
	if !p.Denied {
		return azure.Errorf(http.StatusServiceUnavailable, "ServerBusy", "The key vault that protects the storage account could not be reached. %s", p.Detail)
	}
	code, message := "KeyVaultEncryptionKeyNotFound", "The key vault key is not found to unwrap the encryption key."
	switch p.Code {
	case "IdentityNotFound":
		code, message = "KeyVaultAccessTokenCannotBeAcquired", "The access token of the key vault cannot be acquired with the identity of the storage account."
	case "VaultNotFound", "HostNotFound":
		code, message = "KeyVaultVaultNotFound", "The key vault is not found for encryption."
	}
	return azure.Errorf(http.StatusForbidden, code, "%s %s", message, p.Detail)
}
