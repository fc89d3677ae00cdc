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
	Name    string // that its holder gave it
	X509    *x509.Certificate
	Created time.Time
	// Starts and Ends bound its use, beside its own validity. Zero: not.
	Starts, Ends time.Time
}

// AddCertificate gives an application (by its object id), or its service principal alone, one more certificate (DER) to
// sign in with; the others stay valid. A certificate that cannot be used is azure.Error 400. Its chain and revocation are
// not looked at, as in Entra: it is trusted because it was put here, until it expires or is removed.
func (d *Directory) AddCertificate(ctx context.Context, tx *store.Tx, holderID string, der []byte) (Certificate, error) {
	return addCertificate(ctx, tx, holderID, Certificate{ID: azure.NewGUID()}, der)
}

// addCertificate adds one with the id and name that c has.
func addCertificate(ctx context.Context, tx *store.Tx, holderID string, c Certificate, der []byte) (Certificate, error) {
	c.Created = time.Now().UTC().Truncate(time.Microsecond)
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
	case c.Ends.After(c.X509.NotAfter):
		return Certificate{}, azure.Errorf(http.StatusBadRequest, "KeyCredentialsInvalidEndDate", "Key credential end date is invalid: the certificate ends earlier, at %s.",
			c.X509.NotAfter.UTC().Format(time.RFC3339))
	}
	// The change of the holder's own row makes others who add wait, so that the count holds.
	n, err := tx.Exec(ctx, `UPDATE directory_principals SET name = name WHERE id = $1 AND kind = $2`, key(holderID), string(Application))
	if err == nil && n == 0 {
		n, err = tx.Exec(ctx, `UPDATE directory_applications SET name = name WHERE id = $1`, key(holderID))
	}
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	var have, taken int
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(CASE WHEN id = $2 THEN 1 ELSE 0 END), 0) FROM directory_certificates WHERE principal_id = $1 OR id = $2`,
			key(holderID), c.ID).Scan(&have, &taken)
	}
	switch {
	case err == nil && taken > 0:
		return Certificate{}, badCertificate("there is one with the keyId '%s' already", c.ID)
	case err == nil && have >= maxCertificates:
		return Certificate{}, badCertificate("the application has %d already; remove one", have)
	case err == nil:
		_, err = tx.Exec(ctx, `INSERT INTO directory_certificates (id, principal_id, der, created, name, starts, ends) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			c.ID, key(holderID), der, store.Micros(c.Created), c.Name, store.Micros(c.Starts), store.Micros(c.Ends))
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("storing a certificate of %s: %w", holderID, err)
	}
	return c, nil
}

func badCertificate(format string, args ...any) error {
	return azure.Errorf(http.StatusBadRequest, "KeyCredentialsInvalidKey", "The certificate cannot be used: "+format+".", args...)
}

// RemoveCertificate takes a certificate away from its holder; false when it has none with this id. Assertions that it
// signed are refused from now on; tokens that were issued for them live on.
func (d *Directory) RemoveCertificate(ctx context.Context, tx *store.Tx, holderID, id string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_certificates WHERE principal_id = $1 AND id = $2`, key(holderID), key(id))
	if err != nil {
		return false, fmt.Errorf("removing certificate %s of %s: %w", id, holderID, err)
	}
	return n > 0, nil
}

// Certificates returns the service principal with a client id, disabled or not, with the certificates of it and its
// application, expired ones too, unless their holder bounded their use to another time; sql.ErrNoRows when there is no
// such service principal of an application.
func (d *Directory) Certificates(ctx context.Context, appID string) (p Principal, list []Certificate, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		if p, err = find(ctx, tx, `app_id = $1 AND kind = $2`, key(appID), string(Application)); err != nil {
			return err
		}
		list, err = certificates(ctx, tx, `starts <= $3 AND (ends = 0 OR ends > $3) AND
			(principal_id = $1 OR principal_id = (SELECT id FROM directory_applications WHERE app_id = $2))`, p.ID, p.AppID, store.Micros(time.Now()))
		return err
	})
	if err != nil {
		return Principal{}, nil, fmt.Errorf("reading the certificates of application %s: %w", appID, err)
	}
	return p, list, nil
}

func certificates(ctx context.Context, tx *store.Tx, where string, args ...any) ([]Certificate, error) {
	rows, err := tx.Query(ctx, `SELECT id, der, created, name, starts, ends FROM directory_certificates WHERE `+where+` ORDER BY created, id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Certificate
	for rows.Next() {
		var c Certificate
		var der []byte
		var created, starts, ends int64
		if err := rows.Scan(&c.ID, &der, &created, &c.Name, &starts, &ends); err != nil {
			return nil, err
		}
		if c.X509, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", c.ID, err)
		}
		c.Created, c.Starts, c.Ends = store.Time(created), store.Time(starts), store.Time(ends)
		list = append(list, c)
	}
	return list, rows.Err()
}
