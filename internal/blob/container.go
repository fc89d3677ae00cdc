package blob

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// container is a row of blob_containers.
type container struct {
	id       int64
	name     string
	etag     string
	modified time.Time
	metadata metadata
}

var (
	errNoContainer     = azure.Errorf(http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")
	errContainerExists = azure.Errorf(http.StatusConflict, "ContainerAlreadyExists", "The specified container already exists.")
)

func readContainer(ctx context.Context, tx *store.Tx, account int64, name string) (*container, error) {
	c := &container{name: name}
	var modified int64
	var meta string
	err := tx.QueryRow(ctx, `SELECT id, etag, modified, metadata FROM blob_containers WHERE account = $1 AND name = $2`, account, name).
		Scan(&c.id, &c.etag, &modified, &meta)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoContainer
	}
	if err != nil {
		return nil, err
	}
	c.modified = store.Time(modified)
	c.metadata, err = decodeMetadata(meta)
	return c, err
}

// insertContainer makes a container. The account is looked at in the same statement: it may have been deleted since the
// request was authorized.
func insertContainer(ctx context.Context, tx *store.Tx, account int64, c *container) error {
	n, err := tx.Exec(ctx, `INSERT INTO blob_containers (account, name, id, etag, modified, metadata)
		SELECT id, $2, $3, $4, $5, $6 FROM blob_accounts WHERE id = $1
		ON CONFLICT (account, name) DO NOTHING`,
		account, c.name, c.id, c.etag, store.Micros(c.modified), c.metadata.encoded())
	if err != nil || n == 1 {
		return err
	}
	if _, err := readContainer(ctx, tx, account, c.name); err != nil {
		return err
	}
	return errContainerExists
}

func newContainer(name string, meta metadata) *container {
	return &container{id: newID(), name: name, etag: newETag(), modified: time.Now(), metadata: meta}
}

// save stores a container's metadata with a new ETag.
func (c *container) save(ctx context.Context, tx *store.Tx, account int64) error {
	c.etag, c.modified = newETag(), time.Now()
	_, err := tx.Exec(ctx, `UPDATE blob_containers SET etag = $3, modified = $4, metadata = $5 WHERE account = $1 AND name = $2`,
		account, c.name, c.etag, store.Micros(c.modified), c.metadata.encoded())
	return err
}

// removeContainer makes a container vanish; the collector removes its blobs.
func removeContainer(ctx context.Context, tx *store.Tx, account int64, c *container) error {
	if _, err := tx.Exec(ctx, `DELETE FROM blob_containers WHERE account = $1 AND name = $2`, account, c.name); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO blob_removed (container, since) VALUES ($1, $2)`, c.id, store.Micros(time.Now()))
	return err
}

func (s *Storage) createContainer(w http.ResponseWriter, r *azure.Request) error {
	acct := accessOf(r).account
	if v := r.Header.Get("X-Ms-Blob-Public-Access"); v != "" {
		if !acct.settings.PublicBlobs {
			return azure.Errorf(http.StatusConflict, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
		}
		return notBuilt("anonymous access to containers (x-ms-blob-public-access)")
	}
	meta, err := metadataOf(r.Header)
	if err != nil {
		return err
	}
	c := newContainer(r.Vars["container"], meta)
	if err := s.update(r, func(tx *store.Tx) error { return insertContainer(r.Context(), tx, acct.id, c) }); err != nil {
		return err
	}
	c.header(w.Header())
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *container) header(h http.Header) {
	h.Set("ETag", quoted(c.etag))
	h.Set("Last-Modified", httpDate(c.modified))
}

func (s *Storage) getContainer(w http.ResponseWriter, r *azure.Request) error {
	var c *container
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		c, err = readContainer(r.Context(), tx, accessOf(r).account.id, r.Vars["container"])
		return err
	})
	if err != nil {
		return err
	}
	h := w.Header()
	c.header(h)
	c.metadata.header(h)
	if r.Route.Name == "Containers.GetProperties" {
		h.Set("X-Ms-Lease-Status", "unlocked")
		h.Set("X-Ms-Lease-State", "available")
		h.Set("X-Ms-Has-Immutability-Policy", "false")
		h.Set("X-Ms-Has-Legal-Hold", "false")
		h.Set("X-Ms-Immutable-Storage-With-Versioning-Enabled", "false")
		h.Set("X-Ms-Default-Encryption-Scope", accountScope)
		h.Set("X-Ms-Deny-Encryption-Scope-Override", "false")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Storage) setContainerMetadata(w http.ResponseWriter, r *azure.Request) error {
	meta, err := metadataOf(r.Header)
	if err != nil {
		return err
	}
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	var c *container
	err = s.update(r, func(tx *store.Tx) (err error) {
		if c, err = readContainer(r.Context(), tx, acct.id, r.Vars["container"]); err != nil {
			return err
		}
		if err := cond.write(c.etag, c.modified, nil); err != nil {
			return err
		}
		c.metadata = meta
		return c.save(r.Context(), tx, acct.id)
	})
	if err != nil {
		return err
	}
	c.header(w.Header())
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Storage) deleteContainer(w http.ResponseWriter, r *azure.Request) error {
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	err = s.update(r, func(tx *store.Tx) error {
		c, err := readContainer(r.Context(), tx, acct.id, r.Vars["container"])
		if err != nil {
			return err
		}
		if err := cond.write(c.etag, c.modified, nil); err != nil {
			return err
		}
		return removeContainer(r.Context(), tx, acct.id, c)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Storage) accountInformation(w http.ResponseWriter, r *azure.Request) error {
	set := accessOf(r).account.settings
	w.Header().Set("X-Ms-Sku-Name", set.SKU)
	w.Header().Set("X-Ms-Account-Kind", set.Kind)
	w.Header().Set("X-Ms-Is-Hns-Enabled", "false")
	w.WriteHeader(http.StatusOK)
	return nil
}
