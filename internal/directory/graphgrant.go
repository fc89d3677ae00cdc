package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// App role assignments are kept and served, and no token speaks of them. Without a delegated permission grant no application
// acts as a user (Delegation).

// everyRole is the app role of a resource that has none.
const everyRole = "00000000-0000-0000-0000-000000000000"

// assignments shows app role assignments.
func (g *Graph) assignments(ctx context.Context, tx *store.Tx, where string, args ...any) ([]map[string]any, error) {
	rows, err := tx.Query(ctx, `SELECT r.id, r.principal_id, r.resource_id, r.app_role_id, r.created, p.name, p.kind, s.name
		FROM directory_app_role_assignments r JOIN directory_principals p ON p.id = r.principal_id JOIN directory_principals s ON s.id = r.resource_id
		WHERE `+where+` ORDER BY r.id`, args...)
	if err != nil {
		return nil, fmt.Errorf("reading app role assignments: %w", err)
	}
	defer rows.Close()
	shown := []map[string]any{}
	for rows.Next() {
		var id, principal, resource, role, principalName, resourceName string
		var kind Kind
		var created int64
		if err := rows.Scan(&id, &principal, &resource, &role, &created, &principalName, &kind, &resourceName); err != nil {
			return nil, fmt.Errorf("reading app role assignments: %w", err)
		}
		shown = append(shown, map[string]any{
			"id": id, "principalId": principal, "principalDisplayName": principalName, "principalType": (&Principal{Kind: kind}).Type(),
			"resourceId": resource, "resourceDisplayName": resourceName, "appRoleId": role, "createdDateTime": store.Time(created), "deletedDateTime": nil,
		})
	}
	return shown, rows.Err()
}

// side is an end of an app role assignment: its column, and the property that must name the object of the request.
type side struct{ column, property string }

var (
	asPrincipal = side{`r.principal_id`, "principalId"}
	asResource  = side{`r.resource_id`, "resourceId"}
)

func (g *Graph) listAssignments(s *objectSet, as side) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var shown []map[string]any
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				shown, err = g.assignments(r.Context(), tx, as.column+` = $1`, o.ID)
			}
			return err
		})
		if err != nil {
			return err
		}
		return g.answerFiltered(w, r, "appRoleAssignments", shown, []string{"id", "principalId", "resourceId", "appRoleId", "principalType", "principalDisplayName", "resourceDisplayName"})
	}
}

// answerFiltered answers a short list, filtered and all at once.
func (g *Graph) answerFiltered(w http.ResponseWriter, r *azure.Request, context string, shown []map[string]any, properties []string) error {
	if text := r.URL.Query().Get("$filter"); text != "" {
		match, _, err := parseFilter(text, properties)
		if err != nil {
			return err
		}
		shown = slices.DeleteFunc(shown, func(o map[string]any) bool { return !match(o) })
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(r, context), "value": shown})
}

func (g *Graph) getAssignment(s *objectSet, as side) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var shown []map[string]any
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) error {
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				shown, err = g.assignments(r.Context(), tx, as.column+` = $1 AND r.id = $2`, o.ID, key(r.Vars["assignment"]))
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(shown) == 0 {
			return errNoObject(r.Vars["assignment"])
		}
		shown[0]["@odata.context"] = g.context(r, "appRoleAssignments/$entity")
		return azure.WriteJSON(w, http.StatusOK, shown[0])
	}
}

