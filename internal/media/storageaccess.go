package media

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"golang.org/x/sync/singleflight"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/rbac"
)

const (
	// trustFor is how long bytes may be served from memory after storage last authorized a request for their blob.
	trustFor = 5 * time.Second
	// askEvery is how often a blob in use is asked for again, by a HEAD. Between askEvery and trustFor a storage
	// account that cannot be reached (and has not refused) is borne with.
	askEvery = time.Second
	// askTimeout bounds that HEAD.
	askTimeout = 3 * time.Second
	// watchEvery is how often storage mappings that nobody uses are tried, for their status.
	watchEvery = 5 * time.Second
	// watchAtOnce bounds how many are tried side by side: storage that does not answer must not hold up the others.
	watchAtOnce = 8
)

// storageTarget is a storage account as a media account uses it.
type storageTarget struct {
	account  string // media account, ARM ID in lower case
	storage  string // storage account, ARM ID in lower case
	name     string // its name
	endpoint string
	identity onbehalf.Identity // zero when the account uses the storage account's key
}

// file is a blob in a storage account.
type file struct {
	storageTarget
	container, name string
}

// version is a blob at a moment.
type version struct {
	etag azcore.ETag
	size int64
}

// storageTarget returns how the account reaches one of its storage accounts by name; "" is the primary one.
func (s *Service) storageTarget(a *account, name string) (storageTarget, error) {
	for _, sa := range a.StorageAccounts {
		id, err := azure.ParseResourceID(sa.ID)
		if err != nil {
			return storageTarget{}, err
		}
		if name == "" && sa.Type == "Primary" || strings.EqualFold(id.Name(), name) {
			return s.mapping(a, sa)
		}
	}
	return storageTarget{}, badRequest("properties.storageAccountName", "The storage account '%s' is not attached to the media account '%s'.", name, a.Resource.ID.Name())
}

func (s *Service) mapping(a *account, sa storageAccount) (storageTarget, error) {
	id, err := azure.ParseResourceID(sa.ID)
	if err != nil {
		return storageTarget{}, err
	}
	t := storageTarget{account: a.key(), storage: id.Key(), name: id.Name(), endpoint: azure.URLs{Hosts: s.o.Hosts}.Blob(id.Name())}
	if a.StorageAuthentication == storageManagedIdentity {
		t.identity, err = a.identity(sa.Identity)
	}
	return t, err
}

// withKey reports whether the media account uses the storage account with its key.
func (t storageTarget) withKey() bool { return t.identity == onbehalf.Identity{} }

// client returns the official client of the storage account, as the identity or with the key. An identity without both
// roles gets none: storage itself asks for the one that its operation needs, and the firewall lets an account through
// that has both.
func (s *Service) client(ctx context.Context, t storageTarget) (*service.Client, error) {
	if !t.withKey() {
		if err := s.hasRoles(ctx, t); err != nil {
			return nil, s.access.observe(ctx, t, err)
		}
		return s.o.Clients.Blob(t.identity, t.endpoint)
	}
	key, err := s.storageKey(ctx, t)
	if err != nil {
		return nil, err
	}
	return s.o.Clients.BlobWithKey(t.name, key, t.endpoint)
}

// storageProblem is why storage did not do what it was asked.
type storageProblem struct {
	target  storageTarget
	denied  bool // refused, as opposed to unreachable
	missing bool // there is no such container or blob
	// refusedOther: the request itself was refused (a name, a condition, a lease), which says nothing of access.
	refusedOther bool
	code         string // storage's own, e.g. "AuthorizationPermissionMismatch"
	action       string
	err          error
}

func (p *storageProblem) Error() string { return p.code + ": " + p.detail() }
func (p *storageProblem) Unwrap() error { return p.err }

