package keyvault

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// deletedVault is a vault that was deleted and not yet purged.
type deletedVault struct {
	name           string
	resource       azure.ResourceID
	location       string
	tags           map[string]string
	deleted, purge time.Time
	properties     properties
}

const deletedVaultColumns = `SELECT name, resource, location, tags, deleted, purge, properties FROM keyvault_vaults
	WHERE deleted > 0 AND purge > $1 `

func scanDeletedVault(row interface{ Scan(...any) error }) (*deletedVault, error) {
	var d deletedVault
	var resource, tags, props string
	var deleted, purge int64
	if err := row.Scan(&d.name, &resource, &d.location, &tags, &deleted, &purge, &props); err != nil {
		return nil, err
	}
	var err error
	if d.resource, err = azure.ParseResourceID(resource); err != nil {
		return nil, err
	}
	d.deleted, d.purge = store.Time(deleted), store.Time(purge)
	return &d, errors.Join(json.Unmarshal([]byte(tags), &d.tags), json.Unmarshal([]byte(props), &d.properties))
}

// nameIsFree refuses the name of a deleted vault that can be recovered, and erases one past its retention period. (The
// resource manager refuses that of a living one.)
func (v *Vaults) nameIsFree(ctx context.Context, tx *store.Tx, name string) error {
	now := time.Now()
	var purge int64
	err := tx.QueryRow(ctx, `SELECT purge FROM keyvault_vaults WHERE name = $1`, strings.ToLower(name)).Scan(&purge)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case purge <= store.Micros(now):
		return eraseExpired(ctx, tx, now)
	}
	return azure.Errorf(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. "+
		"You need to either recover or purge existing key vault. Recover it by creating it with createMode 'recover' in its own resource group. "+
		"Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
}

// recoverableVault returns the properties of the deleted vault that res is to become, and gives res its tags.
func (v *Vaults) recoverableVault(ctx context.Context, tx *store.Tx, res *arm.Resource) (properties, error) {
	row := tx.QueryRow(ctx, deletedVaultColumns+`AND name = $2`, store.Micros(time.Now()), strings.ToLower(res.ID.Name()))
	d, err := scanDeletedVault(row)
	if errors.Is(err, sql.ErrNoRows) || err == nil && (d.resource.Key() != res.ID.Key() || !sameLocation(d.location, res.Location)) {
		return properties{}, azure.Errorf(http.StatusBadRequest, "SoftDeletedVaultDoesNotExist", "A soft deleted vault with the given name does not exist. "+
			"Ensure that the name for the vault that is being attempted to recover is in a recoverable state, and that subscription, resource group and location are those it had. "+
			"For more information on soft delete please follow this link https://go.microsoft.com/fwlink/?linkid=2149745")
	}
	if err != nil {
		return properties{}, err
	}
	if len(res.Tags) == 0 {
		res.Tags = d.tags
	}
	return d.properties, nil
}

// sameLocation compares "West Europe" and "westeurope" as equal.
func sameLocation(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", ""))
}

const provider = "/subscriptions/{subscription}/providers/Microsoft.KeyVault"

func (v *Vaults) commands() []arm.Command {
	return []arm.Command{
		{
			Name: "Vaults.CheckNameAvailability", Method: http.MethodPost, Pattern: provider + "/checkNameAvailability",
			Action: "Microsoft.KeyVault/checkNameAvailability/read", Handle: v.checkNameAvailability,
		},
		{
			Name: "Vaults.ListDeleted", Method: http.MethodGet, Pattern: provider + "/deletedVaults",
			Action: "Microsoft.KeyVault/deletedVaults/read", Handle: v.listDeletedVaults,
		},
		{
			Name: "Vaults.ListDeletedByLocation", Method: http.MethodGet, Pattern: provider + "/locations/{location}/deletedVaults",
			Action: "Microsoft.KeyVault/locations/deletedVaults/read", Handle: v.listDeletedVaults,
		},
		{
			Name: "Vaults.GetDeleted", Method: http.MethodGet, Pattern: provider + "/locations/{location}/deletedVaults/{name}",
			Action: "Microsoft.KeyVault/locations/deletedVaults/read", Handle: v.getDeletedVault,
		},
		{
			Name: "Vaults.PurgeDeleted", Method: http.MethodPost, Pattern: provider + "/locations/{location}/deletedVaults/{name}/purge",
			Action: "Microsoft.KeyVault/locations/deletedVaults/purge/action", Handle: v.purgeDeletedVault,
		},
		{
			Name: "Vaults.UpdateAccessPolicy", Method: http.MethodPut,
			Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.KeyVault/vaults/{name}/accessPolicies/{operation}",
			Action:  "Microsoft.KeyVault/vaults/accessPolicies/write", Handle: v.updateAccessPolicies,
		},
	}
}

