package seal

import (
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds the wrapped data keys.
var Schema = store.Schema{Name: "seal", FS: schemaFS}

// keyIDSize is the length of the data key's id that begins what Keyring.Seal makes.
const keyIDSize = 4

// Keyring seals values under data keys that the root wraps. It is safe for concurrent use.
type Keyring struct {
	db   *store.DB
	root Root

	keys    atomic.Pointer[dataKeys]
	loading sync.Mutex // held while the keys are read again
}

// dataKeys is what a keyring knows of seal_keys; it does not change.
type dataKeys struct {
	newest uint32
	byID   map[uint32]xaes
}

type wrappedKey struct {
	id      uint32
	rootID  string
	wrapped []byte
}

// OpenKeyring loads the data keys and makes the first. A database whose keys were wrapped by another root fails with
// the id of the one that is needed.
func OpenKeyring(ctx context.Context, db *store.DB, root Root) (*Keyring, error) {
	k := &Keyring{db: db, root: root}
	rows, err := k.wrappedKeys(ctx)
	if err == nil && len(rows) == 0 {
		err = k.addKey(ctx, 1) // of several nodes that start at once, one wins
	}
	if err == nil {
		err = k.load(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening keyring: %w", err)
	}
	return k, nil
}

// Seal encrypts a value under associated data that names its table, row and field, so that a value moved elsewhere
// does not open. The result is 44 bytes longer than the value.
func (k *Keyring) Seal(plaintext []byte, aad ...string) []byte {
	keys := k.keys.Load()
	x := keys.byID[keys.newest]
	dst := make([]byte, 0, keyIDSize+len(plaintext)+xaesOverhead)
	dst = binary.BigEndian.AppendUint32(dst, keys.newest)
	return x.seal(dst, plaintext, joinAAD(aad))
}

// Open decrypts what Seal made, or gives ErrCorrupt. A data key that is not known, because another node has made it,
// is looked for in the database.
func (k *Keyring) Open(sealed []byte, aad ...string) ([]byte, error) {
	if len(sealed) < keyIDSize {
		return nil, ErrCorrupt
	}
	x, err := k.key(binary.BigEndian.Uint32(sealed))
	if err != nil {
		return nil, err
	}
	return x.open(sealed[keyIDSize:], joinAAD(aad))
}

func (k *Keyring) key(id uint32) (xaes, error) {
	if x, ok := k.keys.Load().byID[id]; ok {
		return x, nil
	}
	k.loading.Lock()
	defer k.loading.Unlock()
	if x, ok := k.keys.Load().byID[id]; ok {
		return x, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := k.load(ctx); err != nil {
		return xaes{}, fmt.Errorf("looking for data key %d: %w", id, err)
	}
	x, ok := k.keys.Load().byID[id]
	if !ok {
		return xaes{}, fmt.Errorf("data key %d is not in the database: %w", id, ErrCorrupt)
	}
	return x, nil
}

// Rotate adds a data key, which seals from now on. Older values stay as they are and open as before.
func (k *Keyring) Rotate(ctx context.Context) error {
	k.loading.Lock()
	defer k.loading.Unlock()
	err := k.load(ctx)
	if err == nil {
		err = k.addKey(ctx, k.keys.Load().newest+1)
	}
	if err == nil {
		err = k.load(ctx)
	}
	if err != nil {
		return fmt.Errorf("rotating data key: %w", err)
	}
	return nil
}

// Rewrap wraps every data key with another root, all or none, and goes on with it. Other nodes go on with what they
// have loaded; they start with the new root next time.
func (k *Keyring) Rewrap(ctx context.Context, root Root) error {
	k.loading.Lock()
	defer k.loading.Unlock()
	rows, err := k.wrappedKeys(ctx)
	if err != nil {
		return fmt.Errorf("rewrapping data keys: %w", err)
	}
	for i := range rows {
		if err := rewrap(ctx, &rows[i], k.root, root); err != nil {
			return fmt.Errorf("rewrapping data key %d: %w", rows[i].id, err)
		}
	}
	err = k.db.Update(ctx, func(tx *store.Tx) error {
		for _, row := range rows {
			if _, err := tx.Exec(ctx, `UPDATE seal_keys SET root_id = $2, wrapped = $3 WHERE id = $1`,
				int64(row.id), row.rootID, row.wrapped); err != nil {
				return err
			}
		}
		var old int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM seal_keys WHERE root_id <> $1`, root.ID()).Scan(&old); err != nil {
			return err
		}
		if old > 0 {
			return fmt.Errorf("%d data keys were added meanwhile; try again", old)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rewrapping data keys: %w", err)
	}
	k.root = root
	return nil
}

func rewrap(ctx context.Context, row *wrappedKey, from, to Root) error {
	key, err := unwrap(ctx, from, *row)
	if err != nil {
		return err
	}
	defer key.Zero()
	row.rootID = to.ID()
	row.wrapped, err = to.Wrap(ctx, key)
	return err
}

// addKey stores a new data key under an id unless the id is taken. It refuses to when another node has gone on to another
// root: no node could open a database whose keys need both.
func (k *Keyring) addKey(ctx context.Context, id uint32) error {
	key := NewKey()
	defer key.Zero()
	wrapped, err := k.root.Wrap(ctx, key)
	if err != nil {
		return fmt.Errorf("wrapping data key with root %s: %w", k.root.ID(), err)
	}
	created := store.Micros(time.Now())
	return k.db.Update(ctx, func(tx *store.Tx) error {
		var other string
		err := tx.QueryRow(ctx, `SELECT root_id FROM seal_keys WHERE root_id <> $1 LIMIT 1`, k.root.ID()).Scan(&other)
		if err == nil {
			return fmt.Errorf("data keys are wrapped by root key %q, and this node has root key %q: start it with the other one", other, k.root.ID())
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO seal_keys (id, root_id, wrapped, created) VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO NOTHING`, int64(id), k.root.ID(), wrapped, created)
		return err
	})
}

// load reads and unwraps the data keys that are not known yet.
func (k *Keyring) load(ctx context.Context) error {
	rows, err := k.wrappedKeys(ctx)
	if err != nil {
		return err
	}
	known := k.keys.Load()
	next := &dataKeys{byID: make(map[uint32]xaes, len(rows))}
	for _, row := range rows {
		next.newest = max(next.newest, row.id)
		if known != nil {
			if x, ok := known.byID[row.id]; ok {
				next.byID[row.id] = x
				continue
			}
		}
		key, err := unwrap(ctx, k.root, row)
		if err != nil {
			return err
		}
		next.byID[row.id] = newXAES(key)
		key.Zero()
	}
	k.keys.Store(next)
	return nil
}

func unwrap(ctx context.Context, root Root, row wrappedKey) (Key, error) {
	if row.rootID != root.ID() {
		return Key{}, fmt.Errorf("data key %d was wrapped by root key %q, and the root key given is %q: start with the "+
			"root key file or passphrase that the database was made with", row.id, row.rootID, root.ID())
	}
	key, err := root.Unwrap(ctx, row.wrapped)
	if err != nil {
		return Key{}, fmt.Errorf("unwrapping data key %d with root key %q: %w", row.id, root.ID(), err)
	}
	return key, nil
}

func (k *Keyring) wrappedKeys(ctx context.Context) ([]wrappedKey, error) {
	var keys []wrappedKey
	err := k.db.View(ctx, func(tx *store.Tx) error {
		keys = nil
		rows, err := tx.Query(ctx, `SELECT id, root_id, wrapped FROM seal_keys ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row wrappedKey
			if err := rows.Scan(&row.id, &row.rootID, &row.wrapped); err != nil {
				return err
			}
			keys = append(keys, row)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("reading data keys: %w", err)
	}
	return keys, nil
}
