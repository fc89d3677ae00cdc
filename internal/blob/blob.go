package blob

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// blob is a row of blob_blobs.
type blob struct {
	container int64
	name      string
	content   int64 // 0: there is no such blob
	pieces    int64
	size      int64
	etag      string
	created   time.Time
	modified  time.Time
	properties
}

// properties are what a client says of a blob beside its bytes, as they are stored.
type properties struct {
	ContentType  string   `json:"type,omitempty"`
	Encoding     string   `json:"encoding,omitempty"`
	Language     string   `json:"language,omitempty"`
	Disposition  string   `json:"disposition,omitempty"`
	CacheControl string   `json:"cacheControl,omitempty"`
	MD5          []byte   `json:"md5,omitempty"`
	Tier         string   `json:"tier,omitempty"`
	Metadata     metadata `json:"metadata,omitempty"`
}

func (p *properties) encoded() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and bytes always encode
	}
	return string(b)
}

var (
	errNoBlob     = azure.Errorf(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")
	errBlobExists = azure.Errorf(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists.")
)

// target is a blob's place: its container, and the blob itself when there is one.
type target struct {
	blob
	inline []byte // sealed; only when asked for
	blocks bool   // there are uncommitted blocks
}

func (t *target) exists() bool { return t.content != 0 }

const targetColumns = `c.id, COALESCE(b.content, 0), COALESCE(b.pieces, 0), COALESCE(b.size, 0), COALESCE(b.etag, ''),
	COALESCE(b.created, 0), COALESCE(b.modified, 0), COALESCE(b.properties, '')`

const targetTables = ` FROM blob_containers c LEFT JOIN blob_blobs b ON b.container = c.id AND b.name = $3`

const targetWhere = ` WHERE c.account = $1 AND c.name = $2`

// Three questions about a place: what stands there, also whether blocks wait for it, also its inline bytes.
const (
	findQuery      = `SELECT ` + targetColumns + `, NULL, 0` + targetTables + targetWhere
	findForUpdate  = `SELECT ` + targetColumns + `, NULL, (SELECT COUNT(*) FROM (SELECT 1 FROM blob_blocks k WHERE k.container = c.id AND k.name = $3 LIMIT 1) waiting)` + targetTables + targetWhere
	findWithInline = `SELECT ` + targetColumns + `, i.data, 0` + targetTables + ` LEFT JOIN blob_inline i ON i.content = b.content` + targetWhere
)

// find reads the place that a request names; 404 ContainerNotFound when the container is missing.
func find(ctx context.Context, tx *store.Tx, r *azure.Request, query string) (*target, error) {
	t := &target{}
	t.name = r.Vars["blob"]
	var created, modified int64
	var props string
	err := tx.QueryRow(ctx, query, accessOf(r).account.id, r.Vars["container"], t.name).
		Scan(&t.container, &t.content, &t.pieces, &t.size, &t.etag, &created, &modified, &props, &t.inline, &t.blocks)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoContainer
	}
	if err != nil || !t.exists() {
		return t, err
	}
	t.created, t.modified = store.Time(created), store.Time(modified)
	return t, json.Unmarshal([]byte(props), &t.properties)
}

// findExisting is find for operations that need a blob.
func findExisting(ctx context.Context, tx *store.Tx, r *azure.Request, query string) (*target, error) {
	t, err := find(ctx, tx, r, query)
	if err == nil && !t.exists() {
		err = errNoBlob
	}
	return t, err
}

// propertiesOf reads the x-ms-blob-* headers. With standard, the headers of HTTP itself stand in for those not given.
func propertiesOf(h http.Header, standard bool) (p properties, err error) {
	get := func(name string) string {
		v := h.Get("X-Ms-Blob-" + name)
		if v == "" && standard {
			v = h.Get(name)
		}
		return v
	}
	p.ContentType, p.Encoding, p.Language = get("Content-Type"), get("Content-Encoding"), get("Content-Language")
	p.CacheControl, p.Disposition = get("Cache-Control"), h.Get("X-Ms-Blob-Content-Disposition")
	p.MD5, err = md5Of(h, "x-ms-blob-content-md5")
	return p, err
}

// md5Of reads a header that holds an MD5; nil when it is absent.
func md5Of(h http.Header, name string) ([]byte, error) {
	return digestOf(h, name, 16, "InvalidMd5", "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.")
}

func digestOf(h http.Header, name string, size int, code, message string) ([]byte, error) {
	value := h.Get(name)
	if value == "" {
		return nil, nil
	}
	sum, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(sum) != size {
		return nil, azure.Errorf(http.StatusBadRequest, code, "%s (%s: '%s')", message, name, value)
	}
	return sum, nil
}

// tierOf reads x-ms-access-tier. An empty header is an absent one.
func tierOf(h http.Header) (string, error) {
	value := h.Get("X-Ms-Access-Tier")
	switch strings.ToLower(value) {
	case "":
		return "", nil
	case "hot":
		return "Hot", nil
	case "cool":
		return "Cool", nil
	case "cold":
		return "Cold", nil
	case "archive":
		return "", notBuilt("the Archive tier")
	}
	return "", badHeader("x-ms-access-tier", value, "it is not Hot, Cool or Cold")
}

// header writes what a client is told of a blob.
func (b *blob) header(h http.Header) {
	h.Set("ETag", quoted(b.etag))
	h.Set("Last-Modified", httpDate(b.modified))
	h.Set("X-Ms-Creation-Time", httpDate(b.created))
	h.Set("X-Ms-Blob-Type", "BlockBlob")
	h.Set("X-Ms-Lease-Status", "unlocked")
	h.Set("X-Ms-Lease-State", "available")
	h.Set("X-Ms-Server-Encrypted", "true")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", b.contentType())
	for name, value := range map[string]string{
		"Content-Encoding": b.Encoding, "Content-Language": b.Language, "Content-Disposition": b.Disposition, "Cache-Control": b.CacheControl,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	b.Metadata.header(h)
}

func (b *blob) contentType() string {
	if b.ContentType == "" {
		return "application/octet-stream"
	}
	return b.ContentType
}

// tier returns the blob's access tier and whether it is the account's default.
func (b *blob) tier(account *account) (tier string, inferred bool) {
	if b.Tier == "" {
		return account.settings.AccessTier, true
	}
	return b.Tier, false
}

func (s *Storage) headBlob(w http.ResponseWriter, r *azure.Request) error {
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	var t *target
	err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		t, err = findExisting(r.Context(), tx, r, findQuery)
		return err
	})
	if err != nil {
		return err
	}
	if err := cond.read(t.etag, t.modified); err != nil {
		return err
	}
	h := w.Header()
	if r.Route.Name == "Blobs.GetMetadata" {
		h.Set("ETag", quoted(t.etag))
		h.Set("Last-Modified", httpDate(t.modified))
		t.Metadata.header(h)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	t.header(h)
	h.Set("Content-Length", strconv.FormatInt(t.size, 10))
	if t.MD5 != nil {
		h.Set("Content-Md5", base64.StdEncoding.EncodeToString(t.MD5))
	}
	tier, inferred := t.tier(accessOf(r).account)
	h.Set("X-Ms-Access-Tier", tier)
	if inferred {
		h.Set("X-Ms-Access-Tier-Inferred", "true")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// change runs fn on an existing blob's properties and stores them with a new ETag.
func (s *Storage) change(w http.ResponseWriter, r *azure.Request, fn func(*properties)) error {
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	var t *target
	err = s.update(r, func(tx *store.Tx) (err error) {
		if t, err = findExisting(r.Context(), tx, r, findQuery); err != nil {
			return err
		}
		if err := cond.write(t.etag, t.modified, nil); err != nil {
			return err
		}
		fn(&t.properties)
		t.etag, t.modified = newETag(), time.Now()
		_, err = tx.Exec(r.Context(), `UPDATE blob_blobs SET etag = $3, modified = $4, properties = $5 WHERE container = $1 AND name = $2`,
			t.container, t.name, t.etag, store.Micros(t.modified), t.properties.encoded())
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", quoted(t.etag))
	w.Header().Set("Last-Modified", httpDate(t.modified))
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Storage) setMetadata(w http.ResponseWriter, r *azure.Request) error {
	meta, err := metadataOf(r.Header)
	if err != nil {
		return err
	}
	return s.change(w, r, func(p *properties) { p.Metadata = meta })
}

func (s *Storage) setProperties(w http.ResponseWriter, r *azure.Request) error {
	if r.Header.Get("X-Ms-Blob-Content-Length") != "" || r.Header.Get("X-Ms-Sequence-Number-Action") != "" {
		return notBuilt("page blobs (x-ms-blob-content-length, x-ms-sequence-number-action)")
	}
	given, err := propertiesOf(r.Header, false)
	if err != nil {
		return err
	}
	return s.change(w, r, func(p *properties) {
		given.Tier, given.Metadata = p.Tier, p.Metadata
		*p = given
	})
}

func (s *Storage) setTier(w http.ResponseWriter, r *azure.Request) error {
	tier, err := tierOf(r.Header)
	if err != nil {
		return err
	}
	if tier == "" {
		return azure.Errorf(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-access-tier.")
	}
	err = s.update(r, func(tx *store.Tx) error {
		t, err := findExisting(r.Context(), tx, r, findQuery)
		if err != nil {
			return err
		}
		t.Tier = tier // neither the ETag nor the time of modification changes with it
		_, err = tx.Exec(r.Context(), `UPDATE blob_blobs SET properties = $3 WHERE container = $1 AND name = $2`, t.container, t.name, t.properties.encoded())
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Storage) deleteBlob(w http.ResponseWriter, r *azure.Request) error {
	switch v := strings.ToLower(r.Header.Get("X-Ms-Delete-Snapshots")); v {
	case "", "include":
	case "only":
		return notBuilt("snapshots (x-ms-delete-snapshots: only)")
	default:
		return badHeader("x-ms-delete-snapshots", v, "it is not include or only")
	}
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	err = s.update(r, func(tx *store.Tx) error {
		t, err := findExisting(r.Context(), tx, r, findQuery)
		if err != nil {
			return err
		}
		if err := cond.write(t.etag, t.modified, nil); err != nil {
			return err
		}
		if _, err := tx.Exec(r.Context(), `DELETE FROM blob_blobs WHERE container = $1 AND name = $2`, t.container, t.name); err != nil {
			return err
		}
		return dropContent(r.Context(), tx, &t.blob, 0)
	})
	if err != nil {
		return err
	}
	w.Header().Set("X-Ms-Delete-Type-Permanent", "true")
	w.WriteHeader(http.StatusAccepted)
	return nil
}
