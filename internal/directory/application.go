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
	Created time.Time
	Expires time.Time // zero: never
}

// CreateApplication makes an application with its service principal and returns a new client secret, shown once.
func (d *Directory) CreateApplication(ctx context.Context, tx *store.Tx, name string) (Principal, seal.Secret, error) {
	p := Principal{ID: azure.NewGUID(), AppID: azure.NewGUID(), Kind: Application, Name: name, Enabled: true}
	if err := insertApplication(ctx, tx, p, azure.NewGUID()); err != nil {
		return Principal{}, "", err
	}
	secret, err := d.AddSecret(ctx, tx, p.ID)
	return p, secret, err
}

// insertApplication stores an application: the principal that has its credentials, and the registration under an object
// id of its own. While p is disabled the registration has no service principal yet.
func insertApplication(ctx context.Context, tx *store.Tx, p Principal, objectID string) error {
	if _, err := insert(ctx, tx, p); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO directory_applications (id, app_id, service_principal, attributes) VALUES ($1, $2, $3, '{}')`, objectID, p.AppID, p.Enabled)
	if err != nil {
		return fmt.Errorf("storing application '%s': %w", p.Name, err)
	}
	return nil
}

// AddNamedSecret gives an application one more client secret, shown once; the others stay valid. The zero expires is
// never. Errors are sql.ErrNoRows for what is no application.
func (d *Directory) AddNamedSecret(ctx context.Context, tx *store.Tx, principalID, name string, expires time.Time) (ClientSecret, seal.Secret, error) {
	secret, hash := newSecret()
	c := ClientSecret{ID: azure.NewGUID(), Name: name, Hint: string(secret[:3]), Created: time.Now().UTC().Truncate(time.Microsecond), Expires: expires}
	n, err := tx.Exec(ctx, `INSERT INTO directory_secrets (id, principal_id, hash, created, name, hint, expires)
		SELECT $1, id, $2, $3, $4, $5, $6 FROM directory_principals WHERE id = $7 AND kind = $8`,
		c.ID, hash, store.Micros(c.Created), name, c.Hint, store.Micros(expires), key(principalID), string(Application))
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return ClientSecret{}, "", fmt.Errorf("storing a client secret of principal %s: %w", principalID, err)
	}
	return c, secret, nil
}

// RemoveSecret takes a client secret away; false when the application has none with this id. It cannot sign in from now
// on.
func (d *Directory) RemoveSecret(ctx context.Context, tx *store.Tx, principalID, id string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_secrets WHERE principal_id = $1 AND id = $2`, key(principalID), key(id))
	if err != nil {
		return false, fmt.Errorf("removing client secret %s of principal %s: %w", id, principalID, err)
	}
	return n > 0, nil
}

func secrets(ctx context.Context, tx *store.Tx, principalID string) ([]ClientSecret, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, hint, created, expires FROM directory_secrets WHERE principal_id = $1 ORDER BY created, id`, principalID)
	if err != nil {
		return nil, fmt.Errorf("reading the client secrets of principal %s: %w", principalID, err)
	}
	defer rows.Close()
	var list []ClientSecret
	for rows.Next() {
		var c ClientSecret
		var created, expires int64
		if err := rows.Scan(&c.ID, &c.Name, &c.Hint, &created, &expires); err != nil {
			return nil, err
		}
		c.Created, c.Expires = store.Time(created), store.Time(expires)
		list = append(list, c)
	}
	return list, rows.Err()
}
