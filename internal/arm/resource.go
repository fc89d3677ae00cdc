package arm

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds subscriptions, resource groups, resources and operations.
var Schema = store.Schema{Name: "arm", FS: schemaFS}

// States of a resource and of an operation.
const (
	Succeeded  = "Succeeded"
	InProgress = "InProgress"
	Failed     = "Failed"
	Deleting   = "Deleting"
)

// Resource is what the resource manager stores of any resource, top-level or child.
type Resource struct {
	ID         azure.ResourceID // names as the client first wrote them, types in the registered case
	Location   string           // lower case without spaces; tracked resources only
	Tags       map[string]string
	Kind       string
	SKU        json.RawMessage
	Identity   *Identity
	Properties json.RawMessage // the stored properties; a service decides their shape. Never a secret
	State      string          // provisioningState: "Succeeded", "InProgress", "Failed", "Deleting"
	ETag       string          // changes with every write; quoted
	System     SystemData

	ready     bool   // the first write was committed
	operation string // that is on its way
}

// Identity is the identity block of a resource.
type Identity struct {
	Type         string                  // "None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned"
	PrincipalID  string                  // of the system-assigned identity
	ClientID     string                  // of the system-assigned identity; not shown
	TenantID     string                  // of the system-assigned identity
	UserAssigned map[string]UserIdentity // by ARM ID as first written
}

// UserIdentity is a user-assigned identity as a resource shows it.
type UserIdentity struct {
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

// SystemData says who wrote a resource and when.
type SystemData struct {
	CreatedBy, CreatedByType, LastModifiedBy, LastModifiedByType string
	CreatedAt, LastModifiedAt                                    time.Time
}

// stamp records that a caller writes now.
func (s *SystemData) stamp(c *azure.Caller) {
	now := time.Now().UTC()
	by, kind := c.AppID, "Application"
	switch {
	case c.Type == azure.TypeUser:
		by, kind = c.Name, "User"
	case c.IdentityID != "":
		by, kind = c.ObjectID, "ManagedIdentity"
	}
	if s.CreatedAt.IsZero() {
		s.CreatedBy, s.CreatedByType, s.CreatedAt = by, kind, now
	}
	s.LastModifiedBy, s.LastModifiedByType, s.LastModifiedAt = by, kind, now
}

// typeKey is the registered type's key in Manager.types.
func typeKey(id azure.ResourceID) string { return strings.ToLower(id.Type()) }

const columns = `id, location, tags, kind, sku, identity, properties, system, state, ready, operation, etag`

func scan(row interface{ Scan(...any) error }) (*Resource, error) {
	var res Resource
	var id, tags, sku, identity, properties, system string
	if err := row.Scan(&id, &res.Location, &tags, &res.Kind, &sku, &identity, &properties, &system,
		&res.State, &res.ready, &res.operation, &res.ETag); err != nil {
		return nil, err
	}
	var err error
	if res.ID, err = azure.ParseResourceID(id); err != nil {
		return nil, fmt.Errorf("stored resource: %w", err)
	}
	for _, column := range []struct {
		text string
		to   any
	}{{tags, &res.Tags}, {sku, &res.SKU}, {identity, &res.Identity}, {properties, &res.Properties}, {system, &res.System}} {
		if column.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(column.text), column.to); err != nil {
			return nil, fmt.Errorf("stored resource %s: %w", id, err)
		}
	}
	return &res, nil
}

// load returns a resource by key, or nil when there is none.
func load(ctx context.Context, tx *store.Tx, key string) (*Resource, error) {
	res, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM arm_resources WHERE key = $1`, key))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading resource %s: %w", key, err)
	}
	return res, nil
}

// query returns the resources that a WHERE clause selects.
func query(ctx context.Context, tx *store.Tx, where string, args ...any) ([]*Resource, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM arm_resources WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	defer rows.Close()
	var list []*Resource
	for rows.Next() {
		res, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, res)
	}
	return list, rows.Err()
}

// encoded returns the columns after id, in the order of columns.
func (res *Resource) encoded() ([]any, error) {
	text := make([]string, 5)
	for i, v := range []any{res.Tags, res.SKU, res.Identity, res.Properties, res.System} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encoding resource %s: %w", res.ID, err)
		}
		if text[i] = string(b); text[i] == "null" {
			text[i] = ""
		}
	}
	ready := 0
	if res.ready {
		ready = 1
	}
	return []any{res.Location, text[0], res.Kind, text[1], text[2], text[3], text[4], res.State, ready, res.operation, res.ETag}, nil
}

// insert stores a new resource. unique_name is set for types that have it.
func insert(ctx context.Context, tx *store.Tx, t *Type, res *Resource) error {
	values, err := res.encoded()
	if err != nil {
		return err
	}
	var unique any
	if t.Unique {
		unique = uniqueName(t.Name, res.ID.Name())
	}
	res.ETag = newETag()
	values[len(values)-1] = res.ETag
	args := append([]any{res.ID.Key(), strings.ToLower(t.Name), unique, res.ID.String()}, values...)
	_, err = tx.Exec(ctx, `INSERT INTO arm_resources (key, type, unique_name, `+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, args...)
	if store.IsUnique(err) {
		return errBusy(res.ID)
	}
	if err != nil {
		return fmt.Errorf("storing resource %s: %w", res.ID, err)
	}
	return nil
}

// save stores a changed resource, provided that it is still the one with the ETag that res has; the ETag changes.
func save(ctx context.Context, tx *store.Tx, res *Resource) error {
	old := res.ETag
	res.ETag = newETag()
	values, err := res.encoded()
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE arm_resources SET location = $1, tags = $2, kind = $3, sku = $4, identity = $5,
		properties = $6, system = $7, state = $8, ready = $9, operation = $10, etag = $11 WHERE key = $12 AND etag = $13`,
		append(values, res.ID.Key(), old)...)
	if err != nil {
		return fmt.Errorf("storing resource %s: %w", res.ID, err)
	}
	if n == 0 {
		return errBusy(res.ID)
	}
	return nil
}

func newETag() string { return `"` + azure.NewGUID() + `"` }

func uniqueName(typ, name string) string { return strings.ToLower(typ + ":" + name) }

// below returns the bounds, both exclusive, of the keys of everything below a scope.
func below(scope azure.ResourceID) (from, to string) {
	key := strings.TrimSuffix(scope.Key(), "/")
	return key + "/", key + "0" // '0' follows '/'
}

func errBusy(id azure.ResourceID) *azure.Error {
	return azure.Errorf(http.StatusConflict, "AnotherOperationInProgress",
		"Another operation on '%s' is in progress. Retry when it has ended.", id).WithHeader("Retry-After", "1")
}

// errMissing is the 404 for a resource that does not exist, in the words that fit its type.
func errMissing(id azure.ResourceID) *azure.Error {
	switch typeKey(id) {
	case subscriptionType:
		return azure.Errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id.Name())
	case groupType:
		return azure.Errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", id.Name())
	}
	return azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found.",
		id.Type(), strings.Join(id.Names, "/"), id.ResourceGroup())
}
