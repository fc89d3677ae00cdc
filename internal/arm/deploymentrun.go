package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm/template"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	// deploymentPoll is how often a deployment looks after what it waits for.
	deploymentPoll = 250 * time.Millisecond
	// stepPatience is how long a step asks again for a resource that is busy.
	stepPatience = 10 * time.Minute
)

// errWaiting is why a deployment's job is put back: resources are still being written.
var errWaiting = errors.New("resources of the deployment are being written")

// deploymentRun is one pass over a deployment's resources. It begins what can be begun and waits for nothing; whatever
// it did is in the steps, so that the next pass, perhaps after a crash, goes on from there. A step that was cut off is
// done again: a write is idempotent by the resource's name.
type deploymentRun struct {
	m         *Manager
	plan      *deploymentPlan
	caller    *azure.Caller
	key       string // the deployment's
	operation string
}

// deploy is a deployment's Prepare.
func (m *Manager) deploy(ctx context.Context, w *Write) error {
	work, err := m.openWork(w.Private)
	if err != nil {
		return err
	}
	plan := &deploymentPlan{deploymentWork: *work}
	if plan.bound, err = work.bind(); err != nil {
		return err
	}
	ctx = azure.WithEvent(ctx, &azure.Event{RequestID: plan.Run})
	d := &deploymentRun{m: m, plan: plan, caller: w.Caller, key: w.New.ID.Key(), operation: w.operation}
	if err := d.nest(); err != nil {
		return err
	}
	if err := d.pass(ctx); err != nil {
		return err
	}
	if plan.Mode == complete {
		if err := d.deleteOthers(ctx); err != nil {
			return err
		}
	}
	p := plan.properties()
	if p.Outputs, err = plan.bound.Outputs(ctx, d); err != nil {
		e, unexpected := azure.AsError(err)
		if unexpected {
			return err
		}
		return deploymentFailed("DeploymentOutputEvaluationFailed", "Unable to evaluate template outputs.", *e)
	}
	for _, r := range plan.bound.Resources {
		p.OutputResources = append(p.OutputResources, map[string]any{"id": r.ID})
	}
	p.Duration = isoDuration(time.Since(p.Timestamp))
	w.New.Properties, err = p.encode()
	return err
}

func deploymentFailed(code, message string, details ...azure.Error) *azure.Error {
	return &azure.Error{Status: http.StatusConflict, Code: code, Message: message, Details: details}
}

// pass begins and looks after steps. errWaiting asks for another pass.
func (d *deploymentRun) pass(ctx context.Context) error {
	var op *operation
	byNumber := map[int]*step{}
	err := d.m.o.DB.View(ctx, func(tx *store.Tx) error {
		clear(byNumber)
		list, err := steps(ctx, tx, d.key, d.plan.Run)
		if err != nil {
			return err
		}
		for _, s := range list {
			byNumber[s.number] = s
		}
		living, err := d.m.o.Identities.Living(ctx, tx, d.caller.ObjectID)
		if err != nil {
			return err
		}
		if !living { // and with it what it might do is gone
			return azure.Errorf(http.StatusForbidden, "AuthorizationFailed",
				"The deployment cannot go on: its caller, the principal %s, was deleted or disabled.", d.caller.ObjectID)
		}
		op, err = d.m.operation(ctx, tx, d.operation)
		return err
	})
	if err != nil {
		return err
	}
	if op == nil || op.Status != InProgress {
		return errEnded
	}
	if d.m.o.Groups != nil { // those of the token may be hours old
		if d.caller.Groups, err = d.m.o.Groups(ctx, d.caller.ObjectID); err != nil {
			return err
		}
	}
	done := map[*template.Resource]bool{}
	waiting := false
	for i, r := range d.plan.bound.Resources {
		s := byNumber[i]
		switch {
		case s == nil:
			if slices.ContainsFunc(r.DependsOn, func(dep *template.Resource) bool { return !done[dep] }) {
				waiting = true
				continue
			}
			s = &step{number: i, target: r.ID, status: running, started: time.Now()}
			if err := d.begin(ctx, s); err != nil {
				return err
			}
			err = d.write(ctx, r, s)
		case s.status == running && s.operation == "":
			err = d.write(ctx, r, s)
		case s.status == running:
			err = d.look(ctx, s)
		}
		if err != nil {
			return err
		}
		switch s.status {
		case Failed:
			failure := *s.failure
			failure.Target = r.ID
			return deploymentFailed("DeploymentFailed", "At least one resource deployment operation failed. Please list deployment "+
				"operations for details. Please see https://aka.ms/arm-deployment-operations for usage details.", failure)
		case running:
			waiting = true
		default:
			done[r] = true
		}
	}
	if waiting {
		return errWaiting
	}
	return nil
}

// begin stores a new step, unless the deployment was canceled since the pass began.
func (d *deploymentRun) begin(ctx context.Context, s *step) error {
	return d.m.o.DB.Update(ctx, func(tx *store.Tx) error {
		op, err := d.m.operation(ctx, tx, d.operation)
		if err != nil {
			return err
		}
		if op == nil || op.Status != InProgress {
			return errEnded
		}
		return saveStep(ctx, tx, d.key, d.plan.Run, s)
	})
}

