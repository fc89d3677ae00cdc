package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// request is a resource as a client sends it. A member that is absent stays nil.
type request struct {
	Location   *string            `json:"location"`
	Tags       *map[string]string `json:"tags"`
	Kind       *string            `json:"kind"`
	SKU        json.RawMessage    `json:"sku"`
	Identity   json.RawMessage    `json:"identity"`
	Properties json.RawMessage    `json:"properties"`

	identity *identityRequest
}

// Limits of what is kept of an envelope as it was sent. A list holds many.
const (
	maxSKU  = 4 << 10 // bytes
	maxKind = 256
)

func errContent(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: "+format, args...)
}

// decode reads a body that must be one JSON object.
func decode(r *azure.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	switch {
	case len(body) == 0:
		return errContent("it is empty; a JSON object is needed.")
	case body[0] != '{' || !utf8.Valid(body):
		return errContent("it is not a JSON object in UTF-8.")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errContent("it could not be deserialized: %v.", err)
	}
	return nil
}

func decodeRequest(r *azure.Request) (*request, error) {
	var req request
	err := decode(r, &req)
	if err != nil {
		return nil, err
	}
	if p := req.Properties; len(p) > 0 && p[0] != '{' && string(p) != "null" {
		return nil, errContent("'properties' is not an object.")
	}
	if s := req.SKU; len(s) > 0 && s[0] != '{' && string(s) != "null" {
		return nil, errContent("'sku' is not an object.")
	}
	if k := req.Kind; len(req.SKU) > maxSKU || k != nil && len(*k) > maxKind {
		return nil, errContent("'sku' is longer than %d bytes, or 'kind' than %d.", maxSKU, maxKind)
	}
	if req.Tags != nil {
		if err := checkTags(*req.Tags); err != nil {
			return nil, err
		}
	}
	req.identity, err = parseIdentity(req.Identity)
	return &req, err
}

// checkTags applies Azure's limits: 50 tags, names of 512 characters, values of 256.
func checkTags(tags map[string]string) error {
	if len(tags) > 50 {
		return azure.Errorf(http.StatusBadRequest, "TooManyTags", "There are %d tags; a resource can have 50.", len(tags))
	}
	for name, value := range tags {
		if name == "" || utf8.RuneCountInString(name) > 512 || strings.ContainsAny(name, `<>%&\?/`) {
			return azure.Errorf(http.StatusBadRequest, "InvalidTagName",
				"The tag name '%s' is empty, longer than 512 characters or holds one of <>%%&\\?/.", name)
		}
		if utf8.RuneCountInString(value) > 256 {
			return azure.Errorf(http.StatusBadRequest, "InvalidTagValue", "The value of tag '%s' is longer than 256 characters.", name)
		}
	}
	return nil
}

// checkName is the rule for types without one of their own.
func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > 260 || name == "." || name == ".." || strings.ContainsAny(name, `<>%&:\?/`) || strings.ContainsFunc(name, unicode.IsControl) {
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceName",
			`The name '%s' is not valid: it is '.' or '..', longer than 260 characters or holds a control character or one of <>%%&:\?/.`, name)
	}
	return nil
}

// write serves PUT and PATCH.
func (m *Manager) write(t *Type, patch bool) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		ctx := r.Context()
		id, view, err := m.target(r)
		if err != nil {
			return err
		}
		req, err := decodeRequest(r)
		if err != nil {
			return err
		}
		if err := m.gate(ctx, id, Op{Target: id, Method: r.Method, Body: req.Properties}); err != nil {
			return err
		}
		if err := m.authorizeIdentities(ctx, r.Caller, id, req.identity); err != nil {
			return err
		}
		var begun *begun
		err = m.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
			begun, err = m.begin(ctx, tx, t, id, req, r, patch)
			if err == nil {
				begun.shown, err = m.show(ctx, tx, t, begun.stored, view)
			}
			return err
		})
		if err != nil && begun != nil && begun.op != nil { // perhaps stored all the same
			return m.undo(ctx, begun.op, err)
		}
		if err != nil {
			return err
		}
		return m.answerWrite(ctx, w, r, t, begun, view)
	}
}

// begun is a write after its first transaction.
type begun struct {
	write  *Write
	stored *Resource
	shown  shown
	op     *operation // nil when the write is done
}

