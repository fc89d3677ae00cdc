package rbac

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Limits of custom roles and of assignments, which are kept in memory. Each decision about a holder looks at all the
// patterns.
const (
	maxPatterns    = 2048 // actions of a role
	maxPattern     = 512  // bytes of one of them
	maxRoleName    = 512  // characters
	maxDescription = 2048 // characters
	maxScopes      = 2000 // assignable scopes of a role
	maxDefinitions = 5000 // custom roles, as in Azure: a list of them has no pages
)

const definitionColumns = `id, name, description, permissions, scopes`

// Definitions returns the built-in and custom roles that can be assigned at the scope.
func (r *RBAC) Definitions(ctx context.Context, scope string) ([]Definition, error) {
	out := make([]Definition, len(builtins))
	copy(out, builtins)
	key := scopeKey(scope)
	err := r.db.View(ctx, func(tx *store.Tx) error {
		out = out[:len(builtins)]
		rows, err := tx.Query(ctx, `SELECT `+definitionColumns+` FROM rbac_definitions ORDER BY name_key`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			d, err := scanDefinition(rows)
			if err != nil {
				return err
			}
			if assignable(d, key) {
				out = append(out, d)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("listing role definitions: %w", err)
	}
	return out, nil
}

// AssignableAt reports whether the role can be assigned at a scope.
func (d *Definition) AssignableAt(scope string) bool {
	return d.BuiltIn || assignable(*d, scopeKey(scope))
}

func assignable(d Definition, key string) bool {
	for _, s := range d.Scopes {
		if under(key, scopeKey(s)) {
			return true
		}
	}
	return false
}

// Definition returns a role by GUID; false when there is none.
func (r *RBAC) Definition(ctx context.Context, id string) (d Definition, ok bool, err error) {
	err = r.db.View(ctx, func(tx *store.Tx) error {
		d, ok, err = r.definition(ctx, tx, id)
		return err
	})
	return d, ok, err
}

func (r *RBAC) definition(ctx context.Context, tx *store.Tx, id string) (Definition, bool, error) {
	id = strings.ToLower(id)
	if role, ok := r.builtin[id]; ok {
		return role.Definition, true, nil
	}
	return findDefinition(ctx, tx, `id = $1`, id)
}

// DefinitionByName returns a role by its name in any case; false when there is none.
func (r *RBAC) DefinitionByName(ctx context.Context, name string) (d Definition, ok bool, err error) {
	for i := range builtins {
		if strings.EqualFold(builtins[i].Name, name) {
			return builtins[i], true, nil
		}
	}
	err = r.db.View(ctx, func(tx *store.Tx) error {
		d, ok, err = findDefinition(ctx, tx, `name_key = $1`, strings.ToLower(name))
		return err
	})
	return d, ok, err
}

func findDefinition(ctx context.Context, tx *store.Tx, where, arg string) (Definition, bool, error) {
	if !text(arg) {
		return Definition{}, false, nil
	}
	d, err := scanDefinition(tx.QueryRow(ctx, `SELECT `+definitionColumns+` FROM rbac_definitions WHERE `+where, arg))
	if errors.Is(err, sql.ErrNoRows) {
		return Definition{}, false, nil
	}
	if err != nil {
		return Definition{}, false, fmt.Errorf("reading role definition '%s': %w", arg, err)
	}
	return d, true, nil
}

func scanDefinition(row interface{ Scan(...any) error }) (Definition, error) {
	var d Definition
	var permissions, scopes []byte
	if err := row.Scan(&d.ID, &d.Name, &d.Description, &permissions, &scopes); err != nil {
		return d, err
	}
	if err := json.Unmarshal(permissions, &d.Permissions); err != nil {
		return d, fmt.Errorf("permissions of role %s: %w", d.ID, err)
	}
	for i := range d.Permissions {
		d.Permissions[i] = d.Permissions[i].filled()
	}
	if err := json.Unmarshal(scopes, &d.Scopes); err != nil {
		return d, fmt.Errorf("assignable scopes of role %s: %w", d.ID, err)
	}
	return d, nil
}

// Define stores a custom role, or replaces the one with its GUID. A name that another role has is azure.Error 409
// RoleDefinitionWithSameNameExists, a built-in role's GUID 400. Scopes that leave out where the role is assigned are 400
// RoleDefinitionHasAssignments: who may write the role in its new scopes alone could else change what it gives there. One
// more than maxDefinitions is 400 RoleDefinitionLimitExceeded.
func (r *RBAC) Define(ctx context.Context, tx *store.Tx, d Definition) error {
	d.ID = strings.ToLower(d.ID)
	if err := r.checkCustom(&d); err != nil {
		return err
	}
	permissions, err := json.Marshal(d.Permissions)
	if err != nil {
		return err
	}
	scopes, err := json.Marshal(d.Scopes)
	if err != nil {
		return err
	}
	taken, found, err := findDefinition(ctx, tx, `name_key = $1`, strings.ToLower(d.Name))
	if err != nil {
		return err
	}
	if found && taken.ID != d.ID {
		return nameTaken(d.Name)
	}
	if err := checkNumber(ctx, tx, d.ID); err != nil {
		return err
	}
	if err := checkAssigned(ctx, tx, d); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO rbac_definitions (name_key, `+definitionColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET name_key = excluded.name_key, name = excluded.name, description = excluded.description,
		permissions = excluded.permissions, scopes = excluded.scopes`,
		strings.ToLower(d.Name), d.ID, d.Name, d.Description, string(permissions), string(scopes))
	if store.IsUnique(err) {
		return nameTaken(d.Name)
	}
	if err != nil {
		return fmt.Errorf("storing role definition %s: %w", d.ID, err)
	}
	return r.held.Changed(ctx, tx, generation)
}

// checkNumber refuses a role that would be one too many.
func checkNumber(ctx context.Context, tx *store.Tx, id string) error {
	var all, itself int
	err := tx.QueryRow(ctx, `SELECT count(*), count(CASE WHEN id = $1 THEN 1 END) FROM rbac_definitions`, id).Scan(&all, &itself)
	if err != nil {
		return fmt.Errorf("counting role definitions: %w", err)
	}
	if itself == 0 && all >= maxDefinitions {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionLimitExceeded",
			"Role definition limit exceeded. No more role definitions can be created; there are %d. Delete one that is not needed.", all)
	}
	return nil
}

// checkAssigned refuses a role that is assigned outside of its scopes.
func checkAssigned(ctx context.Context, tx *store.Tx, d Definition) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT scope_key FROM rbac_assignments WHERE role_id = $1`, d.ID)
	if err != nil {
		return fmt.Errorf("reading where role %s is assigned: %w", d.ID, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return err
		}
		if !assignable(d, key) {
			return azure.Errorf(http.StatusBadRequest, "RoleDefinitionHasAssignments",
				"The role '%s' is assigned at '%s', which its assignable scopes would no longer hold. Remove that assignment first.", d.Name, key)
		}
	}
	return rows.Err()
}

func nameTaken(name string) error {
	return azure.Errorf(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the name '%s' already exists in this directory.", name)
}

func (r *RBAC) checkCustom(d *Definition) error {
	bad := func(format string, args ...any) error {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleDefinition", format, args...)
	}
	if _, ok := r.builtin[d.ID]; ok {
		return bad("The role definition '%s' is built in and cannot be changed.", d.ID)
	}
	if d.ID == "" || d.Name == "" || len(d.Scopes) == 0 || !text(d.ID, d.Name, d.Description) {
		return bad("A custom role needs an id, a name (both text without NUL) and at least one assignable scope.")
	}
	if utf8.RuneCountInString(d.Name) > maxRoleName || utf8.RuneCountInString(d.Description) > maxDescription || len(d.Scopes) > maxScopes {
		return bad("The role's name is longer than %d characters, its description than %d, or it has more than %d assignable scopes.",
			maxRoleName, maxDescription, maxScopes)
	}
	for i := range builtins {
		if strings.EqualFold(builtins[i].Name, d.Name) {
			return nameTaken(d.Name)
		}
	}
	patterns := 0
	for _, p := range d.Permissions {
		if p.Condition != "" || p.ConditionVersion != "" {
			return bad("A custom role has no condition of its own; put it on the role's assignments.")
		}
		for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
			patterns += len(list)
			for _, a := range list {
				if a == "" || len(a) > maxPattern || strings.Count(a, "*") > 3 { // more would make a role slow to decide with
					return bad("The action '%.100s' is empty, longer than %d bytes, or has more than three wildcards.", a, maxPattern)
				}
			}
		}
	}
	if patterns > maxPatterns {
		return bad("The role has %d actions; it can have %d.", patterns, maxPatterns)
	}
	return nil
}

// Undefine removes a custom role and returns it; false when there was none. One that is assigned is azure.Error 400
// RoleDefinitionHasAssignments.
func (r *RBAC) Undefine(ctx context.Context, tx *store.Tx, id string) (Definition, bool, error) {
	d, ok, err := findDefinition(ctx, tx, `id = $1`, strings.ToLower(id))
	if err != nil || !ok {
		return d, false, err
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM rbac_assignments WHERE role_id = $1`, d.ID).Scan(&n); err != nil {
		return d, false, fmt.Errorf("counting assignments of role %s: %w", d.ID, err)
	}
	if n > 0 {
		return d, false, azure.Errorf(http.StatusBadRequest, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role '%s'.", d.Name)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM rbac_definitions WHERE id = $1`, d.ID); err != nil {
		return d, false, fmt.Errorf("removing role definition %s: %w", d.ID, err)
	}
	return d, true, r.held.Changed(ctx, tx, generation)
}
