package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"golang.org/x/crypto/argon2"
)

// What can be wrong with credentials.
var (
	ErrWrongSecret   = errors.New("the secret is not one of the principal's")
	ErrExpiredSecret = errors.New("the secret is one of the principal's that has expired")
	ErrDisabled      = errors.New("the principal is disabled")
)

// newSecret returns 32 random bytes as text, and the hash under which they are stored: a secret that cannot be
// guessed needs no slow hash. The text is hexadecimal because a secret that begins with "-" is an option to az and others.
func newSecret() (seal.Secret, []byte) {
	var b [32]byte
	rand.Read(b[:])
	s := seal.Secret(hex.EncodeToString(b[:]))
	return s, hashSecret(s)
}

func hashSecret(s seal.Secret) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// AddSecret is AddNamedSecret of one without a name that is valid until it is removed.
func (d *Directory) AddSecret(ctx context.Context, tx *store.Tx, holderID string) (seal.Secret, error) {
	_, secret, err := d.AddNamedSecret(ctx, tx, holderID, "", time.Time{})
	return secret, err
}

// VerifySecret checks a client secret in constant time. Errors are sql.ErrNoRows for an unknown application,
// ErrWrongSecret, ErrExpiredSecret for one that was right, and ErrDisabled for a right secret of a disabled one.
func (d *Directory) VerifySecret(ctx context.Context, appID string, secret seal.Secret) (p Principal, err error) {
	var right, expired int
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		right, expired = 0, 0
		p, err = find(ctx, tx, `app_id = $1 AND kind = $2`, key(appID), string(Application))
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT hash, CASE WHEN expires = 0 OR expires > $2 THEN 0 ELSE 1 END FROM directory_secrets
			WHERE starts <= $2 AND (principal_id = $1 OR principal_id = (SELECT id FROM directory_applications WHERE app_id = $3))`, p.ID, store.Micros(time.Now()), p.AppID)
		if err != nil {
			return err
		}
		defer rows.Close()
		hash := hashSecret(secret)
		for rows.Next() {
			var stored []byte
			var over int
			if err := rows.Scan(&stored, &over); err != nil {
				return err
			}
			same := subtle.ConstantTimeCompare(hash, stored)
			right, expired = right|same&^over, expired|same&over
		}
		return rows.Err()
	})
	switch {
	case err != nil:
		return Principal{}, fmt.Errorf("checking a client secret of application %s: %w", appID, err)
	case right != 1 && expired == 1:
		return Principal{}, ErrExpiredSecret
	case right != 1:
		return Principal{}, ErrWrongSecret
	case !p.Enabled:
		return Principal{}, ErrDisabled
	}
	return p, nil
}

// Parameters of argon2id: OWASP's choice for servers (Password Storage Cheat Sheet). Those of a stored password stand
// with it, so they can be raised.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
	argonFormat  = "$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s"
)

func hashPassword(password seal.Secret, salt []byte) string {
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, 32)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf(argonFormat, argonMemory, argonTime, argonThreads, encode(salt), encode(key))
}

// checkPassword compares with a stored hash under the parameters that stand in it.
func checkPassword(password seal.Secret, stored string) (bool, error) {
	fields := strings.Split(stored, "$") // "", argon2id, v, parameters, salt, key
	if len(fields) != 6 {
		return false, errors.New("the stored password hash is not in argon2's format")
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return false, fmt.Errorf("parameters of the stored password hash: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	if err != nil {
		return false, fmt.Errorf("salt of the stored password hash: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(fields[5])
	if err != nil {
		return false, fmt.Errorf("key of the stored password hash: %w", err)
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// newPasswordHash hashes a password under a new salt.
func newPasswordHash(password seal.Secret) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	return hashPassword(password, salt)
}

// CreateUser makes a user who signs in with a name (such as "ada@example.org", case does not count) and a password.
// A name that is taken is azure.Error 400.
func (d *Directory) CreateUser(ctx context.Context, name string, password seal.Secret) (p Principal, err error) {
	if key(name) == "" || password == "" {
		return Principal{}, azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "A user needs a name and a password.")
	}
	hash := newPasswordHash(password) // outside the transaction: it is slow on purpose
	err = d.DB.Update(ctx, func(tx *store.Tx) error {
		p, err = insertUser(ctx, tx, name, hash)
		return err
	})
	if err != nil {
		return Principal{}, err
	}
	return p, nil
}

func insertUser(ctx context.Context, tx *store.Tx, name, hash string) (Principal, error) {
	p := Principal{ID: azure.NewGUID(), Kind: User, Name: name, Enabled: true}
	n, err := tx.Exec(ctx, `INSERT INTO directory_passwords (user_key, principal_id, hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		key(name), p.ID, hash)
	if err != nil {
		return Principal{}, fmt.Errorf("storing the password of user '%s': %w", name, err)
	}
	if n == 0 {
		return Principal{}, azure.Errorf(http.StatusBadRequest, "Request_BadRequest",
			"Another object with the same value for property userPrincipalName already exists: '%s'.", name)
	}
	_, err = insert(ctx, tx, p)
	return p, err
}

// VerifyPassword checks a user's password. An unknown user takes as long as a wrong password and is ErrWrongSecret
// too; ErrDisabled is the answer to the right password of a disabled user.
func (d *Directory) VerifyPassword(ctx context.Context, name string, password seal.Secret) (p Principal, err error) {
	var hash string
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		var id string
		err := tx.QueryRow(ctx, `SELECT principal_id, hash FROM directory_passwords WHERE user_key = $1`, key(name)).Scan(&id, &hash)
		if err != nil {
			return err
		}
		p, err = find(ctx, tx, `id = $1`, id)
		return err
	})
	d.passwords.Lock()
	defer d.passwords.Unlock()
	if ctx.Err() != nil { // who asked has gone while waiting
		return Principal{}, ctx.Err()
	}
	if errors.Is(err, sql.ErrNoRows) {
		hashPassword(password, make([]byte, 16))
		return Principal{}, ErrWrongSecret
	}
	if err != nil {
		return Principal{}, fmt.Errorf("checking a user's password: %w", err) // not the name: a password may have been typed for it
	}
	ok, err := checkPassword(password, hash)
	switch {
	case err != nil:
		return Principal{}, fmt.Errorf("checking the password of user '%s': %w", name, err)
	case !ok:
		return Principal{}, ErrWrongSecret
	case !p.Enabled:
		return Principal{}, ErrDisabled
	}
	return p, nil
}
