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

// jobInput is a JobInputAsset.
type jobInput struct {
	Type      string   `json:"@odata.type"`
	AssetName string   `json:"assetName"`
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
	t.Validate, t.Prepare, t.Commit, t.Delete = s.validateJob, s.prepareJob, s.commitJob, s.deleteJob
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
	if p.Input.Type != inputAssetType {
		return badRequest("properties.input", "'%s' is not built. Use '%s': upload the file into an asset, which the account reads as its managed identity.", p.Input.Type, inputAssetType)
	}
	if len(p.Input.Files) > 1 {
		return badRequest("properties.input.files", "One input file is supported, not %d.", len(p.Input.Files))
	}
	for _, f := range p.Input.Files {
		if f == "" || path.Clean("/"+f) != "/"+f {
			return badRequest("properties.input.files", "'%s' is not the name of a file in an asset.", f)
		}
	}
	if p.Input.Files == nil {
		p.Input.Files = []string{}
	}
	if _, err := s.asset(ctx, tx, id, p.Input.AssetName, "properties.input.assetName"); err != nil {
		return err
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
	names := []string{p.Input.AssetName}
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
		client, err := s.client(t)
		if err != nil {
			return err
		}
		_, err = client.NewContainerClient(container).GetProperties(ctx, nil)
		err = s.access.observe(ctx, t, t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/read", err))
		if err != nil {
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
	payload, err := json.Marshal(encodePayload{Job: w.New.ID.String()})
	if err != nil {
		return err
	}
	id, err := s.o.Jobs.Enqueue(ctx, tx, job.Spec{Kind: encodeJob, Key: w.New.ID.Key(), Payload: payload})
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
	queueID, err := s.queueID(ctx, tx, res.ID)
	if err != nil || queueID == "" {
		return err
	}
	if err := s.o.Jobs.Cancel(ctx, tx, queueID); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("canceling %s: %w", res.ID, err)
	}
	_, err = tx.Exec(ctx, `DELETE FROM media_jobs WHERE job = $1`, res.ID.Key())
	return err
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
			switch p.State {
			case jobCanceled, jobCanceling:
				return nil
			case jobFinished, jobError:
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
