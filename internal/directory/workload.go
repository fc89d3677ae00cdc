package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// Workload is a registered process that has identities. It proves itself with a secret of its own.
type Workload struct {
	ID         string // GUID; also the unguessable path segment of its endpoints
	Name       string
	ResourceID string   // what xms_az_rid says when it acts with a user-assigned identity; may be empty
	Identities []string // object ids; the first is the default
	// Expires is when the workload ends unless its lease is renewed; the zero time is never.
	Expires time.Time
}

// maxWorkloadName bounds a workload's name, in characters.
const maxWorkloadName = 256

// RegisterWorkload makes a workload and returns its secret (IDENTITY_HEADER), shown once. An identity that is not a
// managed identity of the directory, or a name that is none, is azure.Error 400. An empty w.ID is filled in.
func (d *Directory) RegisterWorkload(ctx context.Context, w Workload) (Workload, seal.Secret, error) {
	if !utf8.ValidString(w.Name) || utf8.RuneCountInString(w.Name) > maxWorkloadName || strings.ContainsFunc(w.Name, unicode.IsControl) {
		return Workload{}, "", azure.Errorf(http.StatusBadRequest, "InvalidWorkloadName",
			"The workload's name is longer than %d characters or holds a control character.", maxWorkloadName)
	}
	w.ID = key(w.ID)
	if w.ID == "" {
		w.ID = azure.NewGUID()
	}
	identities := make([]string, len(w.Identities))
	for i, id := range w.Identities {
		identities[i] = key(id)
	}
	w.Identities = identities
	secret, hash := newSecret()
	err := d.DB.Update(ctx, func(tx *store.Tx) error {
		if err := forgetExpired(ctx, tx); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO directory_workloads (id, name, resource_id, secret_hash, created, expires) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (id) DO NOTHING`, w.ID, w.Name, w.ResourceID, hash, store.Micros(time.Now()), store.Micros(w.Expires))
		if err != nil {
			return err
		}
		if n == 0 {
			return azure.Errorf(http.StatusConflict, "WorkloadExists", "A workload with id %s is registered already.", w.ID)
		}
		for i, id := range w.Identities {
			p, err := find(ctx, tx, `id = $1`, id)
			if errors.Is(err, sql.ErrNoRows) || err == nil && !p.Managed() {
				return azure.Errorf(http.StatusBadRequest, "PrincipalNotFound", "Principal %s is not a managed identity of the directory %s.", id, d.TenantID)
			}
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO directory_workload_identities (workload_id, position, principal_id) VALUES ($1, $2, $3)`, w.ID, i, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Workload{}, "", fmt.Errorf("registering workload '%s': %w", w.Name, err)
	}
	return w, secret, nil
}

// Workload returns a workload by id; false when there is none.
func (d *Directory) Workload(ctx context.Context, id string) (Workload, bool, error) {
	return d.workload(ctx, `id = $1`, key(id))
}

// WorkloadBySecret returns the workload that a secret belongs to; false when there is none. The look-up goes by the
// secret's hash, so that its timing tells nothing of other secrets.
func (d *Directory) WorkloadBySecret(ctx context.Context, secret seal.Secret) (Workload, bool, error) {
	return d.workload(ctx, `secret_hash = $1`, hashSecret(secret))
}

func (d *Directory) workload(ctx context.Context, where string, arg any) (w Workload, ok bool, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		w = Workload{}
		var expires int64
		err := tx.QueryRow(ctx, `SELECT id, name, resource_id, expires FROM directory_workloads WHERE (expires = 0 OR expires > $2) AND `+where,
			arg, store.Micros(time.Now())).Scan(&w.ID, &w.Name, &w.ResourceID, &expires)
		if err != nil {
			return err
		}
		w.Expires = store.Time(expires)
		rows, err := tx.Query(ctx, `SELECT principal_id FROM directory_workload_identities WHERE workload_id = $1 ORDER BY position`, w.ID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			w.Identities = append(w.Identities, id)
		}
		return rows.Err()
	})
	if errors.Is(err, sql.ErrNoRows) {
		return Workload{}, false, nil
	}
	if err != nil {
		return Workload{}, false, fmt.Errorf("reading a workload: %w", err)
	}
	return w, true, nil
}

// RemoveWorkload forgets a workload; its secret dies with it. One that is not there is no error.
func (d *Directory) RemoveWorkload(ctx context.Context, id string) error {
	err := d.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM directory_workload_identities WHERE workload_id = $1`, key(id)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM directory_workloads WHERE id = $1`, key(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("removing workload %s: %w", id, err)
	}
	return nil
}
