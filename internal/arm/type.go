package arm

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Write is a PUT or PATCH on its way.
type Write struct {
	Old     *Resource       // nil when the resource is new
	New     *Resource       // envelope (location, tags, identity, kind, sku) already merged; Properties still Old's
	Body    json.RawMessage // "properties" as the client sent it; null when it sent none
	Patch   bool
	Version string // api-version
	Caller  *azure.Caller
	Query   map[string][]string
	// Private is what Validate keeps for Prepare and Commit of the same write (secrets, parsed forms). For a type that
	// is asynchronous it is kept in the database as JSON: there Validate stores a json.RawMessage or a value that
	// encodes to one, Prepare and Commit find a json.RawMessage, and it, like Body, holds no secret that is not sealed.
	Private any

	extra     any    // what the manager's own handler planned
	operation string // of an asynchronous write, in Prepare
}

// Type is a resource type that a service registers. Children are types of their own ("Microsoft.Media/mediaServices/assets").
//
// A write runs in up to three steps:
//
//  1. Validate, in a transaction: checks w.Body, sets w.New.Properties. For a type with Prepare the row is stored
//     now (new resources with State InProgress; identities that the write adds exist from here on), otherwise Commit
//     follows in the same transaction.
//  2. Prepare, outside any transaction: calls over the wire. It may run again after a crash, so it is idempotent.
//     An error fails the write: an existing resource keeps its old properties, a new one is left with State Failed
//     when the write is asynchronous and removed when it is not.
//  3. Commit, in a transaction in which w.New becomes what is stored with State Succeeded; identities that the write
//     removes die here. A concurrent write of the same resource gives 409 before step 1. A new resource's row is there
//     when Commit begins, so Commit may make children.
//
// When Async says so, step 1 is answered with 201 or 202 (UpdateStatus for PUT of an existing one), Azure-AsyncOperation
// and Location, and steps 2 and 3 run as a durable job; otherwise they run before the answer.
//
// A resource whose first write has not ended shows State InProgress; nothing can be written below it.
type Type struct {
	Name     string   // "Microsoft.Storage/storageAccounts", in the registered case
	Versions []string // api-versions that are understood, oldest first
	Tracked  bool     // has location and tags, lives in a resource group
	Identity bool     // may have an identity block
	ReadOnly bool     // PUT, PATCH and DELETE are refused with 405
	NoPatch  bool     // PATCH is refused with 405
	ListKey  string   // the name of the link to the next page; "" is "nextLink"
	PageSize int      // 0 is 100

	Unique       bool   // names are unique in the server, whatever their group
	TakenCode    string // of the 409 for a name that is taken; "" is "NameNotAvailable"
	CreateStatus int    // answers a synchronous PUT that makes a resource; 0 is 201
	UpdateStatus int    // answers an asynchronous PUT of an existing resource; 0 is 202

	CheckName func(name string) error // azure.Error 400 for a bad name
	Validate  func(ctx context.Context, tx *store.Tx, w *Write) error
	Prepare   func(ctx context.Context, w *Write) error
	Commit    func(ctx context.Context, tx *store.Tx, w *Write) error
	Async     func(version string) bool

	// Delete removes what the service keeps of the resource. Children are deleted first, each with its own Delete.
	Delete func(ctx context.Context, tx *store.Tx, res *Resource) error
	// PrepareDelete runs before Delete, outside the transaction, for calls over the wire. It may run again after a
	// crash or a refusal of another resource's, so it is idempotent.
	PrepareDelete func(ctx context.Context, res *Resource) error

	// Move keeps what the service knows of a resource under res.ID, which it is about to have, and not under old. A type
	// without it cannot be moved to another resource group. An azure.Error refuses the move.
	Move func(ctx context.Context, tx *store.Tx, res *Resource, old azure.ResourceID) error

	// Show shapes a resource for a client; nil shows Properties as they are with provisioningState for tracked types.
	// It returns the whole "properties" object.
	Show func(ctx context.Context, tx *store.Tx, res *Resource, v View) (properties any, err error)

	// Gate runs before every operation on a resource of this type and on all below it, after authorization. It is how a
	// media account that cannot reach its customer key refuses.
	Gate func(ctx context.Context, res *Resource, op Op) error

	// Actions are the POST operations on one resource, by lower-case name; the RBAC action is {type}/{Name}/action.
	Actions []Action

	action         string // what RBAC actions begin with; "" is Name
	atSubscription bool   // may be written at a subscription too
	deleteStatus   int    // answers DELETE; 0 is 200
	// fail keeps in a resource why its write failed, in the place of putting it back to what it was. res is what was to
	// be written, in State Failed.
	fail func(res *Resource, cause *azure.Error) error
}

// View says for whom a resource is shown.
type View struct {
	URLs    azure.URLs
	Version string
}

// Op is an operation on a resource or on something below it.
type Op struct {
	Target azure.ResourceID // what the operation is on
	Method string           // GET, PUT, PATCH, DELETE, POST
	Action string           // the POST action's name
	List   bool             // the target is a collection
	Body   json.RawMessage  // "properties" as the client sent it, of PUT and PATCH
}

// Action is a POST operation on a resource.
type Action struct {
	Name   string // as in the path, e.g. "listKeys"
	Handle func(w http.ResponseWriter, r *azure.Request, res *Resource) error
}

// Command is a provider's operation that is not on one resource, such as checkNameAvailability. Pattern follows
// azure.Route and begins with the provider's path ("/providers/Microsoft.Media/..."); subscription-level patterns begin
// with /subscriptions/{subscription}, group-level ones with /subscriptions/{subscription}/resourceGroups/{resourceGroup}.
// A command is decided at the scope that its path begins with: the deepest registered resource, else the group,
// subscription or tenant. It wins over a type of the same path.
type Command = azure.Route

// Provider is a resource provider.
type Provider struct {
	Namespace string // "Microsoft.Media"
	Types     []Type
	Commands  []Command

	OperationStatuses string // path segment of Azure-AsyncOperation; "" is "operationStatuses"
	OperationResults  string // path segment of Location; "" is "operationResults"
}

// Identities is what the resource manager needs of the directory.
type Identities interface {
	AssignSystem(ctx context.Context, tx *store.Tx, resource azure.ResourceID) (principalID, clientID string, err error)
	RemoveSystem(ctx context.Context, tx *store.Tx, resource azure.ResourceID) error
	UserAssigned(ctx context.Context, tx *store.Tx, id azure.ResourceID) (principalID, clientID string, err error)
	PrincipalType(ctx context.Context, tx *store.Tx, id string) (string, error)
	// Living reports whether a principal is there and enabled: what it began may go on.
	Living(ctx context.Context, tx *store.Tx, id string) (bool, error)
}

// prefix is what the type's RBAC actions begin with.
func (t *Type) prefix() string {
	if t.action != "" {
		return t.action
	}
	return t.Name
}

// async reports whether a write under an api-version is answered before it is done.
func (t *Type) async(version string) bool { return t.Async != nil && t.Async(version) }
