package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// Filter selects records.
type Filter struct {
	Principal, Identity, Resource, Operation string // exact; empty is any. Resource takes in what lies below it
	Since, Until                             time.Time
	After                                    int64 // Seq; for paging
	Limit                                    int   // 0 is 1000
}

// where returns the conditions and their arguments.
func (f Filter) where() (string, []any) {
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	conditions := []string{"seq > " + arg(f.After)}
	if f.Principal != "" {
		conditions = append(conditions, "principal = "+arg(cleanText(f.Principal)))
	}
	if f.Identity != "" {
		// The index leaves out records without an identity; the databases use it for a query that says the same.
		conditions = append(conditions, "identity <> ''", "identity = "+arg(resourceKey(cleanText(f.Identity))))
	}
	if key := resourceKey(cleanText(f.Resource)); key != "" { // "/" is the tenant, below which everything lies
		// '0' is the character after '/'.
		conditions = append(conditions, "(resource = "+arg(key)+" OR resource >= "+arg(key+"/")+" AND resource < "+arg(key+"0")+")")
	}
	if f.Operation != "" {
		conditions = append(conditions, "operation = "+arg(cleanText(f.Operation)))
	}
	if !f.Since.IsZero() {
		conditions = append(conditions, "time >= "+arg(store.Micros(f.Since)))
	}
	if !f.Until.IsZero() {
		conditions = append(conditions, "time < "+arg(store.Micros(f.Until)))
	}
	return strings.Join(conditions, " AND "), args
}

// selectRecords lacks the conditions and the limit.
const selectRecords = `SELECT seq, body, hash FROM audit_records WHERE %s ORDER BY seq LIMIT %d`

// Query is [Query] on the log's database.
func (l *Log) Query(ctx context.Context, f Filter) ([]Record, error) { return Query(ctx, l.db, f) }

// Query returns records in order of Seq. Since is inclusive, Until is not.
func Query(ctx context.Context, db *store.DB, f Filter) ([]Record, error) {
	where, args := f.where()
	limit := f.Limit
	if limit <= 0 {
		limit = 1000
	}
	query := fmt.Sprintf(selectRecords, where, limit)
	var records []Record
	err := db.View(ctx, func(tx *store.Tx) error {
		records = nil
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq int64
			var body string
			var h []byte
			if err := rows.Scan(&seq, &body, &h); err != nil {
				return err
			}
			var r Record
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				return fmt.Errorf("decoding record %d: %w", seq, err)
			}
			r.Hash = hex.EncodeToString(h)
			records = append(records, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("querying audit records: %w", err)
	}
	return records, nil
}
