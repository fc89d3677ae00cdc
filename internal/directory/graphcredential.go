package directory

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
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

// passwordCredential is a client secret to be made, or, with a KeyID, one to stay.
type passwordCredential struct {
	KeyID       *string    `json:"keyId"`
	DisplayName *string    `json:"displayName"`
	Start       *time.Time `json:"startDateTime"`
	End         *time.Time `json:"endDateTime"`
}

// keyCredential is a certificate to be added (Key in base64 DER), or one to stay (KeyID).
type keyCredential struct {
	KeyID       *string    `json:"keyId"`
	DisplayName *string    `json:"displayName"`
	Type        string     `json:"type"`
	Usage       string     `json:"usage"`
	Key         []byte     `json:"key"`
	Start       *time.Time `json:"startDateTime"`
	End         *time.Time `json:"endDateTime"`
}

// secret checks a client secret that is to be made.
func (c *passwordCredential) secret() (ClientSecret, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	s := ClientSecret{ID: azure.NewGUID(), Starts: now, Expires: now.Add(secretLife)}
	if c.DisplayName != nil {
		s.Name = *c.DisplayName
	}
	if c.Start != nil && !c.Start.IsZero() {
		s.Starts = c.Start.UTC().Truncate(time.Microsecond)
		s.Expires = s.Starts.Add(secretLife)
	}
	if c.End != nil && !c.End.IsZero() {
		s.Expires = c.End.UTC().Truncate(time.Microsecond)
	}
	switch {
	case !s.Expires.After(now) || !s.Expires.After(s.Starts) || s.Expires.Year() > 9999:
		return s, errProperty("endDateTime", "it is in the future, and after startDateTime")
	case s.Starts.Year() < 1970:
		return s, errProperty("startDateTime", "it is long past")
	case s.Name != "" && key(s.Name) == "" || len([]rune(s.Name)) > maxDisplayName:
		return s, errProperty("displayName", "it has up to %d characters", maxDisplayName)
	}
	return s, nil
}

// add checks and stores a certificate of an object.
func (c *keyCredential) add(ctx context.Context, tx *store.Tx, holderID string) (Certificate, error) {
	if c.Type != "AsymmetricX509Cert" || c.Usage != "Verify" || len(c.Key) == 0 {
		return Certificate{}, errProperty("keyCredentials", "a key credential has type 'AsymmetricX509Cert', usage 'Verify' and the certificate in base64 as 'key'")
	}
	cert := Certificate{ID: azure.NewGUID()}
	if c.KeyID != nil && *c.KeyID != "" {
		if cert.ID = key(*c.KeyID); !guidPattern.MatchString(cert.ID) {
			return Certificate{}, errProperty("keyId", "it is a GUID")
		}
	}
	if c.DisplayName != nil {
		if cert.Name = *c.DisplayName; cert.Name != "" && key(cert.Name) == "" {
			return Certificate{}, errProperty("displayName", "it is a text")
		}
	}
	if c.Start != nil {
		cert.Starts = c.Start.UTC().Truncate(time.Microsecond)
	}
	if c.End != nil {
		cert.Ends = c.End.UTC().Truncate(time.Microsecond)
	}
	return addCertificate(ctx, tx, holderID, cert, c.Key)
}

func showSecrets(list []ClientSecret) []any {
	shown := []any{}
	for _, c := range list {
		shown = append(shown, showSecret(c))
	}
	return shown
}

func showSecret(c ClientSecret) map[string]any {
	shown := map[string]any{
		"keyId": c.ID, "displayName": nil, "hint": c.Hint, "startDateTime": c.Starts, "endDateTime": nil, "secretText": nil, "customKeyIdentifier": nil,
	}
	if c.Name != "" {
		shown["displayName"] = c.Name
	}
	if !c.Expires.IsZero() {
		shown["endDateTime"] = c.Expires
	}
	if c.text != "" {
		shown["secretText"] = c.text.Reveal()
	}
	return shown
}

func showCertificates(list []Certificate) []any {
	shown := []any{}
	for _, c := range list {
		shown = append(shown, showCertificate(c))
	}
	return shown
}

func showCertificate(c Certificate) map[string]any {
	name, starts, ends := c.Name, c.Starts, c.Ends
	if name == "" {
		name = c.X509.Subject.String()
	}
	if starts.IsZero() {
		starts = c.X509.NotBefore.UTC()
	}
	if ends.IsZero() {
		ends = c.X509.NotAfter.UTC()
	}
	return map[string]any{
		"keyId": c.ID, "type": "AsymmetricX509Cert", "usage": "Verify", "displayName": name, "key": nil,
		"startDateTime": starts, "endDateTime": ends, "customKeyIdentifier": fmt.Sprintf("%X", sha1.Sum(c.X509.Raw)),
	}
}

