package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// change is the body of a create or update. What is kept as it was sent stands in kept, the rest in the fields.
type change struct {
	ID                  string                `json:"id"`
	DisplayName         *string               `json:"displayName"`
	AccountEnabled      *bool                 `json:"accountEnabled"`
	AppID               string                `json:"appId"`
	UserPrincipalName   *string               `json:"userPrincipalName"`
	PasswordProfile     *passwordProfile      `json:"passwordProfile"`
	KeyCredentials      *[]keyCredential      `json:"keyCredentials"`
	PasswordCredentials *[]passwordCredential `json:"passwordCredentials"`
	Members             []string              `json:"members@odata.bind"`
	Owners              []string              `json:"owners@odata.bind"`

	kept map[string]any
}

const maxDisplayName = 256

// readChange reads a body. A property that would not be kept is refused by name, so that nobody relies on it.
func readChange(r *azure.Request, s *objectSet, takes []string) (*change, error) {
	var sent map[string]any
	var raw json.RawMessage
	if err := r.DecodeJSON("Request_BadRequest", &raw); err != nil {
		return nil, err
	}
	c := &change{kept: map[string]any{}}
	for _, into := range []any{&sent, c} {
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, errGraph("Unable to read JSON request payload: %v.", err)
		}
	}
	if sent == nil {
		return nil, errGraph("Unable to read JSON request payload: it is no object.")
	}
	for name, value := range sent {
		form, kept := s.kept[name]
		switch {
		case kept && !form.takes(value):
			return nil, errProperty(name, "it is %s", form)
		case kept:
			c.kept[name] = value
		case slices.Contains(takes, name), slices.Contains(s.fixed, name), strings.HasPrefix(name, "@odata."), unset(value):
		default:
			e := errGraph("The property '%s' of type '%s' cannot be set here.", name, s.odata[1:])
			e.Target = name
			return nil, e
		}
	}
	if c.DisplayName == nil && s != userSet && slices.Contains(takes, "displayName") {
		if _, ok := sent["displayName"]; ok {
			return nil, errProperty("displayName", "it cannot be removed")
		}
	}
	if c.DisplayName != nil && (key(*c.DisplayName) == "" || len([]rune(*c.DisplayName)) > maxDisplayName) {
		return nil, errProperty("displayName", "it has 1 to %d characters", maxDisplayName)
	}
	return c, nil
}

// unset reports whether a property's value says that there is none, as some clients write of all that they know.
func unset(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, inner := range v {
			if !unset(inner) {
				return false
			}
		}
		return true
	}
	return false
}

// answerCreated shows what a transaction has made.
func (g *Graph) answerCreated(w http.ResponseWriter, r *azure.Request, s *objectSet, make func(tx *store.Tx) (*object, error)) error {
	var shown map[string]any
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		made, err := make(tx)
		if err != nil {
			return err
		}
		o, err := s.find(r.Context(), tx, made.ID)
		if err == nil {
			shown, err = g.present(r.Context(), tx, o)
		}
		if len(made.passwords) > 0 { // made just now: the only time that they tell their text
			shown["passwordCredentials"] = showSecrets(made.passwords)
		}
		return err
	})
	if err != nil {
		return err
	}
	id, _ := shown["id"].(string)
	shown["@odata.context"] = g.context(r, s.name+"/$entity")
	w.Header().Set("Location", g.root(r)+"/"+s.name+"/"+id)
	w.Header().Set("Cache-Control", "no-store")
	return azure.WriteJSON(w, http.StatusCreated, shown)
}

// insertObject stores a new service principal or group with what came along with it.
func (g *Graph) insertObject(ctx context.Context, tx *store.Tx, r *azure.Request, o *object, c *change) error {
	if _, err := insert(ctx, tx, o.Principal); err != nil {
		return err
	}
	o.attributes = merge(nil, c.kept)
	if o.set.check != nil {
		if err := o.set.check(o.attributes); err != nil {
			return err
		}
	}
	if err := o.save(ctx, tx); err != nil {
		return err
	}
	return g.firstOwners(ctx, tx, r, o.ID, c.Owners)
}

// createApplication registers an application. Until it has a service principal it cannot sign in.
func (g *Graph) createApplication(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, applicationSet, applicationSet.creates)
	if err != nil {
		return err
	}
	if c.DisplayName == nil {
		return errGraph("A value must be specified for property 'displayName'.")
	}
	ctx := r.Context()
	return g.answerCreated(w, r, applicationSet, func(tx *store.Tx) (*object, error) {
		o := &object{Principal: Principal{AppID: azure.NewGUID(), Name: *c.DisplayName}, set: applicationSet}
		var err error
		if o.ID, err = insertApplication(ctx, tx, o.AppID, o.Name); err != nil {
			return nil, err
		}
		if err := g.apply(ctx, tx, o, c, ""); err != nil {
			return nil, err
		}
		return o, g.firstOwners(ctx, tx, r, o.ID, c.Owners)
	})
}

