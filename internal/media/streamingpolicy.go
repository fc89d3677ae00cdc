package media

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// streamingPolicyProperties are stored as a streaming policy's properties.
type streamingPolicyProperties struct {
	Created                 time.Time           `json:"created"`
	DefaultContentKeyPolicy string              `json:"defaultContentKeyPolicyName,omitempty"`
	EnvelopeEncryption      *envelopeEncryption `json:"envelopeEncryption"`
	CommonEncryptionCenc    json.RawMessage     `json:"commonEncryptionCenc"` // predefined policies only: shown, and refused in locators
	CommonEncryptionCbcs    json.RawMessage     `json:"commonEncryptionCbcs"`
	NoEncryption            *noEncryption       `json:"noEncryption"`
}

type enabledProtocols struct {
	Download        bool `json:"download"`
	Dash            bool `json:"dash"`
	HLS             bool `json:"hls"`
	SmoothStreaming bool `json:"smoothStreaming"`
}

type noEncryption struct {
	EnabledProtocols enabledProtocols `json:"enabledProtocols"`
}

type envelopeEncryption struct {
	EnabledProtocols enabledProtocols `json:"enabledProtocols"`
	ClearTracks      json.RawMessage  `json:"clearTracks,omitempty"`
	ContentKeys      struct {
		DefaultKey *struct {
			Label      string `json:"label,omitempty"`
			PolicyName string `json:"policyName,omitempty"`
		} `json:"defaultKey,omitempty"`
		KeyToTrackMappings json.RawMessage `json:"keyToTrackMappings,omitempty"`
	} `json:"contentKeys"`
	CustomKeyAcquisitionURLTemplate string `json:"customKeyAcquisitionUrlTemplate,omitempty"`
}

func (p *streamingPolicyProperties) drm() bool {
	return present(p.CommonEncryptionCenc) || present(p.CommonEncryptionCbcs)
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

const predefined = "predefined_"

// predefinedPolicies are the policies that every account has.
func predefinedPolicies() map[string]streamingPolicyProperties {
	streaming := enabledProtocols{Dash: true, HLS: true, SmoothStreaming: true}
	all := streaming
	all.Download = true
	envelope := func() *envelopeEncryption { return &envelopeEncryption{EnabledProtocols: streaming} }
	drm := json.RawMessage(`{"enabledProtocols":{"download":false,"dash":true,"hls":false,"smoothStreaming":true},"contentKeys":{},"drm":{"playReady":{},"widevine":{}}}`)
	fairPlay := json.RawMessage(`{"enabledProtocols":{"download":false,"dash":false,"hls":true,"smoothStreaming":false},"contentKeys":{},"drm":{"fairPlay":{"allowPersistentLicense":true}}}`)
	return map[string]streamingPolicyProperties{
		"Predefined_ClearStreamingOnly":        {NoEncryption: &noEncryption{streaming}},
		"Predefined_DownloadOnly":              {NoEncryption: &noEncryption{enabledProtocols{Download: true}}},
		"Predefined_DownloadAndClearStreaming": {NoEncryption: &noEncryption{all}},
		"Predefined_ClearKey":                  {EnvelopeEncryption: envelope()},
		"Predefined_MultiDrmCencStreaming":     {CommonEncryptionCenc: drm},
		"Predefined_MultiDrmStreaming":         {CommonEncryptionCenc: drm, CommonEncryptionCbcs: fairPlay},
	}
}

func (s *Service) streamingPolicyType() arm.Type {
	t := child(streamingPolicyType)
	t.NoPatch = true
	t.Validate = s.validateStreamingPolicy
	t.Gate = func(_ context.Context, res *arm.Resource, op arm.Op) error {
		if op.Method == http.MethodDelete && strings.HasPrefix(strings.ToLower(res.ID.Name()), predefined) {
			return badRequest("", "The predefined streaming policy '%s' cannot be deleted.", res.ID.Name())
		}
		return nil
	}
	return t
}

func (s *Service) validateStreamingPolicy(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	if w.Old != nil {
		return immutable(w.New.ID)
	}
	if strings.HasPrefix(strings.ToLower(w.New.ID.Name()), predefined) {
		return badRequest("name", "Names that begin with 'Predefined_' are reserved.")
	}
	var p streamingPolicyProperties
	if err := decodeProperties(w.Body, &p); err != nil {
		return err
	}
	p.Created = time.Now().UTC()
	if p.drm() {
		return badRequest("properties.commonEncryptionCenc", "Common encryption is not built. Use envelopeEncryption or noEncryption.")
	}
	if p.EnvelopeEncryption == nil && p.NoEncryption == nil {
		return badRequest("properties", "A streaming policy needs envelopeEncryption or noEncryption.")
	}
	if e := p.EnvelopeEncryption; e != nil {
		if present(e.ClearTracks) && string(e.ClearTracks) != "[]" || present(e.ContentKeys.KeyToTrackMappings) && string(e.ContentKeys.KeyToTrackMappings) != "[]" {
			return badRequest("properties.envelopeEncryption", "clearTracks and keyToTrackMappings are not built. One key encrypts all tracks.")
		}
		if e.CustomKeyAcquisitionURLTemplate != "" {
			return badRequest("properties.envelopeEncryption", "customKeyAcquisitionUrlTemplate is not built. The account delivers its keys.")
		}
		if d := e.ContentKeys.DefaultKey; d != nil && d.PolicyName != "" {
			if err := s.hasContentKeyPolicy(ctx, tx, w.New.ID, d.PolicyName, "properties.envelopeEncryption.contentKeys.defaultKey.policyName"); err != nil {
				return err
			}
		}
	}
	if p.DefaultContentKeyPolicy != "" {
		if err := s.hasContentKeyPolicy(ctx, tx, w.New.ID, p.DefaultContentKeyPolicy, "properties.defaultContentKeyPolicyName"); err != nil {
			return err
		}
	}
	return encodeProperties(w.New, p)
}

// hasContentKeyPolicy checks that the account has a content key policy of the name.
func (s *Service) hasContentKeyPolicy(ctx context.Context, tx *store.Tx, id azure.ResourceID, name, target string) error {
	_, err := s.child(ctx, tx, id, "contentKeyPolicies", name, target)
	return err
}

// child returns what the account has under a name that a client wrote into another resource; 400 when there is none.
func (s *Service) child(ctx context.Context, tx *store.Tx, id azure.ResourceID, collection, name, target string) (*arm.Resource, error) {
	if checkChildName(name) == nil {
		res, err := s.o.Manager.Get(ctx, tx, accountID(id).Child(collection, name))
		if e, unexpected := azure.AsError(err); err == nil || unexpected || e.Status != http.StatusNotFound {
			return res, err
		}
	}
	return nil, badRequest(target, "'%s' was not found in %s of the account '%s'.", name, collection, accountID(id).Name())
}

func immutable(id azure.ResourceID) error {
	return azure.Errorf(http.StatusConflict, "Conflict", "'%s' exists and cannot be changed. Delete it first, or choose another name.", id.Name())
}
