package directory

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// maxLease bounds how long a workload lives without a renewal.
const maxLease = time.Hour

// leaseRequest is the body of POST {userAssignedIdentity}/assign, an operation of our own under the action that Azure
// asks for when an identity is put on a machine: the caller's process becomes a workload with the identity.
//
//	{"name", "seconds"}                  registers a workload for so long
//	{"id", "secret", "seconds"}          renews its lease
//	{"id", "secret", "seconds": 0}       ends it
type leaseRequest struct {
	Name    string `json:"name"`
	Seconds int    `json:"seconds"`
	ID      string `json:"id"`
	Secret  string `json:"secret"`
}

type leaseAnswer struct {
	ID          string    `json:"id"`
	Secret      string    `json:"secret,omitempty"` // shown once, at registration
	ClientID    string    `json:"clientId"`
	PrincipalID string    `json:"principalId"`
	TenantID    string    `json:"tenantId"`
	Expires     time.Time `json:"expires"`
}

func (d *Directory) lease(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	var req leaseRequest
	if err := r.DecodeJSON("InvalidRequestContent", &req); err != nil {
		return err
	}
	life := time.Duration(req.Seconds) * time.Second
	if life < 0 || life > maxLease || life == 0 && req.ID == "" {
		return azure.Errorf(http.StatusBadRequest, "InvalidLease", "'seconds' is %d: a lease has 1 to %d seconds; 0 ends the one that 'id' and 'secret' name.",
			req.Seconds, int(maxLease/time.Second))
	}
	answer := leaseAnswer{TenantID: d.TenantID, Expires: time.Now().Add(life)}
	err := d.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		answer.PrincipalID, answer.ClientID, err = d.UserAssigned(r.Context(), tx, res.ID)
		return err
	})
	if err != nil {
		return err
	}
	if req.ID != "" {
		answer.ID = req.ID
		err = d.renew(r.Context(), req, answer.PrincipalID, answer.Expires)
	} else {
		var workload Workload
		var secret seal.Secret
		workload, secret, err = d.RegisterWorkload(r.Context(), Workload{Name: req.Name, Identities: []string{answer.PrincipalID}, Expires: answer.Expires})
		answer.ID, answer.Secret = workload.ID, secret.Reveal()
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return azure.WriteJSON(w, http.StatusOK, answer)
}

// renew moves the end of a workload's lease, or ends it at once when there are no seconds.
func (d *Directory) renew(ctx context.Context, req leaseRequest, principalID string, expires time.Time) error {
	held, ok, err := d.WorkloadBySecret(ctx, seal.Secret(req.Secret))
	if err != nil {
		return err
	}
	if !ok || held.ID != key(req.ID) || len(held.Identities) == 0 || held.Identities[0] != principalID {
		return azure.Errorf(http.StatusNotFound, "WorkloadNotFound", "There is no workload '%s' with that secret and this identity; its lease may be over. Register it again.", req.ID)
	}
	if req.Seconds == 0 {
		return d.RemoveWorkload(ctx, held.ID)
	}
	err = d.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE directory_workloads SET expires = $1 WHERE id = $2`, store.Micros(expires), held.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("renewing the lease of workload %s: %w", held.ID, err)
	}
	return nil
}

// forgetExpired removes workloads whose lease is over, in the caller's transaction.
func forgetExpired(ctx context.Context, tx *store.Tx) error {
	now := store.Micros(time.Now())
	if _, err := tx.Exec(ctx, `DELETE FROM directory_workload_identities WHERE workload_id IN
		(SELECT id FROM directory_workloads WHERE expires > 0 AND expires <= $1)`, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM directory_workloads WHERE expires > 0 AND expires <= $1`, now)
	return err
}
