package keyvault

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// accessPolicy grants one principal, or everyone in one group, permissions in a vault that does not authorize by roles.
type accessPolicy struct {
	TenantID      string      `json:"tenantId"`
	ObjectID      string      `json:"objectId"`
	ApplicationID string      `json:"applicationId,omitempty"` // the grant holds only through this application
	Permissions   permissions `json:"permissions"`
}

type permissions struct {
	Keys         []string `json:"keys,omitempty"`
	Secrets      []string `json:"secrets,omitempty"`
	Certificates []string `json:"certificates,omitempty"`
	Storage      []string `json:"storage,omitempty"`
}

// maxAccessPolicies is Azure's limit.
const maxAccessPolicies = 1024

var (
	keyPermissions = []string{
		"all", "encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "get", "list", "create", "update", "import", "delete",
		"backup", "restore", "recover", "purge", "release", "rotate", "getrotationpolicy", "setrotationpolicy",
	}
	secretPermissions      = []string{"all", "get", "list", "set", "delete", "backup", "restore", "recover", "purge"}
	certificatePermissions = []string{
		"all", "get", "list", "delete", "create", "import", "update", "managecontacts", "getissuers", "listissuers", "setissuers",
		"deleteissuers", "manageissuers", "recover", "purge", "backup", "restore",
	}
	storagePermissions = []string{
		"all", "get", "list", "delete", "set", "update", "regeneratekey", "recover", "purge", "backup", "restore",
		"setsas", "listsas", "getsas", "deletesas",
	}
)

func checkAccessPolicies(policies []accessPolicy, tenant string) error {
	if len(policies) > maxAccessPolicies {
		return badVault("accessPolicies", "accessPolicies has %d entries; a vault takes at most %d.", len(policies), maxAccessPolicies)
	}
	for _, p := range policies {
		if !strings.EqualFold(p.TenantID, tenant) {
			return badVault("accessPolicies", "An invalid value was provided for 'accessPolicies': tenantId '%s' is not the vault's tenant %s.", p.TenantID, tenant)
		}
		if p.ObjectID == "" {
			return badVault("accessPolicies", "An invalid value was provided for 'accessPolicies': an entry has no objectId.")
		}
		for _, set := range []struct {
			kind        string
			given, know []string
		}{
			{"keys", p.Permissions.Keys, keyPermissions},
			{"secrets", p.Permissions.Secrets, secretPermissions},
			{"certificates", p.Permissions.Certificates, certificatePermissions},
			{"storage", p.Permissions.Storage, storagePermissions},
		} {
			for _, name := range set.given {
				if !oneOf(name, set.know...) {
					return badVault("accessPolicies", "An invalid value was provided for 'accessPolicies': '%s' is not a permission for %s. They are: %s.",
						name, set.kind, strings.Join(set.know, ", "))
				}
			}
		}
	}
	return nil
}

// allowKeys reports whether a policy grants the caller a permission on keys. "all" leaves out purge, which ends a key
// for good and has to be named.
func (p *properties) allowKeys(caller *azure.Caller, permission string) bool {
	return slices.ContainsFunc(p.AccessPolicies, func(a accessPolicy) bool {
		return oneOf(a.ObjectID, caller.Principals()...) &&
			(a.ApplicationID == "" || strings.EqualFold(a.ApplicationID, caller.AppID)) &&
			(oneOf(permission, a.Permissions.Keys...) || permission != "purge" && oneOf("all", a.Permissions.Keys...))
	})
}

// sameGrantee reports whether two entries are for the same principal through the same application.
func sameGrantee(a, b accessPolicy) bool {
	return strings.EqualFold(a.ObjectID, b.ObjectID) && strings.EqualFold(a.ApplicationID, b.ApplicationID)
}

// merge returns the entries after an accessPolicies operation: "add" grants what an entry lists beside what stands,
// "replace" in its place, "remove" takes it away and with it an entry that is left with nothing.
func merge(policies, change []accessPolicy, operation string) []accessPolicy {
	out := slices.Clone(policies)
	for _, c := range change {
		i := slices.IndexFunc(out, func(p accessPolicy) bool { return sameGrantee(p, c) })
		switch {
		case i < 0 && operation != "remove":
			out = append(out, c)
		case i < 0:
		case operation == "replace":
			out[i] = c
		default:
			have := out[i].Permissions
			out[i].Permissions = permissions{
				Keys:         mergeNames(have.Keys, c.Permissions.Keys, operation),
				Secrets:      mergeNames(have.Secrets, c.Permissions.Secrets, operation),
				Certificates: mergeNames(have.Certificates, c.Permissions.Certificates, operation),
				Storage:      mergeNames(have.Storage, c.Permissions.Storage, operation),
			}
			if p := out[i].Permissions; len(p.Keys)+len(p.Secrets)+len(p.Certificates)+len(p.Storage) == 0 {
				out = slices.Delete(out, i, i+1)
			}
		}
	}
	return out
}

func mergeNames(have, change []string, operation string) []string {
	var out []string
	for _, name := range have {
		if operation == "add" || !oneOf(name, change...) {
			out = append(out, name)
		}
	}
	if operation == "add" {
		for _, name := range change {
			if !oneOf(name, out...) {
				out = append(out, name)
			}
		}
	}
	return out
}

// updateAccessPolicies serves PUT {vault}/accessPolicies/{add|replace|remove}.
func (v *Vaults) updateAccessPolicies(w http.ResponseWriter, r *azure.Request) error {
	operation := strings.ToLower(r.Vars["operation"])
	if !oneOf(operation, "add", "replace", "remove") {
		return azure.Errorf(http.StatusBadRequest, "BadRequest", "'%s' is not an operation on access policies: they are add, replace and remove.", operation)
	}
	id, err := azure.ParseResourceID("/subscriptions/" + r.Vars["subscription"] + "/resourceGroups/" + r.Vars["resourceGroup"] + "/providers/" + vaultType + "/" + r.Vars["name"])
	if err != nil {
		return err
	}
	var body struct {
		Properties struct {
			AccessPolicies []accessPolicy `json:"accessPolicies"`
		} `json:"properties"`
	}
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	if err := checkAccessPolicies(body.Properties.AccessPolicies, v.TenantID); err != nil {
		return err
	}
	var after properties
	var stored arm.Resource
	err = v.DB.Update(r.Context(), func(tx *store.Tx) error {
		err := v.Manager.Update(r.Context(), tx, id, func(res *arm.Resource) error {
			after = properties{}
			if err := json.Unmarshal(res.Properties, &after); err != nil {
				return err
			}
			after.AccessPolicies = merge(after.AccessPolicies, body.Properties.AccessPolicies, operation)
			if len(after.AccessPolicies) > maxAccessPolicies {
				return checkAccessPolicies(after.AccessPolicies, v.TenantID)
			}
			var err error
			res.Properties, err = json.Marshal(after)
			stored = *res
			return err
		})
		if err != nil {
			return err
		}
		return v.vaultChanged(r.Context(), tx, id.Name())
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"id": stored.ID.String() + "/accessPolicies/", "type": "Microsoft.KeyVault/vaults/accessPolicies", "location": stored.Location,
		"properties": map[string]any{"accessPolicies": after.AccessPolicies},
	})
}
