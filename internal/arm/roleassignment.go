package arm

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// Types of Microsoft.Authorization, in the registered case.
const (
	roleAssignmentType = "Microsoft.Authorization/roleAssignments"
	roleDefinitionType = "Microsoft.Authorization/roleDefinitions"
	permissionType     = "Microsoft.Authorization/permissions"
)

var authorizationVersions = []string{
	"2015-05-01-preview", "2015-06-01", "2015-07-01", "2016-07-01", "2017-05-01", "2017-10-01-preview", "2018-01-01-preview", "2018-07-01",
	"2018-09-01-preview", "2020-03-01-preview", "2020-04-01-preview", "2020-08-01-preview", "2020-10-01-preview", "2021-04-01-preview",
	"2022-04-01", "2022-05-01-preview",
}

// addAuthorization registers Microsoft.Authorization. Its types can be put on any scope.
func (m *Manager) addAuthorization() {
	p := &Provider{Namespace: "Microsoft.Authorization", Types: []Type{
		{Name: roleAssignmentType, Versions: authorizationVersions},
		{Name: roleDefinitionType, Versions: authorizationVersions},
		{Name: permissionType, Versions: authorizationVersions, ReadOnly: true},
	}}
	m.providers["microsoft.authorization"] = p
	for i := range p.Types {
		t := &p.Types[i]
		m.extensions[strings.ToLower(t.Name)] = &typeRows{Type: t, methods: map[string]*azure.Route{}}
	}
	row := func(typ, method, name, action string, handle func(http.ResponseWriter, *azure.Request) error) {
		rows := m.extensions[strings.ToLower(typ)]
		_, short, _ := strings.Cut(typ, "/")
		r := m.recorded(azure.Route{
			Name: typ + "." + name, Method: method, Pattern: "{scope}/providers/" + typ, Action: typ + "/" + action, Handle: handle,
		})
		if name == "List" {
			rows.list = &r
			return
		}
		r.Pattern += "/{" + short + "Name}"
		rows.methods[method] = &r
	}
	row(roleAssignmentType, http.MethodPut, "Create", "write", m.putRoleAssignment)
	row(roleAssignmentType, http.MethodGet, "Get", "read", m.getRoleAssignment)
	row(roleAssignmentType, http.MethodDelete, "Delete", "delete", m.deleteRoleAssignment)
	row(roleAssignmentType, http.MethodGet, "List", "read", m.listRoleAssignments)
	row(roleDefinitionType, http.MethodPut, "CreateOrUpdate", "write", m.putRoleDefinition)
	row(roleDefinitionType, http.MethodGet, "Get", "read", m.getRoleDefinition)
	row(roleDefinitionType, http.MethodDelete, "Delete", "delete", m.deleteRoleDefinition)
	row(roleDefinitionType, http.MethodGet, "List", "read", m.listRoleDefinitions)
	row(permissionType, http.MethodGet, "List", "read", m.listPermissions)

	// A resource's own identity, in the namespace of the directory's provider; it is served when that is registered.
	identities := strings.ToLower(systemIdentityType)
	m.extensions[identities] = &typeRows{
		Type:    &Type{Name: systemIdentityType, Versions: []string{"2018-11-30", "2022-01-31-preview", "2023-01-31", "2024-11-30"}, ReadOnly: true},
		methods: map[string]*azure.Route{},
	}
	row(systemIdentityType, http.MethodGet, "GetByScope", "read", m.getSystemIdentity)
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

type shownAssignment struct {
	ID         string                    `json:"id"`
	Name       string                    `json:"name"`
	Type       string                    `json:"type"`
	Properties shownAssignmentProperties `json:"properties"`
}

type shownAssignmentProperties struct {
	RoleDefinitionID string    `json:"roleDefinitionId"`
	PrincipalID      string    `json:"principalId"`
	PrincipalType    string    `json:"principalType"`
	Scope            string    `json:"scope"`
	Description      *string   `json:"description"`
	Condition        *string   `json:"condition"`
	ConditionVersion *string   `json:"conditionVersion"`
	CreatedOn        time.Time `json:"createdOn"`
	UpdatedOn        time.Time `json:"updatedOn"`
	CreatedBy        string    `json:"createdBy"`
	UpdatedBy        string    `json:"updatedBy"`
}

func showAssignment(a rbac.Assignment) shownAssignment {
	s := shownAssignment{
		ID: strings.TrimSuffix(a.Scope, "/") + "/providers/" + roleAssignmentType + "/" + a.ID, Name: a.ID, Type: roleAssignmentType,
		Properties: shownAssignmentProperties{
			RoleDefinitionID: roleDefinitionID(a.Scope, a.RoleID), PrincipalID: a.PrincipalID, PrincipalType: a.PrincipalType, Scope: a.Scope,
			CreatedOn: a.Created, UpdatedOn: a.Updated, CreatedBy: a.CreatedBy, UpdatedBy: a.UpdatedBy,
		},
	}
	if a.Description != "" {
		s.Properties.Description = &a.Description
	}
	if version := rbac.ConditionVersion; a.Condition != "" {
		s.Properties.Condition, s.Properties.ConditionVersion = &a.Condition, &version
	}
	return s
}

// roleDefinitionID is a role's ID as it is shown at a scope: under the scope's subscription.
func roleDefinitionID(scope, role string) string {
	id, err := azure.ParseResourceID(scope)
	prefix := ""
	if err == nil && id.Subscription() != "" {
		prefix = "/subscriptions/" + id.Subscription()
	}
	return prefix + "/providers/" + roleDefinitionType + "/" + role
}

// assignmentRequest is a role assignment as a client sends it.
type assignmentRequest struct {
	Properties struct {
		RoleDefinitionID string `json:"roleDefinitionId"`
		PrincipalID      string `json:"principalId"`
		PrincipalType    string `json:"principalType"`
		Description      string `json:"description"`
		Condition        string `json:"condition"`
		ConditionVersion string `json:"conditionVersion"`
		Delegated        string `json:"delegatedManagedIdentityResourceId"`
	} `json:"properties"`
}

func (m *Manager) putRoleAssignment(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	if !guid.MatchString(id.Name()) {
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentId",
			"The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", id.Name())
	}
	var req assignmentRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	p := req.Properties
	role := p.RoleDefinitionID[strings.LastIndexByte(p.RoleDefinitionID, '/')+1:]
	switch {
	case !guid.MatchString(p.PrincipalID):
		return azure.Errorf(http.StatusBadRequest, "InvalidPrincipalId", "The principal ID '%s' is not valid. Principal ID must be a GUID.", p.PrincipalID)
	case !guid.MatchString(role) || !strings.Contains(strings.ToLower(p.RoleDefinitionID), "/roledefinitions/"):
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleDefinitionId",
			"'%s' is not the ID of a role definition, such as '%s'.", p.RoleDefinitionID, roleDefinitionID(id.Scope, "{guid}"))
	case p.Condition != "" && p.ConditionVersion != rbac.ConditionVersion:
		return azure.Errorf(http.StatusBadRequest, "InvalidRoleAssignmentConditionVersion",
			"The version '%s' of the condition is not supported; conditionVersion must be '%s'.", p.ConditionVersion, rbac.ConditionVersion)
	case p.Delegated != "":
		return azure.Errorf(http.StatusBadRequest, "DelegatedManagedIdentityNotSupported", "Delegated managed identities are not supported.")
	}
	definition, ok, err := m.o.RBAC.Definition(ctx, role)
	if err != nil {
		return err
	}
	if !ok || !definition.AssignableAt(id.Scope) {
		return azure.Errorf(http.StatusBadRequest, "RoleDefinitionDoesNotExist",
			"The specified role definition with ID '%s' does not exist or cannot be assigned at '%s'.", role, id.Scope)
	}
	existing, err := m.roleAssignment(ctx, id)
	if err != nil {
		return err
	}
	assignment := rbac.Assignment{
		ID: strings.ToLower(id.Name()), RoleID: strings.ToLower(role), PrincipalID: strings.ToLower(p.PrincipalID),
		Description: p.Description, Condition: p.Condition, CreatedBy: r.Caller.ObjectID, Created: time.Now().UTC().Truncate(time.Microsecond),
	}
	assignment.UpdatedBy, assignment.Updated = assignment.CreatedBy, assignment.Created
	status := http.StatusCreated
	if existing != nil {
		assignment.CreatedBy, assignment.Created = existing.CreatedBy, existing.Created
		if existing.Description == p.Description && existing.Condition == p.Condition {
			assignment.UpdatedBy, assignment.Updated = existing.UpdatedBy, existing.Updated
		}
		status = http.StatusOK
	}
	err = m.o.DB.Update(ctx, func(tx *store.Tx) error {
		scope, err := m.assignmentScope(ctx, tx, id)
		if err != nil {
			return err
		}
		assignment.Scope = scope
		assignment.PrincipalType, err = m.o.Identities.PrincipalType(ctx, tx, assignment.PrincipalID)
		if err != nil {
			return err
		}
		if p.PrincipalType != "" && !strings.EqualFold(p.PrincipalType, assignment.PrincipalType) {
			return azure.Errorf(http.StatusBadRequest, "UnmatchedPrincipalType",
				"The PrincipalId '%s' has type '%s', which is different from specified PrincipalType '%s'.",
				assignment.PrincipalID, assignment.PrincipalType, p.PrincipalType)
		}
		return m.o.RBAC.Assign(ctx, tx, assignment)
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, status, showAssignment(assignment))
}

