package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

func (s *Service) accountType() arm.Type {
	return arm.Type{
		Name: accountType, Versions: versions, Tracked: true, Identity: true, Unique: true, ListKey: "@odata.nextLink",
		CheckName: checkAccountName,
		Validate:  s.validateAccount, Prepare: s.prepareAccount, Commit: s.commitAccount,
		Async:  func(version string) bool { return version >= "2021-11-01" },
		Delete: s.deleteAccount, Show: s.showAccount, Gate: s.gate,
		Actions: []arm.Action{
			{Name: "syncStorageKeys", Handle: s.syncStorageKeys},
			{Name: "listEdgePolicies", Handle: s.listEdgePolicies},
		},
	}
}

// notBuilt is an action that exists in Azure and not here.
func notBuilt(name, why string) func(http.ResponseWriter, *azure.Request, *arm.Resource) error {
	return func(http.ResponseWriter, *azure.Request, *arm.Resource) error {
		return azure.Errorf(http.StatusNotImplemented, "NotImplemented", "%s is not built: %s.", name, why)
	}
}

// accountBody is what a client sends. What it leaves out stays: an old client that writes an account back without a
// newer property must not turn it off.
type accountBody struct {
	StorageAccounts       *[]storageAccount `json:"storageAccounts"`
	StorageAuthentication *string           `json:"storageAuthentication"`
	Encryption            *encryption       `json:"encryption"`
	KeyDelivery           *struct {
		AccessControl *accessControl `json:"accessControl"`
	} `json:"keyDelivery"`
	PublicNetworkAccess *string `json:"publicNetworkAccess"`
	MinimumTLSVersion   *string `json:"minimumTlsVersion"`
}

func decodeAccountBody(raw json.RawMessage) (accountBody, error) {
	var b accountBody
	if len(raw) == 0 {
		return b, nil
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		return b, badRequest("properties", "The account's properties could not be read: %v.", err)
	}
	// Without this an empty object would turn the customer's key off.
	if b.Encryption != nil && b.Encryption.Type == "" {
		return b, badRequest("properties.encryption.type", "encryption needs a type: 'SystemKey' or 'CustomerKey'.")
	}
	return b, nil
}

func (b accountBody) apply(p *accountProperties) {
	if b.StorageAccounts != nil {
		old := p.StorageAccounts
		p.StorageAccounts = *b.StorageAccounts
		for i := range p.StorageAccounts {
			a := &p.StorageAccounts[i]
			a.Status = ""
			for _, was := range old { // old api-versions know of no identities here
				if a.Identity == nil && strings.EqualFold(was.ID, a.ID) {
					a.Identity = was.Identity
				}
			}
		}
	}
	if b.StorageAuthentication != nil && *b.StorageAuthentication != "" {
		p.StorageAuthentication = *b.StorageAuthentication
	}
	if b.Encryption != nil {
		old := p.Encryption
		p.Encryption = *b.Encryption
		p.Encryption.Status = ""
		if p.Encryption.Identity == nil {
			p.Encryption.Identity = old.Identity
		}
		if p.Encryption.KeyVaultProperties == nil {
			p.Encryption.KeyVaultProperties = old.KeyVaultProperties
		}
		if kv := p.Encryption.KeyVaultProperties; kv != nil {
			kv.CurrentKeyIdentifier = ""
		}
	}
	if b.KeyDelivery != nil && b.KeyDelivery.AccessControl != nil {
		p.KeyDelivery.AccessControl = *b.KeyDelivery.AccessControl
	}
	if b.PublicNetworkAccess != nil && *b.PublicNetworkAccess != "" {
		p.PublicNetworkAccess = *b.PublicNetworkAccess
	}
	if b.MinimumTLSVersion != nil && *b.MinimumTLSVersion != "" {
		p.MinimumTLSVersion = *b.MinimumTLSVersion
	}
}

func (s *Service) validateAccount(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	body, err := decodeAccountBody(w.Body)
	if err != nil {
		return err
	}
	p := accountProperties{MediaServiceID: azure.NewGUID()}
	if w.Old != nil {
		if err := json.Unmarshal(w.Old.Properties, &p); err != nil {
			return fmt.Errorf("reading the media account %s: %w", w.Old.ID, err)
		}
	}
	body.apply(&p)
	if err := p.check(w.New); err != nil {
		return err
	}
	if w.Old == nil || body.StorageAccounts != nil {
		for _, a := range p.StorageAccounts {
			if err := s.mayLink(ctx, tx, w.Caller, a.ID); err != nil {
				return err
			}
		}
	}
	if w.New.Properties, err = json.Marshal(p); err != nil {
		return err
	}
	if w.Old == nil {
		return s.o.Keys.Create(ctx, tx, w.New.ID.Key())
	}
	return nil
}

