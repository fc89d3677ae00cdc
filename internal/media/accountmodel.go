package media

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
)

// Values of an account's properties.
const (
	storageManagedIdentity = "ManagedIdentity"
	storageSystem          = "System"
	systemKey              = "SystemKey"
	customerKey            = "CustomerKey"
)

// account is a media account as it is stored.
type account struct {
	Resource *arm.Resource
	accountProperties
}

// accountProperties are stored as the account's properties; ams.md A.2, MediaServiceProperties without what is read-only.
type accountProperties struct {
	MediaServiceID        string           `json:"mediaServiceId"`
	StorageAccounts       []storageAccount `json:"storageAccounts"`
	StorageAuthentication string           `json:"storageAuthentication"`
	Encryption            encryption       `json:"encryption"`
	KeyDelivery           keyDelivery      `json:"keyDelivery"`
	PublicNetworkAccess   string           `json:"publicNetworkAccess"`
	MinimumTLSVersion     string           `json:"minimumTlsVersion"`
}

// storageAccount is a storage account that the media account uses. Status is shown and not stored.
type storageAccount struct {
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Identity *resourceIdentity `json:"identity,omitempty"`
	Status   string            `json:"status,omitempty"`
}

// resourceIdentity chooses one of the account's identities.
type resourceIdentity struct {
	UserAssignedIdentity      string `json:"userAssignedIdentity,omitempty"`
	UseSystemAssignedIdentity bool   `json:"useSystemAssignedIdentity"`
}

// encryption says what wraps the account key. CurrentKeyIdentifier and Status are shown and not stored.
type encryption struct {
	Type               string              `json:"type"`
	KeyVaultProperties *keyVaultProperties `json:"keyVaultProperties,omitempty"`
	Identity           *resourceIdentity   `json:"identity,omitempty"`
	Status             string              `json:"status,omitempty"`
}

type keyVaultProperties struct {
	KeyIdentifier        string `json:"keyIdentifier"`
	CurrentKeyIdentifier string `json:"currentKeyIdentifier,omitempty"`
}

type keyDelivery struct {
	AccessControl accessControl `json:"accessControl"`
}

// accessControl is the list of addresses that may ask for keys when DefaultAction is Deny.
type accessControl struct {
	DefaultAction string   `json:"defaultAction"`
	IPAllowList   []string `json:"ipAllowList"`
}

func decodeAccount(res *arm.Resource) (*account, error) {
	a := &account{Resource: res}
	if err := json.Unmarshal(res.Properties, &a.accountProperties); err != nil {
		return nil, fmt.Errorf("reading the media account %s: %w", res.ID, err)
	}
	return a, nil
}

// key is the account's name in our tables.
func (a *account) key() string { return a.Resource.ID.Key() }

// identity returns the identity that c chooses, of those that the account has; nil chooses the system-assigned one.
func (a *account) identity(c *resourceIdentity) (onbehalf.Identity, error) {
	id := a.Resource.ID.String()
	have := a.Resource.Identity
	if c == nil || c.UserAssignedIdentity == "" {
		if have == nil || have.PrincipalID == "" {
			return onbehalf.Identity{}, badRequest("identity",
				"The account '%s' has no system-assigned identity. Give it one (identity.type SystemAssigned), or choose a user-assigned identity.", id)
		}
		return onbehalf.Identity{PrincipalID: have.PrincipalID, ResourceID: id, IdentityID: id}, nil
	}
	if have != nil {
		for userID, u := range have.UserAssigned {
			if strings.EqualFold(userID, c.UserAssignedIdentity) {
				return onbehalf.Identity{PrincipalID: u.PrincipalID, ResourceID: id, IdentityID: userID}, nil
			}
		}
	}
	return onbehalf.Identity{}, notAssigned(id, c.UserAssignedIdentity)
}

func notAssigned(account, identity string) *azure.Error {
	return badRequest("identity", "The identity '%s' is not assigned to the account '%s'. Add it to identity.userAssignedIdentities.", identity, account)
}

