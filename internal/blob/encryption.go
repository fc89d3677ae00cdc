package blob

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/store"
)

// Values of encryption.keySource.
const (
	keySourceStorage  = "Microsoft.Storage"
	keySourceKeyvault = "Microsoft.Keyvault"
)

// encryption says what wraps the account key. It is stored for a customer's key alone; Services is shown and not stored.
type encryption struct {
	KeySource      string                        `json:"keySource"`
	Identity       *encryptionIdentity           `json:"identity,omitempty"`
	KeyVault       *keyVaultProperties           `json:"keyvaultproperties,omitempty"`
	Infrastructure *bool                         `json:"requireInfrastructureEncryption,omitempty"`
	Services       map[string]*encryptionService `json:"services,omitempty"`
}

// encryptionIdentity chooses one of the account's identities; without UserAssigned it is the system-assigned one.
type encryptionIdentity struct {
	UserAssigned      string `json:"userAssignedIdentity,omitempty"`
	FederatedClientID string `json:"federatedIdentityClientId,omitempty"`
}

// keyVaultProperties name a customer's key; without a version it is the key's current one. Current and Rotated are
// shown and not stored.
type keyVaultProperties struct {
	KeyName    string `json:"keyname"`
	KeyVersion string `json:"keyversion,omitempty"`
	VaultURI   string `json:"keyvaulturi"`
	Current    string `json:"currentVersionedKeyIdentifier,omitempty"`
	Rotated    string `json:"lastKeyRotationTimestamp,omitempty"`
}

type encryptionService struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	KeyType         string `json:"keyType,omitempty"`
	LastEnabledTime string `json:"lastEnabledTime,omitempty"`
}

// accountWrite is what a write of an account has worked out for its next steps.
type accountWrite struct {
	settings   settings
	encryption *encryption         // nil is the system key
	identity   onbehalf.Identity   // that encryption chooses
	data       []byte              // of a new account: its data key, sealed
	wrapping   *customerkey.Switch // nil leaves the account key as it is wrapped
}

func (e *encryption) check() error {
	for name, service := range e.Services {
		if service != nil && service.Enabled != nil && !*service.Enabled {
			return invalidProperty("encryption.services", "Encryption of '%s' cannot be switched off.", name)
		}
	}
	switch {
	case e.Infrastructure != nil && *e.Infrastructure:
		return invalidProperty("encryption.requireInfrastructureEncryption", "A second layer of encryption is not built; leave encryption.requireInfrastructureEncryption out.")
	case e.Identity != nil && e.Identity.FederatedClientID != "":
		return invalidProperty("encryption.identity.federatedIdentityClientId", "Keys in another tenant's vault are not built for storage accounts; leave federatedIdentityClientId out.")
	case e.KeySource != "" && !oneOf(&e.KeySource, keySourceStorage, keySourceKeyvault):
		return invalidProperty("encryption.keySource", "encryption.keySource '%s' is not '%s' or '%s'.", e.KeySource, keySourceStorage, keySourceKeyvault)
	}
	return nil
}

// merged returns what an account's encryption e (nil is the system key) becomes with what a client gave. What it left
// out stays.
func (e *encryption) merged(given *encryption) (*encryption, error) {
	if given == nil {
		return e, nil
	}
	if err := given.check(); err != nil {
		return nil, err
	}
	if given.KeySource == keySourceStorage {
		return nil, nil
	}
	if given.KeySource == "" && e == nil {
		if given.KeyVault != nil && given.KeyVault.KeyName != "" {
			return nil, invalidProperty("encryption.keySource", "encryption.keyvaultproperties needs encryption.keySource '%s'.", keySourceKeyvault)
		}
		return nil, nil
	}
	next := &encryption{KeySource: keySourceKeyvault, Identity: given.Identity, KeyVault: given.KeyVault}
	if e != nil && next.Identity == nil {
		next.Identity = e.Identity
	}
	if e != nil && next.KeyVault == nil {
		next.KeyVault = e.KeyVault
	}
	kv := next.KeyVault
	if kv == nil || kv.KeyName == "" || kv.VaultURI == "" {
		err := azure.Errorf(http.StatusBadRequest, "MissingKeyvaultProperties",
			"The encryption keyvault properties are missing from the request: keySource '%s' needs keyvaultproperties with keyname and keyvaulturi.", keySourceKeyvault)
		err.Target = "encryption.keyvaultproperties"
		return nil, err
	}
	kv.Current, kv.Rotated = "", ""
	id, err := customerkey.ParseKeyID(kv.keyID())
	if err != nil || id.Name != kv.KeyName || id.Version != kv.KeyVersion {
		return nil, invalidProperty("encryption.keyvaultproperties", "keyvaulturi '%s', keyname '%s' and keyversion '%s' do not name a key, such as https://{vault}, {name} and no version.",
			kv.VaultURI, kv.KeyName, kv.KeyVersion)
	}
	return next, nil
}

