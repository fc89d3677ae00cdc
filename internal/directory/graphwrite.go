package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// secretLife is how long a client secret lives whose end nobody named, as in Entra.
const secretLife = 2 * 365 * 24 * time.Hour

// startSkew is how far a client's clock may be ahead when it says that a secret begins now.
const startSkew = 5 * time.Minute

// change is the body of a create or update. What is kept as it was sent stands in kept, the rest in the fields.
type change struct {
	DisplayName       *string          `json:"displayName"`
	AccountEnabled    *bool            `json:"accountEnabled"`
	AppID             string           `json:"appId"`
	UserPrincipalName *string          `json:"userPrincipalName"`
	PasswordProfile   *passwordProfile `json:"passwordProfile"`
	KeyCredentials    *[]keyCredential `json:"keyCredentials"`
	Members           []string         `json:"members@odata.bind"`

	kept map[string]any
}

type passwordProfile struct {
	Password    seal.Secret `json:"password"`
	ForceChange bool        `json:"forceChangePasswordNextSignIn"`
}

// keyCredential is a certificate to be added (Key in base64 DER), or one to stay (KeyID).
type keyCredential struct {
	KeyID string `json:"keyId"`
	Type  string `json:"type"`
	Usage string `json:"usage"`
	Key   []byte `json:"key"`
}

// readChange reads a body. A property that would not be kept is refused by name, so that nobody relies on it.
func readChange(r *azure.Request, s *objectSet, takes ...string) (*change, error) {
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
	for name, value := range sent {
		switch {
		case slices.Contains(s.kept, name):
			c.kept[name] = value
		case slices.Contains(takes, name), name == "@odata.type":
		default:
			return nil, errGraph("The property '%s' of type '%s' cannot be set here.", name, s.odata[1:])
		}
	}
	if c.DisplayName != nil && key(*c.DisplayName) == "" {
		return nil, errGraph("Invalid value specified for property 'displayName'.")
	}
	if name, ok := c.kept["displayName"]; ok && name == nil {
		return nil, errGraph("Invalid value specified for property 'displayName'.")
	}
	return c, nil
}

// apply puts what is kept into attributes; null removes.
func (c *change) apply(attributes map[string]any) {
	for name, value := range c.kept {
		if value == nil {
			delete(attributes, name)
		} else {
			attributes[name] = value
		}
	}
}

// answerCreated shows what a transaction has made.
func (g *Graph) answerCreated(w http.ResponseWriter, r *azure.Request, s *objectSet, make func(tx *store.Tx) (id string, err error)) error {
	var shown map[string]any
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		id, err := make(tx)
		if err != nil {
			return err
		}
		o, err := s.find(r.Context(), tx, id)
		if err == nil {
			shown, err = g.present(r.Context(), tx, s, o)
		}
		return err
	})
	if err != nil {
		return err
	}
	urls := g.Hosts.For(r.Request)
	id, _ := shown["id"].(string)
	shown["@odata.context"] = g.context(urls, s.name+"/$entity")
	w.Header().Set("Location", urls.Graph()+"/v1.0/"+s.name+"/"+id)
	return azure.WriteJSON(w, http.StatusCreated, shown)
}

// createApplication registers an application. Until it has a service principal it cannot sign in.
func (g *Graph) createApplication(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, applicationSet, "displayName", "keyCredentials")
	if err != nil {
		return err
	}
	if c.DisplayName == nil {
		return errGraph("A value must be specified for property 'displayName'.")
	}
	return g.answerCreated(w, r, applicationSet, func(tx *store.Tx) (string, error) {
		p := Principal{ID: azure.NewGUID(), AppID: azure.NewGUID(), Kind: Application, Name: *c.DisplayName}
		objectID := azure.NewGUID()
		if err := insertApplication(r.Context(), tx, p, objectID); err != nil {
			return "", err
		}
		o, err := applicationSet.find(r.Context(), tx, objectID)
		if err != nil {
			return "", err
		}
		c.apply(o.registered)
		if err := applicationSet.save(r.Context(), tx, o); err != nil {
			return "", err
		}
		return objectID, g.replaceKeys(r.Context(), tx, o, c)
	})
}

