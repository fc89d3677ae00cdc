package keyvault

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// key is one version of a key, without its private half.
type key struct {
	vault          string // properties.ID
	name           string // as first written
	version        string // 32 hexadecimal digits
	serial         int64
	kty            string // "RSA" or "RSA-HSM"
	public         rsa.PublicKey
	ops            []string
	tags           map[string]string
	enabled        bool
	nbf, exp       time.Time // zero: none
	created        time.Time
	updated        time.Time
	deleted, purge time.Time // zero: live
}

// Operations on a key, as key_ops and access policies name them.
const (
	opEncrypt   = "encrypt"
	opDecrypt   = "decrypt"
	opSign      = "sign"
	opVerify    = "verify"
	opWrapKey   = "wrapKey"
	opUnwrapKey = "unwrapKey"
)

var keyOps = []string{opEncrypt, opDecrypt, opSign, opVerify, opWrapKey, opUnwrapKey}

var (
	keyName    = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	keyVersion = regexp.MustCompile(`^[0-9A-Fa-f]{32}$`)
)

func checkKeyName(name string) error {
	if !keyName.MatchString(name) {
		return badParameter("The request URI contains an invalid name: %s. A name has 1 to 127 letters, digits and hyphens.", name)
	}
	return nil
}

// generateKey makes a new version of a key. The private half is PKCS#8.
func generateKey(bits int) (version string, public rsa.PublicKey, private []byte, err error) {
	priv, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return "", public, nil, fmt.Errorf("generating an RSA key of %d bits: %w", bits, err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(priv); err != nil {
		return "", public, nil, fmt.Errorf("encoding a generated key: %w", err)
	}
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:]), priv.PublicKey, private, nil
}

// privateAAD names the row and field that a private key is sealed for.
func privateAAD(id keyID) []string {
	return []string{"keyvault_versions", id.vault, id.name, id.version, "private"}
}

func (k *key) id() keyID { return keyID{k.vault, strings.ToLower(k.name), k.version} }

const selectKey = `SELECT k.shown, k.deleted, k.purge, v.vault, v.version, v.serial, v.kty, v.n, v.e, v.ops, v.enabled, v.nbf, v.exp,
	v.created, v.updated, v.tags
	FROM keyvault_keys k JOIN keyvault_versions v ON v.vault = k.vault AND v.name = k.name `

func scanKey(row interface{ Scan(...any) error }) (*key, error) {
	var k key
	var n []byte
	var e, enabled, deleted, purge, nbf, exp, created, updated int64
	var ops, tags string
	if err := row.Scan(&k.name, &deleted, &purge, &k.vault, &k.version, &k.serial, &k.kty, &n, &e, &ops, &enabled, &nbf, &exp, &created, &updated, &tags); err != nil {
		return nil, err
	}
	k.public = rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e)}
	k.enabled = enabled != 0
	k.deleted, k.purge = stored(deleted), stored(purge)
	k.nbf, k.exp, k.created, k.updated = stored(nbf), stored(exp), stored(created), stored(updated)
	return &k, errors.Join(json.Unmarshal([]byte(ops), &k.ops), json.Unmarshal([]byte(tags), &k.tags))
}

// stored is store.Time with 0 as the zero time.
func stored(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return store.Time(micros)
}

