package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const verifyPage = 1000

// ErrBroken is what Verify's errors are that tell of a chain that was tampered with. Its other errors say that the chain
// could not be read.
var ErrBroken = errors.New("the audit chain is broken")

// broken is an ErrBroken with the record that it is about.
type broken string

func (b broken) Error() string        { return string(b) }
func (b broken) Is(target error) bool { return target == ErrBroken }

func brokenf(format string, args ...any) error { return broken(fmt.Sprintf(format, args...)) }

// Head is the end of a chain at some time: whoever keeps one elsewhere finds out whether the chain up to there was
// written anew or cut off. As text it is "number:hash".
type Head struct {
	Seq  int64
	Hash string // hex SHA-256
}

func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

// ParseHead reads the text of a Head.
func ParseHead(text string) (Head, error) {
	number, hash, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if sum, badHex := hex.DecodeString(hash); err != nil || badHex != nil || seq < 0 || len(sum) != len(verifier{}.hash) {
		return Head{}, fmt.Errorf("%q is not the head of an audit chain, a number and a hash with a colon between them", text)
	}
	return Head{seq, strings.ToLower(hash)}, nil
}

// Chain is what Verify has found good: the records from 1 to Head.
type Chain struct {
	Head        Head
	First, Last time.Time // of the first and the last record; zero when there is none
}

// Verify is [Verify] on the log's database, without a known head. It returns the number of records and the head's hash.
func (l *Log) Verify(ctx context.Context) (n int64, headHash string, err error) {
	c, err := Verify(ctx, l.db, Head{})
	return c.Head.Seq, c.Head.Hash, err
}

// Verify walks the chain in a database. It returns an error that is ErrBroken and names the first record that was changed,
// is missing or stands in the wrong place. Records that are appended meanwhile are left out. known is a head of earlier,
// the zero Head is none.
func Verify(ctx context.Context, db *store.DB, known Head) (Chain, error) {
	var lowest, end, beyond int64
	var want hash
	err := db.View(ctx, func(tx *store.Tx) error {
		last, err := head(ctx, tx)
		if err != nil {
			return err
		}
		end, want = last.seq, last.hash
		return tx.QueryRow(ctx, `SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM audit_records`).Scan(&lowest, &beyond)
	})
	v := verifier{known: known}
	for err == nil && v.seq < end {
		before := v.seq
		err = db.View(ctx, func(tx *store.Tx) error { return v.page(ctx, tx, end) })
		if err == nil && v.seq == before {
			err = brokenf("audit record %d is missing, and all after it; the head is record %d", v.seq+1, end)
		}
	}
	switch {
	case err != nil:
	case v.hash != want:
		err = brokenf("audit record %d, the last, is not the one that the head names: it was changed together with its hash", end)
	case lowest < 1:
		err = brokenf("audit record %d lies before the first, record 1: it was put in", lowest)
	case beyond > end:
		err = brokenf("audit record %d lies beyond the head, record %d: it was put in, or the head was set back", beyond, end)
	case known.Seq > end:
		err = brokenf("the audit chain ends with record %d, but record %d is known to have been there: its end was cut off", end, known.Seq)
	}
	if err != nil {
		return Chain{}, fmt.Errorf("verifying audit chain: %w", err)
	}
	return Chain{Head{end, want.String()}, v.first, v.last}, nil
}

// verifier stands behind the last record that was found good.
type verifier struct {
	seq         int64
	hash        hash
	first, last time.Time
	known       Head
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
		return brokenf("audit record %d is missing; the next is %d", v.seq+1, seq)
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return brokenf("audit record %d was changed: %v", seq, err)
	}
	h := v.hash.next(body)
	switch {
	case r.Seq != seq:
		return brokenf("audit record %d stands in the place of record %d", r.Seq, seq)
	case !bytes.Equal(stored, h[:]):
		return brokenf("audit record %d was changed: its hash is not that of its body and the record before", seq)
	case r.row() != columns:
		return brokenf("audit record %d was changed: its columns differ from its body", seq)
	case seq == v.known.Seq && h.String() != v.known.Hash:
		return brokenf("audit record %d is not the one that is known: the chain up to it was written anew", seq)
	}
	if v.seq == 0 {
		v.first = r.Time
	}
	v.seq, v.hash, v.last = seq, h, r.Time
	return nil
}
