package media

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// endpointProperties are stored as a streaming endpoint's properties.
type endpointProperties struct {
	Description     string    `json:"description"`
	ScaleUnits      int       `json:"scaleUnits"`
	CdnEnabled      bool      `json:"cdnEnabled"`
	CustomHostNames []string  `json:"customHostNames"`
	ResourceState   string    `json:"resourceState"` // Stopped, Running
	Created         time.Time `json:"created"`
	LastModified    time.Time `json:"lastModified"`
}

const (
	endpointRunning = "Running"
	endpointStopped = "Stopped"
)

// newEndpointProperties are those of the endpoint that every account has.
func newEndpointProperties() endpointProperties {
	now := time.Now().UTC()
	return endpointProperties{ResourceState: endpointRunning, Created: now, LastModified: now, CustomHostNames: []string{}}
}

var endpointName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,22}[A-Za-z0-9])?$`)

func (s *Service) streamingEndpointType() arm.Type {
	t := child(streamingEndpointType)
	t.Tracked = true
	t.CheckName = func(name string) error {
		if !endpointName.MatchString(name) {
			return badRequest("name", "'%s' is not a valid name of a streaming endpoint: 1 to 24 letters, digits and hyphens, no hyphen at the ends.", name)
		}
		return nil
	}
	t.Validate, t.Show = s.validateEndpoint, s.showEndpoint
	t.Actions = []arm.Action{
		{Name: "start", Handle: s.setEndpointState(endpointRunning)},
		{Name: "stop", Handle: s.setEndpointState(endpointStopped)},
		{Name: "scale", Handle: notBuilt("scale", "the server serves as fast as it can; there are no units to pay for")},
	}
	return t
}

func (s *Service) validateEndpoint(_ context.Context, _ *store.Tx, w *arm.Write) error {
	var body struct {
		Description     *string   `json:"description"`
		CdnEnabled      *bool     `json:"cdnEnabled"`
		CustomHostNames *[]string `json:"customHostNames"`
	}
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	if body.CdnEnabled != nil && *body.CdnEnabled || body.CustomHostNames != nil && len(*body.CustomHostNames) > 0 {
		return badRequest("properties", "cdnEnabled and customHostNames are not built.")
	}
	p := newEndpointProperties()
	p.ResourceState = endpointStopped
	if w.Old != nil {
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
		p.LastModified = time.Now().UTC()
	} else if v := w.Query["autoStart"]; len(v) > 0 && strings.EqualFold(v[0], "true") {
		p.ResourceState = endpointRunning
	}
	set(&p.Description, body.Description)
	return encodeProperties(w.New, p)
}

func (s *Service) showEndpoint(_ context.Context, _ *store.Tx, res *arm.Resource, v arm.View) (any, error) {
	var p endpointProperties
	if err := decodeStored(res, &p); err != nil {
		return nil, err
	}
	return struct {
		endpointProperties
		HostName          string `json:"hostName"`
		ProvisioningState string `json:"provisioningState"`
	}{p, strings.TrimPrefix(v.URLs.Streaming(strings.ToLower(res.ID.Name()), accountID(res.ID).Name()), "https://"), res.State}, nil
}

// setEndpointState starts or stops an endpoint, at once: the operation is done when it is answered.
func (s *Service) setEndpointState(state string) func(http.ResponseWriter, *azure.Request, *arm.Resource) error {
	return func(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
		ctx := r.Context()
		err := s.o.DB.Update(ctx, func(tx *store.Tx) error {
			return s.o.Manager.Update(ctx, tx, res.ID, func(res *arm.Resource) error {
				var p endpointProperties
				if err := decodeStored(res, &p); err != nil {
					return err
				}
				if p.ResourceState != state {
					p.ResourceState, p.LastModified = state, time.Now().UTC()
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
}