// showKeys adds the certificates themselves, which Graph tells only who selects keyCredentials.
func showKeys(shown map[string]any, list []Certificate) {
	for i, one := range shown["keyCredentials"].([]any) {
		one.(map[string]any)["key"] = base64.StdEncoding.EncodeToString(list[i].X509.Raw)
	}
}

// withCredentials adds the credentials of applications and service principals.
func withCredentials(ctx context.Context, tx *store.Tx, o *object) (err error) {
	if o.set != applicationSet && o.Kind != Application {
		return nil
	}
	if o.passwords, err = secrets(ctx, tx, o.ID); err != nil {
		return err
	}
	if o.keys, err = certificates(ctx, tx, `principal_id = $1`, o.ID); err != nil {
		return fmt.Errorf("reading the certificates of %s: %w", o.ID, err)
	}
	return nil
}

// replaceKeys makes keyCredentials of a change the certificates of an object.
func (g *Graph) replaceKeys(ctx context.Context, tx *store.Tx, o *object, c *change) error {
	if c.KeyCredentials == nil {
		return nil
	}
	have, err := certificates(ctx, tx, `principal_id = $1`, o.ID)
	if err != nil {
		return err
	}
	stays := func(cert Certificate, k keyCredential) bool {
		return k.KeyID != nil && key(*k.KeyID) == cert.ID && (len(k.Key) == 0 || slices.Equal(k.Key, cert.X509.Raw))
	}
	for _, cert := range have {
		if slices.ContainsFunc(*c.KeyCredentials, func(k keyCredential) bool { return stays(cert, k) }) {
			continue
		}
		if _, err := g.Directory.RemoveCertificate(ctx, tx, o.ID, cert.ID); err != nil {
			return err
		}
	}
	for _, k := range *c.KeyCredentials {
		if slices.ContainsFunc(have, func(cert Certificate) bool { return stays(cert, k) }) {
			continue
		}
		if _, err := k.add(ctx, tx, o.ID); err != nil {
			return err
		}
	}
	return nil
}

// replacePasswords makes passwordCredentials of a change the client secrets of an object. New ones are in o.passwords
// afterwards, with their text.
func replacePasswords(ctx context.Context, tx *store.Tx, o *object, c *change) error {
	if c.PasswordCredentials == nil {
		return nil
	}
	have, err := secrets(ctx, tx, o.ID)
	if err != nil {
		return err
	}
	stays := func(s ClientSecret, p passwordCredential) bool { return p.KeyID != nil && key(*p.KeyID) == s.ID }
	for _, s := range have {
		if slices.ContainsFunc(*c.PasswordCredentials, func(p passwordCredential) bool { return stays(s, p) }) {
			continue
		}
		if _, err := tx.Exec(ctx, `DELETE FROM directory_secrets WHERE principal_id = $1 AND id = $2`, o.ID, s.ID); err != nil {
			return fmt.Errorf("removing client secret %s of %s: %w", s.ID, o.ID, err)
		}
	}
	for _, p := range *c.PasswordCredentials {
		if slices.ContainsFunc(have, func(s ClientSecret) bool { return stays(s, p) }) {
			continue
		}
		if !o.created.IsZero() {
			return errProperty("passwordCredentials", "secrets are added with addPassword, which tells their text")
		}
		s, err := p.secret()
		if err != nil {
			return err
		}
		if s, s.text, err = addSecret(ctx, tx, o.ID, s); err != nil {
			return err
		}
		o.passwords = append(o.passwords, s)
	}
	return nil
}

func (g *Graph) addPassword(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			Credential *passwordCredential `json:"passwordCredential"`
		}
		if r.ContentLength != 0 {
			if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
				return err
			}
		}
		if req.Credential == nil {
			req.Credential = &passwordCredential{}
		}
		wanted, err := req.Credential.secret()
		if err != nil {
			return err
		}
		var made ClientSecret
		var secret seal.Secret
		err = g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err != nil {
				return err
			}
			if err := o.unchangeable(); err != nil {
				return err
			}
			made, secret, err = addSecret(r.Context(), tx, o.ID, wanted)
			return err
		})
		if err != nil {
			return err
		}
		made.text = secret
		shown := showSecret(made)
		shown["@odata.context"] = g.context(r, "microsoft.graph.passwordCredential")
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
		return g.changed(w, r, s, func(tx *store.Tx, o *object) error {
			removed, err := g.Directory.RemoveSecret(r.Context(), tx, o.ID, req.KeyID)
			if err == nil && !removed {
				err = errGraph("No password credential found with keyId '%s'.", req.KeyID)
			}
			return err
		})
	}
}

// changed runs a change of an object and answers 204.
func (g *Graph) changed(w http.ResponseWriter, r *azure.Request, s *objectSet, change func(tx *store.Tx, o *object) error) error {
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		o, err := s.find(r.Context(), tx, r.Vars["id"])
		if err != nil {
			return err
		}
		return change(tx, o)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
