package arm

import (
	"net/http"
	"slices"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

const userAccessAdministratorRole = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"

// addElevateAccess adds the call with which an administrator of the tenant takes the role User Access Administrator at
// the root scope. Azure lets the directory's Global Administrators do it. There are no directory roles here: the right
// to it comes from a role at the root scope, Owner or User Access Administrator, that may assign just this role.
//
// Source: https://learn.microsoft.com/rest/api/authorization/global-administrator/elevate-access
func (m *Manager) addElevateAccess() {
	m.commands = append(m.commands, commandRow{versions: authorizationVersions, decide: byPath, route: m.recorded(azure.Route{
		Name: "Microsoft.Authorization/globalAdministrator.ElevateAccess", Method: http.MethodPost,
		Pattern: "/providers/Microsoft.Authorization/elevateAccess", Action: "Microsoft.Authorization/elevateAccess/action", Handle: m.elevateAccess,
	})})
}

func (m *Manager) elevateAccess(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	// A condition on the caller's role may say which roles it assigns to whom; this is one of those assignments.
	attributes := rbac.Attributes{Request: assignmentAttributes(userAccessAdministratorRole, r.Caller.ObjectID, r.Caller.Type)}
	_, err := m.decide(ctx, r.Caller, roleAssignmentType+"/write", false, "/", clientIP(r.Request), attributes)
	if err != nil {
		return err
	}
	held, err := m.o.RBAC.Assignments(ctx, "/", false)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(held, func(a rbac.Assignment) bool {
		return a.RoleID == userAccessAdministratorRole && a.PrincipalID == r.Caller.ObjectID && a.Condition == ""
	}) {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	err = m.o.DB.Update(ctx, func(tx *store.Tx) error {
		typ, err := m.o.Identities.PrincipalType(ctx, tx, r.Caller.ObjectID)
		if err != nil {
			return err
		}
		return m.o.RBAC.Assign(ctx, tx, rbac.Assignment{
			ID: azure.NewGUID(), Scope: "/", RoleID: userAccessAdministratorRole, PrincipalID: r.Caller.ObjectID, PrincipalType: typ,
			CreatedBy: r.Caller.ObjectID, Created: now,
		})
	})
	if err == nil {
		w.WriteHeader(http.StatusOK)
	}
	return err
}