// mayLink checks that a storage account exists and that the caller could list its keys: whoever ties it to a media
// account must have access to it.
func (s *Service) mayLink(ctx context.Context, tx *store.Tx, caller *azure.Caller, storage string) error {
	const action = "Microsoft.Storage/storageAccounts/listkeys/action"
	id, err := azure.ParseResourceID(storage)
	if err != nil {
		return err
	}
	// The transaction is not for RBAC: a decision is made on what is committed.
	d, err := s.o.RBAC.Decide(ctx, rbac.Query{Principals: caller.Principals(), Action: action, Scope: id.String()})
	if err != nil {
		return fmt.Errorf("deciding on %s at %s: %w", action, id, err)
	}
	if !d.Allowed {
		e := azure.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed",
			"The client '%s' with object id '%s' has permission to write the media account, but it does not have permission to perform action '%s' on the linked scope '%s'. %s",
			caller.Name, caller.ObjectID, action, id, d.Reason())
		e.Target = "properties.storageAccounts"
		return e
	}
	if _, err := s.o.Manager.Get(ctx, tx, id); errors.Is(err, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "")) {
		return badRequest("properties.storageAccounts", "The storage account '%s' was not found.", storage)
	} else if err != nil {
		return err
	}
	return nil
}

// prepareAccount tries over the wire what the write is going to rely on: the storage accounts and the customer's key.
// What the client left as it is, is not tried, so that a broken grant does not stand in the way of a change of tags.
func (s *Service) prepareAccount(ctx context.Context, w *arm.Write) error {
	body, err := decodeAccountBody(w.Body)
	if err != nil {
		return err
	}
	a, err := decodeAccount(w.New)
	if err != nil {
		return err
	}
	// What a write that failed after its Prepare leaves, no later write may commit.
	s.prepared.drop(a.key())
	var p prepared
	fresh := w.Old == nil || w.Old.State == arm.Failed
	if fresh || body.Encryption != nil {
		if p.key, err = s.prepareKey(ctx, a); err != nil {
			return err
		}
	}
	if p.tried = fresh || body.StorageAccounts != nil || body.StorageAuthentication != nil; p.tried {
		if a.StorageAuthentication == storageManagedIdentity {
			err = s.tryStorage(ctx, a)
		} else {
			p.storage, err = s.fetchStorageKeys(ctx, w.Caller, a)
		}
	}
	if err != nil {
		return err
	}
	s.prepared.put(a.key(), p)
	return nil
}

// prepareKey wraps the account key as the account's encryption says; nil when it is the system key and stays it.
func (s *Service) prepareKey(ctx context.Context, a *account) (*customerkey.Switch, error) {
	if a.Encryption.Type == systemKey {
		state, err := s.o.Keys.State(ctx, a.key())
		if err != nil || !state.Customer {
			return nil, err
		}
		sw, err := s.o.Keys.Prepare(ctx, a.key(), nil)
		return sw, keyRefused(a.Resource.ID, err)
	}
	id, err := a.identity(a.Encryption.Identity)
	if err != nil {
		return nil, err
	}
	keyID := a.Encryption.KeyVaultProperties.KeyIdentifier
	if err := s.checkVault(ctx, a, keyID); err != nil {
		return nil, err
	}
	sw, err := s.o.Keys.Prepare(ctx, a.key(), &customerkey.Config{Identity: id, KeyID: keyID})
	return sw, keyRefused(a.Resource.ID, err)
}

const keyIdentifierTarget = "properties.encryption.keyVaultProperties.keyIdentifier"

// keyRefused renders the problem of a customer key that is to come; one of the key in use is the account's. The first
// message is the one that the official command line matches.
func keyRefused(id azure.ResourceID, err error) error {
	var p *customerkey.Problem
	switch {
	case !errors.As(err, &p):
		return err
	case p.InUse:
		return inaccessible(id, err)
	}
	e := badRequest(keyIdentifierTarget, "Access to the Customer Key was forbidden.")
	if !p.Denied {
		e.Message = "The Key Vault of the Customer Key could not be reached."
	} else if p.Unusable {
		e.Message = "The Customer Key cannot be used. " + p.Detail
	}
	e.Details = []azure.Error{{Code: p.Code, Message: p.Detail, Target: keyIdentifierTarget}}
	return e
}