func (g *Graph) createServicePrincipal(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, servicePrincipalSet, "appId", "accountEnabled", "displayName", "servicePrincipalType")
	if err != nil {
		return err
	}
	return g.answerCreated(w, r, servicePrincipalSet, func(tx *store.Tx) (string, error) {
		o, err := applicationSet.find(r.Context(), tx, "appId="+c.AppID)
		if err != nil {
			return "", errGraph("The appId '%s' of the service principal does not reference a valid application object.", c.AppID)
		}
		n, err := tx.Exec(r.Context(), `UPDATE directory_applications SET service_principal = 1 WHERE app_id = $1 AND service_principal = 0`, o.AppID)
		if err != nil {
			return "", fmt.Errorf("making the service principal of %s: %w", o.AppID, err)
		}
		if n == 0 {
			return "", azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
				"The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", o.AppID)
		}
		c.apply(o.attributes)
		if err := servicePrincipalSet.save(r.Context(), tx, o); err != nil {
			return "", err
		}
		return o.ID, g.Directory.SetEnabled(r.Context(), tx, o.ID, c.AccountEnabled == nil || *c.AccountEnabled)
	})
}

func (g *Graph) createUser(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, userSet, "accountEnabled", "userPrincipalName", "passwordProfile")
	if err != nil {
		return err
	}
	switch {
	case c.UserPrincipalName == nil || key(*c.UserPrincipalName) == "":
		return errGraph("A value is required for property 'userPrincipalName' of resource 'User'.")
	case c.PasswordProfile == nil || c.PasswordProfile.Password == "":
		return errGraph("A password must be specified to create a new user.")
	case c.PasswordProfile.ForceChange:
		return errGraph("'forceChangePasswordNextSignIn' is not supported: it must be false.")
	}
	if _, ok := c.kept["displayName"]; !ok {
		return errGraph("A value is required for property 'displayName' of resource 'User'.")
	}
	hash := newPasswordHash(c.PasswordProfile.Password) // outside the transaction: it is slow on purpose
	return g.answerCreated(w, r, userSet, func(tx *store.Tx) (string, error) {
		p, err := insertUser(r.Context(), tx, *c.UserPrincipalName, hash)
		if err != nil {
			return "", err
		}
		if err := userSet.save(r.Context(), tx, &object{Principal: p, attributes: c.kept}); err != nil {
			return "", err
		}
		return p.ID, g.Directory.SetEnabled(r.Context(), tx, p.ID, c.AccountEnabled == nil || *c.AccountEnabled)
	})
}

func (g *Graph) createGroup(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, groupSet, "displayName", "members@odata.bind")
	if err != nil {
		return err
	}
	if c.DisplayName == nil {
		return errGraph("A value must be specified for property 'displayName'.")
	}
	return g.answerCreated(w, r, groupSet, func(tx *store.Tx) (string, error) {
		p, err := g.Directory.CreateGroup(r.Context(), tx, *c.DisplayName)
		if err != nil {
			return "", err
		}
		for _, member := range c.Members {
			if _, err := g.Directory.AddMember(r.Context(), tx, p.ID, objectOf(member)); err != nil {
				return "", err
			}
		}
		return p.ID, groupSet.save(r.Context(), tx, &object{Principal: p, attributes: c.kept})
	})
}

