package media

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/media/encode"
	"github.com/keyreel/keyreel/internal/store"
)

// States of jobs and of their outputs.
const (
	jobQueued     = "Queued"
	jobProcessing = "Processing"
	jobFinished   = "Finished"
	jobError      = "Error"
	jobCanceling  = "Canceling"
	jobCanceled   = "Canceled"
)

// jobProperties are stored as a job's properties; JobProperties in the specification.
type jobProperties struct {
	Created         time.Time         `json:"created"`
	State           string            `json:"state"`
	Description     string            `json:"description,omitempty"`
	Input           jobInput          `json:"input"`
	LastModified    time.Time         `json:"lastModified"`
	Outputs         []jobOutput       `json:"outputs"`
	Priority        string            `json:"priority"`
	CorrelationData map[string]string `json:"correlationData,omitempty"`
	StartTime       *time.Time        `json:"startTime,omitempty"`
	EndTime         *time.Time        `json:"endTime,omitempty"`
}

// ended reports whether the state is final.
func (p *jobProperties) ended() bool {
	return p.State == jobFinished || p.State == jobError || p.State == jobCanceled
}

// jobInput is a JobInputAsset or a JobInputHttp; of the latter neither base URI nor files are stored here.
type jobInput struct {
	Type      string   `json:"@odata.type"`
	AssetName string   `json:"assetName,omitempty"`
	BaseURI   string   `json:"baseUri,omitempty"`
	Files     []string `json:"files"`
	Label     string   `json:"label,omitempty"`
}

// jobOutput is a JobOutputAsset.
type jobOutput struct {
	Type           string          `json:"@odata.type"`
	AssetName      string          `json:"assetName"`
	Label          string          `json:"label,omitempty"`
	PresetOverride json.RawMessage `json:"presetOverride,omitempty"`
	State          string          `json:"state"`
	Progress       int             `json:"progress"`
	StartTime      *time.Time      `json:"startTime,omitempty"`
	EndTime        *time.Time      `json:"endTime,omitempty"`
	Error          *outputError    `json:"error,omitempty"`
}

// outputError is a JobError.
type outputError struct {
	Code     string        `json:"code"`
	Message  string        `json:"message"`
	Category string        `json:"category"`
	Retry    string        `json:"retry"`
	Details  []errorDetail `json:"details"`
}

type errorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

const (
	inputAssetType  = "#Microsoft.Media.JobInputAsset"
	outputAssetType = "#Microsoft.Media.JobOutputAsset"
)

func (s *Service) jobType() arm.Type {
	t := child(jobType)
	t.Validate, t.Prepare, t.Commit, t.Delete, t.Show = s.validateJob, s.prepareJob, s.commitJob, s.deleteJob, s.showJob
	t.Actions = []arm.Action{{Name: "cancelJob", Handle: s.cancelJob}}
	return t
}

func (s *Service) validateJob(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	var body struct {
		Description     *string           `json:"description"`
		Priority        *string           `json:"priority"`
		Input           *jobInput         `json:"input"`
		Outputs         []jobOutput       `json:"outputs"`
		CorrelationData map[string]string `json:"correlationData"`
	}
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	now := time.Now().UTC()
	p := jobProperties{Created: now, State: jobQueued}
	if w.Old != nil {
		if !w.Patch {
			return azure.Errorf(http.StatusConflict, "Conflict", "The job '%s' exists already. A job cannot be written again; make one with another name.", w.New.ID.Name())
		}
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
	} else {
		if body.Input == nil {
			return badRequest("properties.input", "A job needs an input.")
		}
		p.Input, p.Outputs, p.CorrelationData = *body.Input, body.Outputs, body.CorrelationData
		private := new(jobWrite)
		if p.Input.Type == inputHTTPType {
			var err error
			if private.input, err = p.takeHTTPInput(); err != nil {
				return err
			}
		}
		w.Private = private
		if err := s.checkJob(ctx, tx, w.New.ID, &p); err != nil {
			return err
		}
	}
	p.LastModified = now
	set(&p.Description, body.Description)
	set(&p.Priority, body.Priority)
	if err := oneOf("properties.priority", &p.Priority, "Normal", "Low", "High"); err != nil {
		return err
	}
	return encodeProperties(w.New, p)
}

