package blob

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// account is a storage account as the data plane needs it.
type account struct {
	id       int64
	name     string
	resource azure.ResourceID
	owner    string // of its account key
	settings settings
	keys     []sharedKey
	sealed   []byte   // the data key, under the account key
	data     seal.Key // the data key; of the account of a request that was let through to its blobs
}

// settings are the properties of the ARM resource that the data plane goes by. They are written in the transaction
// that writes the resource.
type settings struct {
	SKU         string  `json:"sku"`
	Kind        string  `json:"kind"`
	SharedKey   bool    `json:"sharedKey"`   // allowSharedKeyAccess
	PublicBlobs bool    `json:"publicBlobs"` // allowBlobPublicAccess
	HTTPSOnly   bool    `json:"httpsOnly"`   // supportsHttpsTrafficOnly
	MinimumTLS  uint16  `json:"minimumTls"`  // a version as crypto/tls counts them
	AccessTier  string  `json:"accessTier"`  // of blobs that have none of their own
	Network     network `json:"network"`
}

// sharedKey is one of an account's two keys. Value is base64.
type sharedKey struct {
	Name    string    `json:"name"` // "key1", "key2"
	Value   string    `json:"value"`
	Created time.Time `json:"created"`
}

func newSharedKey(name string) sharedKey {
	var b [64]byte
	rand.Read(b[:])
	return sharedKey{Name: name, Value: base64.StdEncoding.EncodeToString(b[:]), Created: time.Now().UTC().Truncate(time.Microsecond)}
}

// newID returns a random positive number: the key of an account, a container or a content.
func newID() int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>1) | 1
}

// The cache answers for as long before the row is read again: another node's change is seen after it. A change in this
// process is seen at once.
const accountTTL = 2 * time.Second

type cachedAccount struct {
	account *account
	until   time.Time
}

// accountCache spares the hot path the unsealing of keys.
type accountCache struct {
	mu         sync.Mutex
	entries    map[string]cachedAccount
	generation int64 // counts changes, so that a read that was overtaken by one is not kept
}

func (c *accountCache) get(name string) (a *account, generation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[name]; ok && time.Now().Before(e.until) {
		return e.account, c.generation
	}
	return nil, c.generation
}

func (c *accountCache) put(a *account, generation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.entries[a.name] = cachedAccount{a, time.Now().Add(accountTTL)}
	}
}

func (c *accountCache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	delete(c.entries, name)
}

// account returns the account with a name, or 404 ResourceNotFound.
func (s *Storage) account(ctx context.Context, name string) (*account, error) {
	a, generation := s.accounts.get(name)
	if a != nil {
		return a, nil
	}
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		a, err = s.readAccount(ctx, tx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.accounts.put(a, generation)
	return a, nil
}

func (s *Storage) readAccount(ctx context.Context, tx *store.Tx, name string) (*account, error) {
	a := &account{name: name}
	var resource, stored string
	var keys, data []byte
	err := tx.QueryRow(ctx, `SELECT id, resource, settings, keys, data_key FROM blob_accounts WHERE name = $1`, name).
		Scan(&a.id, &resource, &stored, &keys, &data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The storage account '%s' does not exist.", name)
	}
	if err == nil {
		err = s.openAccount(a, resource, stored, keys, data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading storage account %s: %w", name, err)
	}
	return a, nil
}

func (s *Storage) openAccount(a *account, resource, stored string, sealedKeys, sealedData []byte) (err error) {
	if a.resource, err = azure.ParseResourceID(resource); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(stored), &a.settings); err != nil {
		return err
	}
	keys, err := s.Keyring.Open(sealedKeys, "blob_accounts", a.name, "keys")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(keys, &a.keys); err != nil {
		return err
	}
	a.owner, a.sealed = a.resource.Key(), sealedData
	return nil
}

// createAccount makes the account of a new resource, with new shared keys and the data key that newDataKey has sealed.
func (s *Storage) createAccount(ctx context.Context, tx *store.Tx, id azure.ResourceID, set settings, data []byte) error {
	stored, err := json.Marshal(set)
	if err != nil {
		return err
	}
	keys, err := json.Marshal([]sharedKey{newSharedKey("key1"), newSharedKey("key2")})
	if err != nil {
		return err
	}
	name := id.Name()
	_, err = tx.Exec(ctx, `INSERT INTO blob_accounts (id, name, resource, settings, keys, data_key, created) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		newID(), name, id.String(), string(stored), s.Keyring.Seal(keys, "blob_accounts", name, "keys"),
		data, store.Micros(time.Now()))
	if store.IsUnique(err) {
		return errNameTaken(name)
	}
	return err
}

func (s *Storage) saveSettings(ctx context.Context, tx *store.Tx, name string, set settings) error {
	stored, err := json.Marshal(set)
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE blob_accounts SET settings = $2 WHERE name = $1`, name, string(stored))
	if err == nil && n == 0 {
		err = fmt.Errorf("storage account %s has no row", name)
	}
	tx.AfterCommit(func() { s.accounts.drop(name) })
	return err
}

// regenerate replaces one of the shared keys. Requests signed with the old one are refused from the commit on.
func (s *Storage) regenerate(ctx context.Context, tx *store.Tx, name, key string) (*account, error) {
	a, err := s.readAccount(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	found := false
	for i := range a.keys {
		if a.keys[i].Name == key {
			a.keys[i], found = newSharedKey(key), true
		}
	}
	if !found {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", "keyName '%s' is not 'key1' or 'key2'.", key)
	}
	keys, err := json.Marshal(a.keys)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `UPDATE blob_accounts SET keys = $2 WHERE name = $1`, name, s.Keyring.Seal(keys, "blob_accounts", name, "keys"))
	tx.AfterCommit(func() { s.accounts.drop(name) })
	return a, err
}

// deleteAccount removes the account, its containers' names and the key to its blobs, which the collector removes.
func (s *Storage) deleteAccount(ctx context.Context, tx *store.Tx, resource azure.ResourceID) error {
	if err := s.Keys.Delete(ctx, tx, resource.Key()); err != nil {
		return err
	}
	name := resource.Name()
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM blob_accounts WHERE name = $1`, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO blob_removed (container, since) SELECT id, $2 FROM blob_containers WHERE account = $1`, []any{id, store.Micros(time.Now())}},
		{`DELETE FROM blob_containers WHERE account = $1`, []any{id}},
		{`DELETE FROM blob_accounts WHERE id = $1`, []any{id}},
	} {
		if _, err := tx.Exec(ctx, q.sql, q.args...); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() { s.accounts.drop(name) })
	return nil
}

func errNameTaken(name string) *azure.Error {
	return azure.Errorf(http.StatusConflict, "StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
}