func (g *Graph) createGroup(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, groupSet, groupSet.creates)
	if err != nil {
		return err
	}
	if c.DisplayName == nil {
		return errGraph("A value must be specified for property 'displayName'.")
	}
	ctx := r.Context()
	return g.answerCreated(w, r, groupSet, func(tx *store.Tx) (*object, error) {
		o := &object{Principal: Principal{ID: azure.NewGUID(), Kind: Group, Name: *c.DisplayName, Enabled: true}, set: groupSet}
		if err := g.insertObject(ctx, tx, r, o, c); err != nil {
			return nil, err
		}
		return o, g.addMembers(ctx, tx, o.ID, c.Members)
	})
}

// apply makes the changes of a body to an object. The hash is that of a user's new password, or empty.
func (g *Graph) apply(ctx context.Context, tx *store.Tx, o *object, c *change, hash string) error {
	before := o.attributes
	o.attributes = merge(before, c.kept)
	if o.set.check != nil {
		if err := o.set.check(o.attributes); err != nil {
			return err
		}
	}
	if c.DisplayName != nil && (o.set == applicationSet || o.set == groupSet) {
		o.Name = *c.DisplayName
	}
	switch o.set {
	case applicationSet:
		if err := g.applyApplication(ctx, tx, o, before); err != nil {
			return err
		}
	case userSet:
		if err := g.changeUser(ctx, tx, o, c, hash); err != nil {
			return err
		}
	case groupSet:
		if err := g.addMembers(ctx, tx, o.ID, c.Members); err != nil {
			return err
		}
	}
	if err := o.save(ctx, tx); err != nil {
		return err
	}
	if err := g.replaceKeys(ctx, tx, o, c); err != nil {
		return err
	}
	if err := replacePasswords(ctx, tx, o, c); err != nil {
		return err
	}
	if c.AccountEnabled != nil {
		return g.Directory.SetEnabled(ctx, tx, o.ID, *c.AccountEnabled)
	}
	return nil
}

// applyApplication does what a change of an application means for others: its names are its own, and its service
// principal is called as it is.
func (g *Graph) applyApplication(ctx context.Context, tx *store.Tx, o *object, before map[string]any) error {
	if err := checkPermissionsGone(before, o.attributes); err != nil {
		return err
	}
	p, err := applicationOf(o.attributes)
	if err != nil {
		return err
	}
	if err := setIdentifierURIs(ctx, tx, o.AppID, p.IdentifierURIs); err != nil {
		return err
	}
	sp, err := ids(ctx, tx, `SELECT id FROM directory_principals WHERE app_id = $1`, o.AppID)
	if err != nil || len(sp) == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE directory_principals SET name = $1 WHERE id = $2`, o.Name, sp[0]); err != nil {
		return fmt.Errorf("renaming the service principal of %s: %w", o.AppID, err)
	}
	return g.Directory.changed(ctx, tx, sp[0])
}

func (g *Graph) update(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		c, err := readChange(r, s, s.changes)
		if err != nil {
			return err
		}
		var hash string
		if c.PasswordProfile != nil && c.PasswordProfile.Password != nil {
			hash = newPasswordHash(*c.PasswordProfile.Password)
		}
		ctx := r.Context()
		err = g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
			o, err := s.find(ctx, tx, r.Vars["id"])
			if err != nil {
				return err
			}
			switch {
			case c.ID != "" && key(c.ID) != o.ID:
				return errProperty("id", "it cannot be changed")
			case c.AppID != "" && key(c.AppID) != o.AppID:
				return errProperty("appId", "it cannot be changed")
			case c.AccountEnabled != nil && !*c.AccountEnabled || c.KeyCredentials != nil || c.PasswordCredentials != nil:
				if err := o.unchangeable(); err != nil {
					return err
				}
			}
			if hash != "" {
				policies := o.attributes["passwordPolicies"]
				if changed, ok := c.kept["passwordPolicies"]; ok {
					policies = changed
				}
				if err := checkNewPassword(*c.PasswordProfile.Password, policies); err != nil {
					return err
				}
			}
			if err := g.apply(ctx, tx, o, c, hash); err != nil {
				return err
			}
			return g.Directory.changed(ctx, tx, o.ID) // its name
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// delete moves an object to what can be restored. An application takes its service principal along.
func (g *Graph) delete(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
			o, err := s.find(ctx, tx, r.Vars["id"])
			if err != nil {
				return err
			}
			if err := o.unchangeable(); err != nil {
				return err
			}
			if err := g.Directory.forgetOld(ctx, tx); err != nil {
				return err
			}
			now := time.Now()
			if s == applicationSet {
				sp, err := servicePrincipalSet.objects(ctx, tx, ` AND o.app_id = $1`, o.AppID)
				if err != nil {
					return err
				}
				for _, p := range sp {
					if err := g.Directory.bury(ctx, tx, p, now); err != nil {
						return err
					}
				}
			}
			return g.Directory.bury(ctx, tx, o, now)
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