func (kv *keyVaultProperties) keyID() string {
	id := strings.TrimRight(kv.VaultURI, "/") + "/keys/" + kv.KeyName
	if kv.KeyVersion != "" {
		id += "/" + kv.KeyVersion
	}
	return id
}

// identityOf returns the identity that e chooses, of those that the account has after the write.
func (e *encryption) identityOf(res *arm.Resource) (onbehalf.Identity, error) {
	id, have := res.ID.String(), res.Identity
	if e.Identity == nil || e.Identity.UserAssigned == "" {
		if have == nil || have.PrincipalID == "" {
			return onbehalf.Identity{}, invalidProperty("identity",
				"encryption.keySource '%s' needs the system-assigned identity of the account '%s', which has none after this write. Keep SystemAssigned in identity.type, or choose an identity in encryption.identity.userAssignedIdentity.", keySourceKeyvault, id)
		}
		return onbehalf.Identity{PrincipalID: have.PrincipalID, ResourceID: id, IdentityID: id}, nil
	}
	if have != nil {
		for userID, u := range have.UserAssigned {
			if strings.EqualFold(userID, e.Identity.UserAssigned) {
				return onbehalf.Identity{PrincipalID: u.PrincipalID, ResourceID: id, IdentityID: userID}, nil
			}
		}
	}
	return onbehalf.Identity{}, invalidProperty("encryption.identity.userAssignedIdentity",
		"encryption.keySource '%s' needs the identity '%s', which is not assigned to the account '%s' after this write. Keep it in identity.userAssignedIdentities, or choose another in encryption.identity.", keySourceKeyvault, e.Identity.UserAssigned, id)
}

// prepareAccount makes a new account's data key, and wraps the account key when the client says by what. What it does
// not say is not tried, so that a lost key does not stand in the way of a change of tags.
func (s *Storage) prepareAccount(ctx context.Context, w *arm.Write) error {
	write := w.Private.(*accountWrite)
	owner := w.New.ID.Key()
	if w.Old == nil {
		key, err := s.Keys.Key(ctx, owner)
		if err != nil {
			return err
		}
		write.data = newDataKey(key, w.New.ID.Name())
	}
	var given struct{ Encryption *json.RawMessage }
	if err := json.Unmarshal(w.Body, &given); err != nil || given.Encryption == nil {
		return err
	}
	var config *customerkey.Config
	if e := write.encryption; e != nil {
		config = &customerkey.Config{Identity: write.identity, KeyID: e.KeyVault.keyID()}
	} else if state, err := s.Keys.State(ctx, owner); err != nil || !state.Customer {
		return err
	}
	var err error
	write.wrapping, err = s.Keys.Prepare(ctx, owner, config)
	return keyRefused(err)
}

// keyRefused renders the problem of a customer key that is to come; one of the key in use is the data plane's.
func keyRefused(err error) error {
	var p *customerkey.Problem
	switch {
	case !errors.As(err, &p):
		return err
	case p.InUse:
		return inaccessible(err)
	}
	e := invalidProperty("encryption.keyvaultproperties", "The customer's key cannot be used. %s", p.Detail)
	switch {
	case p.Code == "PurgeProtectionRequired":
		e.Code, e.Message = "KeyVaultPolicyError", "Keyvault policy recoverable is not set. "+p.Detail
	case !p.Denied:
		e.Code, e.Message = "KeyVaultUnreachable", "The key vault could not be reached. "+p.Detail
	case !p.Unusable:
		e.Code, e.Message = "KeyVaultAuthenticationFailure", "The operation failed because of authentication issue on the keyvault. "+p.Detail
	}
	e.Details = []azure.Error{{Code: p.Code, Message: p.Detail, Target: e.Target}}
	return e
}

// showEncryption completes an account's encryption with what is not stored in its properties.
func (s *Storage) showEncryption(ctx context.Context, tx *store.Tx, res *arm.Resource, props *accountProperties, created string) error {
	e := props.Encryption
	if e == nil {
		e = &encryption{KeySource: keySourceStorage}
		props.Encryption = e
	}
	yes := true
	e.Services = map[string]*encryptionService{"blob": {Enabled: &yes, KeyType: "Account", LastEnabledTime: created}}
	if e.KeyVault == nil {
		return nil
	}
	state, err := s.Keys.StateIn(ctx, tx, res.ID.Key())
	if err != nil || !state.Customer { // the first write has not ended
		return err
	}
	e.KeyVault.Current = state.KeyID
	e.KeyVault.Rotated = state.Rotated.UTC().Format(timeFormat)
	return nil
}
