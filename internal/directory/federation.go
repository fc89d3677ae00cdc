package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// FederatedCredential lets tokens of another issuer stand for a secret. All is compared exactly, case included.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
type FederatedCredential struct {
	ID          string   `json:"-"` // GUID, stays when the credential is replaced
	Name        string   `json:"-"`
	Description string   `json:"-"`
	Issuer      string   `json:"issuer"`    // the token's iss
	Subject     string   `json:"subject"`   // its sub
	Audiences   []string `json:"audiences"` // one of them is its aud
}

// Limits of Entra's.
const (
	maxFederated     = 20  // credentials of an identity
	maxFederatedText = 600 // characters of an issuer, a subject, an audience
)

// FederatedCredentials returns those of the principal with a client id, in order of their names; none when there is no
// such principal. It reads the database, so one that was removed is gone from the next call on.
func (d *Directory) FederatedCredentials(ctx context.Context, appID string) (list []FederatedCredential, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		list, err = federatedOf(ctx, tx, key(appID))
		return err
	})
	return list, err
}

func federatedOf(ctx context.Context, tx *store.Tx, appID string) ([]FederatedCredential, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, description, issuer, subject, audiences FROM directory_federated_credentials WHERE app_id = $1 ORDER BY name_key`, appID)
	if err != nil {
		return nil, fmt.Errorf("reading the federated credentials of %s: %w", appID, err)
	}
	defer rows.Close()
	var list []FederatedCredential
	for rows.Next() {
		var c FederatedCredential
		var audiences string
		if err := rows.Scan(&c.ID, &c.Name, &c.Description, &c.Issuer, &c.Subject, &audiences); err != nil {
			return nil, fmt.Errorf("reading the federated credentials of %s: %w", appID, err)
		}
		if err := json.Unmarshal([]byte(audiences), &c.Audiences); err != nil {
			return nil, fmt.Errorf("audiences of the federated credential '%s' of %s: %w", c.Name, appID, err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// putFederated stores a credential, or replaces the one of its name.
func putFederated(ctx context.Context, tx *store.Tx, appID string, c FederatedCredential) error {
	var others int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM directory_federated_credentials WHERE app_id = $1 AND name_key <> $2`, appID, key(c.Name)).Scan(&others)
	if err != nil {
		return fmt.Errorf("counting federated credentials: %w", err)
	}
	if others >= maxFederated {
		return azure.Errorf(http.StatusBadRequest, "FederatedIdentityCredentialsLimitExceeded",
			"The identity has %d federated identity credentials, and can have no more. Delete one of them.", others)
	}
	audiences, err := json.Marshal(c.Audiences)
	if err != nil {
		return err
	}
	var twin string
	err = tx.QueryRow(ctx, `SELECT name FROM directory_federated_credentials WHERE app_id = $1 AND issuer = $2 AND subject = $3 AND name_key <> $4`,
		appID, c.Issuer, c.Subject, key(c.Name)).Scan(&twin)
	switch {
	case err == nil:
		return azure.Errorf(http.StatusConflict, "Conflict", "Issuer and subject combination already exists for this identity, as '%s'.", twin)
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("looking for a federated credential with the same issuer and subject: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO directory_federated_credentials (app_id, name_key, name, description, issuer, subject, audiences, id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (app_id, name_key) DO UPDATE SET description = excluded.description, issuer = excluded.issuer, subject = excluded.subject, audiences = excluded.audiences`,
		appID, key(c.Name), c.Name, c.Description, c.Issuer, c.Subject, string(audiences), azure.NewGUID())
	if err != nil {
		return fmt.Errorf("storing the federated credential '%s': %w", c.Name, err)
	}
	return nil
}

// removeFederated removes a credential; false when there was none of its name.
func removeFederated(ctx context.Context, tx *store.Tx, appID, name string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_federated_credentials WHERE app_id = $1 AND name_key = $2`, appID, key(name))
	if err != nil {
		return false, fmt.Errorf("removing the federated credential '%s': %w", name, err)
	}
	return n > 0, nil
}

var federatedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)

func checkFederatedName(name string) error {
	if federatedName.MatchString(name) {
		return nil
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidResourceName",
		"The name '%s' of the federated identity credential is invalid: it needs 3 to 120 letters, digits, '-' and '_', a letter or digit first.", name)
}

// check reports what a credential lacks.
func (c *FederatedCredential) check() error {
	issuer, err := url.Parse(c.Issuer)
	switch {
	case err != nil || issuer.Scheme != "https" || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" || !federatedText(c.Issuer):
		return errFederated("issuer", "it is the https URL of an OpenID Connect issuer, exactly as its tokens name it in 'iss'")
	case !federatedText(c.Subject):
		return errFederated("subject", "it is what the tokens name in 'sub'")
	case len(c.Audiences) == 0 || len(c.Audiences) > maxFederated:
		return errFederated("audiences", "at least one is needed; recommended is 'api://AzureADTokenExchange'")
	}
	for _, a := range c.Audiences {
		if !federatedText(a) {
			return errFederated("audiences", "each is what the tokens name in 'aud'")
		}
	}
	return nil
}

func federatedText(s string) bool {
	n := utf8.RuneCountInString(s)
	return n > 0 && n <= maxFederatedText && key(s) != ""
}

func errFederated(property, wants string) *azure.Error {
	e := azure.Errorf(http.StatusBadRequest, "BadRequest", "The property '%s' of the federated identity credential is missing or invalid: %s, in up to %d characters.",
		property, wants, maxFederatedText)
	e.Target = "properties." + property
	return e
}

// federatedType is the ARM type that keeps the federated credentials of user-assigned identities.
func (d *Directory) federatedType() arm.Type {
	return arm.Type{
		Name:      namespace + "/userAssignedIdentities/federatedIdentityCredentials",
		Versions:  []string{"2022-01-31-preview", "2023-01-31", "2024-11-30"},
		NoPatch:   true,
		CheckName: checkFederatedName,
		Validate: func(_ context.Context, _ *store.Tx, w *arm.Write) error {
			var c FederatedCredential
			if err := json.Unmarshal(w.Body, &c); err != nil {
				return azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "'properties' of a federated identity credential: %v.", err)
			}
			if err := c.check(); err != nil {
				return err
			}
			c.Name = w.New.ID.Name()
			w.Private = c
			properties, err := json.Marshal(c)
			w.New.Properties = properties
			return err
		},
		Commit: func(ctx context.Context, tx *store.Tx, w *arm.Write) error {
			_, appID, err := d.UserAssigned(ctx, tx, w.New.ID.Parent())
			if err != nil {
				return err
			}
			return putFederated(ctx, tx, appID, w.Private.(FederatedCredential))
		},
		Delete: func(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
			_, appID, err := d.UserAssigned(ctx, tx, res.ID.Parent())
			if err != nil {
				return err
			}
			_, err = removeFederated(ctx, tx, appID, res.ID.Name())
			return err
		},
	}
}
