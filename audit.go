package keyreel

import (
	"context"
	"errors"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
)

// AuditChain is what VerifyAudit has found good.
type AuditChain = audit.Chain

// AuditFilter selects records of the audit log; AuditRecord is one.
type (
	AuditFilter = audit.Filter
	AuditRecord = audit.Record
)

// ErrAuditBroken is what an error of VerifyAudit is that tells of a record that was changed, is missing or stands in the
// wrong place. Its other errors say that the log could not be read.
var ErrAuditBroken = audit.ErrBroken

// VerifyAudit walks the audit log in the database of a configuration, whether a server runs on it or not. known is the head
// that an earlier call has found, as its text; "" is none.
func VerifyAudit(ctx context.Context, c Config, known string) (chain AuditChain, err error) {
	var head audit.Head
	if known != "" {
		if head, err = audit.ParseHead(known); err != nil {
			return chain, err
		}
	}
	err = reading(ctx, c, func(db *store.DB) error {
		chain, err = audit.Verify(ctx, db, head)
		return err
	})
	return chain, err
}

// ReadAudit returns records of the audit log in the database of a configuration, oldest first, whether a server runs on
// it or not.
func ReadAudit(ctx context.Context, c Config, f AuditFilter) (records []AuditRecord, err error) {
	err = reading(ctx, c, func(db *store.DB) error {
		records, err = audit.Query(ctx, db, f)
		return err
	})
	return records, err
}

// reading opens the database of a configuration for fn, to be read alone.
func reading(ctx context.Context, c Config, fn func(*store.DB) error) error {
	db, err := store.OpenReader(ctx, c.database())
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}
