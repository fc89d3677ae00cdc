package media

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/media/encode"
	"github.com/keyreel/keyreel/internal/store"
)

// transformProperties are stored as a transform's properties.
type transformProperties struct {
	Created      time.Time         `json:"created"`
	Description  string            `json:"description,omitempty"`
	LastModified time.Time         `json:"lastModified"`
	Outputs      []transformOutput `json:"outputs"`
}

type transformOutput struct {
	OnError          string          `json:"onError"`
	RelativePriority string          `json:"relativePriority"`
	Preset           json.RawMessage `json:"preset"`
}

const continueJob = "ContinueJob"

func (s *Service) transformType() arm.Type {
	t := child(transformType)
	t.Validate = s.validateTransform
	return t
}

func (s *Service) validateTransform(_ context.Context, _ *store.Tx, w *arm.Write) error {
	var body struct {
		Description *string            `json:"description"`
		Outputs     *[]transformOutput `json:"outputs"`
	}
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	now := time.Now().UTC()
	p := transformProperties{Created: now}
	if w.Old != nil {
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
	}
	p.LastModified = now
	set(&p.Description, body.Description)
	set(&p.Outputs, body.Outputs)
	if len(p.Outputs) == 0 || len(p.Outputs) > 20 {
		return badRequest("properties.outputs", "A transform has 1 to 20 outputs, not %d.", len(p.Outputs))
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if err := oneOf("properties.outputs.onError", &o.OnError, "StopProcessingJob", continueJob); err != nil {
			return err
		}
		if err := oneOf("properties.outputs.relativePriority", &o.RelativePriority, "Normal", "Low", "High"); err != nil {
			return err
		}
		if _, err := encode.ParsePreset(o.Preset); err != nil {
			return err
		}
	}
	return encodeProperties(w.New, p)
}
