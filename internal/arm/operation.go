package arm

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/store"
)

// Kinds of jobs.
const (
	jobWrite  = "arm.write"
	jobDelete = "arm.delete"
)

const (
	// guardDelay is when the job of a synchronous operation looks whether its request ended it. It is longer than any
	// request may take.
	guardDelay = 2 * time.Minute
	// maxAttempts is how often an operation is begun before it fails.
	maxAttempts = 3
	// keepOperations is how long an ended operation can be asked for.
	keepOperations = 24 * time.Hour
)

// operation is a write or deletion that takes more than one transaction.
type operation struct {
	ID        string
	Resource  azure.ResourceID
	Principal string // who began it
	Version   string // api-version
	Status    string // InProgress, Succeeded, Failed
	Started   time.Time
	Ended     time.Time
	Error     *operationError
	Work      work // empty once ended
}

// operationError is why an operation failed, as its status shows it.
type operationError struct {
	HTTP  int         `json:"http"` // status of the answer that stands for it
	Error azure.Error `json:"error"`
}

// work is what an operation needs to go on after a crash.
type work struct {
	Delete  bool
	Async   bool
	Job     string // its id
	Created bool   // a write that makes the resource
	State   string // the resource's before
	Had     *Identity
	Old     *Resource
	New     *Resource
	Body    json.RawMessage
	Patch   bool
	Caller  *azure.Caller
	Query   map[string][]string
	Private json.RawMessage
}

// write returns the write as its type sees it, over copies, because a transaction may be tried again.
func (op *operation) write() *Write {
	w := &Write{
		Old: op.Work.Old, Body: op.Work.Body, Patch: op.Work.Patch, Version: op.Version, Caller: op.Work.Caller, Query: op.Work.Query,
		operation: op.ID,
	}
	next := *op.Work.New
	w.New = &next
	if op.Work.Private != nil {
		w.Private = op.Work.Private
	}
	return w
}

type operationPayload struct {
	Operation string `json:"operation"`
}

var (
	errEnded       = errors.New("the operation has ended already")
	errInterrupted = azure.Errorf(http.StatusInternalServerError, "OperationInterrupted",
		"The server stopped while the operation was in progress. Try it again.")
)