// assignmentScope returns the scope of an assignment in canonical form. Resources that the manager keeps, and those
// that others stand below, must exist; of what lies inside them (a key in a vault) the manager knows nothing.
func (m *Manager) assignmentScope(ctx context.Context, tx *store.Tx, id azure.ResourceID) (string, error) {
	scope, err := azure.ParseResourceID(id.Scope)
	if err != nil {
		return "", err
	}
	if scope.IsCollection() {
		return "", azure.Errorf(http.StatusBadRequest, "InvalidResourceId", "'%s' is not a valid scope: it names no resource.", id.Scope)
	}
	if scope.Namespace != "" && m.providers[strings.ToLower(scope.Namespace)] == nil {
		return "", azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", scope.Namespace)
	}
	if err := m.checkExists(ctx, tx, scope); err != nil {
		return "", err
	}
	if res, err := load(ctx, tx, scope.Key()); err != nil || res != nil {
		if err != nil {
			return "", err
		}
		return res.ID.String(), nil
	}
	return scope.String(), nil
}

// roleAssignment returns the assignment of an ID, or nil when there is none.
func (m *Manager) roleAssignment(ctx context.Context, id azure.ResourceID) (*rbac.Assignment, error) {
	list, err := m.o.RBAC.Assignments(ctx, id.Scope, false)
	if err != nil {
		return nil, err
	}
	for i, a := range list {
		if strings.EqualFold(a.ID, id.Name()) && strings.EqualFold(a.Scope, id.Scope) {
			return &list[i], nil
		}
	}
	return nil, nil
}