// hasIdentity checks a choice against an identity block whose new identities are not made yet. user is the mapping that
// needs the identity, for the message.
func hasIdentity(res *arm.Resource, c *resourceIdentity, target, user string) error {
	have := ""
	if res.Identity != nil {
		have = res.Identity.Type
	}
	if c.UserAssignedIdentity == "" {
		c.UseSystemAssignedIdentity = true
		if !strings.Contains(have, "SystemAssigned") {
			return badRequest(target, "%s needs the system-assigned identity of the account, which has none after this write. Keep SystemAssigned in identity.type, or choose a user-assigned identity in %s.", user, target)
		}
		return nil
	}
	if c.UseSystemAssignedIdentity {
		return badRequest(target, "useSystemAssignedIdentity and userAssignedIdentity exclude each other. Choose one.")
	}
	if res.Identity != nil {
		for userID := range res.Identity.UserAssigned {
			if strings.EqualFold(userID, c.UserAssignedIdentity) {
				return nil
			}
		}
	}
	return badRequest(target, "%s needs the identity '%s', which is not assigned to the account '%s' after this write. Keep it in identity.userAssignedIdentities, or choose another in %s.",
		user, c.UserAssignedIdentity, res.ID, target)
}

// check completes and validates the properties.
func (p *accountProperties) check(res *arm.Resource) error {
	if err := p.checkStorage(res); err != nil {
		return err
	}
	if err := p.checkEncryption(res); err != nil {
		return err
	}
	if err := oneOf("properties.publicNetworkAccess", &p.PublicNetworkAccess, "Enabled", "Disabled"); err != nil {
		return err
	}
	if err := oneOf("properties.minimumTlsVersion", &p.MinimumTLSVersion, "Tls12", "Unspecified", "Tls10", "Tls11", "Tls13"); err != nil {
		return err
	}
	return p.KeyDelivery.AccessControl.check()
}

// oneOf brings *v to the spelling of one of values; empty becomes the first.
func oneOf(target string, v *string, values ...string) error {
	if *v == "" {
		*v = values[0]
	}
	for _, want := range values {
		if strings.EqualFold(*v, want) {
			*v = want
			return nil
		}
	}
	return badRequest(target, "'%s' is not a value of %s. It is one of %s.", *v, target, strings.Join(values, ", "))
}

func (p *accountProperties) checkStorage(res *arm.Resource) error {
	const target = "properties.storageAccounts"
	if err := oneOf("properties.storageAuthentication", &p.StorageAuthentication, storageSystem, storageManagedIdentity); err != nil {
		return err
	}
	primaries := 0
	seen := map[string]bool{}
	for i := range p.StorageAccounts {
		a := &p.StorageAccounts[i]
		if err := oneOf(target+".type", &a.Type, "Primary", "Secondary"); err != nil {
			return err
		}
		if a.Type == "Primary" {
			primaries++
		}
		id, err := azure.ParseResourceID(a.ID)
		if err != nil || !strings.EqualFold(id.Type(), storageAccountType) || id.IsCollection() {
			return badRequest(target+".id", "'%s' is not the ID of a storage account.", a.ID)
		}
		if seen[id.Key()] {
			return badRequest(target, "The storage account '%s' is named twice.", a.ID)
		}
		seen[id.Key()] = true
		if p.StorageAuthentication == storageSystem {
			a.Identity = nil // the mode does not use identities
			if !strings.EqualFold(id.Subscription(), res.ID.Subscription()) {
				return badRequest(target+".id", "The storage account '%s' is in another subscription than the media account, which storageAuthentication 'System' does not reach. Set storageAuthentication to 'ManagedIdentity'.", a.ID)
			}
			continue
		}
		if a.Identity == nil {
			a.Identity = &resourceIdentity{}
		}
		if err := hasIdentity(res, a.Identity, target+".identity", "The storage account '"+a.ID+"'"); err != nil {
			return err
		}
	}
	if primaries != 1 {
		return badRequest(target, "A media account has exactly one primary storage account, not %d.", primaries)
	}
	return nil
}

func (p *accountProperties) checkEncryption(res *arm.Resource) error {
	const target = "properties.encryption"
	e := &p.Encryption
	if err := oneOf(target+".type", &e.Type, systemKey, customerKey); err != nil {
		return err
	}
	if e.Type == systemKey {
		e.KeyVaultProperties, e.Identity = nil, nil
		return nil
	}
	if e.KeyVaultProperties == nil || e.KeyVaultProperties.KeyIdentifier == "" {
		return badRequest(target+".keyVaultProperties.keyIdentifier", "Encryption with CustomerKey needs keyVaultProperties.keyIdentifier.")
	}
	if e.Identity == nil {
		e.Identity = &resourceIdentity{}
	}
	return hasIdentity(res, e.Identity, target+".identity", "The customer key '"+e.KeyVaultProperties.KeyIdentifier+"'")
}
