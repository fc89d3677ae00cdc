package media

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds content keys, policy secrets, locator ids and the state of storage mappings, beside the resources that
// the resource manager holds.
var Schema = store.Schema{Name: "media", FS: schemaFS}

// Options of a Service. All are needed but Groups, PrivateInputs and Log.
type Options struct {
	DB       *store.DB
	Keyring  *seal.Keyring
	Manager  *arm.Manager
	RBAC     *rbac.RBAC
	Audit    *audit.Log
	Jobs     *job.Queue // New adds its handler, so New comes before Jobs.Start
	Clients  *onbehalf.Clients
	Keys     *customerkey.Keeper
	Hosts    azure.Hosts
	TenantID string
	WorkDir  string // scratch space of encoding jobs; everything in it may be lost at any time
	// Groups returns the groups that a principal is in, through others too, which may hold roles for it; nil is none.
	Groups func(ctx context.Context, principalID string) ([]string, error)
	// PrivateInputs lets JobInputHttp fetch from private, loopback and other special addresses.
	PrivateInputs bool
	Log           *slog.Logger
}

// Service is Microsoft.Media. It is safe for concurrent use.
type Service struct {
	o             Options
	access        *storageAccess
	blocks        *blockCache
	presentations *presentations
	prepared      preparedWrites
	public        *http.Client // fetches what customers name
	streaming     azure.Router
	keyDelivery   azure.Router

	stop  chan struct{}
	close func()
	wg    sync.WaitGroup
}

// New returns the service and adds its job handler to o.Jobs.
func New(o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Service{o: o, stop: make(chan struct{}), public: o.Clients.Public(o.PrivateInputs)}
	s.close = sync.OnceFunc(func() { close(s.stop) })
	s.access = &storageAccess{service: s}
	s.blocks = newBlockCache(blockCacheSize)
	s.presentations = newPresentations(presentationCacheSize)
	s.streaming = s.streamingRouter()
	s.keyDelivery = s.keyDeliveryRouter()
	for _, r := range []*azure.Router{&s.streaming, &s.keyDelivery} {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("making the media service: %w", err)
		}
	}
	if err := s.clearScratch(); err != nil {
		return nil, err
	}
	o.Jobs.Handle(encodeJob, encodersAtOnce, s.runEncodeJob)
	return s, nil
}

// Start begins to look after the accounts' storage and abandoned jobs; Close stops.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		<-s.stop
		cancel()
	})
	s.wg.Go(func() { s.repeat(ctx, watchEvery, "looking after the accounts' storage", s.watchStorage) })
	s.wg.Go(func() { s.repeat(ctx, settleEvery, "looking after abandoned media jobs", s.settleJobs) })
}

// repeat does the work again and again; work that takes long is paused for three times as long, so that thousands of
// accounts do not take the machine for themselves.
func (s *Service) repeat(ctx context.Context, every time.Duration, what string, work func(context.Context) error) {
	for pause := every; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		begun := time.Now()
		if err := work(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.ErrorContext(ctx, what, "err", err)
		}
		pause = max(every, 3*time.Since(begun))
	}
}

// Close stops and waits for what is under way.
func (s *Service) Close() error {
	s.close()
	s.wg.Wait()
	return nil
}

// StreamingHandler serves the hosts {endpoint}-{account}.streaming.
func (s *Service) StreamingHandler() http.Handler { return &s.streaming }

// KeyDeliveryHandler serves the hosts {account}.keydelivery.
func (s *Service) KeyDeliveryHandler() http.Handler { return &s.keyDelivery }

// Routes lists the rows of both data planes, for documentation and tests.
func (s *Service) Routes() []azure.Route {
	return slices.Concat(s.streaming.Routes, s.keyDelivery.Routes)
}

// Types of resources.
const (
	accountType           = "Microsoft.Media/mediaservices"
	assetType             = "Microsoft.Media/mediaServices/assets"
	transformType         = "Microsoft.Media/mediaServices/transforms"
	jobType               = "Microsoft.Media/mediaServices/transforms/jobs"
	contentKeyPolicyType  = "Microsoft.Media/mediaServices/contentKeyPolicies"
	streamingPolicyType   = "Microsoft.Media/mediaServices/streamingPolicies"
	streamingLocatorType  = "Microsoft.Media/mediaServices/streamingLocators"
	streamingEndpointType = "Microsoft.Media/mediaservices/streamingEndpoints"
	connectionType        = "Microsoft.Media/mediaservices/privateEndpointConnections"
	linkResourceType      = "Microsoft.Media/mediaservices/privateLinkResources"
	storageAccountType    = "Microsoft.Storage/storageAccounts"
	vaultType             = "Microsoft.KeyVault/vaults"
)

// Clients mix the api-versions of the areas, so every type understands all of them.
var versions = []string{
	"2018-07-01", "2020-05-01", "2021-05-01", "2021-06-01", "2021-11-01", "2022-07-01", "2022-08-01", "2022-11-01", "2023-01-01",
}

// Provider returns Microsoft.Media for the resource manager.
func (s *Service) Provider() arm.Provider {
	return arm.Provider{
		Namespace: "Microsoft.Media",
		Types: []arm.Type{
			s.accountType(), s.assetType(), s.transformType(), s.jobType(), s.contentKeyPolicyType(),
			s.streamingPolicyType(), s.streamingLocatorType(), s.streamingEndpointType(), s.connectionType(), s.linkResourceType(),
		},
		Commands:          s.commands(),
		OperationStatuses: "mediaServicesOperationStatuses",
		OperationResults:  "mediaServicesOperationResults",
	}
}

// child returns what all types below an account have in common.
func child(name string) arm.Type {
	return arm.Type{Name: name, Versions: versions, ListKey: "@odata.nextLink", CheckName: checkChildName}
}

var (
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	badInName   = regexp.MustCompile(`[<>%&:\\?/*+.'\x00-\x1f\x7f]`)
)

func checkAccountName(name string) error {
	if !accountName.MatchString(name) {
		return badRequest("name", "The Media Services account name should be between 3 and 24 characters and may contain only lowercase letters and numbers.")
	}
	return nil
}

func checkChildName(name string) error {
	if name == "" || len(name) > 260 || badInName.MatchString(name) {
		return badRequest("name", "'%s' is not a valid name. It has at most 260 characters, and none of < > %% & : \\ ? / * + . ' or control characters.", name)
	}
	return nil
}

// badRequest is the code that Media Services gives for every bad input; the message says what is wrong.
func badRequest(target, format string, args ...any) *azure.Error {
	e := azure.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
	e.Target = target
	return e
}

// accountID returns the account that a resource is, or is below of.
func accountID(id azure.ResourceID) azure.ResourceID {
	return azure.ResourceID{Scope: id.Scope, Namespace: "Microsoft.Media", Types: []string{"mediaservices"}, Names: id.Names[:1]}
}

// account returns the account that a resource is, or is below of.
func (s *Service) account(ctx context.Context, id azure.ResourceID) (*account, error) {
	var a *account
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		res, err := s.o.Manager.Get(ctx, tx, accountID(id))
		if err == nil {
			a, err = decodeAccount(res)
		}
		return err
	})
	return a, err
}
