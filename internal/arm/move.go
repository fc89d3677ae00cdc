package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// maxMoved is how many resources one request may move, as in Azure.
const maxMoved = 800

// addMoves adds the moves of resources to another group. A move is one transaction: it is done when it is answered, and
// nobody sees half of it. Azure answers 202 and lets its clients wait; they take a 204 as well.
//
// Source: https://learn.microsoft.com/rest/api/resources/resources/move-resources
func (m *Manager) addMoves() {
	for _, row := range []struct {
		name   string
		handle func(http.ResponseWriter, *azure.Request) error
	}{{"moveResources", m.moveResources}, {"validateMoveResources", m.validateMove}} {
		m.commands = append(m.commands, commandRow{versions: resourcesVersions, decide: byPath, route: m.recorded(azure.Route{
			Name: "Microsoft.Resources/resources." + strings.ToUpper(row.name[:1]) + row.name[1:], Method: http.MethodPost,
			Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/" + row.name,
			Action:  "Microsoft.Resources/subscriptions/resourceGroups/" + row.name + "/action", MaxBody: maxBody, Handle: row.handle,
		})})
	}
}

// errValidated ends the transaction of a move that was only to be checked.
var errValidated = errors.New("the move was checked and not done")

func (m *Manager) moveResources(w http.ResponseWriter, r *azure.Request) error {
	return m.move(w, r, nil)
}

func (m *Manager) validateMove(w http.ResponseWriter, r *azure.Request) error {
	return m.move(w, r, errValidated)
}

// move moves resources in one transaction, which outcome ends when it is not nil.
func (m *Manager) move(w http.ResponseWriter, r *azure.Request, outcome error) error {
	ctx := r.Context()
	source := azure.ResourceID{Scope: "/subscriptions/" + r.Vars["subscription"] + "/resourceGroups/" + r.Vars["resourceGroup"]}
	ids, target, err := moveRequest(r, source)
	if err != nil {
		return err
	}
	// Who may move resources out of a group may not yet put them into another.
	const action = "Microsoft.Resources/subscriptions/resourceGroups/write"
	var denied *azure.Error
	if err := m.Authorize(ctx, r.Caller, action, target); errors.As(err, &denied) && denied.Code == "AuthorizationFailed" {
		return azure.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed",
			"The client '%s' with object id '%s' has permission to move resources out of '%s'; however, it does not have permission to perform "+
				"action '%s' on the linked scope '%s'. %s", r.Caller.Name, r.Caller.ObjectID, source, action, target, denied.Message)
	} else if err != nil {
		return err
	}
	err = m.o.DB.Update(ctx, func(tx *store.Tx) error {
		if err := m.moveAll(ctx, tx, ids, source, target); err != nil {
			return err
		}
		return outcome
	})
	if err != nil && !errors.Is(err, errValidated) {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// moveRequest reads what is to be moved where.
func moveRequest(r *azure.Request, source azure.ResourceID) (ids []azure.ResourceID, target azure.ResourceID, err error) {
	var body struct {
		Resources []string `json:"resources"`
		Target    string   `json:"targetResourceGroup"`
	}
	if err := decode(r, &body); err != nil {
		return nil, target, err
	}
	if target, err = azure.ParseResourceID(body.Target); err != nil || typeKey(target) != groupType || target.IsCollection() {
		return nil, target, azure.Errorf(http.StatusBadRequest, "InvalidMoveResourcesRequest", "'targetResourceGroup' '%s' is not the ID of a resource group.", body.Target)
	}
	if n := len(body.Resources); n == 0 || n > maxMoved {
		return nil, target, azure.Errorf(http.StatusBadRequest, "InvalidMoveResourcesRequest", "'resources' names %d resources; it must name 1 to %d.", n, maxMoved)
	}
	if target.Key() == source.Key() {
		return nil, target, azure.Errorf(http.StatusBadRequest, "InvalidMoveResourcesRequest", "The source and the target are the same resource group, '%s'.", source)
	}
	seen := map[string]bool{}
	for _, text := range body.Resources {
		id, err := azure.ParseResourceID(text)
		switch {
		case err != nil:
			return nil, target, err
		case id.Namespace == "" || id.IsCollection() || len(id.Types) != 1 || !strings.EqualFold(id.Scope, source.Scope):
			return nil, target, azure.Errorf(http.StatusBadRequest, "InvalidMoveResourcesRequest",
				"'%s' is not the ID of a top-level resource in the resource group '%s'.", text, source)
		case seen[id.Key()]:
			return nil, target, azure.Errorf(http.StatusBadRequest, "InvalidMoveResourcesRequest", "'%s' is named twice.", text)
		}
		seen[id.Key()] = true
		ids = append(ids, id)
	}
	return ids, target, nil
}

func (m *Manager) moveAll(ctx context.Context, tx *store.Tx, ids []azure.ResourceID, source, target azure.ResourceID) error {
	var groups [2]*Resource
	for i, id := range []azure.ResourceID{source, target} {
		res, err := m.existing(ctx, tx, id)
		if err != nil {
			return err
		}
		if res.operation != "" {
			return errBusy(res.ID)
		}
		groups[i] = res
	}
	held, err := m.locks(ctx, tx, source.Subscription())
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := held.against(id.Key(), id.String(), http.MethodDelete); err != nil { // its ID goes
			return err
		}
	}
	if !strings.EqualFold(source.Subscription(), target.Subscription()) {
		if held, err = m.locks(ctx, tx, target.Subscription()); err != nil {
			return err
		}
	}
	if err := held.against(target.Key(), target.String(), http.MethodPut); err != nil {
		return err
	}
	var unsupported []string
	for _, id := range ids {
		res, err := m.existing(ctx, tx, id)
		if err != nil {
			return err
		}
		if rows := m.types[typeKey(id)]; rows == nil || rows.Move == nil {
			if typ := res.ID.Type(); !slices.Contains(unsupported, typ) {
				unsupported = append(unsupported, typ)
			}
			continue
		}
		if err := m.moveOne(ctx, tx, res, groups[1].ID); err != nil {
			return err
		}
	}
	if len(unsupported) > 0 {
		return azure.Errorf(http.StatusConflict, "ResourceMoveNotSupported", "Resource move is not supported for resource types '%s'.", strings.Join(unsupported, ","))
	}
	return nil
}