func (p *storageProblem) detail() string {
	who := fmt.Sprintf("the identity '%s' (object id '%s')", p.target.identity.IdentityID, p.target.identity.PrincipalID)
	if p.target.withKey() {
		who = "the key that the media account holds"
	}
	switch {
	case p.missing:
		return fmt.Sprintf("%s in the storage account '%s' found nothing (%s).", p.action, p.target.name, p.code)
	case p.denied && strings.HasPrefix(p.code, "KeyVault"):
		return fmt.Sprintf("The storage account '%s' refused '%s', because it cannot use the customer's key that encrypts it (%s). Mend its own identity's access to that key: whoever reads one of its blobs is told what is wrong, and so does the audit.",
			p.target.name, p.action, p.code)
	case p.denied && p.target.withKey():
		return fmt.Sprintf("The storage account '%s' refused '%s' to %s (%s). Bring the key with syncStorageKeys when it was regenerated. Where allowSharedKeyAccess is off or the firewall denies, set storageAuthentication to 'ManagedIdentity': keys pass neither.",
			p.target.name, p.action, who, p.code)
	case p.denied:
		return fmt.Sprintf("The storage account '%s' refused '%s' to %s (%s). Grant the identity the roles 'Storage Blob Data Contributor' and 'Reader' on '%s', and allow trusted services in its firewall (networkAcls.bypass AzureServices).",
			p.target.name, p.action, who, p.code, p.target.storage)
	}
	if p.refusedOther {
		return fmt.Sprintf("The storage account '%s' did not do '%s' (%s).", p.target.name, p.action, p.code)
	}
	return fmt.Sprintf("The storage account '%s' could not be reached for '%s' by %s (%s).", p.target.name, p.action, who, p.code)
}

// problem says what an error of the blob client means; nil stays nil.
func (t storageTarget) problem(action string, err error) error {
	if err == nil {
		return nil
	}
	p := &storageProblem{target: t, action: action, code: "Unreachable", err: err}
	var answer *azcore.ResponseError
	var refused *azure.Error
	switch {
	case errors.As(err, &answer):
		p.code = answer.ErrorCode
		if p.code == "" {
			p.code = http.StatusText(answer.StatusCode)
		}
		p.denied = answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden
		p.missing = answer.StatusCode == http.StatusNotFound
		p.refusedOther = !p.denied && !p.missing && answer.StatusCode >= 400 && answer.StatusCode < 500 &&
			answer.StatusCode != http.StatusRequestTimeout && answer.StatusCode != http.StatusTooManyRequests
	case errors.As(err, &refused) && refused.Status < 500: // the identity gets no token
		p.denied, p.code = true, refused.Code
	}
	return p
}

// storageRefused renders a storage problem for callers of the resource manager.
func storageRefused(err error) error {
	var p *storageProblem
	if !errors.As(err, &p) {
		return err
	}
	e := badRequest("properties.storageAccounts", "Storage account cannot be accessed.")
	e.Details = []azure.Error{{Code: p.code, Message: p.detail(), Target: p.target.storage}}
	return e
}

// storageDenied renders a storage problem for those who use what the account holds: assets, jobs, streams.
func storageDenied(err error) error {
	var p *storageProblem
	switch {
	case !errors.As(err, &p):
		return err
	case p.missing:
		return azure.Errorf(http.StatusNotFound, "MPE_STORAGE_RESOURCE_NOT_FOUND", "%s", p.detail()).Because(p.err)
	case p.denied && p.target.withKey():
		return azure.Errorf(http.StatusForbidden, "MPE_STORAGE_AUTHENTICATION_FAILED", "%s", p.detail())
	case p.denied:
		return azure.Errorf(http.StatusForbidden, "MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", "%s", p.detail())
	case p.refusedOther:
		return azure.Errorf(http.StatusConflict, "MPE_STORAGE_CONFLICT", "%s", p.detail()).Because(p.err)
	}
	return azure.Errorf(http.StatusServiceUnavailable, "MPE_STORAGE_UNREACHABLE", "%s", p.detail()).Because(p.err)
}

