package customerkey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// row is an owner's account key as it is stored.
type row struct {
	owner      string
	generation int64
	customer   bool
	identifier string // as the customer gave it
	version    string // the version that wraps
	identity   onbehalf.Identity
	sealed     []byte
	accessible bool
	problem    Problem
	since      time.Time
	rotated    time.Time // when version began to wrap
}

const columns = `owner, generation, customer, key_identifier, key_version, principal_id, resource_id, identity_id, sealed,
	accessible, denied, code, detail, since, rotated`

func (r *row) scan(scan func(...any) error) error {
	var since, rotated int64
	err := scan(&r.owner, &r.generation, &r.customer, &r.identifier, &r.version, &r.identity.PrincipalID,
		&r.identity.ResourceID, &r.identity.IdentityID, &r.sealed, &r.accessible, &r.problem.Denied, &r.problem.Code,
		&r.problem.Detail, &since, &rotated)
	r.since, r.rotated = store.Time(since), store.Time(rotated)
	return err
}

func load(ctx context.Context, tx *store.Tx, owner string) (*row, error) {
	r := new(row)
	err := r.scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM customerkey_keys WHERE owner = $1`, strings.ToLower(owner)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, azure.Errorf(404, "ResourceNotFound", "'%s' has no account key.", owner)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the account key of %s: %w", owner, err)
	}
	return r, nil
}

func (r *row) state() State {
	s := State{Customer: r.customer, KeyID: r.version, Accessible: r.accessible, Since: r.since, Rotated: r.rotated}
	if !r.accessible {
		p := r.problem
		s.Problem = &p
	}
	return s
}

// checkSize is the size of the check value: SHA-256 over the account key.
const checkSize = sha256.Size

// sealFor puts the system layer over a wrapped (or, for the system key, bare) account key.
func (k *Keeper) sealFor(owner string, generation int64, key seal.Key, wrapped []byte) []byte {
	sum := sha256.Sum256(key[:])
	return k.o.Keyring.Seal(append(sum[:], wrapped...), aad(owner, generation)...)
}

// open takes the system layer off and returns the check value and what lies below.
func (k *Keeper) open(r *row) (check, wrapped []byte, err error) {
	plain, err := k.o.Keyring.Open(r.sealed, aad(r.owner, r.generation)...)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the account key of %s: %w", r.owner, err)
	}
	if len(plain) <= checkSize {
		return nil, nil, fmt.Errorf("opening the account key of %s: %d bytes are too few", r.owner, len(plain))
	}
	return plain[:checkSize], plain[checkSize:], nil
}

func aad(owner string, generation int64) []string {
	return []string{"customerkey_keys", owner, strconv.FormatInt(generation, 10), "sealed"}
}

// keyFrom is the account key in what an unwrap gave, when it is the one that the check value stands for.
func keyFrom(plain, check []byte) (seal.Key, bool) {
	var key seal.Key
	if len(plain) != len(key) {
		return key, false
	}
	copy(key[:], plain)
	sum := sha256.Sum256(key[:])
	if subtle.ConstantTimeCompare(sum[:], check) != 1 {
		return seal.Key{}, false
	}
	return key, true
}

// Create makes an owner's account key under the system key, in the caller's transaction. An owner that has one keeps
// it.
func (k *Keeper) Create(ctx context.Context, tx *store.Tx, owner string) error {
	owner = strings.ToLower(owner)
	key := seal.NewKey()
	_, err := tx.Exec(ctx, `INSERT INTO customerkey_keys (`+columns+`)
		VALUES ($1, 1, 0, '', '', '', '', '', $2, 1, 0, '', '', $3, $3) ON CONFLICT (owner) DO NOTHING`,
		owner, k.sealFor(owner, 1, key, key[:]), store.Micros(time.Now()))
	if err != nil {
		return fmt.Errorf("making the account key of %s: %w", owner, err)
	}
	return nil
}

// Rename keeps an owner's account key under another ARM ID, in the caller's transaction. It is for owners under the
// system key: an identity that a customer's vault knows acts for the owner by its ID.
func (k *Keeper) Rename(ctx context.Context, tx *store.Tx, from, to string) error {
	r, err := load(ctx, tx, from)
	if err != nil {
		return err
	}
	if r.customer {
		return azure.Errorf(409, "Conflict", "The account key of '%s' is wrapped by a customer's key.", from)
	}
	check, key, err := k.open(r)
	if err != nil {
		return err
	}
	to = strings.ToLower(to)
	sealed := k.o.Keyring.Seal(append(check, key...), aad(to, r.generation)...)
	if _, err := tx.Exec(ctx, `UPDATE customerkey_keys SET owner = $2, sealed = $3 WHERE owner = $1`, r.owner, to, sealed); err != nil {
		return fmt.Errorf("renaming the account key of %s: %w", from, err)
	}
	tx.AfterCommit(func() {
		k.forget(r.owner)
		k.forget(to)
	})
	return nil
}

// Delete forgets an owner's account key. What was sealed under it is lost.
func (k *Keeper) Delete(ctx context.Context, tx *store.Tx, owner string) error {
	owner = strings.ToLower(owner)
	if _, err := tx.Exec(ctx, `DELETE FROM customerkey_keys WHERE owner = $1`, owner); err != nil {
		return fmt.Errorf("deleting the account key of %s: %w", owner, err)
	}
	tx.AfterCommit(func() { k.forget(owner) })
	return nil
}