func (m *Manager) getRoleAssignment(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	a, err := m.roleAssignment(r.Context(), id)
	if err != nil {
		return err
	}
	if a == nil {
		return azure.Errorf(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", id.Name())
	}
	return azure.WriteJSON(w, http.StatusOK, showAssignment(*a))
}

func (m *Manager) deleteRoleAssignment(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	var gone rbac.Assignment
	var found bool
	err = m.o.DB.Update(r.Context(), func(tx *store.Tx) (err error) {
		gone, found, err = m.o.RBAC.Unassign(r.Context(), tx, id.Scope, id.Name())
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return azure.WriteJSON(w, http.StatusOK, showAssignment(gone))
}

// listRoleAssignments lists those at, above and below a scope; with atScope() none from below.
func (m *Manager) listRoleAssignments(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	f, err := parseRoleFilter(queryValue(r.URL, "$filter"), "principalid", "roledefinitionid")
	if err != nil {
		return err
	}
	err = m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		_, err := m.assignmentScope(r.Context(), tx, id)
		return err
	})
	if err != nil {
		return err
	}
	list, err := m.o.RBAC.Assignments(r.Context(), id.Scope, !f.atScope)
	if err != nil {
		return err
	}
	principals := []string{}
	if f.assignedTo != "" {
		if principals, err = m.principals(r.Context(), f.assignedTo); err != nil {
			return err
		}
	}
	value := []shownAssignment{}
	for _, a := range list {
		equal := func(s string) bool { return strings.EqualFold(s, a.PrincipalID) }
		role := f.equal["roledefinitionid"]
		switch {
		case f.equal["principalid"] != "" && !equal(f.equal["principalid"]):
		case f.assignedTo != "" && !slices.ContainsFunc(principals, equal):
		case role != "" && !strings.EqualFold(role[strings.LastIndexByte(role, '/')+1:], a.RoleID):
		default:
			value = append(value, showAssignment(a))
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

// roleFilter is a $filter of Microsoft.Authorization: functions and equalities joined by and.
type roleFilter struct {
	atScope    bool
	assignedTo string
	equal      map[string]string // by lower-case property
}

var (
	functionTerm = regexp.MustCompile(`(?i)^(atScope|atScopeAndBelow|atExactScope|assignedTo)\(\s*(?:'([^']*)')?\s*\)$`)
	equalTerm    = regexp.MustCompile(`(?i)^(\w+)\s+eq\s+'((?:[^']|'')*)'$`)
	andWord      = regexp.MustCompile(`(?i)\s+and\s+`)
)

// parseRoleFilter reads a filter that may compare the properties named.
func parseRoleFilter(text string, properties ...string) (roleFilter, error) {
	f := roleFilter{equal: map[string]string{}}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, term := range andWord.Split(strings.TrimSpace(text), -1) {
		if c := functionTerm.FindStringSubmatch(term); c != nil {
			switch name := strings.ToLower(c[1]); {
			case name == "atscope" && c[2] == "":
				f.atScope = true
				continue
			case name == "atscopeandbelow" && c[2] == "":
				continue
			case name == "assignedto" && c[2] != "":
				f.assignedTo = c[2]
				continue
			}
		}
		if c := equalTerm.FindStringSubmatch(term); c != nil && slices.Contains(properties, strings.ToLower(c[1])) {
			f.equal[strings.ToLower(c[1])] = strings.ReplaceAll(c[2], "''", "'")
			continue
		}
		return f, azure.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString",
			"Invalid $filter '%s' specified in the query string: '%s' is not supported; use atScope(), assignedTo('{id}') or %s.",
			text, term, fmt.Sprintf("{property} eq '{value}' with %s", strings.Join(properties, ", ")))
	}
	return f, nil
}
