package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

// Whoever changes a vault that requests can find counts it in vaultsChanged, whoever changes a key in keysChanged.
const (
	vaultsChanged = rowcache.Table("keyvault_generation")
	keysChanged   = rowcache.Table("keyvault_keys_generation")
)

// rows are the vaults and keys that this node has read.
type rows struct {
	vaults rowcache.Cache[*vault] // by name in lower case
	keys   rowcache.Cache[*key]   // by keyRow
}

// vault is a live vault. It is shared and does not change.
type vault struct {
	resource   *arm.Resource
	properties properties
}

// vault returns a vault by its name; 404 VaultNotFound when it does not live.
func (v *Vaults) vault(ctx context.Context, name string) (*vault, error) {
	return v.rows.vaults.Get(ctx, rowcache.Source[*vault]{DB: v.DB, Table: vaultsChanged, Load: v.findVault}, strings.ToLower(name))
}

// findVault is vault without the cache.
func (v *Vaults) findVault(ctx context.Context, tx *store.Tx, name string) (*vault, error) {
	res, err := v.Manager.Find(ctx, tx, vaultType, name)
	if e := (*azure.Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil, vaultNotFound(name)
	}
	if err != nil {
		return nil, err
	}
	found := &vault{resource: res}
	return found, json.Unmarshal(res.Properties, &found.properties)
}

// vaultChanged is called in a transaction that makes, changes or deletes a vault.
func (v *Vaults) vaultChanged(ctx context.Context, tx *store.Tx, name string) error {
	return v.rows.vaults.Changed(ctx, tx, vaultsChanged, strings.ToLower(name))
}

// key returns a version of a live key as findKey does, to be used and not to be changed.
func (v *Vaults) key(ctx context.Context, vault, name, version string) (*key, error) {
	load := func(ctx context.Context, tx *store.Tx, _ string) (*key, error) {
		k, err := findKey(ctx, tx, vault, name, version)
		var gone *azure.Error
		if errors.As(err, &gone) || err == nil && !k.enabled { // on another node, if not here
			v.privates.dropKey(vault, strings.ToLower(name))
		}
		return k, err
	}
	return v.rows.keys.Get(ctx, rowcache.Source[*key]{DB: v.DB, Table: keysChanged, Load: load}, keyRow(vault, name, version))
}

// keyRow is where the cache holds a version; an empty version is the current one. None of the parts holds a slash.
func keyRow(vault, name, version string) string {
	return vault + "/" + strings.ToLower(name+"/"+version)
}

// versionChanged is called in a transaction that makes or changes one version of a key.
func (v *Vaults) versionChanged(ctx context.Context, tx *store.Tx, k *key) error {
	return v.rows.keys.Changed(ctx, tx, keysChanged, keyRow(k.vault, k.name, ""), keyRow(k.vault, k.name, k.version))
}

// keyChanged is called in a transaction that changes every version of a key.
func (v *Vaults) keyChanged(ctx context.Context, tx *store.Tx) error {
	return v.rows.keys.Changed(ctx, tx, keysChanged)
}
