package blob

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
)

// objectSuffix ends the keys of this package's objects; the collector looks at no others. What is random comes first, because
// directories and buckets spread objects by how their keys begin.
const objectSuffix = "-blob"

func newObjectKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:]) + objectSuffix
}

// crcTable is the polynomial of x-ms-content-crc64.
var crcTable = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// body is a request's body that ends in an error unless it is all that was announced: the length, Content-MD5,
// x-ms-content-crc64. What reads it to io.EOF has read the right bytes.
type body struct {
	src     io.Reader
	size    int64
	left    int64
	md5     hash.Hash // nil when nobody needs it
	crc     hash.Hash64
	wantMD5 []byte
	wantCRC []byte
}

// bodyOf begins to read a request's body. needMD5 has the MD5 computed even when the client sent none.
func bodyOf(r *azure.Request, limit int64, needMD5 bool) (*body, error) {
	if r.ContentLength < 0 {
		return nil, azure.Errorf(http.StatusLengthRequired, "MissingContentLengthHeader", "The Content-Length header was not specified.")
	}
	if r.ContentLength > limit {
		return nil, azure.Errorf(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge",
			"The request body is too large and exceeds the maximum permissible limit of %d bytes.", limit)
	}
	b := &body{src: r.Body, size: r.ContentLength, left: r.ContentLength}
	var err error
	if b.wantMD5, err = md5Of(r.Header, "Content-MD5"); err != nil {
		return nil, err
	}
	b.wantCRC, err = digestOf(r.Header, "x-ms-content-crc64", 8, "InvalidHeaderValue", "The CRC64 value specified in the request is invalid. It must be 64 bits and base64 encoded.")
	if err != nil {
		return nil, err
	}
	if needMD5 || b.wantMD5 != nil {
		b.md5 = md5.New()
	}
	if b.wantCRC != nil {
		b.crc = crc64.New(crcTable)
	}
	return b, nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		if err := b.verify(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.Read(p)
	if b.md5 != nil {
		b.md5.Write(p[:n])
	}
	if b.crc != nil {
		b.crc.Write(p[:n])
	}
	b.left -= int64(n)
	switch {
	case b.left == 0:
		err = nil // the next call says what follows
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = azure.Errorf(http.StatusBadRequest, "IncompleteBody",
			"The body ended %d bytes before the %d that Content-Length announced.", b.left, b.size)
	}
	return n, err
}

func (b *body) verify() error {
	if b.wantMD5 != nil && !bytes.Equal(b.wantMD5, b.md5.Sum(nil)) {
		return azure.Errorf(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
	}
	if b.wantCRC != nil && !bytes.Equal(b.wantCRC, crcSum(b.crc)) {
		return azure.Errorf(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	}
	return nil
}

// crcSum is a CRC64 as the wire has it.
func crcSum(h hash.Hash64) []byte {
	return binary.LittleEndian.AppendUint64(nil, h.Sum64())
}

// whole reads a small body.
func (b *body) whole() ([]byte, error) {
	p := make([]byte, b.size)
	if _, err := io.ReadFull(b, p); err != nil {
		return nil, err
	}
	return p, b.verify()
}

// putObject streams a body through the seal into a new object. When it fails nothing can be opened under the key.
func (s *Storage) putObject(ctx context.Context, a *account, b *body) (key string, err error) {
	key = newObjectKey()
	if _, err := s.Objects.Put(ctx, key, seal.NewReader(b, a.data, a.objectAAD(key)...)); err != nil {
		return "", fmt.Errorf("storing %d bytes: %w", b.size, err)
	}
	return key, nil
}

func (a *account) objectAAD(key string) []string { return []string{"blob", a.name, key} }

func inlineAAD(b *blob) []string {
	return []string{"blob_inline", fmt.Sprint(b.container), b.name}
}
