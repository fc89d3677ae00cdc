package arm

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// lockType is that of management locks, which are resources on any scope and hold for it and all below it.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
const lockType = "Microsoft.Authorization/locks"

// Levels of a lock.
const (
	cannotDelete = "CanNotDelete"
	readOnly     = "ReadOnly" // refuses actions too, as listing keys is one
)

type lock struct {
	Level  string          `json:"level"`
	Notes  string          `json:"notes,omitempty"`
	Owners json.RawMessage `json:"owners,omitempty"`
}

// addLocks adds locks, which are kept and served as resources are, only at any scope.
func (m *Manager) addLocks() {
	t := &Type{
		Name: lockType, NoPatch: true, Validate: validateLock,
		Versions: []string{"2015-01-01", "2015-05-01-preview", "2016-09-01", "2017-04-01", "2020-05-01"},
	}
	rows := m.typeRows(t)
	for _, row := range rows.methods {
		row.Pattern = "{scope}/providers/" + lockType + "/{lockName}"
	}
	rows.list.Pattern = "{scope}/providers/" + lockType
	m.extensions[strings.ToLower(lockType)] = rows
	m.types[strings.ToLower(lockType)] = &typeRows{Type: t} // kept like any type; served by the rows of the extension
	m.providers["microsoft.authorization"].Types = append(m.providers["microsoft.authorization"].Types, *t)
}

func validateLock(_ context.Context, _ *store.Tx, w *Write) error {
	var l lock
	if err := json.Unmarshal(w.Body, &l); err != nil {
		return errContent("the lock's properties could not be deserialized: %v.", err)
	}
	switch {
	case strings.EqualFold(l.Level, cannotDelete):
		l.Level = cannotDelete
	case strings.EqualFold(l.Level, readOnly):
		l.Level = readOnly
	default:
		return azure.Errorf(http.StatusBadRequest, "InvalidLockLevel", "The lock level '%s' is not one of '%s', '%s'.", l.Level, cannotDelete, readOnly)
	}
	if len(l.Notes) > 512 {
		return azure.Errorf(http.StatusBadRequest, "InvalidLockNotes", "The lock's notes are longer than 512 characters.")
	}
	if w.New.ID.Subscription() == "" {
		return azure.Errorf(http.StatusBadRequest, "InvalidLockScope", "A lock is put on a subscription or on something in one.")
	}
	var err error
	w.New.Properties, err = json.Marshal(l)
	return err
}

// checkLocks refuses an operation that a lock at its scope, above it or, for a deletion, below it stands against.
func (m *Manager) checkLocks(r *azure.Request) error {
	if strings.HasPrefix(r.Route.Action, lockType+"/") {
		return nil
	}
	target := strings.ToLower(r.Vars[varID])
	if id, err := azure.ParseResourceID(target); err == nil {
		target = id.Key()
	}
	subscription := strings.ToLower(r.Vars["subscription"])
	if subscription == "" {
		if id, err := azure.ParseResourceID(target); err == nil {
			subscription = id.Subscription()
		}
	}
	if subscription == "" {
		return nil
	}
	var held locks
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		held, err = m.locks(r.Context(), tx, subscription)
		return err
	})
	if err != nil {
		return err
	}
	return held.against(target, r.Vars[varID], r.Method)
}

// locks are those of a subscription.
type locks []*Resource

func (m *Manager) locks(ctx context.Context, tx *store.Tx, subscription string) (locks, error) {
	return m.List(ctx, tx, lockType, azure.ResourceID{Scope: "/subscriptions/" + strings.ToLower(subscription)})
}

// against returns the error of a lock that stands against a request on a target; shown is how the client names it.
func (held locks) against(target, shown, method string) error {
	deletes := method == http.MethodDelete
	for _, res := range held {
		var l lock
		if err := json.Unmarshal(res.Properties, &l); err != nil {
			return err
		}
		scope := strings.ToLower(res.ID.Scope)
		above := target == scope || strings.HasPrefix(target, scope+"/")
		if above && (deletes || l.Level == readOnly) || deletes && strings.HasPrefix(scope, target+"/") {
			operation := "write"
			if deletes {
				operation = "delete"
			}
			return azure.Errorf(http.StatusConflict, "ScopeLocked",
				"The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. The lock '%s' of level '%s' "+
					"holds there. Please remove the lock and try again.", shown, operation, res.ID.Scope, res.ID.Name(), l.Level)
		}
	}
	return nil
}
