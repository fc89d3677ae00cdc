package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// Options of a Manager. All are needed, but Groups and Locations.
type Options struct {
	DB         *store.DB
	RBAC       *rbac.RBAC
	Audit      *audit.Log
	Keyring    *seal.Keyring
	Jobs       *job.Queue // New adds its handlers, so New comes before Jobs.Start
	Identities Identities
	Verify     azure.VerifyToken
	Hosts      azure.Hosts
	TenantID   string
	// Groups returns the groups that a principal is in, through others too. Without it, questions about others' access
	// and assignedTo('...') know of no groups.
	Groups    func(ctx context.Context, principalID string) ([]string, error)
	Locations []string // names, e.g. "westeurope"; none is all that Azure has
}

// Manager is the resource manager. It brings Microsoft.Resources and Microsoft.Authorization itself.
type Manager struct {
	o          Options
	providers  map[string]*Provider // by lower-case namespace
	types      map[string]*typeRows // by lower-case name
	extensions map[string]*typeRows // types that can be put on any scope; Microsoft.Authorization
	commands   []commandRow         // matched in order before types
	sealed     bool                 // Handler was called
	locations  map[string]string    // display names by name
	order      []string             // names of locations, as configured
}

// New returns a manager. It registers its job handlers with o.Jobs.
func New(o Options) *Manager {
	m := &Manager{
		o: o, providers: map[string]*Provider{}, types: map[string]*typeRows{}, extensions: map[string]*typeRows{},
		locations: map[string]string{},
	}
	m.addLocations(o.Locations)
	m.addResources()
	m.addAuthorization()
	m.addDenyAssignments()
	m.addCheckAccess()
	m.addElevateAccess()
	m.addEmptyLists()
	m.addProviderOperations()
	m.addLocks()
	m.addTags()
	m.addMoves()
	m.addDeployments()
	m.addExports()
	m.addActivityLog()
	m.o.Jobs.Handle(jobWrite, 4, m.runJob)
	m.o.Jobs.Handle(jobDelete, 2, m.runJob)
	return m
}

// Register adds a provider. All are registered before Handler is called.
func (m *Manager) Register(p Provider) error {
	if m.sealed {
		return fmt.Errorf("registering %s: the handler is serving already", p.Namespace)
	}
	key := strings.ToLower(p.Namespace)
	if p.Namespace == "" || m.providers[key] != nil {
		return fmt.Errorf("registering %q: the namespace is empty or taken", p.Namespace)
	}
	if p.OperationStatuses == "" {
		p.OperationStatuses = "operationStatuses"
	}
	if p.OperationResults == "" {
		p.OperationResults = "operationResults"
	}
	for i := range p.Types {
		if err := m.addType(&p, &p.Types[i]); err != nil {
			return fmt.Errorf("registering %s: %w", p.Namespace, err)
		}
	}
	var versions []string
	for i := range p.Types {
		versions = append(versions, p.Types[i].Versions...)
	}
	for _, c := range p.Commands {
		m.commands = append(m.commands, commandRow{route: m.recorded(c), versions: versions, decide: byPath})
	}
	m.addOperations(&p, versions)
	m.providers[key] = &p
	if err := m.router().Check(); err != nil {
		return fmt.Errorf("registering %s: %w", p.Namespace, err)
	}
	return nil
}

func (m *Manager) addType(p *Provider, t *Type) error {
	key := strings.ToLower(t.Name)
	switch {
	case !strings.HasPrefix(key, strings.ToLower(p.Namespace)+"/"):
		return fmt.Errorf("type %s does not begin with its provider's namespace", t.Name)
	case m.types[key] != nil:
		return fmt.Errorf("type %s is registered twice", t.Name)
	case len(t.Versions) == 0:
		return fmt.Errorf("type %s understands no api-version", t.Name)
	case t.Validate == nil && !t.ReadOnly:
		return fmt.Errorf("type %s can be written and has no Validate", t.Name)
	}
	m.types[key] = m.typeRows(t)
	return nil
}

