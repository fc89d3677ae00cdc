package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// errStillBusy is why a deletion waits.
var errStillBusy = errors.New("a write below the resource is in progress")

// batch is how many rows are held in memory at once.
const batch = 200

// delete serves DELETE. A resource group's deletion is asynchronous; a resource goes before the answer.
func (m *Manager) delete(t *Type) func(http.ResponseWriter, *azure.Request) error {
	async := strings.ToLower(t.Name) == groupType
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		id, view, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(ctx, id, Op{Target: id, Method: r.Method}); err != nil {
			return err
		}
		var op *operation
		missing := false
		err = m.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
			op, missing, err = m.beginDelete(ctx, tx, t, id, r, async)
			return err
		})
		switch {
		case err != nil && op != nil: // perhaps stored all the same
			return m.undo(ctx, op, err)
		case err != nil:
			return err
		case missing && async:
			return errMissing(id)
		case missing:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case async:
			m.operationHeaders(w, view, op, &Resource{})
			w.WriteHeader(http.StatusAccepted)
			return nil
		case op != nil:
			if err := m.runDelete(ctx, op); err != nil {
				if errors.Is(err, errStillBusy) {
					err = errBusy(id)
				}
				return m.undo(ctx, op, err)
			}
		}
		status := http.StatusOK
		if t.deleteStatus != 0 {
			status = t.deleteStatus
		}
		w.WriteHeader(status)
		return nil
	}
}

// beginDelete deletes a resource, or marks it Deleting and returns the operation that will.
func (m *Manager) beginDelete(ctx context.Context, tx *store.Tx, t *Type, id azure.ResourceID, r *azure.Request, async bool) (op *operation, missing bool, err error) {
	res, err := load(ctx, tx, id.Key())
	if err != nil {
		return nil, false, err
	}
	if res != nil && res.operation != "" {
		return nil, false, errBusy(res.ID)
	}
	if err := checkConditions(r.Request, id, res); err != nil {
		return nil, false, err
	}
	if res == nil {
		return nil, true, nil
	}
	if !async {
		if err := idleBelow(ctx, tx, res.ID); errors.Is(err, errStillBusy) {
			return nil, false, errBusy(id)
		} else if err != nil {
			return nil, false, err
		}
		if !m.preparesDelete(t) {
			return nil, false, m.removeTree(ctx, tx, res.ID)
		}
	}
	op = &operation{Resource: res.ID, Principal: r.Caller.ObjectID, Version: r.Vars[varVersion], Work: work{
		Delete: true, Async: async, State: res.State, Caller: r.Caller,
	}}
	if err := m.enqueue(ctx, tx, op); err != nil {
		return nil, false, err
	}
	res.State, res.operation = Deleting, op.ID
	return op, false, save(ctx, tx, res)
}

// preparesDelete reports whether deleting a resource of the type may need calls over the wire.
func (m *Manager) preparesDelete(t *Type) bool {
	prefix := strings.ToLower(t.Name)
	for name, rows := range m.types {
		if rows.PrepareDelete != nil && (name == prefix || len(name) > len(prefix) && name[:len(prefix)+1] == prefix+"/") {
			return true
		}
	}
	return false
}

// runDelete deletes a resource that is marked Deleting, with everything below it: all of it or nothing.
func (m *Manager) runDelete(ctx context.Context, op *operation) error {
	after := ""
	for {
		var list []*Resource
		err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
			if err := idleBelow(ctx, tx, op.Resource); err != nil {
				return err
			}
			list, err = tree(ctx, tx, op.Resource, after)
			return err
		})
		if err != nil {
			return err
		}
		for _, res := range list {
			after = res.ID.Key()
			if rows := m.types[typeKey(res.ID)]; rows != nil && rows.PrepareDelete != nil && res.ready {
				if err := rows.PrepareDelete(ctx, res); err != nil {
					return err
				}
			}
		}
		if len(list) < batch {
			break
		}
	}
	return m.o.DB.Update(ctx, func(tx *store.Tx) error {
		if err := m.end(ctx, tx, op, nil); err != nil {
			return err
		}
		return m.removeTree(ctx, tx, op.Resource)
	})
}

// idleBelow returns errStillBusy when something below a resource is being written or deleted.
func idleBelow(ctx context.Context, tx *store.Tx, id azure.ResourceID) error {
	from, to := below(id)
	busy, err := query(ctx, tx, `key > $1 AND key < $2 AND operation <> '' LIMIT 1`, from, to)
	if err == nil && len(busy) > 0 {
		return errStillBusy
	}
	return err
}

// tree returns up to batch resources at and below id, children before their parents, that come after a key.
func tree(ctx context.Context, tx *store.Tx, id azure.ResourceID, after string) ([]*Resource, error) {
	from, to := below(id)
	if after == "" || after > to {
		after = to
	}
	list, err := query(ctx, tx, `key > $1 AND key < $2 ORDER BY key DESC LIMIT $3`, from, after, batch)
	if err != nil || len(list) == batch || after == id.Key() {
		return list, err
	}
	own, err := load(ctx, tx, id.Key())
	if own != nil {
		list = append(list, own)
	}
	return list, err
}

// removeTree deletes a resource and everything below it.
func (m *Manager) removeTree(ctx context.Context, tx *store.Tx, id azure.ResourceID) error {
	after := ""
	for {
		list, err := tree(ctx, tx, id, after)
		if err != nil {
			return err
		}
		for _, res := range list {
			after = res.ID.Key()
			if err := m.remove(ctx, tx, res); err != nil {
				return err
			}
		}
		if len(list) < batch {
			break
		}
	}
	if err := m.o.RBAC.Purge(ctx, tx, "", id.String()); err != nil {
		return fmt.Errorf("removing role assignments at %s: %w", id, err)
	}
	return nil
}

// remove deletes one resource: what its service keeps, its identity and its row. What a service never committed it
// need not delete.
func (m *Manager) remove(ctx context.Context, tx *store.Tx, res *Resource) error {
	rows := m.types[typeKey(res.ID)]
	if rows == nil {
		return fmt.Errorf("deleting %s: type %s is not registered", res.ID, res.ID.Type())
	}
	if rows.Delete != nil && res.ready {
		if err := rows.Delete(ctx, tx, res); err != nil {
			return err
		}
	}
	if err := m.retire(ctx, tx, res.ID, res.Identity, nil); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM arm_resources WHERE key = $1`, res.ID.Key()); err != nil {
		return fmt.Errorf("deleting %s: %w", res.ID, err)
	}
	return nil
}
