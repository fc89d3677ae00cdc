package arm

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// get serves GET of one resource.
func (m *Manager) get(t *Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodGet}); err != nil {
			return err
		}
		return m.showOne(w, r, t, id)
	}
}

// showOne answers with a resource.
func (m *Manager) showOne(w http.ResponseWriter, r *azure.Request, t *Type, id azure.ResourceID) error {
	ctx := r.Context()
	var res *Resource
	var body shown
	err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		if res, err = m.existing(ctx, tx, id); err != nil {
			return err
		}
		body, err = m.show(ctx, tx, t, res, m.view(r))
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", res.ETag)
	return azure.WriteJSON(w, http.StatusOK, body)
}

// ServeResource answers a command's GET with a resource, as its own GET would: past the gates, shaped by its type's Show.
// The command was authorized at the scope of its path; that it shows no more than that is the service's care.
func (m *Manager) ServeResource(w http.ResponseWriter, r *azure.Request, id azure.ResourceID) error {
	rows := m.types[typeKey(id)]
	if rows == nil {
		return fmt.Errorf("serving %s: type %s is not registered", id, id.Type())
	}
	if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodGet}); err != nil {
		return err
	}
	return m.showOne(w, r, rows.Type, id)
}

// existing returns a resource, or the 404 that says what is missing: its group, its parent or itself.
func (m *Manager) existing(ctx context.Context, tx *store.Tx, id azure.ResourceID) (*Resource, error) {
	res, err := load(ctx, tx, id.Key())
	if err != nil || res != nil {
		return res, err
	}
	if _, err := m.ancestors(ctx, tx, id); err != nil {
		if e, unexpected := azure.AsError(err); unexpected || e.Status == http.StatusNotFound {
			return nil, err
		}
	}
	return nil, errMissing(id)
}

// checkExists checks that a scope exists, or, for one that the manager does not keep, what it stands below.
func (m *Manager) checkExists(ctx context.Context, tx *store.Tx, scope azure.ResourceID) error {
	for m.types[typeKey(scope)] == nil {
		if scope.Scope == "/" {
			return nil
		}
		scope = scope.Parent()
	}
	_, err := m.existing(ctx, tx, scope)
	return err
}

// head serves HEAD: 204 when the resource is there.
func (m *Manager) head(*Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(r.Context(), id, Op{Target: id, Method: http.MethodHead}); err != nil {
			return err
		}
		err = m.o.DB.View(r.Context(), func(tx *store.Tx) error {
			_, err := m.existing(r.Context(), tx, id)
			return err
		})
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}
}

// act serves a POST operation on a resource.
func (m *Manager) act(_ *Type, a Action) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		if err := m.gate(ctx, id, Op{Target: id, Method: http.MethodPost, Action: a.Name}); err != nil {
			return err
		}
		var res *Resource
		err = m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
			res, err = m.existing(ctx, tx, id)
			return err
		})
		switch {
		case err != nil:
			return err
		case !res.ready || res.State == Deleting:
			return errNotReady(res)
		}
		return a.Handle(w, r, res)
	}
}
