package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/media/encode"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	encodeJob = "media.encode" // kind in the queue
	scratch   = "media-job-*"  // folders of running jobs in Options.WorkDir
	// encodersAtOnce is how many jobs run at once on a node: one encoder uses all processors.
	encodersAtOnce = 1
	// pausedFor is how long a job waits for an account that cannot use its customer key before it looks again.
	pausedFor = 2 * time.Second
	// keyEvery is how often a running job looks whether the account may still use its key.
	keyEvery = 2 * time.Second
)

type encodePayload struct {
	Job string `json:"job"` // ARM ID
}

// clearScratch removes what a process that died has left.
func (s *Service) clearScratch() error {
	left, err := filepath.Glob(filepath.Join(s.o.WorkDir, scratch))
	if err != nil {
		return fmt.Errorf("looking for old scratch folders: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing an old scratch folder: %w", err)
		}
	}
	return nil
}

// encoding is one attempt at a media job.
type encoding struct {
	service   *Service
	run       *job.Run
	id        azure.ResourceID
	account   *account
	transform transformProperties
	job       jobProperties
	dir       string // scratch
	input     string // local path of the downloaded input
	base      string // its name without extension
}

// runEncodeJob runs a job from its beginning; outputs that an earlier attempt has finished are left as they are.
func (s *Service) runEncodeJob(ctx context.Context, run *job.Run) error {
	var payload encodePayload
	if err := json.Unmarshal(run.Payload, &payload); err != nil {
		return job.Permanent(fmt.Errorf("reading an encoding job: %w", err))
	}
	id, err := azure.ParseResourceID(payload.Job)
	if err != nil {
		return job.Permanent(err)
	}
	e := &encoding{service: s, run: run, id: id}
	if err := e.load(ctx); errors.Is(err, notFound) {
		return nil // deleted meanwhile, or ended by an attempt that died before the queue knew
	} else if err != nil {
		return err
	}
	if e.job.State == jobCanceling {
		return e.canceled(ctx)
	}
	ctx, stop := e.whileKeyed(ctx)
	defer stop()
	err = e.encode(ctx)
	var problem *customerkey.Problem
	switch {
	case errors.As(context.Cause(ctx), &problem):
		return e.paused(context.WithoutCancel(ctx), problem)
	case errors.Is(context.Cause(ctx), job.ErrCanceled):
		return e.canceled(context.WithoutCancel(ctx))
	case ctx.Err() != nil:
		return context.Cause(ctx) // the node stops; the job goes back
	}
	return err
}

// own checks that the media job is still the one of this run, and not a later one that was given a deleted one's name.
func (e *encoding) own(ctx context.Context, tx *store.Tx) error {
	queueID, err := e.service.queueID(ctx, tx, e.id)
	if err == nil && (queueID == "" || queueID != e.run.ID) {
		return notFound
	}
	return err
}

func (e *encoding) load(ctx context.Context) error {
	s := e.service
	return s.o.DB.View(ctx, func(tx *store.Tx) error {
		if err := e.own(ctx, tx); err != nil {
			return err
		}
		res, err := s.o.Manager.Get(ctx, tx, e.id)
		if err != nil {
			return err
		}
		e.job = jobProperties{}
		if err := decodeStored(res, &e.job); err != nil {
			return err
		}
		transform, err := s.o.Manager.Get(ctx, tx, e.id.Parent())
		if err != nil {
			return err
		}
		e.transform = transformProperties{}
		if err := decodeStored(transform, &e.transform); err != nil {
			return err
		}
		acct, err := s.o.Manager.Get(ctx, tx, accountID(e.id))
		if err != nil {
			return err
		}
		e.account, err = decodeAccount(acct)
		return err
	})
}

