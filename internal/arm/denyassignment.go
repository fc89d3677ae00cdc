package arm

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

const denyAssignmentType = "Microsoft.Authorization/denyAssignments"

// addDenyAssignments adds deny assignments, which clients read and the server alone makes.
//
// Source: https://learn.microsoft.com/rest/api/authorization/deny-assignments
func (m *Manager) addDenyAssignments() {
	t := Type{Name: denyAssignmentType, ReadOnly: true, Versions: []string{
		"2018-07-01-preview", "2019-03-01-preview", "2020-03-01-preview", "2022-04-01", "2024-07-01-preview",
	}}
	row := func(name, pattern string, handle func(http.ResponseWriter, *azure.Request) error) *azure.Route {
		return &azure.Route{
			Name: denyAssignmentType + "." + name, Method: http.MethodGet, Pattern: "{scope}/providers/" + denyAssignmentType + pattern,
			Action: denyAssignmentType + "/read", Handle: handle,
		}
	}
	p := m.providers["microsoft.authorization"]
	p.Types = append(p.Types, t)
	m.extensions[strings.ToLower(t.Name)] = &typeRows{
		Type: &t, list: row("List", "", m.listDenyAssignments),
		methods: map[string]*azure.Route{http.MethodGet: row("Get", "/{denyAssignmentsName}", m.getDenyAssignment)},
	}
}

type shownDenial struct {
	ID         string                `json:"id"`
	Name       string                `json:"name"`
	Type       string                `json:"type"`
	Properties shownDenialProperties `json:"properties"`
}

type shownDenialProperties struct {
	Name              string            `json:"denyAssignmentName"`
	Description       string            `json:"description"`
	Permissions       []rbac.Permission `json:"permissions"`
	Scope             string            `json:"scope"`
	ThisScopeOnly     bool              `json:"doNotApplyToChildScopes"`
	Principals        []rbac.Principal  `json:"principals"`
	ExcludePrincipals []rbac.Principal  `json:"excludePrincipals"`
	SystemProtected   bool              `json:"isSystemProtected"`
	CreatedOn         time.Time         `json:"createdOn"`
	UpdatedOn         time.Time         `json:"updatedOn"`
	CreatedBy         string            `json:"createdBy"`
	UpdatedBy         string            `json:"updatedBy"`
}

func showDenial(d rbac.DenyAssignment) shownDenial {
	s := shownDenial{
		ID: denialID(d), Name: d.ID, Type: denyAssignmentType,
		Properties: shownDenialProperties{
			Name: d.Name, Description: d.Description, Permissions: d.Permissions, Scope: d.Scope, ThisScopeOnly: d.ThisScopeOnly,
			Principals: d.Principals, ExcludePrincipals: d.Excluded, SystemProtected: d.SystemProtected,
			CreatedOn: d.Created, UpdatedOn: d.Created, CreatedBy: d.CreatedBy, UpdatedBy: d.CreatedBy,
		},
	}
	if s.Properties.ExcludePrincipals == nil {
		s.Properties.ExcludePrincipals = []rbac.Principal{}
	}
	return s
}

func denialID(d rbac.DenyAssignment) string {
	return strings.TrimSuffix(d.Scope, "/") + "/providers/" + denyAssignmentType + "/" + d.ID
}

func (m *Manager) getDenyAssignment(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	list, err := m.o.RBAC.DenyAssignments(r.Context(), id.Scope, false)
	if err != nil {
		return err
	}
	for _, d := range list {
		if strings.EqualFold(d.ID, id.Name()) && strings.EqualFold(d.Scope, id.Scope) {
			return azure.WriteJSON(w, http.StatusOK, showDenial(d))
		}
	}
	return azure.Errorf(http.StatusNotFound, "DenyAssignmentNotFound", "The deny assignment '%s' is not found.", id.Name())
}

// listDenyAssignments lists those at, above and below a scope; with atScope() none from below. A principal's are those
// that name it; with gdprExportPrincipalId those that spare it, too.
func (m *Manager) listDenyAssignments(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	f, err := parseRoleFilter(queryValue(r.URL, "$filter"), "denyassignmentname", "principalid", "gdprexportprincipalid")
	if err != nil {
		return err
	}
	list, err := m.o.RBAC.DenyAssignments(r.Context(), id.Scope, !f.atScope)
	if err != nil {
		return err
	}
	names := func(list []rbac.Principal, id string) bool {
		return slices.ContainsFunc(list, func(p rbac.Principal) bool { return strings.EqualFold(p.ID, id) })
	}
	value := []shownDenial{}
	for _, d := range list {
		name, principal, export := f.equal["denyassignmentname"], f.equal["principalid"], f.equal["gdprexportprincipalid"]
		switch {
		case name != "" && !strings.EqualFold(name, d.Name):
		case principal != "" && !names(d.Principals, principal):
		case f.assignedTo != "" && !names(d.Principals, f.assignedTo) && !names(d.Principals, rbac.Everyone):
		case export != "" && !names(d.Principals, export) && !names(d.Excluded, export):
		default:
			value = append(value, showDenial(d))
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}
