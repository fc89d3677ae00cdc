package blob

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// childCommands are the resource manager's view of an account's blob service and containers: the containers of the data
// plane, not copies of them. They are commands and not types because the resource manager stores nothing of them.
func (s *Storage) childCommands() []arm.Command {
	const (
		services   = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Storage/storageAccounts/{account}/blobServices"
		service    = services + "/default"
		containers = service + "/containers"
		container  = containers + "/{container}"
		prefix     = accountType + "/blobServices/"
	)
	return []arm.Command{
		{Name: "BlobServices.List", Method: "GET", Pattern: services, Action: prefix + "read", Handle: s.armListServices},
		{Name: "BlobServices.Get", Method: "GET", Pattern: service, Action: prefix + "read", Handle: s.armGetService},
		{Name: "BlobServices.Set", Method: "PUT", Pattern: service, Action: prefix + "write", Handle: s.armSetService},
		{Name: "BlobContainers.List", Method: "GET", Pattern: containers, Action: containersRead, Handle: s.armListContainers},
		{Name: "BlobContainers.Get", Method: "GET", Pattern: container, Action: containersRead, Handle: s.armGetContainer},
		{Name: "BlobContainers.Create", Method: "PUT", Pattern: container, Action: containersWrite, Handle: s.armPutContainer},
		{Name: "BlobContainers.Update", Method: "PATCH", Pattern: container, Action: containersWrite, Handle: s.armPutContainer},
		{Name: "BlobContainers.Delete", Method: "DELETE", Pattern: container, Action: containersDel, Handle: s.armDeleteContainer},
	}
}

// armAccount returns the account that the path names, in its own subscription and group and no other.
func (s *Storage) armAccount(r *azure.Request) (*account, azure.ResourceID, error) {
	id, err := azure.ParseResourceID("/subscriptions/" + r.Vars["subscription"] + "/resourceGroups/" + r.Vars["resourceGroup"] +
		"/providers/" + accountType + "/" + r.Vars["account"])
	if err != nil {
		return nil, id, err
	}
	a, err := s.account(r.Context(), strings.ToLower(r.Vars["account"]))
	if err != nil {
		return nil, id, err
	}
	if a.resource.Key() != id.Key() {
		return nil, id, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s' was not found.", id)
	}
	return a, a.resource.Child("blobServices", "default"), nil
}

type armResource struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	ETag       string `json:"etag,omitempty"`
	Properties any    `json:"properties"`
}

// showService is the one blob service of an account. What can be switched on there is not built, so it shows all of it off.
func showService(id azure.ResourceID) armResource {
	off := map[string]bool{"enabled": false}
	return armResource{ID: id.String(), Name: id.Name(), Type: id.Type(), Properties: map[string]any{
		"cors": map[string]any{"corsRules": []any{}}, "deleteRetentionPolicy": off, "containerDeleteRetentionPolicy": off,
		"isVersioningEnabled": false, "changeFeed": off, "restorePolicy": off,
	}}
}

func (s *Storage) armGetService(w http.ResponseWriter, r *azure.Request) error {
	_, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, showService(id))
}

func (s *Storage) armListServices(w http.ResponseWriter, r *azure.Request) error {
	_, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": []armResource{showService(id)}})
}

// armSetService accepts what leaves everything off.
func (s *Storage) armSetService(w http.ResponseWriter, r *azure.Request) error {
	_, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	var body struct{ Properties map[string]json.RawMessage }
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	for name, value := range body.Properties {
		if !switchedOff(value) {
			return invalidProperty(name, "The blob service's property '%s' asks for a feature that is not built; leave it out or off.", name)
		}
	}
	return azure.WriteJSON(w, http.StatusOK, showService(id))
}

// switchedOff reports whether a setting asks for nothing: null, false, {"enabled": false, ...} or no CORS rules.
func switchedOff(value json.RawMessage) bool {
	var flag *bool
	if json.Unmarshal(value, &flag) == nil {
		return flag == nil || !*flag
	}
	var set struct {
		Enabled   *bool
		CORSRules []json.RawMessage
	}
	if json.Unmarshal(value, &set) != nil {
		return false
	}
	return len(set.CORSRules) == 0 && (set.Enabled == nil || !*set.Enabled)
}

// armContainerProperties is what a client may say of a container.
type armContainerProperties struct {
	PublicAccess *string           `json:"publicAccess"`
	Metadata     map[string]string `json:"metadata"`

	DefaultEncryptionScope *string          `json:"defaultEncryptionScope"`
	DenyScopeOverride      *bool            `json:"denyEncryptionScopeOverride"`
	Immutable              *json.RawMessage `json:"immutableStorageWithVersioning"`
}

