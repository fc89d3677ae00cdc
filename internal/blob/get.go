package blob

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// maxRangeDigest is how many bytes a range may have whose digest is asked for.
const maxRangeDigest = 4 << 20

// getBlob is Get Blob. All that it needs of the database it reads in one transaction before the first byte, so what is
// written meanwhile does not mix in.
func (s *Storage) getBlob(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	cond, err := conditionsOf(r.Header)
	if err != nil {
		return err
	}
	asked, err := rangeOf(r.Header)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	src := source{storage: s, account: acct}
	var t *target
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if t, err = findExisting(ctx, tx, r, findWithInline); err != nil {
			return err
		}
		if err := cond.read(t.etag, t.modified); err != nil {
			return err
		}
		if v := r.Header.Get("If-Range"); v != "" && !has(etags(v), t.etag) {
			asked = nil // the client's part is of another version: it gets the whole, as RFC 9110 has it
		}
		if src.start, src.end, err = asked.within(t.size); err != nil {
			return err
		}
		if t.pieces > 0 {
			src.pieces, err = piecesWithin(ctx, tx, t.content, src.start, src.end)
		}
		return err
	})
	if err != nil {
		return err
	}
	if t.pieces == 0 {
		if src.inline, err = acct.data.Open(t.inline, inlineAAD(&t.blob)...); err != nil {
			return fmt.Errorf("opening inline content of %s: %w", t.name, err)
		}
	}
	return src.serve(ctx, w, r.Header, &t.blob, asked != nil)
}

// source is the part of a blob's bytes that is to be sent.
type source struct {
	storage    *Storage
	account    *account
	start, end int64
	inline     []byte  // all of a blob without pieces
	pieces     []piece // those that hold the part
}

// serve sends the part. Whatever can fail in an orderly way does so before the first header is set.
func (src *source) serve(ctx context.Context, w http.ResponseWriter, request http.Header, b *blob, partial bool) error {
	data, digest, err := src.digest(ctx, request, partial)
	if err != nil {
		return err
	}
	if len(src.pieces) == 0 {
		data = src.inline[src.start:src.end]
	}
	var first openPiece
	if data == nil && len(src.pieces) > 0 {
		if first, err = src.open(ctx, src.pieces[0]); err != nil {
			return err
		}
	}
	h := w.Header()
	b.header(h)
	h.Set("Content-Length", strconv.FormatInt(src.end-src.start, 10))
	whole := base64.StdEncoding.EncodeToString(b.MD5)
	switch {
	case !partial && b.MD5 != nil:
		h.Set("Content-Md5", whole)
	case b.MD5 != nil:
		h.Set("X-Ms-Blob-Content-Md5", whole)
	}
	for name, value := range digest {
		h.Set(name, value)
	}
	if partial {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", src.start, src.end-1, b.size))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.WriteHeader(http.StatusOK)
	}
	if first.plain == nil {
		_, err = w.Write(data)
	} else if err = src.copyPiece(ctx, w, first, src.pieces[0]); err == nil {
		err = src.copy(ctx, w, src.pieces[1:])
	}
	return aborted(err)
}

// aborted marks an answer that could not be finished. The connection is cut, so that nobody takes a part for the whole.
func aborted(err error) error {
	if err != nil {
		err = fmt.Errorf("sending a blob: %w", err)
	}
	return err
}

// digest answers x-ms-range-get-content-md5 and -crc64: with the header to send, and the bytes that it had to read for it.
func (src *source) digest(ctx context.Context, request http.Header, partial bool) (data []byte, header map[string]string, err error) {
	wants := func(name string) bool { return strings.EqualFold(request.Get(name), "true") }
	sum, crc := wants("X-Ms-Range-Get-Content-Md5"), wants("X-Ms-Range-Get-Content-Crc64")
	if !sum && !crc {
		return nil, nil, nil
	}
	if !partial || sum && crc {
		return nil, nil, azure.Errorf(http.StatusBadRequest, "InvalidHeaderValue",
			"x-ms-range-get-content-md5 and x-ms-range-get-content-crc64 are for requests with a range, one of them at a time.")
	}
	if src.end-src.start > maxRangeDigest {
		return nil, nil, azure.Errorf(http.StatusBadRequest, "OutOfRangeInput", "A range whose MD5 or CRC64 is asked for may have at most %d bytes.", maxRangeDigest)
	}
	if len(src.pieces) == 0 {
		data = src.inline[src.start:src.end]
	} else {
		var buf bytes.Buffer
		if err := src.copy(ctx, &buf, src.pieces); err != nil {
			return nil, nil, err
		}
		data = buf.Bytes()
	}
	if sum {
		d := md5.Sum(data)
		return data, map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(d[:])}, nil
	}
	d := crc64.New(crcTable)
	d.Write(data)
	return data, map[string]string{"X-Ms-Content-Crc64": base64.StdEncoding.EncodeToString(crcSum(d))}, nil
}

func (src *source) copy(ctx context.Context, w io.Writer, pieces []piece) error {
	for _, p := range pieces {
		o, err := src.open(ctx, p)
		if err != nil {
			return err
		}
		if err := src.copyPiece(ctx, w, o, p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// openPiece is an open object under its seal.
type openPiece struct {
	plain *seal.ReaderAt
	io.Closer
}

func (src *source) open(ctx context.Context, p piece) (openPiece, error) {
	if err := ctx.Err(); err != nil {
		return openPiece{}, err
	}
	o, err := src.storage.Objects.Open(ctx, p.object)
	if err != nil {
		return openPiece{}, err
	}
	plain, err := seal.NewReaderAt(o, o.Size(), src.account.data, src.account.objectAAD(p.object)...)
	if err == nil && plain.Size() != p.size {
		err = fmt.Errorf("it holds %d bytes, its row says %d", plain.Size(), p.size)
	}
	if err != nil {
		return openPiece{}, errors.Join(fmt.Errorf("object %s: %w", p.object, err), o.Close())
	}
	return openPiece{plain, o}, nil
}

// copyPiece sends what the part needs of a piece, and closes it.
func (src *source) copyPiece(ctx context.Context, w io.Writer, o openPiece, p piece) error {
	from := max(src.start-p.position, 0)
	to := min(src.end-p.position, p.size)
	return errors.Join(o.plain.WriteRange(untilDone{ctx, src, w}, from, to-from), o.Close())
}

// untilDone is a writer that takes nothing after its context's end, on which the collector relies, nor after the
// account key has become inaccessible.
type untilDone struct {
	ctx context.Context
	src *source
	io.Writer
}

func (w untilDone) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if err := w.src.storage.accessible(w.ctx, w.src.account); err != nil {
		return 0, fmt.Errorf("the account key is not to be had any more: %v", err) // too late to answer it
	}
	return w.Writer.Write(p)
}
