package directory

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// ClientSecret is what is told of a client secret after it was made.
type ClientSecret struct {
	ID      string // GUID, the keyId of Microsoft Graph
	Name    string
	Hint    string // its first three characters
	Starts  time.Time
	Expires time.Time   // zero: never
	text    seal.Secret // only when it was made just now
}

// CreateApplication makes an application with its service principal and returns the latter and a new client secret,
// shown once.
func (d *Directory) CreateApplication(ctx context.Context, tx *store.Tx, name string) (Principal, seal.Secret, error) {
	p := Principal{ID: azure.NewGUID(), AppID: azure.NewGUID(), Kind: Application, Name: name, Enabled: true}
	objectID, err := insertApplication(ctx, tx, p.AppID, name)
	if err != nil {
		return Principal{}, "", err
	}
	if _, err := insert(ctx, tx, p); err != nil {
		return Principal{}, "", err
	}
	secret, err := d.AddSecret(ctx, tx, objectID)
	return p, secret, err
}

// insertApplication stores an application, which nobody can sign in as before it has a service principal, and returns
// its object id.
func insertApplication(ctx context.Context, tx *store.Tx, appID, name string) (string, error) {
	id := azure.NewGUID()
	_, err := tx.Exec(ctx, `INSERT INTO directory_applications (id, app_id, name, created, attributes) VALUES ($1, $2, $3, $4, '{}')`,
		id, appID, name, store.Micros(time.Now()))
	if err != nil {
		return "", fmt.Errorf("storing application '%s': %w", name, err)
	}
	return id, nil
}

// AddNamedSecret gives an application (by its object id), or its service principal alone, one more client secret, shown
// once; the others stay valid. Both kinds are good to sign in with; those of a service principal go with it. The zero
// expires is never. Errors are sql.ErrNoRows for what is neither.
func (d *Directory) AddNamedSecret(ctx context.Context, tx *store.Tx, holderID, name string, expires time.Time) (ClientSecret, seal.Secret, error) {
	return addSecret(ctx, tx, holderID, ClientSecret{ID: azure.NewGUID(), Name: name, Starts: time.Now().UTC().Truncate(time.Microsecond), Expires: expires})
}

func addSecret(ctx context.Context, tx *store.Tx, holderID string, c ClientSecret) (ClientSecret, seal.Secret, error) {
	secret, hash := newSecret()
	c.Hint = string(secret[:3])
	n, err := tx.Exec(ctx, `INSERT INTO directory_secrets (id, principal_id, hash, created, name, hint, starts, expires)
		SELECT $1, holder.id, $2, $3, $4, $5, $6, $7 FROM (SELECT id FROM directory_principals WHERE kind = $8
			UNION ALL SELECT id FROM directory_applications) AS holder WHERE holder.id = $9`,
		c.ID, hash, store.Micros(time.Now()), c.Name, c.Hint, store.Micros(c.Starts), store.Micros(c.Expires), string(Application), key(holderID))
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return ClientSecret{}, "", fmt.Errorf("storing a client secret of %s: %w", holderID, err)
	}
	return c, secret, nil
}

// RemoveSecret takes a client secret away; false when its holder has none with this id. It cannot sign in from now on.
func (d *Directory) RemoveSecret(ctx context.Context, tx *store.Tx, holderID, id string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_secrets WHERE principal_id = $1 AND id = $2`, key(holderID), key(id))
	if err != nil {
		return false, fmt.Errorf("removing client secret %s of %s: %w", id, holderID, err)
	}
	return n > 0, nil
}

func secrets(ctx context.Context, tx *store.Tx, holderID string) ([]ClientSecret, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, hint, CASE WHEN starts = 0 THEN created ELSE starts END, expires FROM directory_secrets WHERE principal_id = $1 ORDER BY created, id`, holderID)
	if err != nil {
		return nil, fmt.Errorf("reading the client secrets of %s: %w", holderID, err)
	}
	defer rows.Close()
	var list []ClientSecret
	for rows.Next() {
		var c ClientSecret
		var starts, expires int64
		if err := rows.Scan(&c.ID, &c.Name, &c.Hint, &starts, &expires); err != nil {
			return nil, err
		}
		c.Starts, c.Expires = store.Time(starts), store.Time(expires)
		list = append(list, c)
	}
	return list, rows.Err()
}

// forgetApplication removes an application for good; its service principal is the caller's to remove.
func forgetApplication(ctx context.Context, tx *store.Tx, id, appID string) error {
	for _, statement := range []string{
		`DELETE FROM directory_secrets WHERE principal_id = $1`,
		`DELETE FROM directory_certificates WHERE principal_id = $1`,
		`DELETE FROM directory_owners WHERE object_id = $1`,
		`DELETE FROM directory_applications WHERE id = $1`,
		`DELETE FROM directory_deleted WHERE id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, id); err != nil {
			return fmt.Errorf("deleting application %s: %w", id, err)
		}
	}
	for _, statement := range []string{
		`DELETE FROM directory_identifier_uris WHERE app_id = $1`,
		`DELETE FROM directory_federated_credentials WHERE app_id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, appID); err != nil {
			return fmt.Errorf("deleting application %s: %w", id, err)
		}
	}
	return nil
}