// checkVault checks what the vault's own resource says, when it is one of this server's: region, soft delete and purge
// protection. Of other vaults the key's recovery level tells the latter two.
func (s *Service) checkVault(ctx context.Context, a *account, keyID string) error {
	id, err := customerkey.ParseKeyID(keyID)
	if err != nil {
		return err
	}
	u, err := url.Parse(id.Vault)
	if err != nil {
		return badRequest(keyIdentifierTarget, "'%s' is not a key identifier.", keyID)
	}
	host, ok := s.o.Hosts.Parse(u.Host)
	if !ok || host.Service != azure.Vault {
		return nil
	}
	var vault *arm.Resource
	err = s.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		vault, err = s.o.Manager.Find(ctx, tx, vaultType, host.Name)
		return err
	})
	if errors.Is(err, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "")) {
		return nil // asking it says so best
	} else if err != nil {
		return err
	}
	var p struct {
		EnableSoftDelete      *bool `json:"enableSoftDelete"`
		EnablePurgeProtection *bool `json:"enablePurgeProtection"`
	}
	if err := json.Unmarshal(vault.Properties, &p); err != nil {
		return fmt.Errorf("reading the vault %s: %w", vault.ID, err)
	}
	switch {
	case p.EnableSoftDelete != nil && !*p.EnableSoftDelete:
		return badRequest(keyIdentifierTarget, "The Key Vault '%s' does not have soft delete, so the Customer Key could be lost. Set enableSoftDelete.", host.Name)
	case p.EnablePurgeProtection == nil || !*p.EnablePurgeProtection:
		return badRequest(keyIdentifierTarget, "The Key Vault '%s' does not have purge protection, so the Customer Key could be lost. Set enablePurgeProtection.", host.Name)
	case location(vault.Location) != location(a.Resource.Location):
		return badRequest(keyIdentifierTarget, "The Key Vault '%s' is in '%s' and the account in '%s'. Use a vault in the account's region.", host.Name, vault.Location, a.Resource.Location)
	}
	return nil
}

// location brings a region's display name to its short form.
func location(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "")) }

func (s *Service) commitAccount(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	p := s.prepared.get(w.New.ID.Key())
	if p.key != nil {
		if err := s.o.Keys.Commit(ctx, tx, p.key); err != nil {
			return err
		}
	}
	a, err := decodeAccount(w.New)
	if err != nil {
		return err
	}
	if err := keepStorageKeys(ctx, tx, a); err != nil {
		return err
	}
	if err := putStorageKeys(ctx, tx, a.key(), p.storage); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		s.prepared.drop(w.New.ID.Key())
		s.access.forget(w.New.ID.Key())
	})
	if p.tried {
		if _, err := tx.Exec(ctx, `DELETE FROM media_storage WHERE account = $1`, a.key()); err != nil {
			return fmt.Errorf("forgetting the storage status of %s: %w", w.New.ID, err)
		}
	}
	return s.createBuiltIns(ctx, tx, w.New)
}

// createBuiltIns makes what every account has from the start: its default streaming endpoint, the predefined
// streaming policies, and the names under which private endpoints would connect.
func (s *Service) createBuiltIns(ctx context.Context, tx *store.Tx, acct *arm.Resource) error {
	endpoint, err := json.Marshal(newEndpointProperties())
	if err != nil {
		return err
	}
	id := acct.ID.Child("streamingEndpoints", "default")
	err = s.o.Manager.Create(ctx, tx, &arm.Resource{ID: id, Location: acct.Location, Properties: endpoint})
	if err != nil {
		return err
	}
	for name, p := range predefinedPolicies() {
		properties, err := json.Marshal(p)
		if err != nil {
			return err
		}
		id := acct.ID.Child("streamingPolicies", name)
		if err := s.o.Manager.Create(ctx, tx, &arm.Resource{ID: id, Properties: properties}); err != nil {
			return err
		}
	}
	return s.createPrivateLinkResources(ctx, tx, acct)
}

func (s *Service) deleteAccount(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
	key := res.ID.Key()
	for _, table := range []string{"media_storage", "media_storage_keys", "media_content_keys", "media_locators"} {
		if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE account = $1`, key); err != nil {
			return fmt.Errorf("deleting what belongs to %s: %w", res.ID, err)
		}
	}
	return s.o.Keys.Delete(ctx, tx, key)
}
