package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// piece is a row of blob_pieces: a whole object that is part of a content.
type piece struct {
	position, size int64
	object, block  string
}

// putBlob is Put Blob for block blobs.
func (s *Storage) putBlob(w http.ResponseWriter, r *azure.Request) error {
	switch typ := r.Header.Get("X-Ms-Blob-Type"); {
	case typ == "":
		return azure.Errorf(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.")
	case strings.EqualFold(typ, "PageBlob"), strings.EqualFold(typ, "AppendBlob"):
		return notBuilt("blobs of type " + typ + " (x-ms-blob-type)")
	case !strings.EqualFold(typ, "BlockBlob"):
		return badHeader("x-ms-blob-type", typ, "it is not BlockBlob")
	}
	in, cond, err := incoming(r, true)
	if err != nil {
		return err
	}
	data, err := bodyOf(r, maxPut, true)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	var plain []byte
	var object string
	if data.size <= maxInline {
		plain, err = data.whole()
	} else {
		// A write that is bound to fail is refused before its bytes are taken in. The transaction decides again.
		if err := s.DB.View(r.Context(), func(tx *store.Tx) error { return s.mayWrite(tx, r, cond) }); err != nil {
			return err
		}
		object, err = s.putObject(r.Context(), acct, data)
	}
	if err != nil {
		return err
	}
	sum := data.md5.Sum(nil)
	if in.MD5 != nil && !bytes.Equal(in.MD5, sum) {
		return s.refused(r.Context(), object, azure.Errorf(http.StatusBadRequest, "Md5Mismatch",
			"The MD5 value specified in x-ms-blob-content-md5 did not match with the MD5 value calculated by the server."))
	}
	in.MD5 = sum
	in.size = data.size
	err = s.update(r, func(tx *store.Tx) error {
		var pieces []piece
		if object != "" {
			pieces = []piece{{size: data.size, object: object}}
		}
		return s.replace(tx, r, cond, in, plain, func(*target) ([]piece, error) { return pieces, nil })
	})
	if err != nil {
		return s.refused(r.Context(), object, err)
	}
	w.Header().Set("Content-Md5", base64.StdEncoding.EncodeToString(sum))
	answerWrite(w, in, data)
	return nil
}

// refused deletes the object of a write that was refused, and returns why. After any other error the transaction may
// stand although its answer was lost: the object stays, and the collector finds it when no row names it.
func (s *Storage) refused(ctx context.Context, object string, why error) error {
	var e *azure.Error
	if object == "" || !errors.As(why, &e) {
		return why
	}
	if err := s.Objects.Delete(context.WithoutCancel(ctx), object); err != nil {
		s.Log.WarnContext(ctx, "deleting the object of a refused write", "object", object, "err", err)
	}
	return why
}

// incoming is the blob that a Put Blob or Put Block List is to make, without its bytes.
func incoming(r *azure.Request, standard bool) (*blob, *conditions, error) {
	props, err := propertiesOf(r.Header, standard)
	if err != nil {
		return nil, nil, err
	}
	if props.Metadata, err = metadataOf(r.Header); err != nil {
		return nil, nil, err
	}
	if props.Tier, err = tierOf(r.Header); err != nil {
		return nil, nil, err
	}
	cond, err := conditionsOf(r.Header)
	return &blob{properties: props}, &cond, err
}

func answerWrite(w http.ResponseWriter, b *blob, data *body) {
	h := w.Header()
	h.Set("ETag", quoted(b.etag))
	h.Set("Last-Modified", httpDate(b.modified))
	if data.crc != nil {
		h.Set("X-Ms-Content-Crc64", base64.StdEncoding.EncodeToString(crcSum(data.crc)))
	}
	h.Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusCreated)
}

// mayWrite decides whether the request may make or replace its blob.
func (s *Storage) mayWrite(tx *store.Tx, r *azure.Request, cond *conditions) error {
	t, err := find(r.Context(), tx, r, findQuery)
	if err != nil {
		return err
	}
	return t.mayReplace(r, cond)
}

func (t *target) mayReplace(r *azure.Request, cond *conditions) error {
	if !t.exists() {
		return cond.create()
	}
	if accessOf(r).addOnly {
		return errPermission("The caller may add blobs (" + blobsAdd + ") and not replace this one, for which it needs " + blobsWrite + ".")
	}
	return cond.write(t.etag, t.modified, errBlobExists)
}

// replace makes in the blob at the request's place. Its bytes are plain, or the pieces that choose returns for what
// stands there so far.
func (s *Storage) replace(tx *store.Tx, r *azure.Request, cond *conditions, in *blob, plain []byte, choose func(*target) ([]piece, error)) error {
	ctx := r.Context()
	old, err := find(ctx, tx, r, findForUpdate)
	if err != nil {
		return err
	}
	if err := old.mayReplace(r, cond); err != nil {
		return err
	}
	pieces, err := choose(old)
	if err != nil {
		return err
	}
	now := time.Now()
	in.container, in.name, in.content, in.pieces = old.container, old.name, newID(), int64(len(pieces))
	in.etag, in.created, in.modified = newETag(), now, now
	inline, overwrites := len(pieces) == 0, false
	if old.exists() {
		in.created = old.created
		if overwrites = inline && old.pieces == 0; overwrites {
			in.content = old.content
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO blob_blobs (container, name, content, pieces, size, etag, created, modified, properties)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (container, name) DO UPDATE SET content = excluded.content, pieces = excluded.pieces, size = excluded.size,
			etag = excluded.etag, modified = excluded.modified, properties = excluded.properties`,
		in.container, in.name, in.content, in.pieces, in.size, in.etag, store.Micros(in.created), store.Micros(in.modified), in.properties.encoded())
	if err != nil {
		return err
	}
	if inline {
		statement := `INSERT INTO blob_inline (content, data) VALUES ($1, $2)`
		if overwrites {
			statement = `UPDATE blob_inline SET data = $2 WHERE content = $1` // the database writes fewer pages
		}
		_, err = tx.Exec(ctx, statement, in.content, accessOf(r).account.data.Seal(plain, inlineAAD(in)...))
	} else {
		err = insertPieces(ctx, tx, in.content, pieces)
	}
	if err == nil && old.exists() && !overwrites {
		err = dropContent(ctx, tx, &old.blob, in.content)
	}
	if err == nil && old.blocks {
		err = dropBlocks(ctx, tx, in)
	}
	return err
}
