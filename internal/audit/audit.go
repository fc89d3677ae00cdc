package audit

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds the chain.
var Schema = store.Schema{Name: "audit", FS: schemaFS}

// Record is one decision or one use of a key.
type Record struct {
	Seq       int64             `json:"seq"`  // position in the chain, from 1, set by Append
	Time      time.Time         `json:"time"` // UTC, microseconds; set by Append when zero
	RequestID string            `json:"requestId,omitempty"`
	Category  string            `json:"category"`  // "Administrative", "AuditEvent" (key vault), "StorageRead", "StorageWrite", "StorageDelete", "Media", "SignIn"
	Operation string            `json:"operation"` // the route's name, or the domain's event, e.g. "CustomerKey.Rewrapped"
	Action    string            `json:"action,omitempty"`
	Resource  string            `json:"resource,omitempty"` // ARM ID
	Principal string            `json:"principal,omitempty"`
	Identity  string            `json:"identity,omitempty"` // ARM ID of the resource that acted, for managed identities
	ClientIP  string            `json:"clientIp,omitempty"`
	Result    string            `json:"result"`            // "Allowed", "Denied", "Success", "Failure"
	Status    int               `json:"status,omitempty"`  // HTTP status, where one is known
	Reason    string            `json:"reason,omitempty"`  // why denied or failed; the assignment that allowed
	Count     int64             `json:"count,omitempty"`   // for Observe: how many identical decisions since the last record
	Details   map[string]string `json:"details,omitempty"` // never a secret
	Hash      string            `json:"hash"`              // hex SHA-256 over the previous hash and this record, set by Append
}

// clean gives the record the form in which it is hashed: UTF-8 without NUL, as both databases take it, and a time
// that survives being stored.
func (r Record) clean() Record {
	for _, s := range []*string{
		&r.RequestID, &r.Category, &r.Operation, &r.Action, &r.Resource, &r.Principal, &r.Identity, &r.ClientIP, &r.Result, &r.Reason,
	} {
		*s = cleanText(*s)
	}
	if r.Details != nil {
		details := make(map[string]string, len(r.Details))
		for k, v := range r.Details {
			details[cleanText(k)] = cleanText(v)
		}
		r.Details = details
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	return r
}

func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// body is the canonical JSON.
func (r Record) body() ([]byte, error) {
	b, err := json.Marshal(struct {
		Record
		Hash string `json:"hash,omitempty"` // in the place of Record's
	}{Record: r})
	if err != nil {
		return nil, fmt.Errorf("encoding audit record: %w", err)
	}
	return b, nil
}

// hash is one link of the chain.
type hash [sha256.Size]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

func (h hash) next(body []byte) hash {
	s := sha256.New()
	s.Write(h[:])
	s.Write(body)
	return hash(s.Sum(nil))
}

// row is a record as audit_records holds it, without its number, body and hash.
type row struct {
	time                                     int64
	operation, resource, principal, identity string
}

func (r Record) row() row {
	return row{store.Micros(r.Time), r.Operation, resourceKey(r.Resource), r.Principal, resourceKey(r.Identity)}
}

// resourceKey is an ARM ID as it is compared: their case does not matter.
func resourceKey(id string) string { return strings.ToLower(strings.TrimSuffix(id, "/")) }
