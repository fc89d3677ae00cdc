package directory

import (
	"context"

	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// PasswordHash is what is kept of a password.
type PasswordHash string

// HashPassword hashes a password. It is slow on purpose: it is called outside a transaction.
func HashPassword(password seal.Secret) PasswordHash { return PasswordHash(newPasswordHash(password)) }

// AddUser is CreateUser in the caller's transaction.
func (d *Directory) AddUser(ctx context.Context, tx *store.Tx, name string, hash PasswordHash) (Principal, error) {
	return insertUser(ctx, tx, name, string(hash))
}

// HasUsers reports whether the tenant has a user.
func (d *Directory) HasUsers(ctx context.Context, tx *store.Tx) (has bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM directory_principals WHERE kind = $1)`, string(User)).Scan(&has)
	return has, err
}
