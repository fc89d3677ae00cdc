package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/keyreel/keyreel/internal/store"
)

const verifyPage = 1000

// Verify walks the chain and returns the number of records and the head's hash, or an error that names the first
// record that was changed, is missing or stands in the wrong place. Records that are appended meanwhile are left out.
func (l *Log) Verify(ctx context.Context) (n int64, headHash string, err error) {
	var end, beyond int64
	var want hash
	err = l.db.View(ctx, func(tx *store.Tx) error {
		var err error
		if end, want, err = head(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM audit_records`).Scan(&beyond)
	})
	v := verifier{}
	for err == nil && v.seq < end {
		before := v.seq
		err = l.db.View(ctx, func(tx *store.Tx) error { return v.page(ctx, tx, end) })
		if err == nil && v.seq == before {
			err = fmt.Errorf("audit record %d is missing, and all after it; the head is record %d", v.seq+1, end)
		}
	}
	switch {
	case err != nil:
	case v.hash != want:
		err = fmt.Errorf("audit record %d, the last, is not the one that the head names: it was changed together with its hash", end)
	case beyond > end:
		err = fmt.Errorf("audit record %d lies beyond the head, record %d: it was put in, or the head was set back", beyond, end)
	}
	if err != nil {
		return 0, "", fmt.Errorf("verifying audit chain: %w", err)
	}
	return end, want.String(), nil
}

// verifier stands behind the last record that was found good.
type verifier struct {
	seq  int64
	hash hash
}

func (v *verifier) page(ctx context.Context, tx *store.Tx, end int64) error {
	rows, err := tx.Query(ctx, `SELECT seq, time, operation, resource, principal, identity, body, hash FROM audit_records
		WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3`, v.seq, end, verifyPage)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		var columns row
		var body string
		var h []byte
		if err := rows.Scan(&seq, &columns.time, &columns.operation, &columns.resource, &columns.principal, &columns.identity,
			&body, &h); err != nil {
			return err
		}
		if err := v.record(seq, columns, []byte(body), h); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (v *verifier) record(seq int64, columns row, body, stored []byte) error {
	if seq != v.seq+1 {
		return fmt.Errorf("audit record %d is missing; the next is %d", v.seq+1, seq)
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("audit record %d was changed: %w", seq, err)
	}
	h := v.hash.next(body)
	switch {
	case r.Seq != seq:
		return fmt.Errorf("audit record %d stands in the place of record %d", r.Seq, seq)
	case !bytes.Equal(stored, h[:]):
		return fmt.Errorf("audit record %d was changed: its hash is not that of its body and the record before", seq)
	case r.row() != columns:
		return fmt.Errorf("audit record %d was changed: its columns differ from its body", seq)
	}
	v.seq, v.hash = seq, h
	return nil
}