// answerWrite does what is left of a write that is not asynchronous, and answers.
func (m *Manager) answerWrite(ctx context.Context, w http.ResponseWriter, r *azure.Request, t *Type, b *begun, view View) error {
	created := b.write.Old == nil
	status := http.StatusOK
	if created {
		if status = t.CreateStatus; status == 0 {
			status = http.StatusCreated
		}
	}
	switch {
	case b.op != nil && b.op.Work.Async:
		m.operationHeaders(w, view, b.op, b.stored)
		switch {
		case created:
			status = http.StatusCreated
		case b.write.Patch || t.UpdateStatus == 0:
			status = http.StatusAccepted
		default:
			status = t.UpdateStatus
		}
	case b.op != nil:
		if err := m.runWrite(ctx, t, b.op, b.write); err != nil {
			return m.undo(ctx, b.op, err)
		}
		err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
			if b.stored, err = m.Get(ctx, tx, b.stored.ID); err != nil {
				return err
			}
			b.shown, err = m.show(ctx, tx, t, b.stored, view)
			return err
		})
		if err != nil {
			return err
		}
	}
	w.Header().Set("ETag", b.stored.ETag)
	return azure.WriteJSON(w, status, b.shown)
}

// begin is a write's first transaction. It returns the write done, or stored as an operation.
func (m *Manager) begin(ctx context.Context, tx *store.Tx, t *Type, id azure.ResourceID, req *request, r *azure.Request, patch bool) (*begun, error) {
	parent, err := m.ancestors(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	cur, err := load(ctx, tx, id.Key())
	if err != nil {
		return nil, err
	}
	if err := m.checkWritable(ctx, tx, t, id, cur, r, patch); err != nil {
		return nil, err
	}
	wr := &Write{Body: req.Properties, Patch: patch, Version: r.Vars[varVersion], Caller: r.Caller, Query: r.URL.Query(), extra: r.Extra}
	if len(wr.Body) == 0 {
		wr.Body = json.RawMessage("null")
	}
	next := Resource{ID: under(parent, id)}
	if cur != nil {
		next = *cur
		if cur.ready {
			old := *cur
			wr.Old = &old
		} else {
			next.Properties = nil // what a failed first write left
		}
	}
	wr.New = &next
	if err := m.merge(t, &next, cur, req, patch); err != nil {
		return nil, err
	}
	next.System.stamp(r.Caller)
	if err := m.assign(ctx, tx, next.ID, next.Identity); err != nil {
		return nil, err
	}
	if err := t.Validate(ctx, tx, wr); err != nil {
		return nil, err
	}
	if t.Prepare == nil && !t.async(wr.Version) {
		next.State, next.ready, next.operation = Succeeded, true, ""
		if err := m.storeDone(ctx, tx, t, wr, cur); err != nil {
			return nil, err
		}
		return &begun{write: wr, stored: &next}, nil
	}
	op, stored, err := m.enqueueWrite(ctx, tx, t, wr, cur)
	return &begun{write: wr, stored: stored, op: op}, err
}

// storeDone stores and commits a write that needs no second step.
func (m *Manager) storeDone(ctx context.Context, tx *store.Tx, t *Type, w *Write, cur *Resource) error {
	var had *Identity
	if cur == nil {
		if err := insert(ctx, tx, t, w.New); err != nil {
			return err
		}
	} else {
		had = cur.Identity
	}
	if t.Commit != nil {
		if err := t.Commit(ctx, tx, w); err != nil {
			return err
		}
	}
	if cur != nil || t.Commit != nil {
		if err := save(ctx, tx, w.New); err != nil {
			return err
		}
	}
	return m.retire(ctx, tx, w.New.ID, had, w.New.Identity)
}

// under returns the ID of a new resource: its ancestors as they were first written.
func under(parent *Resource, id azure.ResourceID) azure.ResourceID {
	switch {
	case parent == nil:
		return id
	case id.Namespace == "": // a resource group
		return azure.ResourceID{Scope: parent.ID.Scope + "/resourceGroups/" + id.Name()}
	case parent.ID.Namespace == "":
		id.Scope = parent.ID.Scope
		return id
	case len(parent.ID.Names) == len(id.Names)-1:
		id.Scope = parent.ID.Scope
		id.Names = append(slices.Clone(parent.ID.Names), id.Name())
	}
	return id
}

// checkWritable checks what stands against a write of a resource: it is busy, missing, not as the client expects, its
// name is bad or taken.
func (m *Manager) checkWritable(ctx context.Context, tx *store.Tx, t *Type, id azure.ResourceID, cur *Resource, r *azure.Request, patch bool) error {
	if cur != nil && cur.operation != "" {
		return errBusy(cur.ID)
	}
	if err := checkConditions(r.Request, id, cur); err != nil {
		return err
	}
	if cur != nil {
		return nil
	}
	if patch {
		return errMissing(id)
	}
	check := t.CheckName
	if check == nil {
		check = checkName
	}
	if err := check(id.Name()); err != nil {
		return err
	}
	if !t.Unique {
		return nil
	}
	taken, err := query(ctx, tx, `unique_name = $1`, uniqueName(t.Name, id.Name()))
	if err != nil || len(taken) == 0 {
		return err
	}
	code := t.TakenCode
	if code == "" {
		code = "NameNotAvailable"
	}
	return azure.Errorf(http.StatusConflict, code, "The name '%s' is already taken by another resource of type '%s'.", id.Name(), t.Name)
}

// checkConditions applies If-Match and If-None-Match; cur is nil when there is no resource.
func checkConditions(r *http.Request, id azure.ResourceID, cur *Resource) error {
	matches := func(header string) bool {
		if cur == nil {
			return false
		}
		for _, tag := range strings.Split(header, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.Trim(tag, `"`) == strings.Trim(cur.ETag, `"`) {
				return true
			}
		}
		return false
	}
	if h := r.Header.Get("If-Match"); h != "" && !matches(h) {
		return azure.Errorf(http.StatusPreconditionFailed, "PreconditionFailed",
			"The condition 'If-Match: %s' was not met: '%s' does not exist or has changed.", h, id)
	}
	if h := r.Header.Get("If-None-Match"); h != "" && matches(h) {
		return azure.Errorf(http.StatusPreconditionFailed, "PreconditionFailed",
			"The condition 'If-None-Match: %s' was not met: '%s' exists.", h, id)
	}
	return nil
}

// merge applies the request's envelope to next; cur is the resource as it stands, nil for a new one.
func (m *Manager) merge(t *Type, next, cur *Resource, req *request, patch bool) error {
	if t.Tracked {
		if err := m.mergeLocation(t, next, cur, req.Location); err != nil {
			return err
		}
		if req.Tags != nil {
			next.Tags = *req.Tags
		} else if !patch {
			next.Tags = nil
		}
	}
	if req.Kind != nil {
		next.Kind = *req.Kind
	}
	if s := req.SKU; len(s) > 0 && string(s) != "null" {
		next.SKU = s
	}
	if !t.Identity {
		if req.identity != nil && (req.identity.Type == nil || !strings.EqualFold(*req.identity.Type, typeNone)) {
			return azure.Errorf(http.StatusBadRequest, "IdentityNotSupported", "Resources of type '%s' have no identity.", t.Name)
		}
		return nil
	}
	var had *Identity
	if cur != nil {
		had = cur.Identity
	}
	var err error
	next.Identity, err = mergeIdentity(had, req.identity, patch)
	return err
}

func (m *Manager) mergeLocation(t *Type, next, cur *Resource, location *string) error {
	if location == nil || *location == "" {
		if cur == nil {
			return azure.Errorf(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
		}
		return nil
	}
	name := normalLocation(*location)
	switch {
	case m.locations[name] == "":
		return azure.Errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType",
			"The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.",
			*location, t.Name, strings.Join(m.order, ","))
	case cur != nil && cur.ready && cur.Location != name && typeKey(cur.ID) == groupType:
		return azure.Errorf(http.StatusConflict, "InvalidResourceGroupLocation",
			"Invalid resource group location '%s'. The Resource group already exists in location '%s'.", name, cur.Location)
	case cur != nil && cur.ready && cur.Location != name:
		return azure.Errorf(http.StatusConflict, "InvalidResourceLocation",
			"The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in "+
				"location '%s'. Please select a new resource name.", cur.ID.Name(), cur.Location, cur.ID.ResourceGroup(), name)
	}
	next.Location = name
	return nil
}

// ancestors checks that what a resource stands below is there and can be written into, and returns its parent.
func (m *Manager) ancestors(ctx context.Context, tx *store.Tx, id azure.ResourceID) (*Resource, error) {
	var chain []azure.ResourceID
	for p := id; typeKey(p) != subscriptionType && p.Scope != "/"; {
		p = p.Parent()
		if m.types[typeKey(p)] != nil { // not "blobServices", which may be nobody's resource
			chain = append(chain, p)
		}
	}
	var parent *Resource
	for i := len(chain) - 1; i >= 0; i-- {
		res, err := load(ctx, tx, chain[i].Key())
		switch {
		case err != nil:
			return nil, err
		case res == nil:
			return nil, errNoParent(id, chain[i])
		case res.State == Deleting && typeKey(res.ID) == groupType:
			return nil, azure.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted",
				"The resource group '%s' is being deleted; nothing can be written in it.", res.ID.Name())
		case res.State == Deleting:
			return nil, errBusy(res.ID)
		case !res.ready:
			return nil, errNotReady(res)
		}
		parent = res
	}
	return parent, nil
}

func errNotReady(res *Resource) *azure.Error {
	return azure.Errorf(http.StatusConflict, "ResourceNotReady",
		"'%s' is not ready: its provisioning state is '%s'.", res.ID, res.State).WithHeader("Retry-After", "1")
}

func errNoParent(id, parent azure.ResourceID) *azure.Error {
	if parent.Namespace == "" {
		return errMissing(parent)
	}
	return azure.Errorf(http.StatusNotFound, "ParentResourceNotFound",
		"Failed to perform an operation on resource(s) of type '%s', because the parent resource '%s' could not be found.",
		id.Type(), parent)
}
