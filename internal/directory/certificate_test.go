package directory

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func certificate(t *testing.T, key crypto.Signer, notAfter time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(time.Hour)
	der := certificate(t, good, tomorrow)
	storetest.Each(t, []store.Schema{Schema}, func(t *testing.T, db *store.DB) {
		d := &Directory{DB: db, TenantID: "tenant"}
		ctx := t.Context()
		var app Principal
		update := func(fn func(tx *store.Tx) error) error { return db.Update(ctx, fn) }
		if err := update(func(tx *store.Tx) (err error) { app, _, err = d.CreateApplication(ctx, tx, "app"); return err }); err != nil {
			t.Fatal(err)
		}
		add := func(principalID string, der []byte) (c Certificate, err error) {
			err = update(func(tx *store.Tx) (err error) { c, err = d.AddCertificate(ctx, tx, principalID, der); return err })
			return c, err
		}
		first, err := add(strings.ToUpper(app.ID), der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := add(app.ID, der); err != nil { // a rotation may overlap, with the same one too
			t.Fatal(err)
		}
		p, list, err := d.Certificates(ctx, strings.ToUpper(app.AppID))
		if err != nil || p.ID != app.ID || len(list) != 2 || list[0].ID != first.ID || !list[0].X509.Equal(first.X509) || !list[0].Created.Equal(first.Created) {
			t.Errorf("%+v %+v %v", p, list, err)
		}

		for name, bad := range map[string][]byte{
			"not DER": []byte("x"), "empty": nil, "elliptic": certificate(t, curve, tomorrow), "expired": certificate(t, good, time.Now().Add(-time.Minute)),
		} {
			var refused *azure.Error
			if _, err := add(app.ID, bad); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := add(azure.NewGUID(), der); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("nobody's certificate: %v", err)
		}

		for _, want := range []bool{true, false} {
			var had bool
			if err := update(func(tx *store.Tx) (err error) { had, err = d.RemoveCertificate(ctx, tx, app.ID, first.ID); return err }); err != nil || had != want {
				t.Errorf("removed %v, %v, want %v", had, err, want)
			}
		}
		if _, list, err := d.Certificates(ctx, app.AppID); err != nil || len(list) != 1 {
			t.Errorf("%d certificates, %v", len(list), err)
		}
		for range maxCertificates - 1 {
			if _, err := add(app.ID, der); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := add(app.ID, der); err == nil || !strings.Contains(err.Error(), "remove one") {
			t.Errorf("one too many: %v", err)
		}

		if err := update(func(tx *store.Tx) error { return d.Delete(ctx, tx, app.ID) }); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Certificates(ctx, app.AppID); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("of a deleted application: %v", err)
		}
		err = db.View(ctx, func(tx *store.Tx) error {
			var n int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM directory_certificates`).Scan(&n); err != nil {
				return err
			}
			if n != 0 {
				t.Errorf("%d certificates are left of a deleted application", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