// checkJob completes and validates a new job.
func (s *Service) checkJob(ctx context.Context, tx *store.Tx, id azure.ResourceID, p *jobProperties) error {
	switch p.Input.Type {
	case inputHTTPType:
	case inputAssetType:
		if err := s.checkAssetInput(ctx, tx, id, &p.Input); err != nil {
			return err
		}
	default:
		return badRequest("properties.input", "'%s' is not built. Use '%s' or '%s'.", p.Input.Type, inputAssetType, inputHTTPType)
	}
	parent, err := s.o.Manager.Get(ctx, tx, id.Parent())
	if err != nil {
		return err
	}
	var t transformProperties
	if err := decodeStored(parent, &t); err != nil {
		return err
	}
	if len(p.Outputs) != len(t.Outputs) {
		return badRequest("properties.outputs", "The transform '%s' has %d outputs, so a job has as many, not %d.", parent.ID.Name(), len(t.Outputs), len(p.Outputs))
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Type != outputAssetType {
			return badRequest("properties.outputs", "'%s' is not an output that is built. Use '%s'.", o.Type, outputAssetType)
		}
		if _, err := s.asset(ctx, tx, id, o.AssetName, "properties.outputs.assetName"); err != nil {
			return err
		}
		if len(o.PresetOverride) > 0 && string(o.PresetOverride) != "null" {
			if _, err := encode.ParsePreset(o.PresetOverride); err != nil {
				return err
			}
		} else {
			o.PresetOverride = nil
		}
		*o = jobOutput{Type: o.Type, AssetName: o.AssetName, Label: o.Label, PresetOverride: o.PresetOverride, State: jobQueued}
	}
	return nil
}

func (s *Service) checkAssetInput(ctx context.Context, tx *store.Tx, id azure.ResourceID, in *jobInput) error {
	if len(in.Files) > 1 {
		return badRequest("properties.input.files", "One input file is supported, not %d.", len(in.Files))
	}
	for _, f := range in.Files {
		if f == "" || path.Clean("/"+f) != "/"+f {
			return badRequest("properties.input.files", "'%s' is not the name of a file in an asset.", f)
		}
	}
	if in.Files == nil {
		in.Files = []string{}
	}
	if _, err := s.asset(ctx, tx, id, in.AssetName, "properties.input.assetName"); err != nil {
		return err
	}
	return nil
}

// jobWrite goes from Validate through Prepare to Commit.
type jobWrite struct {
	input  *httpInput // nil for a JobInputAsset
	sealed []byte
}

// prepareJob refuses a new job when storage refuses the account's identity: the caller learns it now and not from the
// job's outcome.
func (s *Service) prepareJob(ctx context.Context, w *arm.Write) error {
	if w.Old != nil {
		return nil
	}
	var p jobProperties
	if err := decodeStored(w.New, &p); err != nil {
		return err
	}
	var names []string
	if private, ok := w.Private.(*jobWrite); ok && private.input != nil {
		var err error
		if private.sealed, err = s.sealHTTPInput(ctx, w.New.ID, private.input); err != nil {
			return err
		}
	} else {
		names = append(names, p.Input.AssetName)
	}
	for _, o := range p.Outputs {
		names = append(names, o.AssetName)
	}
	a, err := s.account(ctx, w.New.ID)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, container, err := s.assetFiles(ctx, a, w.New.ID, name)
		if err != nil {
			return err
		}
		client, err := s.client(ctx, t)
		if err != nil {
			return storageDenied(err)
		}
		_, err = client.NewContainerClient(container).GetProperties(ctx, nil)
		err = t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/read", err)
		if err == nil { // Reader may do that much
			err = s.mayRead(ctx, t, container)
		}
		if err := s.access.observe(ctx, t, err); err != nil {
			return storageDenied(err)
		}
	}
	return nil
}

