package keyreel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/authority"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/blob"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/durable"
	"github.com/keyreel/keyreel/internal/front"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/keyvault"
	"github.com/keyreel/keyreel/internal/media"
	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/outbound"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// Server is an open server. Its methods are safe for concurrent use.
type Server struct {
	config Config
	log    *slog.Logger
	hosts  azure.Hosts
	ca     *front.CA
	own    *tls.Certificate
	pinned *tls.Certificate // Service Fabric's; nil when it is off

	*Client // how to reach this server

	listeners listeners

	db        *store.DB
	keyring   *seal.Keyring
	audit     *audit.Log
	rbac      *rbac.RBAC
	directory *directory.Directory
	authority *authority.Authority
	jobs      *job.Queue
	manager   *arm.Manager
	keys      *customerkey.Keeper
	vaults    *keyvault.Vaults
	storage   *blob.Storage
	media     *media.Service
	graph     *directory.Graph
	front     *front.Front

	install Installation
	closers []func() error // in order of opening
}

// Open listens, opens the database and every service, and on the first start makes the tenant, a subscription, the
// local CA and an administrator. Nothing is answered before Serve.
func Open(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	s := &Server{config: c, log: log}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if err := s.config.validate(); err != nil {
		return err
	}
	if err := durable.MakeDir(s.config.Data, 0o700); err != nil {
		return err
	}
	steps := []func(context.Context) error{s.listen, s.openStorage, s.openIdentity, s.openServices, s.setUp, s.announce}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// onClose registers a step of Close.
func (s *Server) onClose(fn func() error) { s.closers = append(s.closers, fn) }

func (s *Server) openStorage(ctx context.Context) (err error) {
	s.db, err = store.Open(ctx, store.Options{URL: s.config.database(), Log: s.log, Schemas: []store.Schema{
		installSchema, seal.Schema, job.Schema, audit.Schema, rbac.Schema, directory.Schema, authority.Schema,
		arm.Schema, customerkey.Schema, keyvault.Schema, blob.Schema, media.Schema,
	}})
	if err != nil {
		return err
	}
	s.onClose(s.db.Close)
	return nil
}

func (s *Server) openIdentity(ctx context.Context) (err error) {
	if s.install, err = s.installation(ctx); err != nil {
		return err
	}
	if s.keyring, err = s.openKeyring(ctx); err != nil {
		return err
	}
	if s.audit, err = audit.Open(ctx, s.db); err != nil {
		return err
	}
	s.onClose(s.audit.Close)
	if s.rbac, err = rbac.New(ctx, s.db); err != nil {
		return err
	}
	s.onClose(s.rbac.Close)
	s.directory = &directory.Directory{DB: s.db, TenantID: s.install.TenantID, Purge: func(ctx context.Context, tx *store.Tx, principalID string) error {
		return s.rbac.Purge(ctx, tx, principalID, "")
	}}
	roots, err := s.config.issuerRoots()
	if err != nil {
		return err
	}
	arcFolder, err := s.config.arcFolder()
	if err != nil {
		return err
	}
	s.authority, err = authority.Open(ctx, authority.Options{
		DB: s.db, Keyring: s.keyring, Directory: s.directory, Audit: s.audit, Hosts: s.hosts, TenantID: s.install.TenantID,
		PrivateNetworks: s.config.PrivateNetworks, IssuerRoots: roots, ArcTokenDir: arcFolder, Log: s.log,
		MayConsentForAll: func(ctx context.Context, principals []string) (bool, error) {
			return s.graph.MayChange(ctx, principals)
		},
	})
	if err != nil {
		return err
	}
	s.onClose(s.authority.Close)
	return nil
}

func (s *Server) openKeyring(ctx context.Context) (*seal.Keyring, error) {
	path := s.config.RootKey
	if path == "" {
		path = s.config.path("root.key")
	}
	root, err := seal.FileRoot(path)
	if s.config.RootPassphrase != "" {
		root, err = seal.PassphraseRoot(path, seal.Secret(s.config.RootPassphrase))
	}
	if err != nil {
		return nil, err
	}
	return seal.OpenKeyring(ctx, s.db, root)
}

func (s *Server) objects() (object.Store, error) {
	c := &s.config
	if c.S3Endpoint == "" {
		return object.OpenDir(c.path("objects"))
	}
	return object.OpenS3(object.S3Options{
		Endpoint: c.S3Endpoint, Region: c.S3Region, Bucket: c.S3Bucket, Prefix: c.S3Prefix,
		AccessKey: c.S3AccessKey, SecretKey: c.S3SecretKey, PathStyle: true,
	})
}

func (s *Server) openServices(context.Context) error {
	objects, err := s.objects()
	if err != nil {
		return err
	}
	s.jobs = job.New(job.Options{DB: s.db, Log: s.log})
	s.front = &front.Front{Hosts: s.hosts, Log: s.log}
	clients := s.clients()
	s.manager = arm.New(arm.Options{
		DB: s.db, RBAC: s.rbac, Audit: s.audit, Keyring: s.keyring, Jobs: s.jobs, Identities: s.directory, Verify: s.authority.Verify,
		Groups: s.directory.Groups, Hosts: s.hosts, TenantID: s.install.TenantID, Locations: s.config.locations(),
	})
	s.keys = customerkey.New(customerkey.Options{DB: s.db, Keyring: s.keyring, Clients: clients, Audit: s.audit, Jobs: s.jobs})
	s.vaults = keyvault.New(keyvault.Options{
		DB: s.db, Keyring: s.keyring, Manager: s.manager, RBAC: s.rbac, Audit: s.audit, Verify: s.authority.Verify,
		Hosts: s.hosts, TenantID: s.install.TenantID,
	})
	s.storage = blob.New(blob.Options{
		DB: s.db, Objects: objects, Keyring: s.keyring, Keys: s.keys, Manager: s.manager, RBAC: s.rbac, Audit: s.audit,
		Verify: s.authority.Verify, Hosts: s.hosts, TenantID: s.install.TenantID, Log: s.log,
	})
	s.media, err = media.New(media.Options{
		DB: s.db, Keyring: s.keyring, Manager: s.manager, RBAC: s.rbac, Audit: s.audit, Jobs: s.jobs, Clients: clients,
		Keys: s.keys, Hosts: s.hosts, TenantID: s.install.TenantID, Groups: s.directory.Groups, WorkDir: s.config.path("work"), PrivateInputs: s.config.PrivateNetworks, Log: s.log,
	})
	if err != nil {
		return err
	}
	for _, p := range []arm.Provider{s.directory.Provider(), s.vaults.Provider(), s.storage.Provider(), s.media.Provider()} {
		if err := s.manager.Register(p); err != nil {
			return err
		}
	}
	s.graph = &directory.Graph{Directory: s.directory, RBAC: s.rbac, Audit: s.audit, Verify: s.authority.Verify, Hosts: s.hosts, Passwords: s.authority, SignIns: s.authority}
	s.front.Services = map[string]http.Handler{
		azure.Login: s.authority.Handler(), azure.Management: s.manager.Handler(), azure.Vault: s.vaults.Handler(),
		azure.Blob: s.storage.Handler(), azure.Streaming: s.media.StreamingHandler(), azure.KeyDelivery: s.media.KeyDeliveryHandler(),
		azure.Graph: s.graph.Handler(), azure.Authorization: s.manager.DecisionHandler(),
	}
	s.start()
	return nil
}

// clients are those with which resources act. They reach what customers name: vaults and storage accounts elsewhere.
func (s *Server) clients() *onbehalf.Clients {
	elsewhere := outbound.HTTPS{Next: outbound.NewTransport(outbound.Options{PrivateNetworks: s.config.PrivateNetworks})}
	return &onbehalf.Clients{
		Token:     s.authority.IdentityToken,
		Transport: &onbehalf.InProcess{Handler: s.front, Owns: s.owns, Next: elsewhere},
	}
}

// start begins the work that goes on without a request. Everything can be called by now.
func (s *Server) start() {
	s.storage.Start()
	s.onClose(s.storage.Close)
	s.keys.Start()
	s.onClose(s.keys.Close)
	s.media.Start()
	s.onClose(s.media.Close)
	s.jobs.Start()
	s.onClose(s.jobs.Close)
}

// owns reports whether a host is this server's: under its own domain, and under Azure's public names, which stand for
// this server here. What is meant for a customer's vault never reaches a stranger's of that name, not even when the vault
// is gone: the request may hold a key.
func (s *Server) owns(host string) bool {
	_, ok := s.hosts.Parse(host)
	return ok
}

// announce writes down where the server is, for programs that share its data folder.
func (s *Server) announce(context.Context) error {
	where := whereabouts{
		Addr: s.listeners.public.Addr().String(), Identity: s.listeners.identity.Addr().String(), Domain: s.hosts.Domain, Port: s.hosts.Port,
		TenantID: s.install.TenantID, SubscriptionID: s.install.SubscriptionID, Arc: s.config.ArcTokens != "",
	}
	if s.listeners.imds != nil {
		where.IMDS = s.listeners.imds.Addr().String()
	}
	if s.pinned != nil {
		where.Fabric, where.FabricThumbprint = s.listeners.fabric.Addr().String(), front.Thumbprint(s.pinned)
	}
	text, err := json.MarshalIndent(where, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.config.path(serverFile), append(text, '\n'), 0o600); err != nil {
		return err
	}
	s.Client, err = Connect(s.config.Data)
	return err
}

// Close stops the services in the reverse order of opening. It is called after Serve has returned.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}