func (g *Graph) update(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	takes := map[*objectSet][]string{
		applicationSet: {"displayName", "keyCredentials"}, servicePrincipalSet: {"accountEnabled"},
		userSet: {"accountEnabled", "passwordProfile"}, groupSet: {"displayName"},
	}[s]
	return func(w http.ResponseWriter, r *azure.Request) error {
		c, err := readChange(r, s, takes...)
		if err != nil {
			return err
		}
		var hash string
		if c.PasswordProfile != nil {
			if c.PasswordProfile.Password == "" || c.PasswordProfile.ForceChange {
				return errGraph("'passwordProfile' needs a password, and 'forceChangePasswordNextSignIn' is not supported: it must be false.")
			}
			hash = newPasswordHash(c.PasswordProfile.Password)
		}
		err = g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err != nil {
				return err
			}
			attributes := o.attributes
			if s == applicationSet {
				attributes = o.registered
			}
			c.apply(attributes)
			if c.DisplayName != nil && s != userSet {
				o.Name = *c.DisplayName
			}
			if err := s.save(r.Context(), tx, o); err != nil {
				return err
			}
			if hash != "" {
				if _, err := tx.Exec(r.Context(), `UPDATE directory_passwords SET hash = $1 WHERE principal_id = $2`, hash, o.ID); err != nil {
					return fmt.Errorf("storing the password of %s: %w", o.ID, err)
				}
			}
			if c.AccountEnabled != nil {
				return g.Directory.SetEnabled(r.Context(), tx, o.ID, *c.AccountEnabled)
			}
			if err := g.replaceKeys(r.Context(), tx, o, c); err != nil {
				return err
			}
			return g.Directory.principals.Changed(r.Context(), tx, generation, o.ID) // its name
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// replaceKeys makes keyCredentials of a change the certificates of an application.
func (g *Graph) replaceKeys(ctx context.Context, tx *store.Tx, o *object, c *change) error {
	if c.KeyCredentials == nil {
		return nil
	}
	if err := withCredentials(ctx, tx, o); err != nil {
		return err
	}
	for _, have := range o.keys {
		if slices.ContainsFunc(*c.KeyCredentials, func(k keyCredential) bool { return key(k.KeyID) == have.ID && len(k.Key) == 0 }) {
			continue
		}
		if _, err := g.Directory.RemoveCertificate(ctx, tx, o.ID, have.ID); err != nil {
			return err
		}
	}
	for _, k := range *c.KeyCredentials {
		switch {
		case len(k.Key) == 0 && slices.ContainsFunc(o.keys, func(have Certificate) bool { return have.ID == key(k.KeyID) }):
			continue
		case k.Type != "AsymmetricX509Cert" || k.Usage != "Verify" || len(k.Key) == 0:
			return errGraph("A key credential has type 'AsymmetricX509Cert', usage 'Verify' and the certificate in base64 DER as 'key'.")
		}
		if _, err := g.Directory.AddCertificate(ctx, tx, o.ID, k.Key); err != nil {
			return err
		}
	}
	return nil
}

// delete removes an object. A service principal that goes leaves its application without one, and without credentials.
func (g *Graph) delete(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
			o, err := s.find(ctx, tx, r.Vars["id"])
			if err != nil {
				return err
			}
			if o.Managed() {
				return errGraph("The service principal is the managed identity of '%s' and goes with it.", o.IdentityID)
			}
			if err := g.Directory.Delete(ctx, tx, o.ID); err != nil || s != servicePrincipalSet {
				return err
			}
			p := Principal{ID: azure.NewGUID(), AppID: o.AppID, Kind: Application, Name: o.Name}
			if err := insertApplication(ctx, tx, p, o.registration); err != nil {
				return err
			}
			o.Principal = p
			return applicationSet.save(ctx, tx, o)
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (g *Graph) addPassword(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			Credential struct {
				DisplayName string    `json:"displayName"`
				Start       time.Time `json:"startDateTime"`
				End         time.Time `json:"endDateTime"`
			} `json:"passwordCredential"`
		}
		if r.ContentLength != 0 {
			if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
				return err
			}
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		end := req.Credential.End.UTC().Truncate(time.Microsecond)
		if end.IsZero() {
			end = now.Add(secretLife)
		}
		if !end.After(now) || end.Year() > 9999 {
			return errGraph("'endDateTime' is not in the future.")
		}
		if req.Credential.Start.After(now.Add(startSkew)) {
			return errGraph("A client secret is valid from now on: 'startDateTime' cannot be in the future.")
		}
		if name := req.Credential.DisplayName; name != "" && key(name) == "" {
			return errGraph("Invalid value specified for property 'displayName'.")
		}
		var made ClientSecret
		var secret seal.Secret
		err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err != nil {
				return err
			}
			if o.Managed() {
				return errGraph("The managed identity of '%s' has no passwords.", o.IdentityID)
			}
			made, secret, err = g.Directory.AddNamedSecret(r.Context(), tx, o.ID, req.Credential.DisplayName, end)
			return err
		})
		if err != nil {
			return err
		}
		shown := showSecret(made)
		shown["secretText"] = secret.Reveal()
		shown["@odata.context"] = g.context(g.Hosts.For(r.Request), "microsoft.graph.passwordCredential")
		w.Header().Set("Cache-Control", "no-store")
		return azure.WriteJSON(w, http.StatusOK, shown)
	}
}

func (g *Graph) removePassword(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			KeyID string `json:"keyId"`
		}
		if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
			return err
		}
		err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err != nil {
				return err
			}
			removed, err := g.Directory.RemoveSecret(r.Context(), tx, o.ID, req.KeyID)
			if err == nil && !removed {
				err = errGraph("No password credential found with keyId '%s'.", req.KeyID)
			}
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