// moveOne gives a resource its new ID. The role assignments at and below the old one are no longer anybody's: they go,
// as those of a deleted resource.
func (m *Manager) moveOne(ctx context.Context, tx *store.Tx, res *Resource, group azure.ResourceID) error {
	from, to := below(res.ID)
	switch inside, err := query(ctx, tx, `key > $1 AND key < $2 LIMIT 1`, from, to); {
	case err != nil:
		return err
	case res.operation != "":
		return errBusy(res.ID)
	case !res.ready:
		return errNotReady(res)
	case len(inside) > 0:
		return azure.Errorf(http.StatusConflict, "ResourceMoveNotSupported", "Resource move is not supported for '%s', which stands below '%s'.", inside[0].ID, res.ID)
	case res.Identity.hasSystem():
		return azure.Errorf(http.StatusConflict, "ResourceMoveNotSupported",
			"Resource move is not supported for '%s': its system-assigned identity belongs to its ID. Remove the identity before the move.", res.ID)
	}
	old := res.ID
	res.ID.Scope = group.Scope
	if taken, err := load(ctx, tx, res.ID.Key()); err != nil {
		return err
	} else if taken != nil {
		return azure.Errorf(http.StatusConflict, "ResourceMoveConflict", "The resource '%s' exists already in the target resource group.", taken.ID)
	}
	if err := m.types[typeKey(old)].Move(ctx, tx, res, old); err != nil {
		return err
	}
	if err := m.o.RBAC.Purge(ctx, tx, "", old.String()); err != nil {
		return fmt.Errorf("removing role assignments at %s: %w", old, err)
	}
	n, err := tx.Exec(ctx, `UPDATE arm_resources SET key = $1, id = $2 WHERE key = $3`, res.ID.Key(), res.ID.String(), old.Key())
	if err == nil && n != 1 {
		err = errors.New("it is not there")
	}
	if err != nil {
		return fmt.Errorf("moving %s: %w", old, err)
	}
	return save(ctx, tx, res)
}
