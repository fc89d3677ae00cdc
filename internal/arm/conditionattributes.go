package arm

import (
	"bytes"
	"io"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

// conditionAttributes returns what conditions may ask about a request to the manager: of role assignments, whom they
// give which role. A request on one that is written is looked at before its handler checks it.
//
// Source: https://learn.microsoft.com/azure/role-based-access-control/conditions-authorization-actions-attributes
func (m *Manager) conditionAttributes(r *azure.Request) (rbac.Attributes, error) {
	switch r.Route.Action {
	case roleAssignmentType + "/write":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return rbac.Attributes{}, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var req assignmentRequest
		err = decode(r, &req)
		r.Body = io.NopCloser(bytes.NewReader(body)) // the handler reads it again
		if err != nil {
			return rbac.Attributes{}, nil // and says so to those who may write at all
		}
		p := req.Properties
		return rbac.Attributes{Request: assignmentAttributes(lastSegment(p.RoleDefinitionID), p.PrincipalID, p.PrincipalType)}, nil
	case roleAssignmentType + "/delete":
		id, _, err := m.target(r)
		if err != nil {
			return rbac.Attributes{}, err
		}
		a, err := m.roleAssignment(r.Context(), id)
		if err != nil || a == nil {
			return rbac.Attributes{}, err
		}
		return rbac.Attributes{Resource: assignmentAttributes(a.RoleID, a.PrincipalID, a.PrincipalType)}, nil
	}
	return rbac.Attributes{}, nil
}

// assignmentAttributes leaves out what is not said, of which nothing is known then.
func assignmentAttributes(role, principal, principalType string) map[string][]string {
	attributes := map[string][]string{}
	for name, value := range map[string]string{"RoleDefinitionId": role, "PrincipalId": principal, "PrincipalType": principalType} {
		if value != "" {
			attributes[roleAssignmentType+":"+name] = []string{value}
		}
	}
	return attributes
}

func lastSegment(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