// findKey returns a version of a live key, the current one when version is empty; 404 KeyNotFound when there is none.
func findKey(ctx context.Context, tx *store.Tx, vault, name, version string) (*key, error) {
	query, args := selectKey+`WHERE k.vault = $1 AND k.name = $2 AND k.deleted = 0 `, []any{vault, strings.ToLower(name)}
	if version == "" {
		query += `AND v.serial = k.serial`
	} else {
		query += `AND v.version = $3`
		args = append(args, strings.ToLower(version))
	}
	k, err := scanKey(tx.QueryRow(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, keyNotFound(name, version)
	}
	return k, err
}

// findDeletedKey returns the current version of a deleted key that is not past its retention period.
func findDeletedKey(ctx context.Context, tx *store.Tx, vault, name string, now time.Time) (*key, error) {
	k, err := scanKey(tx.QueryRow(ctx, selectKey+`WHERE k.vault = $1 AND k.name = $2 AND k.deleted > 0 AND k.purge > $3 AND v.serial = k.serial`,
		vault, strings.ToLower(name), store.Micros(now)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, deletedKeyNotFound(name)
	}
	return k, err
}

// insert stores k as the current version of its key, which it makes when there is none. It sets k.serial and, for a
// key that exists, k.name. 409 when the key is deleted and can be recovered.
func (k *key) insert(ctx context.Context, tx *store.Tx, sealed []byte, now time.Time) error {
	lower := strings.ToLower(k.name)
	n, err := tx.Exec(ctx, `INSERT INTO keyvault_keys (vault, name, shown, serial, deleted, purge) VALUES ($1, $2, $3, 1, 0, 0)
		ON CONFLICT (vault, name) DO UPDATE SET serial = keyvault_keys.serial + 1 WHERE keyvault_keys.deleted = 0`, k.vault, lower, k.name)
	if err != nil {
		return err
	}
	if n == 0 {
		var purge int64
		if err := tx.QueryRow(ctx, `SELECT purge FROM keyvault_keys WHERE vault = $1 AND name = $2`, k.vault, lower).Scan(&purge); err != nil {
			return err
		}
		if purge > store.Micros(now) {
			return keyIsDeleted(k.name)
		}
		if err := eraseExpired(ctx, tx, now); err != nil {
			return err
		}
		return k.insert(ctx, tx, sealed, now)
	}
	if err := tx.QueryRow(ctx, `SELECT shown, serial FROM keyvault_keys WHERE vault = $1 AND name = $2`, k.vault, lower).Scan(&k.name, &k.serial); err != nil {
		return err
	}
	ops, tags, err := k.lists()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO keyvault_versions (vault, name, serial, version, kty, n, e, ops, enabled, nbf, exp, created, updated, tags, private)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		k.vault, lower, k.serial, k.version, k.kty, k.public.N.Bytes(), k.public.E, ops, k.enabled,
		store.Micros(k.nbf), store.Micros(k.exp), store.Micros(k.created), store.Micros(k.updated), tags, sealed)
	return err
}

// save stores what an update may change.
func (k *key) save(ctx context.Context, tx *store.Tx) error {
	ops, tags, err := k.lists()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE keyvault_versions SET ops = $1, enabled = $2, nbf = $3, exp = $4, updated = $5, tags = $6
		WHERE vault = $7 AND name = $8 AND serial = $9`,
		ops, k.enabled, store.Micros(k.nbf), store.Micros(k.exp), store.Micros(k.updated), tags, k.vault, strings.ToLower(k.name), k.serial)
	return err
}

func (k *key) lists() (ops, tags string, err error) {
	o, err1 := json.Marshal(k.ops)
	t, err2 := json.Marshal(k.tags)
	return string(o), string(t), errors.Join(err1, err2)
}

// The shapes of a key in answers.

type keyBundle struct {
	Key        *jwk              `json:"key,omitempty"`
	KID        string            `json:"kid,omitempty"` // of list items
	Attributes attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	*deletion
}

type deletion struct {
	RecoveryID         string `json:"recoveryId"`
	DeletedDate        int64  `json:"deletedDate"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate"`
}

type jwk struct {
	KID    string   `json:"kid"`
	Kty    string   `json:"kty"`
	KeyOps []string `json:"key_ops"`
	N      string   `json:"n"`
	E      string   `json:"e"`
}

type attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitempty"`
	Expires         int64  `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
}

// recoveryLevel says what deletion means in the vault.
func (p *properties) recoveryLevel() string {
	level := "Recoverable"
	if p.RetentionDays < maxRetention {
		level = "CustomizedRecoverable"
	}
	if !p.PurgeProtection {
		level += "+Purgeable"
	}
	return level
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// baseID is the identifier of a key without its version.
func (c *call) baseID(collection string, k *key) string {
	return c.urls.Vault(strings.ToLower(c.resource.ID.Name())) + "/" + collection + "/" + k.name
}

func (c *call) kid(k *key) string { return c.baseID("keys", k) + "/" + k.version }

// item shows k in a list, without its public key.
func (c *call) item(k *key, kid string) *keyBundle {
	b := &keyBundle{KID: kid, Tags: k.tags, Attributes: attributes{
		Enabled: k.enabled, NotBefore: unix(k.nbf), Expires: unix(k.exp), Created: unix(k.created), Updated: unix(k.updated),
		RecoveryLevel: c.vault.recoveryLevel(), RecoverableDays: c.vault.RetentionDays,
	}}
	if !k.deleted.IsZero() {
		b.deletion = &deletion{RecoveryID: c.baseID("deletedkeys", k), DeletedDate: unix(k.deleted), ScheduledPurgeDate: unix(k.purge)}
	}
	return b
}

// bundle shows k whole.
func (c *call) bundle(k *key) *keyBundle {
	b := c.item(k, "")
	b.Key = &jwk{
		KID: c.kid(k), Kty: k.kty, KeyOps: k.ops,
		N: base64.RawURLEncoding.EncodeToString(k.public.N.Bytes()),
		E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.public.E)).Bytes()),
	}
	c.details["id"] = b.Key.KID
	return b
}