// assetFiles returns where an asset's files lie.
func (s *Service) assetFiles(ctx context.Context, a *account, id azure.ResourceID, asset string) (storageTarget, string, error) {
	var p *assetProperties
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		p, err = s.asset(ctx, tx, id, asset, "")
		return err
	})
	if err != nil {
		return storageTarget{}, "", err
	}
	t, err := s.storageTarget(a, p.StorageAccountName)
	return t, p.Container, err
}

// commitJob puts a new job into the queue.
func (s *Service) commitJob(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	if w.Old != nil {
		return nil
	}
	if private, ok := w.Private.(*jobWrite); ok && private.input != nil {
		_, err := tx.Exec(ctx, `INSERT INTO media_job_inputs (job, sealed) VALUES ($1, $2)
			ON CONFLICT (job) DO UPDATE SET sealed = excluded.sealed`, w.New.ID.Key(), private.sealed)
		if err != nil {
			return fmt.Errorf("storing the input of %s: %w", w.New.ID, err)
		}
	}
	payload, err := json.Marshal(encodePayload{Job: w.New.ID.String()})
	if err != nil {
		return err
	}
	// Without a key: the job of a deleted media job of this name may still be on its way out.
	id, err := s.o.Jobs.Enqueue(ctx, tx, job.Spec{Kind: encodeJob, Payload: payload})
	if err != nil {
		return fmt.Errorf("enqueueing %s: %w", w.New.ID, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO media_jobs (job, queue_id) VALUES ($1, $2)
		ON CONFLICT (job) DO UPDATE SET queue_id = excluded.queue_id`, w.New.ID.Key(), id)
	if err != nil {
		return fmt.Errorf("storing the queue's id of %s: %w", w.New.ID, err)
	}
	return nil
}

func (s *Service) queueID(ctx context.Context, tx *store.Tx, id azure.ResourceID) (string, error) {
	var queueID string
	err := tx.QueryRow(ctx, `SELECT queue_id FROM media_jobs WHERE job = $1`, id.Key()).Scan(&queueID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading the queue's id of %s: %w", id, err)
	}
	return queueID, nil
}

func (s *Service) deleteJob(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
	if _, err := tx.Exec(ctx, `DELETE FROM media_job_inputs WHERE job = $1`, res.ID.Key()); err != nil {
		return fmt.Errorf("deleting the input of %s: %w", res.ID, err)
	}
	queueID, err := s.queueID(ctx, tx, res.ID)
	if err != nil || queueID == "" {
		return err
	}
	if err := s.o.Jobs.Cancel(ctx, tx, queueID); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("canceling %s: %w", res.ID, err)
	}
	return forgetQueued(ctx, tx, res.ID.Key())
}

// cancelJob asks a job to stop. Clients call it until the job is Canceled, so it answers 200 as long as that can be.
func (s *Service) cancelJob(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	ctx := r.Context()
	err := s.o.DB.Update(ctx, func(tx *store.Tx) error {
		return s.o.Manager.Update(ctx, tx, res.ID, func(res *arm.Resource) error {
			var p jobProperties
			if err := decodeStored(res, &p); err != nil {
				return err
			}
			switch {
			case p.State == jobCanceled, p.State == jobCanceling:
				return nil
			case p.ended():
				return badRequest("", "The job '%s' has ended (%s) and cannot be canceled.", res.ID.Name(), p.State)
			}
			queueID, err := s.queueID(ctx, tx, res.ID)
			if err != nil {
				return err
			}
			if err := s.o.Jobs.Cancel(ctx, tx, queueID); err != nil {
				return fmt.Errorf("canceling %s: %w", res.ID, err)
			}
			status, err := s.o.Jobs.Status(ctx, tx, queueID)
			if err != nil {
				return fmt.Errorf("canceling %s: %w", res.ID, err)
			}
			p.State = jobCanceling
			if status.State == job.Canceled {
				p.cancel()
				if err := forgetQueued(ctx, tx, res.ID.Key()); err != nil {
					return err
				}
			}
			return encodeProperties(res, p)
		})
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// forgetQueued forgets the queue's job of a media job that has ended or is deleted.
func forgetQueued(ctx context.Context, tx *store.Tx, job string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM media_jobs WHERE job = $1`, job); err != nil {
		return fmt.Errorf("forgetting the queue's id of %s: %w", job, err)
	}
	return nil
}

// settleEvery is how often media jobs are looked for that the queue has given up without a word.
const settleEvery = 15 * time.Second

// settleJobs ends the media jobs whose job in the queue has ended without ending them: their node died while they were
// being canceled, or during their last attempt.
func (s *Service) settleJobs(ctx context.Context) error {
	var left []azure.ResourceID
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		left = nil
		queued, err := s.unfinishedJobs(ctx, tx)
		if err != nil {
			return err
		}
		for id, queueID := range queued {
			status, err := s.o.Jobs.Status(ctx, tx, queueID)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return fmt.Errorf("asking the queue about %s: %w", id, err)
			}
			if err == nil && !status.State.Ended() {
				continue
			}
			parsed, err := azure.ParseResourceID(id)
			if err != nil {
				return err
			}
			left = append(left, parsed)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for abandoned media jobs: %w", err)
	}
	var failures []error
	for _, id := range left {
		err := s.o.DB.Update(ctx, func(tx *store.Tx) error { return s.settleJob(ctx, tx, id) })
		if e, unexpected := azure.AsError(err); err != nil && (unexpected || e.Status != http.StatusConflict) {
			failures = append(failures, fmt.Errorf("settling %s: %w", id, err))
		}
	}
	return errors.Join(failures...)
}