// CreateSubscription makes a subscription when it is missing.
func (m *Manager) CreateSubscription(ctx context.Context, tx *store.Tx, id, name string) error {
	scope, err := azure.ParseResourceID("/subscriptions/" + id)
	if err != nil {
		return err
	}
	res, err := load(ctx, tx, scope.Key())
	if err != nil || res != nil {
		return err
	}
	properties, err := json.Marshal(subscription{DisplayName: name})
	if err != nil {
		return err
	}
	return insert(ctx, tx, m.types[subscriptionType].Type, &Resource{
		ID: scope, Properties: properties, State: Succeeded, ready: true,
	})
}

// Get returns a resource by ID in any case; azure.Error 404 ResourceNotFound when there is none. One whose first write
// has not ended is there, with State InProgress or Failed.
func (m *Manager) Get(ctx context.Context, tx *store.Tx, id azure.ResourceID) (*Resource, error) {
	res, err := load(ctx, tx, id.Key())
	if err == nil && res == nil {
		return nil, errMissing(id)
	}
	return res, err
}

// Find returns the resource of a type that has a globally unique name (a vault, a storage account, a media account);
// azure.Error 404 ResourceNotFound when there is none, or its first write was never committed.
func (m *Manager) Find(ctx context.Context, tx *store.Tx, typ, name string) (*Resource, error) {
	list, err := query(ctx, tx, `unique_name = $1 AND ready = 1`, uniqueName(typ, name))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' was not found.", typ, name)
	}
	return list[0], nil
}

// List returns the resources of a type below a scope, in order of ID and so, below one parent, of name.
func (m *Manager) List(ctx context.Context, tx *store.Tx, typ string, scope azure.ResourceID) ([]*Resource, error) {
	from, to := below(scope)
	return query(ctx, tx, `type = $1 AND key > $2 AND key < $3 ORDER BY key`, strings.ToLower(typ), from, to)
}

// Update changes a stored resource in the caller's transaction, for a service's own changes (a job's state, a
// rotated key's version). fn gets the current resource; its ETag changes. While a write or deletion of the resource is
// on its way, Update gives 409 AnotherOperationInProgress; try again later.
func (m *Manager) Update(ctx context.Context, tx *store.Tx, id azure.ResourceID, fn func(*Resource) error) error {
	res, err := m.Get(ctx, tx, id)
	if err != nil {
		return err
	}
	if res.operation != "" {
		return errBusy(res.ID)
	}
	if err := fn(res); err != nil {
		return err
	}
	return save(ctx, tx, res)
}

// Create stores a resource that a service makes itself, such as an account's default streaming endpoint, in the
// caller's transaction. The type's own functions are not called; its parent must be there. Where there is such a
// resource already, nothing happens.
func (m *Manager) Create(ctx context.Context, tx *store.Tx, res *Resource) error {
	rows := m.types[typeKey(res.ID)]
	if rows == nil {
		return fmt.Errorf("creating %s: type %s is not registered", res.ID, res.ID.Type())
	}
	if old, err := load(ctx, tx, res.ID.Key()); err != nil || old != nil {
		return err
	}
	parent, err := load(ctx, tx, res.ID.Parent().Key())
	if err != nil {
		return err
	}
	if parent == nil {
		return errNoParent(res.ID, res.ID.Parent())
	}
	if res.System.CreatedAt.IsZero() {
		res.System = parent.System
	}
	res.State, res.ready = Succeeded, true
	return insert(ctx, tx, rows.Type, res)
}

// Authorize decides whether a caller may do a control-plane action at a scope, for checks beyond the route's own (a
// linked resource, such as listkeys on a storage account that a media account is to use). It returns azure.Error 403
// AuthorizationFailed, and a denial is in the audit log.
func (m *Manager) Authorize(ctx context.Context, caller *azure.Caller, action string, scope azure.ResourceID) error {
	_, err := m.decide(ctx, caller, action, false, scope.String(), "", rbac.Attributes{})
	return err
}
