package blob

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// pieceBatch is how many pieces one statement inserts; five arguments each stay below SQLite's limit.
const pieceBatch = 500

func insertPieces(ctx context.Context, tx *store.Tx, content int64, pieces []piece) error {
	for len(pieces) > 0 {
		n := min(pieceBatch, len(pieces))
		args := make([]any, 0, 1+4*n)
		args = append(args, content)
		var q strings.Builder
		q.WriteString(`INSERT INTO blob_pieces (content, position, size, object, block) VALUES `)
		for i, p := range pieces[:n] {
			if i > 0 {
				q.WriteByte(',')
			}
			q.WriteString("($1")
			for range 4 {
				args = append(args, nil)
				q.WriteString(", $" + strconv.Itoa(len(args)))
			}
			q.WriteByte(')')
			copy(args[len(args)-4:], []any{p.position, p.size, p.object, p.block})
		}
		if _, err := tx.Exec(ctx, q.String(), args...); err != nil {
			return err
		}
		pieces = pieces[n:]
	}
	return nil
}

// onceGarbage ends a statement that inserts into blob_garbage. Two transactions may see the same object replaced; on
// PostgreSQL the second then runs again on what the first has left, where an insert without this ends in the violated key.
const onceGarbage = `ON CONFLICT (object) DO NOTHING`

// dropContent removes a blob's bytes. Objects that the content next (0 for none) goes on using stay. (EXCEPT is one pass
// on both databases; NOT EXISTS is a search for each of 50,000 pieces.)
func dropContent(ctx context.Context, tx *store.Tx, b *blob, next int64) error {
	if b.pieces == 0 {
		_, err := tx.Exec(ctx, `DELETE FROM blob_inline WHERE content = $1`, b.content)
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO blob_garbage (object, since)
		SELECT object, CAST($3 AS BIGINT) FROM
			(SELECT object FROM blob_pieces WHERE content = $1 EXCEPT SELECT object FROM blob_pieces WHERE content = $2) unused WHERE TRUE `+onceGarbage,
		b.content, next, store.Micros(time.Now()))
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM blob_pieces WHERE content = $1`, b.content)
	}
	return err
}

// dropBlocks removes the uncommitted blocks of a blob. Objects that its content goes on using stay.
func dropBlocks(ctx context.Context, tx *store.Tx, b *blob) error {
	_, err := tx.Exec(ctx, `INSERT INTO blob_garbage (object, since)
		SELECT object, CAST($4 AS BIGINT) FROM
			(SELECT object FROM blob_blocks WHERE container = $1 AND name = $2 EXCEPT SELECT object FROM blob_pieces WHERE content = $3) unused WHERE TRUE `+onceGarbage,
		b.container, b.name, b.content, store.Micros(time.Now()))
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM blob_blocks WHERE container = $1 AND name = $2`, b.container, b.name)
	}
	return err
}

// piecesWithin returns the pieces that hold the bytes [start, end) of a content, in order.
func piecesWithin(ctx context.Context, tx *store.Tx, content, start, end int64) ([]piece, error) {
	rows, err := tx.Query(ctx, `SELECT position, size, object, block FROM blob_pieces
		WHERE content = $1 AND position < $3
			AND position >= (SELECT MAX(position) FROM blob_pieces WHERE content = $1 AND position <= $2)
		ORDER BY position`, content, start, end)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var pieces []piece
	for rows.Next() {
		var p piece
		if err := rows.Scan(&p.position, &p.size, &p.object, &p.block); err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
	}
	return pieces, rows.Err()
}
