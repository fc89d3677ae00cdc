package blob

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"sync"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds accounts, containers, blobs and what is known of their bytes.
var Schema = store.Schema{Name: "blob", FS: schemaFS}

// serviceVersion is the newest x-ms-version that is known. Newer ones are served as this one.
const serviceVersion = "2026-12-06"

// Options of a Storage.
type Options struct {
	DB       *store.DB
	Objects  object.Store // keys that end in "-blob" are this package's own
	Keyring  *seal.Keyring
	Keys     *customerkey.Keeper // account keys, of the accounts by ARM ID
	Manager  *arm.Manager
	RBAC     *rbac.RBAC
	Audit    *audit.Log
	Verify   azure.VerifyToken
	Hosts    azure.Hosts
	TenantID string
	Log      *slog.Logger
}

// Storage is the storage service. It is safe for concurrent use.
type Storage struct {
	Options
	accounts accountCache
	router   azure.Router
	rows     map[rowKey]*azure.Route

	stop context.CancelFunc
	done sync.WaitGroup
}

// New returns a storage service. Its provider is registered with the resource manager by the caller.
func New(o Options) *Storage {
	s := &Storage{Options: o}
	s.accounts.entries = map[string]cachedAccount{}
	s.router = azure.Router{
		Service: azure.Blob, Routes: s.Routes(), Lookup: s.lookup, Before: before,
		Authenticate: s.authenticate, Authorize: s.authorize, Render: azure.RenderStorage, NotFound: notFound,
	}
	s.rows = make(map[rowKey]*azure.Route, len(s.router.Routes))
	for i := range s.router.Routes {
		row := &s.router.Routes[i]
		s.rows[keyOf(row)] = row
	}
	return s
}

// Handler serves the Blob data plane: {account}.blob.{domain}/{container}/{blob}, and with any other host name
// /{account}/{container}/{blob}.
func (s *Storage) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get("X-Ms-Version")
		if version == "" || version > serviceVersion {
			version = serviceVersion
		}
		w.Header().Set("X-Ms-Version", version)
		s.router.ServeHTTP(w, r)
	})
}

// Check validates the routes.
func (s *Storage) Check() error { return s.router.Check() }

// Start begins to collect garbage. Close stops.
func (s *Storage) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.done.Go(func() { s.collectForever(ctx) })
}

// Close stops collecting and waits for it. It may be called without Start.
func (s *Storage) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.done.Wait()
	return nil
}
