package directory

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds principals, credentials and workloads.
var Schema = store.Schema{Name: "directory", FS: schemaFS}

const generation = rowcache.Table("directory_generation")

// Kind of a principal.
type Kind string

// Kinds of principals.
const (
	User           Kind = "User"
	Application    Kind = "Application" // service principal of an application, with credentials of its own
	SystemAssigned Kind = "SystemAssigned"
	UserAssigned   Kind = "UserAssigned"
	FirstParty     Kind = "FirstParty" // service principal of an application of Microsoft's, which every tenant has; it never signs in
	Group          Kind = "Group"      // of principals; it never signs in
)

// Principal is anyone who can be granted a role.
type Principal struct {
	ID         string // object id, lower-case GUID
	AppID      string // client id; empty for users and groups
	Kind       Kind
	Name       string // display name; a user's sign-in name
	IdentityID string // ARM ID (canonical) of the resource or user-assigned identity; managed identities only
	Enabled    bool
}

// Type returns the principal type as role assignments name it: "User", "Group" or "ServicePrincipal".
func (p *Principal) Type() string {
	switch p.Kind {
	case User:
		return azure.TypeUser
	case Group:
		return azure.TypeGroup
	}
	return azure.TypeServicePrincipal
}

// Managed reports whether the principal is a managed identity.
func (p *Principal) Managed() bool { return p.Kind == SystemAssigned || p.Kind == UserAssigned }

// Directory keeps the tenant's principals. It implements arm.Identities. It is used through a pointer, as a struct
// literal.
type Directory struct {
	DB       *store.DB
	TenantID string
	// Purge removes what was granted to a principal that is deleted, in the same transaction.
	Purge func(ctx context.Context, tx *store.Tx, principalID string) error

	principals rowcache.Cache[Principal]
	groups     rowcache.Cache[[]string] // by object id: what Groups returns
	// delegations are by client, resource and user.
	delegations rowcache.Cache[Delegation]
	// passwords lets one password be checked at a time: each takes 19 MiB and some 20 ms of a core, and anybody may ask.
	passwords sync.Mutex
}

const principalColumns = `id, coalesce(app_id, ''), kind, name, identity_id, enabled`

func scanPrincipal(row *store.Row) (Principal, error) {
	var p Principal
	err := row.Scan(&p.ID, &p.AppID, &p.Kind, &p.Name, &p.IdentityID, &p.Enabled)
	return p, err
}

func find(ctx context.Context, tx *store.Tx, where string, args ...any) (Principal, error) {
	return scanPrincipal(tx.QueryRow(ctx, `SELECT `+principalColumns+` FROM directory_principals WHERE `+where, args...))
}

// key is the form in which ids and names that callers send are looked up. What the database would not take as text is
// nobody's.
func key(s string) string {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return ""
	}
	return strings.ToLower(s)
}

// Principal returns a principal by object id; sql.ErrNoRows when there is none. It answers from memory, and sees a
// deletion in this process at once and one on another node within 5 s.
func (d *Directory) Principal(ctx context.Context, id string) (Principal, error) {
	return d.principals.Get(ctx, rowcache.Source[Principal]{DB: d.DB, Table: generation, Load: loadPrincipal}, key(id))
}

func loadPrincipal(ctx context.Context, tx *store.Tx, id string) (Principal, error) {
	p, err := find(ctx, tx, `id = $1`, id)
	if err != nil {
		return p, fmt.Errorf("reading principal %s: %w", id, err)
	}
	return p, nil
}

// ByAppID returns a principal by client id; sql.ErrNoRows when there is none.
func (d *Directory) ByAppID(ctx context.Context, appID string) (p Principal, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		p, err = find(ctx, tx, `app_id = $1`, key(appID))
		return err
	})
	if err != nil {
		return p, fmt.Errorf("reading the principal with client id %s: %w", appID, err)
	}
	return p, nil
}