// whileKeyed returns a context that ends, with a *customerkey.Problem as its cause, when the account can no longer use
// its customer key.
func (e *encoding) whileKeyed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	look := func() bool {
		_, err := e.service.o.Keys.Key(ctx, e.account.key())
		var p *customerkey.Problem
		if errors.As(err, &p) {
			cancel(p)
			return false
		}
		return true
	}
	done := make(chan struct{})
	if !look() {
		close(done)
		return ctx, func() {}
	}
	go func() {
		defer close(done)
		ticker := time.NewTicker(keyEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !look() {
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// save stores the job's state as clients see it. It fails with job.ErrLost when another node has taken the job over.
func (e *encoding) save(ctx context.Context) error {
	s := e.service
	e.job.LastModified = time.Now().UTC()
	for {
		err := s.o.DB.Update(ctx, func(tx *store.Tx) error {
			if err := e.run.SaveIn(ctx, tx, map[string]string{"state": e.job.State}); err != nil {
				return err
			}
			if err := e.own(ctx, tx); err != nil {
				return err
			}
			if e.job.ended() {
				if err := forgetQueued(ctx, tx, e.id.Key()); err != nil {
					return err
				}
			}
			return s.o.Manager.Update(ctx, tx, e.id, func(res *arm.Resource) error {
				var now jobProperties
				if err := decodeStored(res, &now); err != nil {
					return err
				}
				next := e.job
				next.Description, next.Priority = now.Description, now.Priority // a PATCH meanwhile stays
				if now.State == jobCanceling && (next.State == jobProcessing || next.State == jobQueued) {
					next.State = jobCanceling
				}
				return encodeProperties(res, next)
			})
		})
		var e *azure.Error
		if !errors.As(err, &e) || e.Code != "AnotherOperationInProgress" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (e *encoding) canceled(ctx context.Context) error {
	e.job.cancel()
	if err := e.save(ctx); err != nil && !errors.Is(err, notFound) {
		return err
	}
	return nil
}

// paused puts the job back until the account can use its customer key again.
func (e *encoding) paused(ctx context.Context, problem *customerkey.Problem) error {
	if e.job.State == jobProcessing {
		e.job.State = jobQueued
		for i := range e.job.Outputs {
			if o := &e.job.Outputs[i]; o.State == jobProcessing {
				o.State, o.Progress = jobQueued, 0
			}
		}
		if err := e.save(ctx); err != nil {
			return err
		}
	}
	return job.Postpone(pausedFor, problem)
}

func (e *encoding) encode(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(e.service.o.WorkDir, 0o700); err != nil {
		return fmt.Errorf("making the scratch folder: %w", err)
	}
	var err error
	if e.dir, err = os.MkdirTemp(e.service.o.WorkDir, scratch); err != nil {
		return fmt.Errorf("making the scratch folder: %w", err)
	}
	defer os.RemoveAll(e.dir)
	now := time.Now().UTC()
	e.job.State = jobProcessing
	if e.job.StartTime == nil {
		e.job.StartTime = &now
	}
	if err := e.save(ctx); err != nil {
		return err
	}
	failed := false
	for i := range e.job.Outputs {
		o := &e.job.Outputs[i]
		if o.State == jobFinished {
			continue
		}
		if failed && e.transform.Outputs[i].OnError != continueJob {
			o.State = jobCanceled
			continue
		}
		err := e.output(ctx, i)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		seen := jobErrorOf(err)
		if (seen == nil || seen.Retry == "MayRetry") && !e.run.Last {
			return fmt.Errorf("encoding %s: %w", e.id, err) // the queue tries again
		}
		if seen == nil {
			e.service.o.Log.ErrorContext(ctx, "giving up an encoding job", "job", e.id.String(), "err", err)
			seen = &outputError{
				Code: "ServiceError", Category: "Service", Retry: "MayRetry", Details: []errorDetail{},
				Message: "The server met an unexpected condition. Its log names the job.",
			}
		}
		end := time.Now().UTC()
		o.State, o.Error, o.EndTime, failed = jobError, seen, &end, true
		if err := e.save(ctx); err != nil {
			return err
		}
	}
	end := time.Now().UTC()
	e.job.State, e.job.EndTime = jobFinished, &end
	if failed {
		e.job.State = jobError
	}
	return e.save(ctx)
}

// output makes one output of the job.
func (e *encoding) output(ctx context.Context, i int) error {
	o := &e.job.Outputs[i]
	now := time.Now().UTC()
	o.State, o.Progress, o.Error, o.StartTime = jobProcessing, 0, nil, &now
	if err := e.save(ctx); err != nil {
		return err
	}
	raw := o.PresetOverride
	if raw == nil {
		raw = e.transform.Outputs[i].Preset
	}
	preset, err := encode.ParsePreset(raw)
	if err != nil {
		return err
	}
	if e.input == "" {
		bring := e.download
		if e.job.Input.Type == inputHTTPType {
			bring = e.fetch
		}
		if err := bring(ctx); err != nil {
			return err
		}
	}
	media, err := encode.Probe(ctx, e.input)
	if err != nil {
		return err
	}
	plan, err := encode.NewPlan(preset, media, encode.PlanOptions{BaseName: e.base})
	if err != nil {
		return err
	}
	out := filepath.Join(e.dir, fmt.Sprintf("output-%d", i))
	if err := os.Mkdir(out, 0o700); err != nil {
		return fmt.Errorf("making the scratch folder: %w", err)
	}
	defer os.RemoveAll(out)
	files, err := encode.Run(ctx, plan, e.input, out, e.progress(ctx, o))
	if err != nil {
		return err
	}
	if err := e.upload(ctx, o.AssetName, out, files); err != nil {
		return err
	}
	end := time.Now().UTC()
	o.State, o.Progress, o.EndTime = jobFinished, 100, &end
	return e.save(ctx)
}

// progress returns a callback that stores progress at most every two seconds. The last tenth is the upload's.
func (e *encoding) progress(ctx context.Context, o *jobOutput) func(float64) {
	last := time.Now()
	return func(percent float64) {
		p := int(math.Max(0, math.Min(90, percent*0.9)))
		if p <= o.Progress || time.Since(last) < 2*time.Second {
			return
		}
		o.Progress, last = p, time.Now()
		if err := e.save(ctx); err != nil && ctx.Err() == nil {
			e.service.o.Log.WarnContext(ctx, "storing a job's progress", "job", e.id.String(), "err", err)
		}
	}
}

// jobErrorOf says how a job's output shows an error; nil for one that is ours to retry.
func jobErrorOf(err error) *outputError {
	var tr *transfer
	var p *storageProblem
	var enc *encode.JobError
	var bad *azure.Error
	e := &outputError{Retry: "DoNotRetry", Message: err.Error(), Details: []errorDetail{}}
	switch {
	case errors.As(err, &enc):
		e.Code, e.Category, e.Retry, e.Message = enc.Code, enc.Category, enc.Retry, enc.Message
	case errors.As(err, &tr):
		way := "Download"
		if tr.upload {
			way = "Upload"
		}
		e.Code, e.Category = way+"NotAccessible", way
		if errors.As(err, &p) {
			e.Message = p.detail()
			e.Details = append(e.Details, errorDetail{p.code, p.detail()})
			switch {
			case p.denied: // the account's identity, not the file, is what to look at
				e.Category = "Account"
			case !p.missing && !p.refusedOther:
				e.Code, e.Retry = way+"TransientError", "MayRetry"
			}
		} else if !errors.As(err, &bad) {
			return nil
		}
	case errors.As(err, &bad):
		e.Code, e.Category, e.Message = "ConfigurationUnsupported", "Configuration", bad.Message
	default:
		return nil
	}
	return e
}