// tryStorage tries each storage account of the account as the identity that is to use it.
func (s *Service) tryStorage(ctx context.Context, a *account) error {
	var details []azure.Error
	for _, sa := range a.StorageAccounts {
		err := s.tryStorageAccount(ctx, a, sa)
		var p *storageProblem
		if errors.As(err, &p) {
			if err := s.o.Audit.Append(ctx, p.target.record("StorageAccount.Refused", p.code, p.detail())); err != nil {
				return fmt.Errorf("recording the use of %s: %w", sa.ID, err)
			}
			details = append(details, azure.Error{Code: p.code, Message: p.detail(), Target: sa.ID})
		} else if err != nil {
			return err
		}
	}
	if details == nil {
		return nil
	}
	e := badRequest("properties.storageAccounts", "Storage account cannot be accessed.")
	e.Details = details
	return e
}

// What an identity needs on a storage account: the reader's action, and the contributor's right to write.
var storageNeeds = []rbac.Query{
	{Action: "Microsoft.Storage/storageAccounts/read"},
	{Action: "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", Data: true},
}

// tryStorageAccount lists containers over the wire as the identity, and checks the two roles. A refusal is a
// *storageProblem.
func (s *Service) tryStorageAccount(ctx context.Context, a *account, sa storageAccount) error {
	t, err := s.mapping(a, sa)
	if err != nil {
		return err
	}
	if err := s.hasRoles(ctx, t); err != nil {
		return err
	}
	return s.listContainers(ctx, t)
}

// hasRoles checks that the identity holds both roles, under no condition. A refusal is a *storageProblem.
func (s *Service) hasRoles(ctx context.Context, t storageTarget) error {
	principals := []string{t.identity.PrincipalID}
	if s.o.Groups != nil {
		groups, err := s.o.Groups(ctx, t.identity.PrincipalID)
		if err != nil {
			return fmt.Errorf("reading the groups of %s: %w", t.identity.PrincipalID, err)
		}
		principals = append(principals, groups...)
	}
	for _, q := range storageNeeds {
		q.Principals, q.Scope = principals, t.storage
		d, err := s.o.RBAC.Decide(ctx, q)
		if err != nil {
			return fmt.Errorf("deciding on %s at %s: %w", q.Action, q.Scope, err)
		}
		if !d.Allowed {
			return &storageProblem{target: t, denied: true, code: "AuthorizationFailed", action: q.Action, err: errors.New(d.Reason())}
		}
	}
	return nil
}

func (s *Service) listContainers(ctx context.Context, t storageTarget) error {
	client, err := s.client(ctx, t)
	if err != nil {
		return err
	}
	one := int32(1)
	_, err = client.NewListContainersPager(&service.ListContainersOptions{MaxResults: &one}).NextPage(ctx)
	err = t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/read", err)
	if p := (*storageProblem)(nil); errors.As(err, &p) {
		p.missing = false // it is the account that is not there
	}
	return err
}

// mayRead finds out over the wire whether storage lets the identity read blobs of a container, by asking for one that
// need not be there: permission is decided before existence.
func (s *Service) mayRead(ctx context.Context, t storageTarget, container string) error {
	client, err := s.client(ctx, t)
	if err != nil {
		return err
	}
	_, err = client.NewContainerClient(container).NewBlobClient("probe").GetProperties(ctx, nil)
	err = t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", err)
	if p := (*storageProblem)(nil); errors.As(err, &p) && p.missing {
		return nil
	}
	return err
}

// storageAccess remembers when storage last authorized what.
type storageAccess struct {
	service *Service
	flight  singleflight.Group
	noting  sync.Mutex

	mu     sync.Mutex
	seen   map[file]sighting
	status map[[2]string]string // last recorded code by media account and storage account
}

type sighting struct {
	at time.Time
	version
}

// maxSightings bounds how many blobs are remembered; beyond it all are asked for anew.
const maxSightings = 50_000