// insert stores a new principal; false when its identity is taken.
func insert(ctx context.Context, tx *store.Tx, p Principal) (bool, error) {
	var appID, identityKey any
	if p.AppID != "" {
		appID = p.AppID
	}
	if p.IdentityID != "" {
		identityKey = strings.ToLower(p.IdentityID)
	}
	n, err := tx.Exec(ctx, `INSERT INTO directory_principals (id, app_id, kind, name, identity_id, identity_key, enabled, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (identity_key) DO NOTHING`,
		p.ID, appID, string(p.Kind), p.Name, p.IdentityID, identityKey, p.Enabled, store.Micros(time.Now()))
	if err != nil {
		return false, fmt.Errorf("storing principal '%s': %w", p.Name, err)
	}
	return n == 1, nil
}

// SetEnabled enables or disables a principal; sql.ErrNoRows when there is none. Tokens of a disabled one are refused.
func (d *Directory) SetEnabled(ctx context.Context, tx *store.Tx, id string, enabled bool) error {
	id = key(id)
	flag := 0
	if enabled {
		flag = 1
	}
	n, err := tx.Exec(ctx, `UPDATE directory_principals SET enabled = $1 WHERE id = $2`, flag, id)
	if err == nil && n == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return fmt.Errorf("enabling or disabling principal %s: %w", id, err)
	}
	return d.changed(ctx, tx, id)
}

// Delete removes a principal for good, with its credentials, its places in groups and workloads, what it owned and,
// through Purge, what was granted to it. A principal that is not there is no error. The application of a service
// principal stays.
func (d *Directory) Delete(ctx context.Context, tx *store.Tx, id string) error {
	id = key(id)
	for _, statement := range []string{
		`DELETE FROM directory_secrets WHERE principal_id = $1`,
		`DELETE FROM directory_certificates WHERE principal_id = $1`,
		`DELETE FROM directory_federated_credentials WHERE app_id =
			(SELECT app_id FROM directory_principals WHERE id = $1 AND kind IN ('SystemAssigned', 'UserAssigned'))`,
		`DELETE FROM directory_deleted WHERE id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, id); err != nil {
			return fmt.Errorf("deleting principal %s: %w", id, err)
		}
	}
	if err := d.detach(ctx, tx, id); err != nil {
		return fmt.Errorf("deleting principal %s: %w", id, err)
	}
	if d.Purge != nil {
		if err := d.Purge(ctx, tx, id); err != nil {
			return fmt.Errorf("deleting principal %s: %w", id, err)
		}
	}
	return d.changed(ctx, tx, id)
}

// detach takes a principal out of everything that tells of it but its credentials; nobody can be it from now on.
func (d *Directory) detach(ctx context.Context, tx *store.Tx, id string) error {
	for _, statement := range []string{
		`DELETE FROM directory_passwords WHERE principal_id = $1`,
		`DELETE FROM directory_workload_identities WHERE principal_id = $1`,
		`DELETE FROM directory_owners WHERE object_id = $1 OR owner_id = $1`,
		`DELETE FROM directory_app_role_assignments WHERE principal_id = $1 OR resource_id = $1`,
		`DELETE FROM directory_permission_grants WHERE client_id = $1 OR resource_id = $1 OR principal_id = $1`,
		`DELETE FROM directory_principals WHERE id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, id); err != nil {
			return err
		}
	}
	return d.leaveGroups(ctx, tx, id)
}

// PrincipalType returns a principal's type, or azure.Error 400 PrincipalNotFound.
func (d *Directory) PrincipalType(ctx context.Context, tx *store.Tx, id string) (string, error) {
	p, err := find(ctx, tx, `id = $1`, key(id))
	if errors.Is(err, sql.ErrNoRows) {
		return "", azure.Errorf(http.StatusBadRequest, "PrincipalNotFound",
			"Principal %s does not exist in the directory %s. Check that you have the correct principal ID.", id, d.TenantID)
	}
	if err != nil {
		return "", fmt.Errorf("reading principal %s: %w", id, err)
	}
	return p.Type(), nil
}
