package customerkey

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// Switch is a change of the wrapping key that was prepared and not yet stored.
type Switch struct {
	from int64 // the generation that it replaces
	row  row
}

// KeyID is the version of the customer's key that the switch wrapped with; "" for the system key.
func (s *Switch) KeyID() string { return s.row.version }

// Prepare wraps the owner's account key for c (nil is the system key) over the wire: get the key, wrap, unwrap,
// compare. It changes nothing. A refusal is a *Problem, InUse when the account key was not to be had in the first place.
func (k *Keeper) Prepare(ctx context.Context, owner string, c *Config) (*Switch, error) {
	var old *row
	err := k.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		old, err = load(ctx, tx, owner)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := k.keyForSwitch(ctx, old, c)
	if err != nil {
		return nil, err
	}
	next := row{owner: old.owner, generation: old.generation + 1, accessible: true, since: time.Now()}
	next.rotated = next.since
	if c == nil {
		next.sealed = k.sealFor(next.owner, next.generation, key, key[:])
		return &Switch{from: old.generation, row: next}, nil
	}
	next.customer, next.identifier, next.identity = true, c.KeyID, c.Identity
	id, err := ParseKeyID(c.KeyID)
	if err != nil {
		return nil, err
	}
	err = k.wrap(ctx, &next, vaultKey{k.o.Clients, c.Identity, id}, key)
	rec := audit.Record{
		Category: "AuditEvent", Operation: "CustomerKey.Wrap", Result: "Success", Resource: next.owner,
		Principal: c.Identity.PrincipalID, Identity: c.Identity.IdentityID, Details: map[string]string{"key": c.KeyID, "version": next.version},
	}
	if err != nil {
		rec.Result, rec.Reason = "Failure", err.Error()
	}
	if next.version == old.version {
		next.rotated = old.rotated
	}
	if err := k.o.Audit.Append(ctx, rec); err != nil {
		return nil, fmt.Errorf("recording the use of %s: %w", c.KeyID, err)
	}
	if err != nil {
		return nil, err
	}
	return &Switch{from: old.generation, row: next}, nil
}

// keyForSwitch is the account key of an owner that is to be switched to c. When the identity that used the key in use
// can do so no more (it was deleted, its grant is gone), the one that is to come may: that is the way back for an
// owner whose identity does not return.
func (k *Keeper) keyForSwitch(ctx context.Context, old *row, c *Config) (seal.Key, error) {
	key, err := k.keyOf(ctx, old)
	var lost, still *Problem
	if !errors.As(err, &lost) {
		return key, err
	}
	p := *lost
	p.InUse = true
	if c == nil || c.Identity == old.identity {
		return key, &p
	}
	as := *old
	as.identity = c.Identity
	if key, err = k.unwrap(ctx, &as); !errors.As(err, &still) {
		return key, err
	}
	p.Detail += " And as the identity that is to take its place: " + still.Detail
	return seal.Key{}, &p
}

// keyOf is the account key of a row that was just read: from memory while that serves, else unwrapped. An owner whose
// key has become unusable cannot be switched away from it: nobody else has the account key.
func (k *Keeper) keyOf(ctx context.Context, r *row) (seal.Key, error) {
	k.mu.Lock()
	if e := k.entry(r.owner); k.serves(e, time.Now()) {
		defer k.mu.Unlock()
		return e.key, nil
	}
	k.mu.Unlock()
	return k.unwrap(ctx, r)
}

// wrap wraps key with v for next, tries to unwrap it, and fills next's version and sealed bytes.
func (k *Keeper) wrap(ctx context.Context, next *row, v vaultKey, key seal.Key) error {
	v, err := v.current(ctx)
	if err != nil {
		return err
	}
	wrapped, err := v.wrap(ctx, key[:])
	if err != nil {
		return err
	}
	back, err := v.unwrap(ctx, wrapped)
	if err != nil {
		return err
	}
	next.version = v.id.String()
	next.sealed = k.sealFor(next.owner, next.generation, key, wrapped)
	if string(back) != string(key[:]) {
		return &Problem{Denied: true, Code: "KeyMismatch", Detail: fmt.Sprintf("'%s' does not unwrap what it wraps.", next.version)}
	}
	return nil
}

// Commit stores a prepared switch in the caller's transaction. It fails with azure.Error 409 when the account key was
// re-wrapped since Prepare.
func (k *Keeper) Commit(ctx context.Context, tx *store.Tx, s *Switch) error {
	r := s.row
	n, err := tx.Exec(ctx, `UPDATE customerkey_keys SET generation = $1, customer = $2, key_identifier = $3, key_version = $4,
		principal_id = $5, resource_id = $6, identity_id = $7, sealed = $8, accessible = 1, denied = 0, code = '', detail = '', since = $9, rotated = $10
		WHERE owner = $11 AND generation = $12`,
		r.generation, flag(r.customer), r.identifier, r.version, r.identity.PrincipalID, r.identity.ResourceID,
		r.identity.IdentityID, r.sealed, store.Micros(r.since), store.Micros(r.rotated), r.owner, s.from)
	if err != nil {
		return fmt.Errorf("storing the account key of %s: %w", r.owner, err)
	}
	if n == 0 {
		return azure.Errorf(http.StatusConflict, "Conflict",
			"The account key of '%s' was wrapped anew by another operation meanwhile. Try again.", r.owner)
	}
	tx.AfterCommit(func() { k.forget(strings.ToLower(r.owner)) })
	return nil
}