// accountScope is the encryption scope that every container has.
const accountScope = "$account-encryption-key"

func (p *armContainerProperties) check() (metadata, error) {
	switch {
	case p.PublicAccess != nil && *p.PublicAccess != "" && !strings.EqualFold(*p.PublicAccess, "None"):
		return nil, invalidProperty("publicAccess", "publicAccess '%s': anonymous access is not built; it must be 'None'.", *p.PublicAccess)
	case p.DefaultEncryptionScope != nil && !strings.EqualFold(*p.DefaultEncryptionScope, accountScope):
		return nil, invalidProperty("defaultEncryptionScope", "Encryption scopes are not built.")
	case p.DenyScopeOverride != nil && *p.DenyScopeOverride:
		return nil, invalidProperty("denyEncryptionScopeOverride", "Encryption scopes are not built.")
	case p.Immutable != nil && !switchedOff(*p.Immutable):
		return nil, invalidProperty("immutableStorageWithVersioning", "Immutability is not built.")
	}
	h := http.Header{}
	for name, value := range p.Metadata {
		h[metaPrefix+name] = []string{value}
	}
	return metadataOf(h)
}

func armContainer(parent azure.ResourceID, c *container) armResource {
	id := parent.Child("containers", c.name)
	meta := c.metadata
	if meta == nil {
		meta = metadata{}
	}
	return armResource{ID: id.String(), Name: c.name, Type: id.Type(), ETag: quoted(c.etag), Properties: map[string]any{
		"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available", "hasImmutabilityPolicy": false, "hasLegalHold": false,
		"defaultEncryptionScope": accountScope, "denyEncryptionScopeOverride": false,
		"lastModifiedTime": c.modified.UTC().Format(time.RFC3339), "metadata": meta,
	}}
}

func (s *Storage) armGetContainer(w http.ResponseWriter, r *azure.Request) error {
	a, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	var c *container
	err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		c, err = readContainer(r.Context(), tx, a.id, r.Vars["container"])
		return err
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, armContainer(id, c))
}

// armPutContainer creates a container, or changes the metadata of one that is there.
func (s *Storage) armPutContainer(w http.ResponseWriter, r *azure.Request) error {
	a, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	name := r.Vars["container"]
	if err := checkContainerName(name); err != nil {
		return err
	}
	var body struct{ Properties armContainerProperties }
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	meta, err := body.Properties.check()
	if err != nil {
		return err
	}
	status := http.StatusOK
	var c *container
	err = s.DB.Update(r.Context(), func(tx *store.Tx) (err error) {
		status = http.StatusOK
		c, err = readContainer(r.Context(), tx, a.id, name)
		if err == errNoContainer && r.Method == http.MethodPut {
			status, c = http.StatusCreated, newContainer(name, meta)
			return insertContainer(r.Context(), tx, a.id, c)
		}
		if err != nil || body.Properties.Metadata == nil {
			return err
		}
		c.metadata = meta
		return c.save(r.Context(), tx, a.id)
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, status, armContainer(id, c))
}

func (s *Storage) armDeleteContainer(w http.ResponseWriter, r *azure.Request) error {
	a, _, err := s.armAccount(r)
	if err != nil {
		return err
	}
	status := http.StatusOK
	err = s.DB.Update(r.Context(), func(tx *store.Tx) error {
		status = http.StatusOK
		c, err := readContainer(r.Context(), tx, a.id, r.Vars["container"])
		if err == errNoContainer {
			status = http.StatusNoContent
			return nil
		}
		if err != nil {
			return err
		}
		return removeContainer(r.Context(), tx, a.id, c)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(status)
	return nil
}

func (s *Storage) armListContainers(w http.ResponseWriter, r *azure.Request) error {
	a, id, err := s.armAccount(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	l := &listing{prefix: q.Get("$filter"), from: q.Get("$skipToken"), max: maxPage}
	if v := q.Get("$maxpagesize"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return invalidProperty("$maxpagesize", "$maxpagesize '%s' is not a positive number.", v)
		}
		l.max = min(n, maxPage)
	}
	var list []*container
	err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		list, err = l.containers(r.Context(), tx, a.id)
		return err
	})
	if err != nil {
		return err
	}
	out := struct {
		Value    []armResource `json:"value"`
		NextLink string        `json:"nextLink,omitempty"`
	}{Value: []armResource{}}
	if len(list) > l.max {
		q.Set("$skipToken", list[l.max].name)
		out.NextLink = s.Hosts.For(r.Request).Management() + r.URL.EscapedPath() + "?" + q.Encode()
		list = list[:l.max]
	}
	for _, c := range list {
		out.Value = append(out.Value, armContainer(id, c))
	}
	return azure.WriteJSON(w, http.StatusOK, out)
}
