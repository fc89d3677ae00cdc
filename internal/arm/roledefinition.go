package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

type shownDefinition struct {
	ID         string                    `json:"id"`
	Name       string                    `json:"name"`
	Type       string                    `json:"type"`
	Properties shownDefinitionProperties `json:"properties"`
}

type shownDefinitionProperties struct {
	RoleName         string            `json:"roleName"`
	Type             string            `json:"type"`
	Description      string            `json:"description"`
	AssignableScopes []string          `json:"assignableScopes"`
	Permissions      []rbac.Permission `json:"permissions"`
}

func showDefinition(scope string, d rbac.Definition) shownDefinition {
	s := shownDefinition{ID: roleDefinitionID(scope, d.ID), Name: d.ID, Type: roleDefinitionType, Properties: shownDefinitionProperties{
		RoleName: d.Name, Type: roleKind(d), Description: d.Description, AssignableScopes: d.Scopes, Permissions: showPermissions(d.Permissions),
	}}
	if s.Properties.AssignableScopes == nil {
		s.Properties.AssignableScopes = []string{"/"}
	}
	return s
}

func roleKind(d rbac.Definition) string {
	if d.BuiltIn {
		return "BuiltInRole"
	}
	return "CustomRole"
}

// showPermissions makes every list an array: clients fail on null.
func showPermissions(list []rbac.Permission) []rbac.Permission {
	out := []rbac.Permission{}
	for _, p := range list {
		for _, l := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
			if *l == nil {
				*l = []string{}
			}
		}
		out = append(out, p)
	}
	return out
}

// visible reports whether a role is shown at a scope; at the tenant, where no right is asked for, the built-in ones are.
func visible(r *azure.Request, d *rbac.Definition, scope string) bool {
	_, decided := r.Vars[varScope]
	return d.BuiltIn || decided && d.AssignableAt(scope)
}

// rolesNamed returns the roles of a scope, or the one of a name: clients ask for it before each assignment.
func (m *Manager) rolesNamed(r *azure.Request, scope, name string) ([]rbac.Definition, error) {
	if name == "" {
		return m.o.RBAC.Definitions(r.Context(), scope)
	}
	d, ok, err := m.o.RBAC.DefinitionByName(r.Context(), name)
	if !ok {
		return nil, err
	}
	return []rbac.Definition{d}, err
}

func (m *Manager) listRoleDefinitions(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	f, err := parseRoleFilter(queryValue(r.URL, "$filter"), "rolename", "type")
	if err != nil {
		return err
	}
	list, err := m.rolesNamed(r, id.Scope, f.equal["rolename"])
	if err != nil {
		return err
	}
	value := []shownDefinition{}
	for _, d := range list {
		if kind := f.equal["type"]; visible(r, &d, id.Scope) && (kind == "" || strings.EqualFold(kind, roleKind(d))) {
			value = append(value, showDefinition(id.Scope, d))
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

func (m *Manager) getRoleDefinition(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	d, ok, err := m.o.RBAC.Definition(r.Context(), id.Name())
	if err != nil {
		return err
	}
	if ok && visible(r, &d, id.Scope) {
		return azure.WriteJSON(w, http.StatusOK, showDefinition(id.Scope, d))
	}
	return azure.Errorf(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", id.Name())
}

// putRoleDefinition stores a custom role. Its writer needs the right at every scope in which the role can be assigned.
func (m *Manager) putRoleDefinition(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	if !guid.MatchString(id.Name()) {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID '%s' is not valid; it must be a GUID.", id.Name())
	}
	var req struct {
		Properties struct {
			RoleName         string   `json:"roleName"`
			Description      string   `json:"description"`
			AssignableScopes []string `json:"assignableScopes"`
			Permissions      []struct {
				rbac.Permission
				Condition string `json:"condition"`
			} `json:"permissions"`
		} `json:"properties"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	p := req.Properties
	d := rbac.Definition{ID: strings.ToLower(id.Name()), Name: p.RoleName, Description: p.Description, Scopes: p.AssignableScopes}
	for _, permission := range p.Permissions {
		if permission.Condition != "" {
			return azure.Errorf(http.StatusBadRequest, "RoleDefinitionConditionNotSupported",
				"Conditions are not supported; the role would grant more than it says.")
		}
		d.Permissions = append(d.Permissions, permission.Permission)
	}
	if len(d.Scopes) == 0 {
		return errContent("'assignableScopes' is empty.")
	}
	old, _, err := m.o.RBAC.Definition(ctx, d.ID) // one that is replaced changes wherever it can be assigned
	if err != nil {
		return err
	}
	if err := m.authorizeScopes(r, append(slices.Clone(old.Scopes), d.Scopes...)); err != nil {
		return err
	}
	err = m.o.DB.Update(ctx, func(tx *store.Tx) error { return m.o.RBAC.Define(ctx, tx, d) })
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusCreated, showDefinition(id.Scope, d))
}

// authorizeScopes decides on the request's action at every scope of a role.
func (m *Manager) authorizeScopes(r *azure.Request, scopes []string) error {
	for _, text := range scopes {
		scope, err := azure.ParseResourceID(text)
		if err != nil {
			return err
		}
		if err := m.Authorize(r.Context(), r.Caller, r.Route.Action, scope); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) deleteRoleDefinition(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	old, found, err := m.o.RBAC.Definition(ctx, id.Name())
	if err != nil {
		return err
	}
	if !found {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := m.authorizeScopes(r, old.Scopes); err != nil {
		return err
	}
	var gone rbac.Definition
	err = m.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
		gone, found, err = m.o.RBAC.Undefine(ctx, tx, old.ID)
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return azure.WriteJSON(w, http.StatusOK, showDefinition(id.Scope, gone))
}

// listPermissions shows what the caller itself may do at a scope.
func (m *Manager) listPermissions(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	assigned, err := m.o.RBAC.Assignments(r.Context(), id.Scope, false)
	if err != nil {
		return err
	}
	value := []rbac.Permission{}
	for _, a := range assigned {
		if !slices.Contains(r.Caller.Principals(), a.PrincipalID) {
			continue
		}
		d, ok, err := m.o.RBAC.Definition(r.Context(), a.RoleID)
		if err != nil {
			return err
		}
		if ok {
			value = append(value, showPermissions(d.Permissions)...)
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}
