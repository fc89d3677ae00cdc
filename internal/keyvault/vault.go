package keyvault

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// vaultType is the resource type of vaults.
const vaultType = "Microsoft.KeyVault/vaults"

// vaultVersions are the api-versions of Microsoft.KeyVault. From rbacByDefault on a new vault authorizes by roles
// unless it says otherwise.
var vaultVersions = []string{
	"2015-06-01", "2016-10-01", "2018-02-14-preview", "2018-02-14", "2019-09-01", "2020-04-01-preview", "2021-04-01-preview",
	"2021-06-01-preview", "2021-10-01", "2021-11-01-preview", "2022-02-01-preview", "2022-07-01", "2022-11-01", "2023-02-01",
	"2023-07-01", "2024-04-01-preview", "2024-11-01", "2024-12-01-preview", "2025-05-01", "2026-02-01", "2026-04-01",
}

const rbacByDefault = "2026-02-01"

// Retention of what was deleted, in days.
const (
	minRetention = 7
	maxRetention = 90
)

// properties are a vault's properties as they are stored.
type properties struct {
	ID                           string         `json:"id"` // GUID of this life of the name; not shown
	TenantID                     string         `json:"tenantId"`
	SKU                          sku            `json:"sku"`
	AccessPolicies               []accessPolicy `json:"accessPolicies"`
	NetworkACLs                  *networkACLs   `json:"networkAcls,omitempty"`
	PublicNetworkAccess          string         `json:"publicNetworkAccess"`
	EnabledForDeployment         bool           `json:"enabledForDeployment"`
	EnabledForDiskEncryption     bool           `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment bool           `json:"enabledForTemplateDeployment"`
	RetentionDays                int            `json:"softDeleteRetentionInDays"`
	PurgeProtection              bool           `json:"enablePurgeProtection,omitempty"`
	RBAC                         bool           `json:"enableRbacAuthorization"`
}

// retention is how long deleted keys, and the deleted vault, can be recovered.
func (p *properties) retention() time.Duration {
	return time.Duration(p.RetentionDays) * 24 * time.Hour
}

type sku struct {
	Family string `json:"family"` // "A"
	Name   string `json:"name"`   // "standard" or "premium"
}

// request is what a client may send as a vault's properties. What it leaves out is nil.
type request struct {
	CreateMode                   *string         `json:"createMode"`
	TenantID                     *string         `json:"tenantId"`
	SKU                          *sku            `json:"sku"`
	AccessPolicies               *[]accessPolicy `json:"accessPolicies"`
	NetworkACLs                  *networkACLs    `json:"networkAcls"`
	PublicNetworkAccess          *string         `json:"publicNetworkAccess"`
	EnabledForDeployment         *bool           `json:"enabledForDeployment"`
	EnabledForDiskEncryption     *bool           `json:"enabledForDiskEncryption"`
	EnabledForTemplateDeployment *bool           `json:"enabledForTemplateDeployment"`
	SoftDelete                   *bool           `json:"enableSoftDelete"`
	RetentionDays                *int            `json:"softDeleteRetentionInDays"`
	PurgeProtection              *bool           `json:"enablePurgeProtection"`
	RBAC                         *bool           `json:"enableRbacAuthorization"`
}

// Provider is what the resource manager serves of vaults.
func (v *Vaults) Provider() arm.Provider {
	return arm.Provider{
		Namespace: "Microsoft.KeyVault",
		Types: []arm.Type{{
			Name: vaultType, Versions: vaultVersions, Tracked: true,
			Unique: true, TakenCode: "VaultAlreadyExists", CreateStatus: http.StatusOK,
			CheckName: checkVaultName,
			Validate:  v.validateVault,
			Commit:    v.commitVault,
			Delete:    v.deleteVault,
			Move:      v.moveVault,
			Show:      showVault,
		}},
		Commands: append(v.commands(), managedHSMs()...),
	}
}

var vaultName = regexp.MustCompile(`^[A-Za-z](-?[A-Za-z0-9])*$`)

func checkVaultName(name string) error {
	if len(name) < 3 || len(name) > 24 || !vaultName.MatchString(name) {
		return azure.Errorf(http.StatusBadRequest, "VaultNameNotValid", "The vault name '%s' is invalid. "+
			"A vault's name must be between 3-24 alphanumeric characters. The name must begin with a letter, end with a letter or digit, "+
			"and not contain consecutive hyphens.", name)
	}
	return nil
}

func badVault(target, format string, args ...any) *azure.Error {
	e := azure.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
	e.Target = "properties." + target
	return e
}

func (v *Vaults) validateVault(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	var body request
	if len(w.Body) > 0 {
		if err := json.Unmarshal(w.Body, &body); err != nil {
			return azure.Errorf(http.StatusBadRequest, "InvalidRequestContent",
				"The request content was invalid and could not be deserialized: '%v'.", err)
		}
	}
	if body.CreateMode != nil && !oneOf(*body.CreateMode, "default", "recover") {
		return badVault("createMode", "createMode '%s' is not valid: it is 'default' or 'recover'.", *body.CreateMode)
	}
	var p properties
	var err error
	switch {
	case w.Old != nil:
		if err := json.Unmarshal(w.Old.Properties, &p); err != nil {
			return err
		}
		was := p.RBAC
		if err := body.applyTo(&p, v.TenantID); err != nil {
			return err
		}
		if p.RBAC != was {
			if err := v.mayChangePermissionModel(ctx, w); err != nil {
				return err
			}
		}
	case body.CreateMode != nil && strings.EqualFold(*body.CreateMode, "recover"):
		if p, err = v.recoverableVault(ctx, tx, w.New); err != nil {
			return err
		}
	default:
		if err := v.nameIsFree(ctx, tx, w.New.ID.Name()); err != nil {
			return err
		}
		if p, err = body.newVault(w.Version, v.TenantID); err != nil {
			return err
		}
	}
	w.New.Properties, err = json.Marshal(p)
	return err
}

// mayChangePermissionModel keeps a contributor, who may write a vault but not assign roles, from giving itself keys by
// switching to access policies.
func (v *Vaults) mayChangePermissionModel(ctx context.Context, w *arm.Write) error {
	d, err := v.RBAC.Decide(ctx, rbac.Query{
		Principals: w.Caller.Principals(), Action: "Microsoft.Authorization/roleAssignments/write", Scope: w.New.ID.String(),
	})
	if err != nil || d.Allowed {
		return err
	}
	e := azure.Errorf(http.StatusForbidden, "InsufficientPermissions", "Caller is not allowed to change permission model, "+
		"which takes the right to assign roles: %s.", d.Reason())
	e.Target = "properties.enableRbacAuthorization"
	return e
}

func (body *request) newVault(version, tenant string) (properties, error) {
	p := properties{
		ID: azure.NewGUID(), RetentionDays: maxRetention, RBAC: version >= rbacByDefault,
		AccessPolicies: []accessPolicy{}, PublicNetworkAccess: "Enabled",
	}
	switch {
	case body.SKU == nil:
		return p, badVault("sku", "The parameter sku is not specified. It is {\"family\": \"A\", \"name\": \"standard\" or \"premium\"}.")
	case body.TenantID == nil:
		return p, badVault("tenantId", "The parameter tenantId is not specified.")
	}
	if body.RetentionDays != nil {
		if p.RetentionDays = *body.RetentionDays; p.RetentionDays < minRetention || p.RetentionDays > maxRetention {
			return p, badVault("softDeleteRetentionInDays", "The property \"softDeleteRetentionInDays\" is %d; it has to be from %d to %d.",
				p.RetentionDays, minRetention, maxRetention)
		}
	}
	if err := body.applyTo(&p, tenant); err != nil {
		return p, err
	}
	if !p.RBAC && body.AccessPolicies == nil {
		return p, badVault("accessPolicies", "The parameter accessPolicies is not specified. A vault without enableRbacAuthorization needs it; an empty list will do.")
	}
	return p, nil
}

// applyTo changes p to what the body asks for, and refuses what cannot be changed or is not valid.
func (body *request) applyTo(p *properties, tenant string) error {
	if body.TenantID != nil {
		if !strings.EqualFold(*body.TenantID, tenant) {
			return badVault("tenantId", "An invalid value was provided for 'tenantId'. This server's tenant is %s.", tenant)
		}
		p.TenantID = strings.ToLower(tenant)
	}
	if body.SKU != nil {
		name := strings.ToLower(body.SKU.Name)
		if !strings.EqualFold(body.SKU.Family, "A") || !oneOf(name, "standard", "premium") {
			return badVault("sku", "The sku is {family: '%s', name: '%s'}; it has to be of family 'A' and named 'standard' or 'premium'.", body.SKU.Family, body.SKU.Name)
		}
		p.SKU = sku{Family: "A", Name: name}
	}
	if body.AccessPolicies != nil {
		if err := checkAccessPolicies(*body.AccessPolicies, tenant); err != nil {
			return err
		}
		p.AccessPolicies = *body.AccessPolicies
		if p.AccessPolicies == nil {
			p.AccessPolicies = []accessPolicy{}
		}
	}
	if body.NetworkACLs != nil {
		if err := body.NetworkACLs.check(); err != nil {
			return err
		}
		p.NetworkACLs = body.NetworkACLs
	}
	if body.PublicNetworkAccess != nil {
		i := slices.IndexFunc([]string{"Enabled", "Disabled"}, func(s string) bool { return strings.EqualFold(s, *body.PublicNetworkAccess) })
		if i < 0 {
			return badVault("publicNetworkAccess", "publicNetworkAccess '%s' is not valid: it is 'Enabled' or 'Disabled'.", *body.PublicNetworkAccess)
		}
		p.PublicNetworkAccess = []string{"Enabled", "Disabled"}[i]
	}
	if body.SoftDelete != nil && !*body.SoftDelete {
		return badVault("enableSoftDelete", "The property \"enableSoftDelete\" cannot be set to false: soft delete is always on.")
	}
	if body.RetentionDays != nil && *body.RetentionDays != p.RetentionDays {
		return badVault("softDeleteRetentionInDays", "The property \"softDeleteRetentionInDays\" has been set already and it can't be modified. It is %d.", p.RetentionDays)
	}
	if body.PurgeProtection != nil {
		if !*body.PurgeProtection {
			return badVault("enablePurgeProtection", "The property \"enablePurgeProtection\" cannot be set to false. "+
				"Enabling the purge protection for a vault is an irreversible action. Leave the property out of a vault that is not to have it.")
		}
		p.PurgeProtection = true
	}
	for _, set := range []struct {
		to   *bool
		from *bool
	}{
		{&p.RBAC, body.RBAC},
		{&p.EnabledForDeployment, body.EnabledForDeployment},
		{&p.EnabledForDiskEncryption, body.EnabledForDiskEncryption},
		{&p.EnabledForTemplateDeployment, body.EnabledForTemplateDeployment},
	} {
		if set.from != nil {
			*set.to = *set.from
		}
	}
	return nil
}

// commitVault takes the name of a new vault, or gives it back to a recovered one.
func (v *Vaults) commitVault(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	name := w.New.ID.Name()
	if err := v.vaultChanged(ctx, tx, name); err != nil || w.Old != nil {
		return err
	}
	var p properties
	if err := json.Unmarshal(w.New.Properties, &p); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE keyvault_vaults SET deleted = 0, purge = 0 WHERE name = $1 AND id = $2`, strings.ToLower(name), p.ID)
	if err != nil || n == 1 {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO keyvault_vaults (name, id, deleted, purge, resource, subscription, location, tags, properties)
		VALUES ($1, $2, 0, 0, $3, $4, '', '', '')`,
		strings.ToLower(name), p.ID, w.New.ID.String(), strings.ToLower(w.New.ID.Subscription()))
	return err
}

// deleteVault keeps what recovery needs. The keys stay where they are: without its resource nobody reaches them.
func (v *Vaults) deleteVault(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
	var p properties
	if err := json.Unmarshal(res.Properties, &p); err != nil {
		return err
	}
	tags, err := json.Marshal(res.Tags)
	if err != nil {
		return err
	}
	now := time.Now()
	_, err = tx.Exec(ctx, `UPDATE keyvault_vaults SET deleted = $1, purge = $2, location = $3, tags = $4, properties = $5 WHERE id = $6`,
		store.Micros(now), store.Micros(now.Add(p.retention())), res.Location, string(tags), string(res.Properties), p.ID)
	if err != nil {
		return err
	}
	tx.AfterCommit(func() { v.privates.dropVault(p.ID) })
	return v.vaultChanged(ctx, tx, res.ID.Name())
}

func showVault(_ context.Context, _ *store.Tx, res *arm.Resource, view arm.View) (any, error) {
	shown := struct {
		ID string `json:"id,omitempty"` // hides the stored one
		properties
		SoftDelete        bool   `json:"enableSoftDelete"`
		VaultURI          string `json:"vaultUri"`
		ProvisioningState string `json:"provisioningState"`
	}{SoftDelete: true, VaultURI: view.URLs.Vault(strings.ToLower(res.ID.Name())) + "/", ProvisioningState: res.State}
	if err := json.Unmarshal(res.Properties, &shown.properties); err != nil {
		return nil, err
	}
	return shown, nil
}

func oneOf(s string, of ...string) bool {
	return slices.ContainsFunc(of, func(o string) bool { return strings.EqualFold(s, o) })
}