// unfinishedJobs returns the queue's ids of media jobs that have not ended, by ARM ID in lower case.
func (s *Service) unfinishedJobs(ctx context.Context, tx *store.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, `SELECT job, queue_id FROM media_jobs`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	queued := map[string]string{}
	for rows.Next() {
		var id, queueID string
		if err := rows.Scan(&id, &queueID); err != nil {
			return nil, err
		}
		queued[id] = queueID
	}
	return queued, rows.Err()
}

func (s *Service) settleJob(ctx context.Context, tx *store.Tx, id azure.ResourceID) error {
	if err := forgetQueued(ctx, tx, id.Key()); err != nil {
		return err
	}
	err := s.o.Manager.Update(ctx, tx, id, func(res *arm.Resource) error {
		var p jobProperties
		if err := decodeStored(res, &p); err != nil || p.ended() {
			return err
		}
		if p.State == jobCanceling {
			p.cancel()
		} else {
			p.abandon()
		}
		return encodeProperties(res, p)
	})
	if errors.Is(err, notFound) {
		return nil
	}
	return err
}

// abandon ends a job whose attempts are used up.
func (p *jobProperties) abandon() {
	now := time.Now().UTC()
	p.State, p.EndTime, p.LastModified = jobError, &now, now
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.State == jobFinished || o.State == jobError || o.State == jobCanceled {
			continue
		}
		o.State, o.EndTime = jobError, &now
		o.Error = &outputError{
			Code: "ServiceError", Category: "Service", Retry: "MayRetry", Details: []errorDetail{},
			Message: "The server stopped each time it ran the job. Look into its log, and submit the job again.",
		}
	}
}

// cancel ends the job and those of its outputs that are not finished.
func (p *jobProperties) cancel() {
	now := time.Now().UTC()
	p.State, p.EndTime, p.LastModified = jobCanceled, &now, now
	for i := range p.Outputs {
		if o := &p.Outputs[i]; o.State != jobFinished && o.State != jobError {
			o.State, o.EndTime = jobCanceled, &now
		}
	}
}

// baseName is what the outputs of an input file are named after.
func baseName(file string) string {
	name := path.Base(file)
	if name = strings.TrimSuffix(name, path.Ext(name)); name == "" {
		name = "output"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`\/:*?"<>|%#`, r) {
			return '_'
		}
		return r
	}, name)
}
