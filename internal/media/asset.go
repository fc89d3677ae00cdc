package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// assetProperties are stored as an asset's properties; AssetProperties in the specification. Deleting an asset leaves
// its container and what is in it: they are the customer's. Its locators lead nowhere then.
type assetProperties struct {
	AssetID                 string    `json:"assetId"`
	Created                 time.Time `json:"created"`
	LastModified            time.Time `json:"lastModified"`
	AlternateID             string    `json:"alternateId,omitempty"`
	Description             string    `json:"description,omitempty"`
	Container               string    `json:"container"`
	StorageAccountName      string    `json:"storageAccountName"`
	StorageEncryptionFormat string    `json:"storageEncryptionFormat"`
}

type assetBody struct {
	AlternateID        *string `json:"alternateId"`
	Description        *string `json:"description"`
	Container          *string `json:"container"`
	StorageAccountName *string `json:"storageAccountName"`
}

func (s *Service) assetType() arm.Type {
	t := child(assetType)
	t.Validate, t.Prepare = s.validateAsset, s.prepareAsset
	t.Actions = []arm.Action{
		{Name: "listStreamingLocators", Handle: s.listStreamingLocators},
		{Name: "getEncryptionKey", Handle: func(http.ResponseWriter, *azure.Request, *arm.Resource) error {
			return badRequest("", "Asset, asset files or encryption key does not exist or asset files are not storage encrypted.")
		}},
		{Name: "listContainerSas", Handle: notBuilt("listContainerSas",
			"an account with managed identities holds no storage keys to sign with. Grant whoever is to reach the container a storage role on it")},
	}
	return t
}

var containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

func (s *Service) validateAsset(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	var body assetBody
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	now := time.Now().UTC()
	p := assetProperties{AssetID: azure.NewGUID(), Created: now, StorageEncryptionFormat: "None"}
	if w.Old != nil {
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
		if changes(body.Container, p.Container) || changes(body.StorageAccountName, p.StorageAccountName) {
			return badRequest("properties.container", "The container and storage account of an existing asset cannot be changed.")
		}
	} else if err := s.placeAsset(ctx, tx, w.New.ID, body, &p); err != nil {
		return err
	}
	p.LastModified = now
	set(&p.AlternateID, body.AlternateID)
	set(&p.Description, body.Description)
	return encodeProperties(w.New, p)
}

// placeAsset chooses a new asset's container and storage account.
func (s *Service) placeAsset(ctx context.Context, tx *store.Tx, id azure.ResourceID, body assetBody, p *assetProperties) error {
	res, err := s.o.Manager.Get(ctx, tx, accountID(id))
	if err != nil {
		return err
	}
	a, err := decodeAccount(res)
	if err != nil {
		return err
	}
	set(&p.StorageAccountName, body.StorageAccountName)
	t, err := s.storageTarget(a, p.StorageAccountName)
	if err != nil {
		return err
	}
	p.StorageAccountName, p.Container = t.name, "asset-"+p.AssetID
	if body.Container != nil && *body.Container != "" {
		p.Container = *body.Container
	}
	if !containerName.MatchString(p.Container) || len(p.Container) > 63 {
		return badRequest("properties.container", "'%s' is not the name of a container: 3 to 63 lower-case letters, digits and single hyphens.", p.Container)
	}
	return nil
}

// prepareAsset makes the container. It is there when the asset is.
func (s *Service) prepareAsset(ctx context.Context, w *arm.Write) error {
	if w.Old != nil {
		return nil
	}
	var p assetProperties
	if err := decodeStored(w.New, &p); err != nil {
		return err
	}
	a, err := s.account(ctx, w.New.ID)
	if err != nil {
		return err
	}
	t, err := s.storageTarget(a, p.StorageAccountName)
	if err != nil {
		return err
	}
	return storageDenied(s.createContainer(ctx, t, p.Container))
}

func (s *Service) listStreamingLocators(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	type entry struct {
		Name string `json:"name"`
		locatorProperties
	}
	list := []entry{}
	err := s.o.DB.View(r.Context(), func(tx *store.Tx) error {
		list = []entry{}
		locators, err := s.o.Manager.List(r.Context(), tx, streamingLocatorType, accountID(res.ID))
		if err != nil {
			return err
		}
		for _, l := range locators {
			var p locatorProperties
			if err := decodeStored(l, &p); err != nil {
				return err
			}
			if strings.EqualFold(p.AssetName, res.ID.Name()) {
				list = append(list, entry{l.ID.Name(), p})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"streamingLocators": list})
}

// asset returns an asset of the account; azure.Error 400 in the recorded words when there is none.
func (s *Service) asset(ctx context.Context, tx *store.Tx, acct azure.ResourceID, name, target string) (*assetProperties, error) {
	if err := checkChildName(name); err != nil {
		return nil, badRequest(target, "'%s' is not the name of an asset.", name)
	}
	res, err := s.o.Manager.Get(ctx, tx, accountID(acct).Child("assets", name))
	if errors.Is(err, notFound) {
		return nil, badRequest(target, "Asset '%s' is not found under account '%s'.", name, accountID(acct).Name())
	} else if err != nil {
		return nil, err
	}
	var p assetProperties
	return &p, decodeStored(res, &p)
}

// notFound is what the resource manager gives for a resource that does not exist.
var notFound = azure.Errorf(http.StatusNotFound, "ResourceNotFound", "")

// decodeProperties reads the properties that a client sent; none are as good as an empty object.
func decodeProperties(raw json.RawMessage, v any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return badRequest("properties", "The properties could not be read: %v.", err)
	}
	return nil
}

// decodeStored reads a resource's properties as we stored them.
func decodeStored(res *arm.Resource, v any) error {
	if err := json.Unmarshal(res.Properties, v); err != nil {
		return fmt.Errorf("reading %s: %w", res.ID, err)
	}
	return nil
}

func encodeProperties(res *arm.Resource, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("storing %s: %w", res.ID, err)
	}
	res.Properties = b
	return nil
}

// set copies what a client sent.
func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// changes reports whether a client sent something else than what is.
func changes(sent *string, is string) bool { return sent != nil && *sent != "" && *sent != is }
