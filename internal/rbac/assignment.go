package rbac

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const assignmentColumns = `id, scope, role_id, principal_id, principal_type, description, condition, created_by, created, updated_by, updated`

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
	var created, updated int64
	err := row.Scan(&a.ID, &a.Scope, &a.RoleID, &a.PrincipalID, &a.PrincipalType, &a.Description, &a.Condition,
		&a.CreatedBy, &created, &a.UpdatedBy, &updated)
	a.Created, a.Updated = store.Time(created), store.Time(updated)
	return a, err
}

// Assignments returns the assignments at the scope and above it, and, with below, those under it, in order of scope
// and id.
func (r *RBAC) Assignments(ctx context.Context, scope string, below bool) ([]Assignment, error) {
	if !text(scope) {
		return nil, nil
	}
	key := scopeKey(scope)
	where, args := around(key, below)
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

// around selects the rows at a scope and above it, and, with below, those under it.
func around(key string, below bool) (where string, args []any) {
	var places []string
	for _, k := range above(key) {
		args = append(args, k)
		places = append(places, "$"+strconv.Itoa(len(args)))
	}
	where = `WHERE scope_key IN (` + strings.Join(places, ", ") + `)`
	if below {
		from, to := belowRange(key)
		args = append(args, from, to)
		where += fmt.Sprintf(` OR (scope_key >= $%d AND scope_key < $%d)`, len(args)-1, len(args))
	}
	return where, args
}

// belowRange returns the half-open range of keys that lie below a scope: '0' is the byte after '/'.
func belowRange(key string) (from, to string) {
	key = strings.TrimSuffix(key, "/")
	return key + "/", key + "0"
}

// Assign stores an assignment in the caller's transaction. An equal one (same scope, role and principal, other id)
// is azure.Error 409 RoleAssignmentExists. The same one again is no error and takes over the description and the
// condition. The same id with another role or principal is 400 RoleAssignmentUpdateNotPermitted, an unknown role 400
// RoleDefinitionDoesNotExist, as is one that cannot be assigned at the scope, a condition that cannot be read 400
// InvalidRoleAssignmentCondition with the place.
func (r *RBAC) Assign(ctx context.Context, tx *store.Tx, a Assignment) error {
	a.ID, a.RoleID, a.PrincipalID = strings.ToLower(a.ID), strings.ToLower(a.RoleID), strings.ToLower(a.PrincipalID)
	if a.ID == "" || a.PrincipalID == "" || !strings.HasPrefix(a.Scope, "/") || !text(a.ID, a.PrincipalID, a.Scope, a.Description, a.Condition) {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignment",
			"A role assignment needs an id, a principal and a scope that begins with '/'; got %q, %q and %q.", a.ID, a.PrincipalID, a.Scope)
	}
	if utf8.RuneCountInString(a.Description) > maxDescription {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignment", "The description is longer than %d characters.", maxDescription)
	}
	if a.Condition != "" {
		if _, err := parseCondition(a.Condition); err != nil {
			return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentCondition", "The given role assignment condition is invalid: %v.", err)
		}
	}
	if a.Updated.IsZero() {
		a.UpdatedBy, a.Updated = a.CreatedBy, a.Created
	}
	key := scopeKey(a.Scope)
	if d, ok, err := r.definition(ctx, tx, a.RoleID); err != nil {
		return err
	} else if !ok || !assignable(d, key) {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist",
			"The specified role definition with ID '%s' does not exist or cannot be assigned at '%s'.", a.RoleID, a.Scope)
	}
	n, err := tx.Exec(ctx, `INSERT INTO rbac_assignments (scope_key, `+assignmentColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
		key, a.ID, a.Scope, a.RoleID, a.PrincipalID, a.PrincipalType, a.Description, a.Condition,
		a.CreatedBy, store.Micros(a.Created), a.UpdatedBy, store.Micros(a.Updated))
	if err != nil {
		return fmt.Errorf("storing role assignment %s: %w", a.ID, err)
	}
	if n == 1 {
		return r.held.Changed(ctx, tx, generation, a.PrincipalID)
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
	case old.Description == a.Description && old.Condition == a.Condition:
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE rbac_assignments SET description = $3, condition = $4, updated_by = $5, updated = $6
		WHERE scope_key = $1 AND id = $2`, key, a.ID, a.Description, a.Condition, a.UpdatedBy, store.Micros(a.Updated)); err != nil {
		return fmt.Errorf("changing role assignment %s: %w", a.ID, err)
	}
	return r.held.Changed(ctx, tx, generation, a.PrincipalID)
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
	return a, true, r.held.Changed(ctx, tx, generation, a.PrincipalID)
}

// Purge removes every role assignment of a principal that is gone, or (by scope) all role and deny assignments at and
// below a resource that is gone. One of the two is empty.
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
		return r.held.Changed(ctx, tx, generation, principalID)
	}
	key := scopeKey(scope)
	from, to := belowRange(key)
	var gone int64
	for _, table := range []string{"rbac_assignments", "rbac_deny_assignments", "rbac_denied_principals"} {
		n, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE scope_key = $1 OR (scope_key >= $2 AND scope_key < $3)`, key, from, to)
		if err != nil {
			return fmt.Errorf("purging the assignments below %s: %w", scope, err)
		}
		gone += n
	}
	if gone == 0 {
		return nil
	}
	return r.held.Changed(ctx, tx, generation)
}
