package rbac

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const assignmentColumns = `id, scope, role_id, principal_id, principal_type, description, created_by, created`

func queryAssignments(ctx context.Context, tx *store.Tx, where string, args ...any) ([]Assignment, error) {
	rows, err := tx.Query(ctx, `SELECT `+assignmentColumns+` FROM rbac_assignments `+where+` ORDER BY scope_key, id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Assignment
	for rows.Next() {
		a, err := scanAssignment(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

func scanAssignment(row interface{ Scan(...any) error }) (Assignment, error) {
	var a Assignment
	var created int64
	err := row.Scan(&a.ID, &a.Scope, &a.RoleID, &a.PrincipalID, &a.PrincipalType, &a.Description, &a.CreatedBy, &created)
	a.Created = store.Time(created)
	return a, err
}

// Assignments returns the assignments at the scope and above it, and, with below, those under it, in order of scope
// and id.
func (r *RBAC) Assignments(ctx context.Context, scope string, below bool) ([]Assignment, error) {
	if !text(scope) {
		return nil, nil
	}
	key := scopeKey(scope)
	var places []string
	var args []any
	for _, k := range above(key) {
		args = append(args, k)
		places = append(places, "$"+strconv.Itoa(len(args)))
	}
	where := `WHERE scope_key IN (` + strings.Join(places, ", ") + `)`
	if below {
		from, to := belowRange(key)
		args = append(args, from, to)
		where += fmt.Sprintf(` OR (scope_key >= $%d AND scope_key < $%d)`, len(args)-1, len(args))
	}
	var out []Assignment
	err := r.db.View(ctx, func(tx *store.Tx) error {
		var err error
		out, err = queryAssignments(ctx, tx, where, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing role assignments at %s: %w", scope, err)
	}
	return out, nil
}

// belowRange returns the half-open range of keys that lie below a scope: '0' is the byte after '/'.
func belowRange(key string) (from, to string) {
	key = strings.TrimSuffix(key, "/")
	return key + "/", key + "0"
}

// Assign stores an assignment in the caller's transaction. An equal one (same scope, role and principal, other id)
// is azure.Error 409 RoleAssignmentExists; storing the same one again is no error. The same id with another role or
// principal is 400 RoleAssignmentUpdateNotPermitted, an unknown role 400 RoleDefinitionDoesNotExist.
func (r *RBAC) Assign(ctx context.Context, tx *store.Tx, a Assignment) error {
	a.ID, a.RoleID, a.PrincipalID = strings.ToLower(a.ID), strings.ToLower(a.RoleID), strings.ToLower(a.PrincipalID)
	if a.ID == "" || a.PrincipalID == "" || !strings.HasPrefix(a.Scope, "/") || !text(a.ID, a.PrincipalID, a.Scope, a.Description) {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignment",
			"A role assignment needs an id, a principal and a scope that begins with '/'; got %q, %q and %q.", a.ID, a.PrincipalID, a.Scope)
	}
	if _, ok, err := r.definition(ctx, tx, a.RoleID); err != nil {
		return err
	} else if !ok {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", a.RoleID)
	}
	key := scopeKey(a.Scope)
	n, err := tx.Exec(ctx, `INSERT INTO rbac_assignments (scope_key, `+assignmentColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		key, a.ID, a.Scope, a.RoleID, a.PrincipalID, a.PrincipalType, a.Description, a.CreatedBy, store.Micros(a.Created))
	if err != nil {
		return fmt.Errorf("storing role assignment %s: %w", a.ID, err)
	}
	if n == 1 {
		return r.grants.Changed(ctx, tx, generation, a.PrincipalID)
	}
	old, err := scanAssignment(tx.QueryRow(ctx, `SELECT `+assignmentColumns+` FROM rbac_assignments WHERE scope_key = $1 AND id = $2`, key, a.ID))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return azure.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
	case err != nil:
		return fmt.Errorf("reading role assignment %s: %w", a.ID, err)
	case old.RoleID != a.RoleID || old.PrincipalID != a.PrincipalID:
		return azure.Errorf(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted",
			"Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	}
	return nil
}

// Unassign removes an assignment by scope and GUID and returns it; false when there was none.
func (r *RBAC) Unassign(ctx context.Context, tx *store.Tx, scope, id string) (Assignment, bool, error) {
	if !text(scope, id) {
		return Assignment{}, false, nil
	}
	a, err := scanAssignment(tx.QueryRow(ctx, `DELETE FROM rbac_assignments WHERE scope_key = $1 AND id = $2 RETURNING `+assignmentColumns,
		scopeKey(scope), strings.ToLower(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return Assignment{}, false, nil
	}
	if err != nil {
		return Assignment{}, false, fmt.Errorf("removing role assignment %s: %w", id, err)
	}
	return a, true, r.grants.Changed(ctx, tx, generation, a.PrincipalID)
}

// Purge removes every assignment of a principal that is gone, or (by scope) at and below a resource that is gone.
// One of the two is empty.
func (r *RBAC) Purge(ctx context.Context, tx *store.Tx, principalID, scope string) error {
	if (principalID == "") == (scope == "") {
		return errors.New("purging role assignments: name either a principal or a scope")
	}
	if principalID != "" {
		principalID = strings.ToLower(principalID)
		n, err := tx.Exec(ctx, `DELETE FROM rbac_assignments WHERE principal_id = $1`, principalID)
		if err != nil {
			return fmt.Errorf("purging the role assignments of principal %s: %w", principalID, err)
		}
		if n == 0 {
			return nil
		}
		return r.grants.Changed(ctx, tx, generation, principalID)
	}
	key := scopeKey(scope)
	from, to := belowRange(key)
	n, err := tx.Exec(ctx, `DELETE FROM rbac_assignments WHERE scope_key = $1 OR (scope_key >= $2 AND scope_key < $3)`, key, from, to)
	if err != nil {
		return fmt.Errorf("purging the role assignments below %s: %w", scope, err)
	}
	if n == 0 {
		return nil
	}
	return r.grants.Changed(ctx, tx, generation)
}