// enqueue stores an operation with its job.
func (m *Manager) enqueue(ctx context.Context, tx *store.Tx, op *operation) error {
	op.ID, op.Status, op.Started = azure.NewGUID(), InProgress, time.Now().UTC()
	payload, err := json.Marshal(operationPayload{op.ID})
	if err != nil {
		return err
	}
	spec := job.Spec{Kind: jobWrite, Key: op.ID, Payload: payload, MaxAttempts: 1000} // runJob counts to maxAttempts itself
	if op.Work.Delete {
		spec.Kind = jobDelete
	}
	if !op.Work.Async {
		spec.RunAt = op.Started.Add(guardDelay)
	}
	if op.Work.Job, err = m.o.Jobs.Enqueue(ctx, tx, spec); err != nil {
		return fmt.Errorf("enqueueing operation on %s: %w", op.Resource, err)
	}
	text, err := json.Marshal(op.Work)
	if err != nil {
		return fmt.Errorf("encoding operation on %s: %w", op.Resource, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO arm_operations (id, resource, principal, version, status, started, ended, error, work)
		VALUES ($1, $2, $3, $4, $5, $6, 0, '', $7)`,
		op.ID, op.Resource.String(), op.Principal, op.Version, op.Status, store.Micros(op.Started), string(text))
	if err != nil {
		return fmt.Errorf("storing operation on %s: %w", op.Resource, err)
	}
	return nil
}

// operation returns an operation, or nil when there is none.
func (m *Manager) operation(ctx context.Context, tx *store.Tx, id string) (*operation, error) {
	op := operation{ID: id}
	var resource, failure, text string
	var started, ended int64
	err := tx.QueryRow(ctx, `SELECT resource, principal, version, status, started, ended, error, work FROM arm_operations WHERE id = $1`, id).
		Scan(&resource, &op.Principal, &op.Version, &op.Status, &started, &ended, &failure, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading operation %s: %w", id, err)
	}
	op.Started, op.Ended = store.Time(started), store.Time(ended)
	if op.Resource, err = azure.ParseResourceID(resource); err != nil {
		return nil, err
	}
	if failure != "" {
		if err := json.Unmarshal([]byte(failure), &op.Error); err != nil {
			return nil, fmt.Errorf("loading operation %s: %w", id, err)
		}
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &op.Work); err != nil {
			return nil, fmt.Errorf("loading operation %s: %w", id, err)
		}
	}
	return &op, nil
}

// end stores how an operation ended. It returns errEnded when it had ended before: whoever comes second undoes nothing
// and commits nothing.
func (m *Manager) end(ctx context.Context, tx *store.Tx, op *operation, failure error) error {
	status, text := Succeeded, ""
	if failure != nil {
		e, _ := azure.AsError(failure)
		b, err := json.Marshal(operationError{HTTP: e.Status, Error: *e})
		if err != nil {
			return err
		}
		status, text = Failed, string(b)
	}
	now := time.Now()
	n, err := tx.Exec(ctx, `UPDATE arm_operations SET status = $1, ended = $2, error = $3, work = '' WHERE id = $4 AND status = $5`,
		status, store.Micros(now), text, op.ID, InProgress)
	if err != nil {
		return fmt.Errorf("ending operation %s: %w", op.ID, err)
	}
	if n == 0 {
		return errEnded
	}
	if !op.Work.Async {
		if err := m.o.Jobs.Cancel(ctx, tx, op.Work.Job); err != nil {
			return fmt.Errorf("ending operation %s: %w", op.ID, err)
		}
	}
	_, err = tx.Exec(ctx, `DELETE FROM arm_operations WHERE ended > 0 AND ended < $1`, store.Micros(now.Add(-keepOperations)))
	if err != nil {
		return fmt.Errorf("forgetting old operations: %w", err)
	}
	return nil
}

// enqueueWrite stores a write that goes on outside this transaction. It returns the resource as it stands meanwhile.
func (m *Manager) enqueueWrite(ctx context.Context, tx *store.Tx, t *Type, w *Write, cur *Resource) (*operation, *Resource, error) {
	op := &operation{Resource: w.New.ID, Principal: w.Caller.ObjectID, Version: w.Version, Work: work{
		Async: t.async(w.Version), Created: w.Old == nil, Old: w.Old, New: w.New, Patch: w.Patch, Caller: w.Caller,
	}}
	if cur != nil {
		op.Work.State, op.Work.Had = cur.State, cur.Identity
	}
	if op.Work.Async { // what a synchronous write has besides stays in memory
		op.Work.Body, op.Work.Query = w.Body, w.Query
		if w.Private != nil {
			var err error
			if op.Work.Private, err = json.Marshal(w.Private); err != nil {
				return nil, nil, fmt.Errorf("encoding what %s keeps of a write: %w", t.Name, err)
			}
			w.Private = op.Work.Private
		}
	}
	if err := m.enqueue(ctx, tx, op); err != nil {
		return nil, nil, err
	}
	stored := *w.New
	if w.Old != nil {
		stored = *w.Old
		stored.Identity = union(w.Old.Identity, w.New.Identity)
	}
	stored.State, stored.operation = InProgress, op.ID
	if cur == nil {
		return op, &stored, insert(ctx, tx, t, &stored)
	}
	return op, &stored, save(ctx, tx, &stored)
}

// runWrite does steps 2 and 3 of a write. The write's Private is used as it is.
func (m *Manager) runWrite(ctx context.Context, t *Type, op *operation, w *Write) error {
	if t.Prepare != nil {
		if err := t.Prepare(ctx, w); err != nil {
			return err
		}
	}
	return m.o.DB.Update(ctx, func(tx *store.Tx) error {
		if err := m.end(ctx, tx, op, nil); err != nil {
			return err
		}
		cur, err := load(ctx, tx, op.Resource.Key())
		if err != nil {
			return err
		}
		if cur == nil || cur.operation != op.ID {
			return errBusy(op.Resource)
		}
		again, next := *w, *w.New // this closure may run more than once
		again.New = &next
		next.ETag, next.State, next.ready, next.operation = cur.ETag, Succeeded, true, ""
		if t.Commit != nil {
			if err := t.Commit(ctx, tx, &again); err != nil {
				return err
			}
		}
		if err := save(ctx, tx, &next); err != nil {
			return err
		}
		return m.retire(ctx, tx, next.ID, cur.Identity, next.Identity)
	})
}

// abort fails an operation and puts the resource back to what it was. An operation that has ended stays as it is.
func (m *Manager) abort(ctx context.Context, op *operation, cause error) error {
	err := m.o.DB.Update(ctx, func(tx *store.Tx) error {
		if err := m.end(ctx, tx, op, cause); err != nil {
			return err
		}
		res, err := load(ctx, tx, op.Resource.Key())
		if err != nil || res == nil || res.operation != op.ID {
			return err
		}
		res.operation = ""
		if rows := m.types[typeKey(res.ID)]; rows != nil && rows.fail != nil && !op.Work.Delete {
			failed := *op.Work.New
			failed.ETag, failed.State, failed.ready = res.ETag, Failed, true
			e, _ := azure.AsError(cause)
			if err := rows.fail(&failed, e); err != nil {
				return err
			}
			return save(ctx, tx, &failed)
		}
		switch {
		case op.Work.Delete:
			res.State = op.Work.State
		case op.Work.Created && op.Work.State == "" && !op.Work.Async:
			return m.removeTree(ctx, tx, res.ID)
		default:
			if err := m.retire(ctx, tx, res.ID, res.Identity, op.Work.Had); err != nil {
				return err
			}
			res.State, res.Identity = op.Work.State, op.Work.Had
			if op.Work.Created {
				res.State = Failed
			}
		}
		return save(ctx, tx, res)
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failing operation %s: %w", op.ID, err)
	}
	return nil
}

// undo fails a request's operation and returns the error for the client. The request's context may have ended.
func (m *Manager) undo(ctx context.Context, op *operation, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return joined(cause, m.abort(ctx, op, cause))
}

// joined returns the error that a client is to see, with one that came up while undoing as its cause.
func joined(err, undo error) error {
	switch {
	case undo == nil:
		return err
	case err == nil:
		return undo
	}
	return fmt.Errorf("%w (and %v)", err, undo)
}

// runJob goes on with an operation.
func (m *Manager) runJob(ctx context.Context, run *job.Run) error {
	var payload operationPayload
	if err := json.Unmarshal(run.Payload, &payload); err != nil {
		return job.Permanent(fmt.Errorf("decoding job: %w", err))
	}
	var op *operation
	err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		op, err = m.operation(ctx, tx, payload.Operation)
		return err
	})
	if err != nil || op == nil || op.Status != InProgress {
		return err
	}
	begun := time.Now()
	switch {
	case run.Attempt > maxAttempts: // its nodes died
		err = errInterrupted
	case op.Work.Delete:
		err = m.runDelete(ctx, op)
		if errors.Is(err, errStillBusy) {
			return job.Postpone(time.Second, err)
		}
	case !op.Work.Async: // its request died
		err = errInterrupted
	default:
		rows := m.types[typeKey(op.Resource)]
		if rows == nil {
			err = fmt.Errorf("type %s is not registered", op.Resource.Type())
			break
		}
		err = m.runWrite(ctx, rows.Type, op, op.write())
	}
	switch {
	case err == nil || errors.Is(err, errEnded):
		return nil
	case errors.Is(err, errWaiting):
		// A pass evaluates the template anew. One that takes long is not to keep the node from everything else.
		return job.Postpone(min(max(deploymentPoll, 4*time.Since(begun)), stepPatience/10), err)
	case ctx.Err() != nil:
		return err
	}
	e, _ := azure.AsError(err)
	if e.Status >= http.StatusInternalServerError && err != errInterrupted && run.Attempt < maxAttempts {
		return err
	}
	if failed := m.abort(ctx, op, err); failed != nil {
		return joined(err, failed)
	}
	if e.Status >= http.StatusInternalServerError {
		err = job.Permanent(err) // for the queue's log
	} else {
		err = nil
	}
	rec := m.record(ctx, op.Work.Caller, "", op.Resource.String())
	rec.Operation, rec.Result, rec.Status, rec.Reason = "Operation.Failed", "Failure", e.Status, e.Code
	return joined(err, m.append(ctx, rec))
}

// operationHeaders says where the operation on a resource can be followed.
func (m *Manager) operationHeaders(w http.ResponseWriter, v View, op *operation, res *Resource) {
	h := w.Header()
	h.Set("Retry-After", "1")
	base := v.URLs.Management() + "/subscriptions/" + op.Resource.Subscription()
	query := "?api-version=" + op.Version
	if op.Resource.Namespace == "" {
		h.Set("Location", base+"/operationresults/"+op.ID+query)
		return
	}
	p := m.providers[strings.ToLower(op.Resource.Namespace)]
	location := res.Location
	if location == "" {
		location = m.order[0]
	}
	base += "/providers/" + p.Namespace + "/locations/" + location + "/"
	h.Set("Azure-AsyncOperation", base+p.OperationStatuses+"/"+op.ID+query)
	h.Set("Location", base+p.OperationResults+"/"+op.ID+query)
}

// addOperations adds the rows under which the operations of a provider with asynchronous types are followed.
func (m *Manager) addOperations(p *Provider, versions []string) {
	if !slices.ContainsFunc(p.Types, func(t Type) bool { return t.Async != nil }) {
		return
	}
	pattern := "/subscriptions/{subscription}/providers/" + p.Namespace + "/locations/{location}/"
	action := p.Namespace + "/locations/operationStatuses/read"
	m.commands = append(m.commands,
		commandRow{decide: byOperation, versions: versions, route: azure.Route{
			Name: p.Namespace + ".OperationStatuses.Get", Method: http.MethodGet, Pattern: pattern + p.OperationStatuses + "/{operation}",
			Action: action, Handle: m.operationStatus,
		}},
		commandRow{decide: byOperation, versions: versions, route: azure.Route{
			Name: p.Namespace + ".OperationResults.Get", Method: http.MethodGet, Pattern: pattern + p.OperationResults + "/{operation}",
			Action: action, Handle: m.operationResult,
		}})
}

// authorizeOperation lets those see an operation who may read its resource, and who began it: of a deleted resource
// nobody has a role any more. An unknown operation is decided on at its subscription.
func (m *Manager) authorizeOperation(r *azure.Request, id string) error {
	var op *operation
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		op, err = m.operation(r.Context(), tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if op == nil {
		r.Scope = "/subscriptions/" + r.Vars["subscription"]
		return m.authorizeAt(r, r.Route.Action)
	}
	r.Extra, r.Scope = op, op.Resource.String()
	if op.Principal == r.Caller.ObjectID {
		return nil
	}
	rows := m.types[typeKey(op.Resource)]
	if rows == nil {
		return errNoOperation(id)
	}
	return m.authorizeAt(r, rows.prefix()+"/read")
}

func errNoOperation(id string) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%s' could not be found; an ended one is kept for a day.", id)
}

func requestOperation(r *azure.Request) (*operation, error) {
	op, ok := r.Extra.(*operation)
	if !ok || !strings.EqualFold(op.Resource.Subscription(), r.Vars["subscription"]) {
		return nil, errNoOperation(r.Vars["operation"])
	}
	return op, nil
}

// operationStatus answers Azure-AsyncOperation: always 200.
func (m *Manager) operationStatus(w http.ResponseWriter, r *azure.Request) error {
	op, err := requestOperation(r)
	if err != nil {
		return err
	}
	body := struct {
		ID        string       `json:"id"`
		Name      string       `json:"name"`
		Status    string       `json:"status"`
		StartTime time.Time    `json:"startTime"`
		EndTime   *time.Time   `json:"endTime,omitempty"`
		Error     *azure.Error `json:"error,omitempty"`
	}{ID: r.Vars[varID], Name: op.ID, Status: op.Status, StartTime: op.Started}
	if op.Status != InProgress {
		body.EndTime = &op.Ended
	} else {
		w.Header().Set("Retry-After", "1")
	}
	if op.Error != nil {
		body.Error = &op.Error.Error
	}
	return azure.WriteJSON(w, http.StatusOK, body)
}

// operationResult answers Location: 202 while the operation runs, then what the operation would have answered.
func (m *Manager) operationResult(w http.ResponseWriter, r *azure.Request) error {
	op, err := requestOperation(r)
	if err != nil {
		return err
	}
	switch {
	case op.Status == InProgress:
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Location", m.view(r).URLs.Management()+r.URL.RequestURI())
		w.WriteHeader(http.StatusAccepted)
		return nil
	case op.Error != nil:
		e := op.Error.Error
		e.Status = op.Error.HTTP
		return &e
	}
	rows := m.types[typeKey(op.Resource)]
	if rows == nil {
		return errNoOperation(op.ID)
	}
	var res *Resource
	err = m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		res, err = load(r.Context(), tx, op.Resource.Key())
		return err
	})
	if err != nil {
		return err
	}
	if res == nil { // deleted
		w.WriteHeader(http.StatusOK)
		return nil
	}
	// The resource is shown to those alone who may read it now, and not for having begun the operation.
	if err := m.authorizeAt(r, rows.prefix()+"/read"); err != nil {
		return err
	}
	return m.showOne(w, r, rows.Type, op.Resource)
}