func (v *Vaults) checkNameAvailability(w http.ResponseWriter, r *azure.Request) error {
	var body struct{ Name, Type string }
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	if !strings.EqualFold(body.Type, vaultType) {
		e := azure.Errorf(http.StatusBadRequest, "BadRequest", "type '%s' is not valid: it is '%s'.", body.Type, vaultType)
		e.Target = "type"
		return e
	}
	answer := map[string]any{"nameAvailable": true}
	if err := checkVaultName(body.Name); err != nil {
		answer = map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": err.(*azure.Error).Message}
		return azure.WriteJSON(w, http.StatusOK, answer)
	}
	var taken int
	err := v.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(r.Context(), `SELECT COUNT(*) FROM keyvault_vaults WHERE name = $1 AND (deleted = 0 OR purge > $2)`,
			strings.ToLower(body.Name), store.Micros(time.Now())).Scan(&taken)
	})
	if err != nil {
		return err
	}
	if taken > 0 {
		answer = map[string]any{
			"nameAvailable": false, "reason": "AlreadyExists",
			"message": "The name '" + body.Name + "' is already in use, by a vault or by a deleted one that can still be recovered.",
		}
	}
	return azure.WriteJSON(w, http.StatusOK, answer)
}

func (d *deletedVault) show() map[string]any {
	subscription := "/subscriptions/" + d.resource.Subscription()
	return map[string]any{
		"id":   subscription + "/providers/Microsoft.KeyVault/locations/" + d.location + "/deletedVaults/" + d.resource.Name(),
		"name": d.resource.Name(), "type": "Microsoft.KeyVault/deletedVaults",
		"properties": map[string]any{
			"vaultId": d.resource.String(), "location": d.location, "tags": d.tags,
			"deletionDate": d.deleted.UTC().Format(time.RFC3339), "scheduledPurgeDate": d.purge.UTC().Format(time.RFC3339),
			"purgeProtectionEnabled": d.properties.PurgeProtection,
		},
	}
}

func (v *Vaults) listDeletedVaults(w http.ResponseWriter, r *azure.Request) error {
	list := []any{}
	err := v.DB.View(r.Context(), func(tx *store.Tx) error {
		list = list[:0]
		rows, err := tx.Query(r.Context(), deletedVaultColumns+`AND subscription = $2 ORDER BY name`,
			store.Micros(time.Now()), strings.ToLower(r.Vars["subscription"]))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			d, err := scanDeletedVault(rows)
			if err != nil {
				return err
			}
			if at, ok := r.Vars["location"]; !ok || sameLocation(at, d.location) {
				list = append(list, d.show())
			}
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": list})
}

// findDeletedVault returns the deleted vault that a request names.
func (v *Vaults) findDeletedVault(ctx context.Context, tx *store.Tx, r *azure.Request) (*deletedVault, error) {
	d, err := scanDeletedVault(tx.QueryRow(ctx, deletedVaultColumns+`AND name = $2 AND subscription = $3`,
		store.Micros(time.Now()), strings.ToLower(r.Vars["name"]), strings.ToLower(r.Vars["subscription"])))
	if errors.Is(err, sql.ErrNoRows) || err == nil && !sameLocation(d.location, r.Vars["location"]) {
		return nil, azure.Errorf(http.StatusNotFound, "DeletedVaultNotFound",
			"The specified deleted vault '%s' does not exist in location '%s'.", r.Vars["name"], r.Vars["location"])
	}
	return d, err
}

func (v *Vaults) getDeletedVault(w http.ResponseWriter, r *azure.Request) error {
	var d *deletedVault
	err := v.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		d, err = v.findDeletedVault(r.Context(), tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, d.show())
}

// purgeDeletedVault makes a deleted vault's retention period end now, which erases it.
func (v *Vaults) purgeDeletedVault(w http.ResponseWriter, r *azure.Request) error {
	err := v.DB.Update(r.Context(), func(tx *store.Tx) error {
		d, err := v.findDeletedVault(r.Context(), tx, r)
		if err != nil {
			return err
		}
		if d.properties.PurgeProtection {
			return azure.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed: "+
				"purge protection is enabled for vault '%s', which is purged on %s.", d.resource.Name(), d.purge.UTC().Format(time.RFC3339))
		}
		now := time.Now()
		if _, err := tx.Exec(r.Context(), `UPDATE keyvault_vaults SET purge = $1 WHERE id = $2`, store.Micros(now), d.properties.ID); err != nil {
			return err
		}
		return eraseExpired(r.Context(), tx, now)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
