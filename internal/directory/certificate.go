package directory

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	minCertificateKey = 2048 // bits
	maxCertificates   = 64   // of an application
)

// Certificate is one with whose private key an application signs in. Only what is public is kept.
type Certificate struct {
	ID      string // GUID, the keyId of Microsoft Graph
	X509    *x509.Certificate
	Created time.Time
}

// AddCertificate gives an application one more certificate (DER) to sign in with; the others stay valid. A certificate
// that cannot be used is azure.Error 400. Its chain and revocation are not looked at, as in Entra: it is trusted because
// it was put here, until it expires or is removed.
func (d *Directory) AddCertificate(ctx context.Context, tx *store.Tx, principalID string, der []byte) (Certificate, error) {
	c := Certificate{ID: azure.NewGUID(), Created: time.Now().UTC().Truncate(time.Microsecond)}
	var err error
	if c.X509, err = x509.ParseCertificate(der); err != nil {
		return Certificate{}, badCertificate("it is not an X.509 certificate in DER: %v", err)
	}
	public, ok := c.X509.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok:
		return Certificate{}, badCertificate("its key is not an RSA key")
	case public.N.BitLen() < minCertificateKey:
		return Certificate{}, badCertificate("its key has %d bits; at least %d are needed", public.N.BitLen(), minCertificateKey)
	case c.Created.After(c.X509.NotAfter):
		return Certificate{}, badCertificate("it expired at %s", c.X509.NotAfter.UTC().Format(time.RFC3339))
	}
	// The change of the principal's own row makes others who add wait, so that the count holds.
	n, err := tx.Exec(ctx, `UPDATE directory_principals SET name = name WHERE id = $1 AND kind = $2`, key(principalID), string(Application))
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	var have int
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT count(*) FROM directory_certificates WHERE principal_id = $1`, key(principalID)).Scan(&have)
	}
	if err == nil && have >= maxCertificates {
		return Certificate{}, badCertificate("the application has %d already; remove one", have)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `INSERT INTO directory_certificates (id, principal_id, der, created) VALUES ($1, $2, $3, $4)`,
			c.ID, key(principalID), der, store.Micros(c.Created))
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("storing a certificate of principal %s: %w", principalID, err)
	}
	return c, nil
}

func badCertificate(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "KeyCredentialsInvalidKey", "The certificate cannot be used: "+format+".", args...)
}

// RemoveCertificate takes a certificate away from an application; false when it has none with this id. Assertions that
// it signed are refused from now on; tokens that were issued for them live on.
func (d *Directory) RemoveCertificate(ctx context.Context, tx *store.Tx, principalID, id string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_certificates WHERE principal_id = $1 AND id = $2`, key(principalID), key(id))
	if err != nil {
		return false, fmt.Errorf("removing certificate %s of principal %s: %w", id, principalID, err)
	}
	return n > 0, nil
}

// Certificates returns an application by its client id, disabled or not, with its certificates, expired ones too;
// sql.ErrNoRows when there is no such application.
func (d *Directory) Certificates(ctx context.Context, appID string) (p Principal, list []Certificate, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		list = nil
		if p, err = find(ctx, tx, `app_id = $1 AND kind = $2`, key(appID), string(Application)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id, der, created FROM directory_certificates WHERE principal_id = $1 ORDER BY created, id`, p.ID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c Certificate
			var der []byte
			var created int64
			if err := rows.Scan(&c.ID, &der, &created); err != nil {
				return err
			}
			if c.X509, err = x509.ParseCertificate(der); err != nil {
				return fmt.Errorf("certificate %s: %w", c.ID, err)
			}
			c.Created = store.Time(created)
			list = append(list, c)
		}
		return rows.Err()
	})
	if err != nil {
		return Principal{}, nil, fmt.Errorf("reading the certificates of application %s: %w", appID, err)
	}
	return p, list, nil
}