func (d *deploymentRun) save(ctx context.Context, s *step) error {
	return d.m.o.DB.Update(ctx, func(tx *store.Tx) error { return saveStep(ctx, tx, d.key, d.plan.Run, s) })
}

// write writes a step's resource as the caller.
func (d *deploymentRun) write(ctx context.Context, r *template.Resource, s *step) error {
	body, err := d.plan.bound.Body(ctx, r, d)
	if err == nil {
		var answer *performed
		if answer, err = d.request(ctx, http.MethodPut, r.ID, r.Version, body); err == nil {
			if err = busyFor(answer, s.started); errors.Is(err, errWaiting) {
				return nil
			}
			if link := answer.header.Get("Azure-AsyncOperation"); err == nil && link != "" {
				if u, bad := url.Parse(link); bad == nil {
					s.operation = path.Base(u.Path)
				}
			}
		}
	}
	return d.end(ctx, s, err)
}

// busyFor returns the error in an answer; errWaiting when it says to come back and the time for that is not over.
func busyFor(answer *performed, since time.Time) error {
	e := answer.failure()
	switch {
	case e == nil:
		return nil
	case e.Status == http.StatusConflict && answer.header.Get("Retry-After") != "" && time.Since(since) < stepPatience:
		return errWaiting
	}
	return e
}

// look sees how a step's operation ended.
func (d *deploymentRun) look(ctx context.Context, s *step) error {
	var op *operation
	err := d.m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		op, err = d.m.operation(ctx, tx, s.operation)
		return err
	})
	switch {
	case err != nil:
		return err
	case op == nil: // forgotten, a day after its end: the write is done again
		s.operation = ""
		return d.save(ctx, s)
	case op.Status == InProgress:
		return nil
	}
	s.operation = ""
	if op.Error != nil {
		e := op.Error.Error
		return d.end(ctx, s, &e)
	}
	return d.end(ctx, s, nil)
}

// end stores how far a step has come. Only an error that a client may see ends it; any other is tried again.
func (d *deploymentRun) end(ctx context.Context, s *step, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		e, unexpected := azure.AsError(err)
		if unexpected {
			return err
		}
		s.status, s.failure = Failed, e
	case s.operation == "":
		s.status = Succeeded
	}
	return d.save(ctx, s)
}

// request makes a request on a resource with the caller's rights.
func (d *deploymentRun) request(ctx context.Context, method, id, version string, body any) (*performed, error) {
	target, err := azure.ParseResourceID(id)
	if err != nil {
		return nil, err
	}
	u := url.URL{Path: target.String(), RawQuery: url.Values{"api-version": {version}}.Encode()}
	return d.m.perform(ctx, d.caller, d.plan.Host, method, u.String(), body)
}

// fetch makes a request and returns the answer's JSON.
func (d *deploymentRun) fetch(ctx context.Context, method, id, version string, body any) (any, error) {
	answer, err := d.request(ctx, method, id, version, body)
	if err != nil {
		return nil, err
	}
	if e := answer.failure(); e != nil {
		return nil, e
	}
	return template.Decode(answer.body.Bytes())
}

// Reference implements template.Runtime.
func (d *deploymentRun) Reference(ctx context.Context, id, version string, full bool) (any, error) {
	v, err := d.fetch(ctx, http.MethodGet, id, version, nil)
	if err != nil || full {
		return v, err
	}
	object, _ := v.(map[string]any)
	if properties, ok := object["properties"]; ok {
		return properties, nil
	}
	return map[string]any{}, nil
}

// List implements template.Runtime.
func (d *deploymentRun) List(ctx context.Context, action, id, version string, body any) (any, error) {
	return d.fetch(ctx, http.MethodPost, id+"/"+action, version, body)
}

// others returns the group's resources that the template does not have, children of which go with them.
func (d *deploymentRun) others(ctx context.Context) ([]*Resource, error) {
	named := map[string]bool{}
	for _, r := range d.plan.bound.Resources {
		named[strings.ToLower(r.ID)] = true
	}
	from, to := below(d.plan.Scope.ID)
	var list []*Resource
	err := d.m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		list, err = query(ctx, tx, `key > $1 AND key < $2 AND location <> '' ORDER BY key DESC`, from, to)
		return err
	})
	return slices.DeleteFunc(list, func(res *Resource) bool { return len(res.ID.Types) != 1 || named[res.ID.Key()] }), err
}

// deleteOthers deletes, as the caller, what a complete deployment leaves out.
func (d *deploymentRun) deleteOthers(ctx context.Context) error {
	list, err := d.others(ctx)
	if err != nil {
		return err
	}
	waiting := false
	for _, res := range list {
		versions := d.m.types[typeKey(res.ID)].Versions
		answer, err := d.request(ctx, http.MethodDelete, res.ID.String(), versions[len(versions)-1], nil)
		if err != nil {
			return err
		}
		err = busyFor(answer, time.Now()) // what keeps it busy ends sooner or later
		var e *azure.Error
		switch {
		case errors.Is(err, errWaiting):
			waiting = true
		case errors.As(err, &e):
			failure := *e
			failure.Target = res.ID.String()
			return deploymentFailed("DeploymentFailed", fmt.Sprintf("The resource '%s', which the template does not have, could not be deleted.", res.ID), failure)
		}
	}
	if waiting {
		return errWaiting
	}
	return nil
}
