package rbac

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Everyone is the id of the principal that stands for all, of type SystemDefined.
const Everyone = "00000000-0000-0000-0000-000000000000"

// Principal is one of those whom a deny assignment names.
type Principal struct {
	ID   string `json:"id"`
	Type string `json:"type"` // azure.TypeUser, ...; "SystemDefined" for Everyone
}

// DenyAssignment takes actions from principals, whatever roles they have. Only the server itself makes them.
type DenyAssignment struct {
	ID              string // GUID
	Scope           string // canonical ARM ID
	Name            string // for display
	Description     string
	Permissions     []Permission // what is denied; without conditions
	Principals      []Principal
	Excluded        []Principal // who is spared; one of a caller's groups is enough
	ThisScopeOnly   bool        // doNotApplyToChildScopes
	SystemProtected bool
	CreatedBy       string
	Created         time.Time
}

// denial is a DenyAssignment ready to decide with.
type denial struct {
	DenyAssignment
	key      string // of the scope
	role     *role  // what is denied
	excluded map[string]bool
}

const denyColumns = `id, scope, name, description, permissions, principals, excluded, this_scope_only, protected, created_by, created`

// Deny stores a deny assignment in the caller's transaction, or replaces the one with its scope and id. One that is not
// complete is azure.Error 400 InvalidDenyAssignment.
func (r *RBAC) Deny(ctx context.Context, tx *store.Tx, d DenyAssignment) error {
	d.ID = strings.ToLower(d.ID)
	if err := checkDeny(&d); err != nil {
		return err
	}
	permissions, err := json.Marshal(d.Permissions)
	if err != nil {
		return err
	}
	principals, err := json.Marshal(d.Principals)
	if err != nil {
		return err
	}
	excluded, err := json.Marshal(d.Excluded)
	if err != nil {
		return err
	}
	if _, _, err := r.Undeny(ctx, tx, d.Scope, d.ID); err != nil {
		return err
	}
	key := scopeKey(d.Scope)
	_, err = tx.Exec(ctx, `INSERT INTO rbac_deny_assignments (scope_key, `+denyColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		key, d.ID, d.Scope, d.Name, d.Description, string(permissions), string(principals), string(excluded),
		bit(d.ThisScopeOnly), bit(d.SystemProtected), d.CreatedBy, store.Micros(d.Created))
	if err != nil {
		return fmt.Errorf("storing deny assignment %s: %w", d.ID, err)
	}
	var changed []string
	for _, p := range d.Principals {
		if _, err := tx.Exec(ctx, `INSERT INTO rbac_denied_principals (principal_id, scope_key, id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			p.ID, key, d.ID); err != nil {
			return fmt.Errorf("storing deny assignment %s: %w", d.ID, err)
		}
		changed = append(changed, p.ID)
	}
	return r.held.Changed(ctx, tx, generation, changed...)
}

func checkDeny(d *DenyAssignment) error {
	bad := func(format string, args ...any) error {
		return azure.Errorf(http.StatusBadRequest, "InvalidDenyAssignment", format, args...)
	}
	if d.ID == "" || !strings.HasPrefix(d.Scope, "/") || len(d.Permissions) == 0 || len(d.Principals) == 0 || !text(d.ID, d.Scope, d.Name, d.Description) {
		return bad("A deny assignment needs an id, a scope that begins with '/', permissions and principals; its texts have no NUL.")
	}
	for _, p := range d.Permissions {
		if p.Condition != "" {
			return bad("A deny assignment has no conditions.")
		}
	}
	for _, list := range []*[]Principal{&d.Principals, &d.Excluded} {
		*list = slices.Clone(*list)
		for i := range *list {
			p := &(*list)[i]
			p.ID = strings.ToLower(p.ID)
			if p.ID == "" || !text(p.ID, p.Type) {
				return bad("A principal of a deny assignment has no id, or one with NUL.")
			}
		}
	}
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Undeny removes a deny assignment by scope and id and returns it; false when there was none.
func (r *RBAC) Undeny(ctx context.Context, tx *store.Tx, scope, id string) (DenyAssignment, bool, error) {
	key, id := scopeKey(scope), strings.ToLower(id)
	if !text(key, id) {
		return DenyAssignment{}, false, nil
	}
	d, err := scanDeny(tx.QueryRow(ctx, `DELETE FROM rbac_deny_assignments WHERE scope_key = $1 AND id = $2 RETURNING `+denyColumns, key, id))
	if errors.Is(err, sql.ErrNoRows) {
		return DenyAssignment{}, false, nil
	}
	if err != nil {
		return DenyAssignment{}, false, fmt.Errorf("removing deny assignment %s: %w", id, err)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM rbac_denied_principals WHERE scope_key = $1 AND id = $2`, key, id); err != nil {
		return DenyAssignment{}, false, fmt.Errorf("removing deny assignment %s: %w", id, err)
	}
	var changed []string
	for _, p := range d.Principals {
		changed = append(changed, p.ID)
	}
	return d, true, r.held.Changed(ctx, tx, generation, changed...)
}

// DenyAssignments returns the deny assignments at the scope and above it, and, with below, those under it, in order of
// scope and id.
func (r *RBAC) DenyAssignments(ctx context.Context, scope string, below bool) ([]DenyAssignment, error) {
	if !text(scope) {
		return nil, nil
	}
	where, args := around(scopeKey(scope), below)
	var out []DenyAssignment
	err := r.db.View(ctx, func(tx *store.Tx) error {
		var err error
		out, err = queryDenials(ctx, tx, where, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing deny assignments at %s: %w", scope, err)
	}
	return out, nil
}

func queryDenials(ctx context.Context, tx *store.Tx, where string, args ...any) ([]DenyAssignment, error) {
	rows, err := tx.Query(ctx, `SELECT `+denyColumns+` FROM rbac_deny_assignments `+where+` ORDER BY scope_key, id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DenyAssignment
	for rows.Next() {
		d, err := scanDeny(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

func scanDeny(row interface{ Scan(...any) error }) (DenyAssignment, error) {
	var d DenyAssignment
	var permissions, principals, excluded []byte
	var thisScopeOnly, protected, created int64
	err := row.Scan(&d.ID, &d.Scope, &d.Name, &d.Description, &permissions, &principals, &excluded, &thisScopeOnly, &protected, &d.CreatedBy, &created)
	if err != nil {
		return d, err
	}
	d.ThisScopeOnly, d.SystemProtected, d.Created = thisScopeOnly == 1, protected == 1, store.Time(created)
	for _, field := range []struct {
		text []byte
		to   any
	}{{permissions, &d.Permissions}, {principals, &d.Principals}, {excluded, &d.Excluded}} {
		if err := json.Unmarshal(field.text, field.to); err != nil {
			return d, fmt.Errorf("deny assignment %s: %w", d.ID, err)
		}
	}
	for i := range d.Permissions {
		d.Permissions[i] = d.Permissions[i].filled()
	}
	return d, nil
}

// loadDenials returns the deny assignments that name a principal, by the key of their scope.
func loadDenials(ctx context.Context, tx *store.Tx, principal string) (map[string][]denial, error) {
	list, err := queryDenials(ctx, tx, `JOIN rbac_denied_principals USING (scope_key, id) WHERE principal_id = $1`, principal)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	out := map[string][]denial{}
	for _, d := range list {
		n := denial{DenyAssignment: d, key: scopeKey(d.Scope), role: newRole(Definition{Permissions: d.Permissions}), excluded: map[string]bool{}}
		for _, p := range d.Excluded {
			n.excluded[p.ID] = true
		}
		out[n.key] = append(out[n.key], n)
	}
	return out, nil
}

// weigh says whether a deny assignment at a request's scope or above it forbids the request to a caller with these ids.
func (d *denial) weigh(req *request, principals []string) Outcome {
	spared := func(id string) bool { return d.excluded[strings.ToLower(id)] }
	switch {
	case d.ThisScopeOnly && d.key != req.scope:
		return NotThisScope
	case !d.role.allows(req):
		return NotThisAction
	case slices.ContainsFunc(principals, spared):
		return Excluded
	}
	return Denies
}