func (g *Graph) createAssignment(s *objectSet, as side) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			PrincipalID string `json:"principalId"`
			ResourceID  string `json:"resourceId"`
			AppRoleID   string `json:"appRoleId"`
		}
		if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
			return err
		}
		ctx, id := r.Context(), azure.NewGUID()
		var shown []map[string]any
		err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
			o, err := s.find(ctx, tx, r.Vars["id"])
			if err != nil {
				return err
			}
			named := map[side]string{asPrincipal: req.PrincipalID, asResource: req.ResourceID}[as]
			if key(named) != o.ID {
				return errProperty(as.property, "it is the id of the object that the request names")
			}
			principal, err := principalNamed(ctx, tx, req.PrincipalID)
			if err != nil {
				return err
			}
			resource, err := servicePrincipalSet.find(ctx, tx, req.ResourceID)
			if err != nil {
				return err
			}
			roles := servicePrincipalSet.show(g, resource)["appRoles"].([]any)
			offered := slices.ContainsFunc(roles, func(role any) bool {
				offer, _ := role.(map[string]any)
				offerID, _ := offer["id"].(string)
				return key(offerID) == key(req.AppRoleID) && offer["isEnabled"] != false
			})
			if !offered && (req.AppRoleID != everyRole || len(roles) > 0) {
				return errProperty("appRoleId", "permission being assigned was not found on application '%s'", resource.AppID)
			}
			n, err := tx.Exec(ctx, `INSERT INTO directory_app_role_assignments (id, principal_id, resource_id, app_role_id, created) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
				id, principal.ID, resource.ID, key(req.AppRoleID), store.Micros(time.Now()))
			if err != nil {
				return fmt.Errorf("storing an app role assignment: %w", err)
			}
			if n == 0 {
				return errGraph("Permission being assigned already exists on the object.")
			}
			shown, err = g.assignments(ctx, tx, `r.id = $1`, id)
			return err
		})
		if err != nil {
			return err
		}
		shown[0]["@odata.context"] = g.context(r, "appRoleAssignments/$entity")
		return azure.WriteJSON(w, http.StatusCreated, shown[0])
	}
}

func (g *Graph) deleteAssignment(s *objectSet, as side) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		return g.changed(w, r, s, func(tx *store.Tx, o *object) error {
			column := as.column[len("r."):]
			n, err := tx.Exec(r.Context(), `DELETE FROM directory_app_role_assignments WHERE id = $1 AND `+column+` = $2`, key(r.Vars["assignment"]), o.ID)
			if err == nil && n == 0 {
				err = errNoObject(r.Vars["assignment"])
			}
			return err
		})
	}
}

var grantProperties = []string{"id", "clientId", "consentType", "principalId", "resourceId", "scope"}

// grants shows delegated permission grants. startTime and expiryTime are what Graph answers for all of them.
func grants(ctx context.Context, tx *store.Tx, where string, args ...any) ([]map[string]any, error) {
	rows, err := tx.Query(ctx, `SELECT id, client_id, resource_id, principal_id, scope FROM directory_permission_grants WHERE `+where+` ORDER BY id`, args...)
	if err != nil {
		return nil, fmt.Errorf("reading permission grants: %w", err)
	}
	defer rows.Close()
	shown := []map[string]any{}
	for rows.Next() {
		var id, client, resource, principal, scope string
		if err := rows.Scan(&id, &client, &resource, &principal, &scope); err != nil {
			return nil, fmt.Errorf("reading permission grants: %w", err)
		}
		one := map[string]any{"id": id, "clientId": client, "resourceId": resource, "scope": scope, "consentType": "AllPrincipals", "principalId": nil}
		if principal != "" {
			one["consentType"], one["principalId"] = "Principal", principal
		}
		shown = append(shown, one)
	}
	return shown, rows.Err()
}

// listGrants answers all grants, or those of an object of a set.
func (g *Graph) listGrants(s *objectSet) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var shown []map[string]any
		err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			if s == nil {
				shown, err = grants(r.Context(), tx, `1 = 1`)
				return err
			}
			o, err := s.find(r.Context(), tx, r.Vars["id"])
			if err == nil {
				shown, err = grants(r.Context(), tx, `client_id = $1 OR principal_id = $1`, o.ID)
			}
			return err
		})
		if err != nil {
			return err
		}
		return g.answerFiltered(w, r, "oauth2PermissionGrants", shown, grantProperties)
	}
}

func (g *Graph) getGrant(w http.ResponseWriter, r *azure.Request) error {
	var shown []map[string]any
	err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		shown, err = grants(r.Context(), tx, `id = $1`, key(r.Vars["id"]))
		return err
	})
	if err != nil {
		return err
	}
	if len(shown) == 0 {
		return errNoObject(r.Vars["id"])
	}
	shown[0]["@odata.context"] = g.context(r, "oauth2PermissionGrants/$entity")
	return azure.WriteJSON(w, http.StatusOK, shown[0])
}

func (g *Graph) createGrant(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		ClientID    string  `json:"clientId"`
		ResourceID  string  `json:"resourceId"`
		PrincipalID *string `json:"principalId"`
		ConsentType string  `json:"consentType"`
		Scope       string  `json:"scope"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	forOne := req.ConsentType == "Principal"
	if !forOne && req.ConsentType != "AllPrincipals" {
		return errProperty("consentType", "it is AllPrincipals or Principal")
	}
	if forOne != (req.PrincipalID != nil && *req.PrincipalID != "") {
		return errProperty("principalId", "it names a user when consentType is Principal, and nobody otherwise")
	}
	if req.Scope != "" && key(req.Scope) == "" {
		return errProperty("scope", "it is a list of permissions, with spaces between")
	}
	ctx, id, principal := r.Context(), azure.NewGUID(), ""
	var shown []map[string]any
	err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
		for property, sp := range map[string]string{"clientId": req.ClientID, "resourceId": req.ResourceID} {
			if _, err := servicePrincipalSet.find(ctx, tx, sp); errors.Is(err, errNoObject(sp)) {
				return errProperty(property, "there is no service principal '%s'", sp)
			} else if err != nil {
				return err
			}
		}
		if forOne {
			user, err := userSet.find(ctx, tx, *req.PrincipalID)
			if err != nil {
				return err
			}
			principal = user.ID
		}
		n, err := tx.Exec(ctx, `INSERT INTO directory_permission_grants (id, client_id, resource_id, principal_id, scope) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			id, key(req.ClientID), key(req.ResourceID), principal, req.Scope)
		if err != nil {
			return fmt.Errorf("storing a permission grant: %w", err)
		}
		if n == 0 {
			return azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")
		}
		if shown, err = grants(ctx, tx, `id = $1`, id); err != nil {
			return err
		}
		return g.Directory.delegations.Changed(ctx, tx, delegations)
	})
	if err != nil {
		return err
	}
	shown[0]["@odata.context"] = g.context(r, "oauth2PermissionGrants/$entity")
	return azure.WriteJSON(w, http.StatusCreated, shown[0])
}

func (g *Graph) updateGrant(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		Scope *string `json:"scope"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	if req.Scope == nil || *req.Scope != "" && key(*req.Scope) == "" {
		return errProperty("scope", "it is a list of permissions, with spaces between, and all that can be changed")
	}
	return g.changeGrant(w, r, `UPDATE directory_permission_grants SET scope = $2 WHERE id = $1`, *req.Scope)
}

func (g *Graph) deleteGrant(w http.ResponseWriter, r *azure.Request) error {
	return g.changeGrant(w, r, `DELETE FROM directory_permission_grants WHERE id = $1`)
}

func (g *Graph) changeGrant(w http.ResponseWriter, r *azure.Request, statement string, args ...any) error {
	err := g.Directory.DB.Update(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(r.Context(), statement, append([]any{key(r.Vars["id"])}, args...)...)
		if err == nil && n == 0 {
			err = sql.ErrNoRows
		}
		if err != nil {
			return err
		}
		return g.Directory.delegations.Changed(r.Context(), tx, delegations)
	})
	if err != nil {
		g.Directory.delegations.Doubt() // it may have been done
	}
	if errors.Is(err, sql.ErrNoRows) {
		return errNoObject(r.Vars["id"])
	}
	if err != nil {
		return fmt.Errorf("changing permission grant %s: %w", r.Vars["id"], err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