// current returns the blob's version as storage authorized it within trustFor.
func (c *storageAccess) current(ctx context.Context, f file) (version, error) {
	c.mu.Lock()
	last, ok := c.seen[f]
	c.mu.Unlock()
	age := time.Since(last.at)
	if ok && age < askEvery {
		return last.version, nil
	}
	result := c.flight.DoChan(fmt.Sprintf("%q", []string{f.account, f.storage, f.identity.PrincipalID, f.container, f.name}), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return c.ask(ctx, f)
	})
	var v version
	var err error
	select {
	case r := <-result:
		if err = r.Err; err == nil {
			v = r.Val.(version)
		}
	case <-ctx.Done():
		return version{}, ctx.Err()
	}
	var p *storageProblem
	if errors.As(err, &p) && !p.denied && !p.missing && !p.refusedOther && ok && time.Since(last.at) < trustFor && c.trusted(f) {
		return last.version, nil
	}
	return v, err
}

// trusted reports whether a refusal has not wiped out the sighting meanwhile.
func (c *storageAccess) trusted(f file) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[f]
	return ok
}

// forget drops what is remembered of a media account, whose storage or identities have changed.
func (c *storageAccess) forget(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f := range c.seen {
		if f.account == account {
			delete(c.seen, f)
		}
	}
	for key := range c.status {
		if key[0] == account {
			delete(c.status, key)
		}
	}
}

// ask is a HEAD of the blob as the identity.
func (c *storageAccess) ask(ctx context.Context, f file) (version, error) {
	start := time.Now()
	client, err := c.service.client(ctx, f.storageTarget)
	if err != nil {
		return version{}, err
	}
	got, err := client.NewContainerClient(f.container).NewBlobClient(f.name).GetProperties(ctx, nil)
	if err := c.observe(ctx, f.storageTarget, f.problem("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", err)); err != nil {
		c.mu.Lock()
		var p *storageProblem
		if errors.As(err, &p) && p.missing {
			delete(c.seen, f)
		}
		c.mu.Unlock()
		return version{}, err
	}
	if got.ETag == nil || got.ContentLength == nil {
		return version{}, fmt.Errorf("asking for %s/%s: the answer has no ETag or length", f.container, f.name)
	}
	v := version{etag: *got.ETag, size: *got.ContentLength}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxSightings {
		c.seen = map[file]sighting{}
	}
	c.seen[f] = sighting{start, v}
	return v, nil
}

// observe takes note of how a call to storage ended (err as problem made it) and returns err. A refusal ends all trust
// in what the storage account authorized before.
func (c *storageAccess) observe(ctx context.Context, t storageTarget, err error) error {
	var p *storageProblem
	code, detail := "", ""
	switch {
	case err == nil:
	case !errors.As(err, &p) || errors.Is(err, context.Canceled): // says nothing of storage
		return err
	case p.denied:
		code, detail = p.code, p.detail()
		c.mu.Lock()
		for f := range c.seen {
			if f.storageTarget == t {
				delete(c.seen, f)
			}
		}
		c.mu.Unlock()
	case p.missing || p.refusedOther: // an answer all the same
	default:
		code, detail = p.code, p.detail()
	}
	if serr := c.note(context.WithoutCancel(ctx), t, code, detail); serr != nil {
		return errors.Join(err, serr)
	}
	return err
}

// note records and stores what was seen of a mapping, when it is something new.
func (c *storageAccess) note(ctx context.Context, t storageTarget, code, detail string) error {
	key := [2]string{t.account, t.storage}
	known := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		last, ok := c.status[key]
		return ok && last == code
	}
	if known() {
		return nil
	}
	c.noting.Lock() // those who saw the same at once
	defer c.noting.Unlock()
	if known() {
		return nil
	}
	if err := c.service.storeStatus(ctx, t, code, detail); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == nil {
		c.status = map[[2]string]string{}
	}
	c.status[key] = code
	return nil
}

// createContainer makes a container; one that is there already is as good.
func (s *Service) createContainer(ctx context.Context, t storageTarget, name string) error {
	client, err := s.client(ctx, t)
	if err != nil {
		return err
	}
	_, err = client.CreateContainer(ctx, name, &container.CreateOptions{})
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusConflict && answer.ErrorCode == "ContainerAlreadyExists" {
		err = nil
	}
	return s.access.observe(ctx, t, t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/write", err))
}
