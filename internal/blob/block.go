package blob

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

func checkBlockID(id string) error {
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil || len(raw) == 0 || len(raw) > 64 || base64.StdEncoding.EncodeToString(raw) != id {
		return badQuery("blockid", id, "it is not the base64 of 1 to 64 bytes")
	}
	return nil
}

// putBlock stores an uncommitted block: first its bytes as an object, then its row.
func (s *Storage) putBlock(w http.ResponseWriter, r *azure.Request) error {
	id := r.URL.Query().Get("blockid")
	if err := checkBlockID(id); err != nil {
		return err
	}
	data, err := bodyOf(r, maxBlock, false)
	if err != nil {
		return err
	}
	if data.size == 0 {
		return badHeader("Content-Length", "0", "a block has at least one byte")
	}
	// The container is looked for before the bytes are taken in; the transaction looks again.
	err = s.DB.View(r.Context(), func(tx *store.Tx) error {
		_, err := find(r.Context(), tx, r, findQuery)
		return err
	})
	if err != nil {
		return err
	}
	object, err := s.putObject(r.Context(), accessOf(r).account, data)
	if err != nil {
		return err
	}
	err = s.update(r, func(tx *store.Tx) error { return insertBlock(tx, r, id, object, data.size) })
	if err != nil {
		return s.refused(r.Context(), object, err)
	}
	if data.md5 != nil {
		w.Header().Set("Content-Md5", base64.StdEncoding.EncodeToString(data.md5.Sum(nil)))
	}
	if data.crc != nil {
		w.Header().Set("X-Ms-Content-Crc64", base64.StdEncoding.EncodeToString(crcSum(data.crc)))
	}
	w.Header().Set("X-Ms-Request-Server-Encrypted", "true")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func insertBlock(tx *store.Tx, r *azure.Request, id, object string, size int64) error {
	ctx := r.Context()
	t, err := find(ctx, tx, r, findForUpdate)
	if err != nil {
		return err
	}
	now := store.Micros(time.Now())
	if t.blocks {
		var other int
		err := tx.QueryRow(ctx, `SELECT LENGTH(block) FROM blob_blocks WHERE container = $1 AND name = $2 LIMIT 1`, t.container, t.name).Scan(&other)
		if err != nil {
			return err
		}
		if other != len(id) {
			return azure.Errorf(http.StatusBadRequest, "InvalidBlobOrBlock",
				"The specified blob or block content is invalid: the block ID has %d characters, those of the blob's other uncommitted blocks have %d.", len(id), other)
		}
		_, err = tx.Exec(ctx, `INSERT INTO blob_garbage (object, since) SELECT object, $4 FROM blob_blocks WHERE container = $1 AND name = $2 AND block = $3 `+onceGarbage,
			t.container, t.name, id, now)
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO blob_blocks (container, name, block, object, size, created) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (container, name, block) DO UPDATE SET object = excluded.object, size = excluded.size, created = excluded.created`,
		t.container, t.name, id, object, size, now)
	return err
}

// listedBlock is an entry of a block list: where to look for the block, and its id.
type listedBlock struct{ from, id string }

// parseBlockList reads Put Block List's body, in which the order of the elements counts.
func parseBlockList(r io.Reader) ([]listedBlock, error) {
	dec := xml.NewDecoder(r)
	var blocks []listedBlock
	depth := 0
	for {
		tok, err := dec.Token()
		if err == io.EOF && depth == 0 && blocks != nil {
			return blocks, nil
		}
		if err != nil {
			return nil, blockListError(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			switch {
			case depth == 0 && blocks == nil && tok.Name.Local == "BlockList":
				depth, blocks = 1, []listedBlock{}
			case depth == 1 && (tok.Name.Local == "Committed" || tok.Name.Local == "Uncommitted" || tok.Name.Local == "Latest"):
				if len(blocks) == maxBlocks {
					return nil, azure.Errorf(http.StatusBadRequest, "BlockListTooLong", "The block list may not contain more than %d blocks.", maxBlocks)
				}
				var id string
				if err := dec.DecodeElement(&id, &tok); err != nil {
					return nil, blockListError(err)
				}
				id = strings.TrimSpace(id)
				if err := checkBlockID(id); err != nil {
					return nil, errBlockList("'" + id + "' is not the base64 of 1 to 64 bytes")
				}
				blocks = append(blocks, listedBlock{tok.Name.Local, id})
			default:
				return nil, blockListError(fmt.Errorf("unexpected element %s", tok.Name.Local))
			}
		case xml.EndElement:
			depth--
		}
	}
}

// blockListError keeps the errors of the transport and of the body's checks, and blames the rest on the XML.
func blockListError(err error) error {
	var known *azure.Error
	var tooLarge *http.MaxBytesError
	if errors.As(err, &known) || errors.As(err, &tooLarge) {
		return err
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidXmlDocument", "The specified XML is not syntactically valid: %v.", err)
}

func errBlockList(why string) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid: %s.", why)
}

// putBlockList makes a blob of blocks. Nothing changes unless every block is there.
func (s *Storage) putBlockList(w http.ResponseWriter, r *azure.Request) error {
	in, cond, err := incoming(r, false)
	if err != nil {
		return err
	}
	data, err := bodyOf(r, r.Route.MaxBody, false)
	if err != nil {
		return err
	}
	list, err := parseBlockList(data)
	if err != nil {
		return err
	}
	err = s.update(r, func(tx *store.Tx) error {
		return s.replace(tx, r, cond, in, nil, func(old *target) ([]piece, error) {
			pieces, err := chooseBlocks(r.Context(), tx, old, list)
			in.size = 0
			for i := range pieces {
				pieces[i].position = in.size
				in.size += pieces[i].size
			}
			return pieces, err
		})
	})
	if err != nil {
		return err
	}
	answerWrite(w, in, data)
	return nil
}

// chooseBlocks finds the listed blocks among the committed and uncommitted ones of a blob.
func chooseBlocks(ctx context.Context, tx *store.Tx, old *target, list []listedBlock) ([]piece, error) {
	committed, uncommitted := map[string]piece{}, map[string]piece{}
	if old.pieces > 0 {
		pieces, err := piecesWithin(ctx, tx, old.content, 0, old.size)
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			committed[p.block] = p
		}
	}
	if old.blocks {
		blocks, err := readBlocks(ctx, tx, &old.blob)
		if err != nil {
			return nil, err
		}
		for _, p := range blocks {
			uncommitted[p.block] = p
		}
	}
	chosen := make([]piece, 0, len(list))
	for _, b := range list {
		p, ok := uncommitted[b.id]
		if b.from == "Committed" || b.from == "Latest" && !ok {
			p, ok = committed[b.id]
		}
		if !ok {
			return nil, errBlockList("there is no block '" + b.id + "' for " + b.from)
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// readBlocks returns a blob's uncommitted blocks in order of their ids.
func readBlocks(ctx context.Context, tx *store.Tx, b *blob) ([]piece, error) {
	rows, err := tx.Query(ctx, `SELECT block, object, size FROM blob_blocks WHERE container = $1 AND name = $2 ORDER BY block`, b.container, b.name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var blocks []piece
	for rows.Next() {
		var p piece
		if err := rows.Scan(&p.block, &p.object, &p.size); err != nil {
			return nil, err
		}
		blocks = append(blocks, p)
	}
	return blocks, rows.Err()
}

type blockXML struct {
	Name string
	Size int64
}

type blocksXML struct {
	Block []blockXML
}

type blockListXML struct {
	XMLName     xml.Name   `xml:"BlockList"`
	Committed   *blocksXML `xml:"CommittedBlocks"`
	Uncommitted *blocksXML `xml:"UncommittedBlocks"`
}

func (s *Storage) getBlockList(w http.ResponseWriter, r *azure.Request) error {
	kind := strings.ToLower(r.URL.Query().Get("blocklisttype"))
	if kind == "" {
		kind = "committed"
	}
	if kind != "committed" && kind != "uncommitted" && kind != "all" {
		return badQuery("blocklisttype", kind, "it is not committed, uncommitted or all")
	}
	var t *target
	var committed, uncommitted []piece
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if t, err = find(r.Context(), tx, r, findForUpdate); err != nil {
			return err
		}
		if !t.exists() && !t.blocks {
			return errNoBlob
		}
		if kind != "uncommitted" && t.pieces > 0 {
			if committed, err = piecesWithin(r.Context(), tx, t.content, 0, t.size); err != nil {
				return err
			}
		}
		if kind != "committed" {
			uncommitted, err = readBlocks(r.Context(), tx, &t.blob)
		}
		return err
	})
	if err != nil {
		return err
	}
	var list blockListXML
	if kind != "uncommitted" {
		list.Committed = newBlocksXML(committed)
	}
	if kind != "committed" {
		list.Uncommitted = newBlocksXML(uncommitted)
	}
	if t.exists() {
		w.Header().Set("ETag", quoted(t.etag))
		w.Header().Set("Last-Modified", httpDate(t.modified))
	}
	w.Header().Set("X-Ms-Blob-Content-Length", strconv.FormatInt(t.size, 10))
	return writeXML(w, list)
}

// newBlocksXML leaves out the piece of a Put Blob, which is no block.
func newBlocksXML(pieces []piece) *blocksXML {
	list := &blocksXML{}
	for _, p := range pieces {
		if p.block != "" {
			list.Block = append(list.Block, blockXML{p.block, p.size})
		}
	}
	return list
}
