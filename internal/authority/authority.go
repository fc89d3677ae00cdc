package authority

import (
	"context"
	"crypto/x509"
	"embed"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/outbound"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds the signing keys, and users' sessions and grants.
var Schema = store.Schema{Name: "authority", FS: schemaFS}

// Options of an Authority.
type Options struct {
	DB        *store.DB
	Keyring   *seal.Keyring
	Directory *directory.Directory
	Audit     *audit.Log
	Hosts     azure.Hosts
	TenantID  string

	// MayConsentForAll reports whether a user, with the groups that the user is in, may let applications act as any user: who
	// may change the directory. nil lets nobody.
	MayConsentForAll func(ctx context.Context, principals []string) (bool, error)

	// PrivateNetworks lets federated credentials name issuers whose hosts are not on the public internet.
	PrivateNetworks bool
	IssuerRoots     *x509.CertPool // whom to trust for issuers' TLS certificates; nil is the system's roots

	KeyLifetime time.Duration // how long a key signs; 0 is 7 days, at least 24 h
	// ArcTokenDir is the folder in which Azure Arc's clients look for keys (/var/opt/azcmagent/tokens, readable by their
	// group alone). Empty switches Azure Arc's endpoint off.
	ArcTokenDir string
	Log         *slog.Logger // for a rotation that fails in the background; nil is slog.Default()
}

// Authority issues and verifies tokens for one tenant. It is safe for concurrent use.
type Authority struct {
	o        Options
	login    *azure.Router
	keys     atomic.Pointer[keySet]
	loading  sync.Mutex // held while the keys are read
	loaded   time.Time  // when they were last read; guarded by loading
	verified verifiedTokens
	issued   issuedTokens
	refused  refusals
	limits   limits
	issuers  *issuers
	arc      *arcKeys                 // nil when it is switched off
	grants   rowcache.Cache[struct{}] // of users, that live: by id
	guesses  guesses

	stop    context.CancelFunc
	stopped chan struct{}
}

// Open loads the signing keys, makes the first, and starts their rotation.
func Open(ctx context.Context, o Options) (*Authority, error) {
	o.TenantID = strings.ToLower(o.TenantID)
	if o.KeyLifetime == 0 {
		o.KeyLifetime = 7 * 24 * time.Hour
	}
	if o.KeyLifetime < 24*time.Hour {
		return nil, fmt.Errorf("opening the authority: a key lifetime of %v is shorter than 24 h", o.KeyLifetime)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	a := &Authority{o: o, stopped: make(chan struct{}), issuers: newIssuers(outbound.Options{PrivateNetworks: o.PrivateNetworks, Roots: o.IssuerRoots})}
	a.keys.Store(&keySet{})
	var err error
	if a.login, err = a.loginRouter(); err != nil {
		return nil, fmt.Errorf("opening the authority: %w", err)
	}
	if a.arc, err = openArc(o.ArcTokenDir); err != nil {
		return nil, fmt.Errorf("opening the authority: %w", err)
	}
	if err := a.rotate(ctx); err != nil {
		return nil, fmt.Errorf("opening the authority: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	go a.keepRotating(background)
	return a, nil
}

// Close stops the rotation.
func (a *Authority) Close() error {
	a.stop()
	<-a.stopped
	a.arc.close()
	return nil
}

// Handler serves the login host: discovery, keys, token endpoints. It is an *azure.Router whose rows are all public.
func (a *Authority) Handler() http.Handler { return a.login }

// Routes lists the rows of the login host, for documentation and tests.
func (a *Authority) Routes() []azure.Route { return a.login.Routes }

// issuer is the iss of every token, in the form of Entra's version 1.0 tokens.
func (a *Authority) issuer() string { return "https://sts.windows.net/" + a.o.TenantID + "/" }

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
