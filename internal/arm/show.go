package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// shown is a resource on the wire.
type shown struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Kind       string             `json:"kind,omitempty"`
	Location   string             `json:"location,omitempty"`
	Tags       *map[string]string `json:"tags,omitempty"`
	SKU        json.RawMessage    `json:"sku,omitempty"`
	Identity   *shownIdentity     `json:"identity,omitempty"`
	Properties any                `json:"properties,omitempty"`
	SystemData *shownSystem       `json:"systemData,omitempty"`
}

type shownIdentity struct {
	Type         string                  `json:"type"`
	PrincipalID  string                  `json:"principalId,omitempty"`
	TenantID     string                  `json:"tenantId,omitempty"`
	UserAssigned map[string]UserIdentity `json:"userAssignedIdentities,omitempty"`
}

type shownSystem struct {
	CreatedBy          string    `json:"createdBy,omitempty"`
	CreatedByType      string    `json:"createdByType,omitempty"`
	CreatedAt          time.Time `json:"createdAt"`
	LastModifiedBy     string    `json:"lastModifiedBy,omitempty"`
	LastModifiedByType string    `json:"lastModifiedByType,omitempty"`
	LastModifiedAt     time.Time `json:"lastModifiedAt"`
}

// envelope shapes all of a resource but its properties.
func (t *Type) envelope(res *Resource) shown {
	s := shown{ID: res.ID.String(), Name: res.ID.Name(), Type: res.ID.Type(), Kind: res.Kind, Location: res.Location, SKU: res.SKU}
	if t.Tracked {
		s.Tags = &res.Tags
		if res.Tags == nil {
			s.Tags = &map[string]string{}
		}
	}
	if t.Identity {
		// A type that may have an identity always shows the block: az fails on accounts without one.
		s.Identity = &shownIdentity{Type: typeNone}
		if id := res.Identity; id != nil {
			s.Identity = &shownIdentity{Type: id.Type, PrincipalID: id.PrincipalID, TenantID: id.TenantID, UserAssigned: id.UserAssigned}
		}
	}
	if sys := res.System; !sys.CreatedAt.IsZero() {
		s.SystemData = &shownSystem{
			CreatedBy: sys.CreatedBy, CreatedByType: sys.CreatedByType, CreatedAt: sys.CreatedAt,
			LastModifiedBy: sys.LastModifiedBy, LastModifiedByType: sys.LastModifiedByType, LastModifiedAt: sys.LastModifiedAt,
		}
	}
	return s
}

// show shapes a resource for a client.
func (m *Manager) show(ctx context.Context, tx *store.Tx, t *Type, res *Resource, v View) (shown, error) {
	s := t.envelope(res)
	var err error
	switch {
	case t.Show != nil:
		if s.Properties, err = t.Show(ctx, tx, res, v); err != nil {
			return s, fmt.Errorf("showing %s: %w", res.ID, err)
		}
	case t.Tracked:
		properties := map[string]json.RawMessage{}
		if len(res.Properties) > 0 {
			if err := json.Unmarshal(res.Properties, &properties); err != nil {
				return s, fmt.Errorf("showing %s: %w", res.ID, err)
			}
		}
		if properties == nil {
			properties = map[string]json.RawMessage{}
		}
		properties["provisioningState"], err = json.Marshal(res.State)
		s.Properties = properties
	default:
		s.Properties = res.Properties
		if len(res.Properties) == 0 {
			s.Properties = struct{}{}
		}
	}
	return s, err
}

// normalLocation is a location's name as it is stored and compared: "West Europe" is "westeurope".
func normalLocation(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", ""))
}

// gate runs the gates of a resource and of what it stands below, outermost first.
func (m *Manager) gate(ctx context.Context, id azure.ResourceID, op Op) error {
	var gated []azure.ResourceID
	for p := id; p.Namespace != ""; p = p.Parent() {
		if rows := m.types[typeKey(p)]; rows != nil && rows.Gate != nil && !p.IsCollection() {
			gated = append(gated, p)
		}
	}
	for i := len(gated) - 1; i >= 0; i-- {
		var res *Resource
		err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
			res, err = load(ctx, tx, gated[i].Key())
			return err
		})
		if err != nil || res == nil || !res.ready {
			return err
		}
		if err := m.types[typeKey(res.ID)].Gate(ctx, res, op); err != nil {
			return err
		}
	}
	return nil
}
