package customerkey

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds the account keys, wrapped.
var Schema = store.Schema{Name: "customerkey", FS: schemaFS}

// Options of a Keeper.
type Options struct {
	DB      *store.DB
	Keyring *seal.Keyring
	Clients *onbehalf.Clients
	Audit   *audit.Log
	Jobs    *job.Queue
	TTL     time.Duration // how long an unwrapped account key serves past its last successful check; 0 is 5 s
	Scan    time.Duration // how often new key versions and lost access are looked for; 0 is 3 s
	// Changed is called, outside any transaction, when an owner's state or key version changed.
	Changed func(ctx context.Context, owner string, s State)
	Log     *slog.Logger // nil is slog.Default()
}

// Config says which customer key wraps an account key, and as whom it is used.
type Config struct {
	Identity onbehalf.Identity
	KeyID    string // https://{vault}/keys/{name}[/{version}], as the customer gave it
}

// State of an owner's account key.
type State struct {
	Customer   bool   // wrapped by a customer's key; otherwise by the system key alone
	KeyID      string // the version that wraps now, always with version; "" for the system key
	Accessible bool
	Problem    *Problem // why not accessible
	Since      time.Time
	Rotated    time.Time // when KeyID began to wrap
}

// Problem says why a customer key cannot be used, and what would mend it.
type Problem struct {
	Denied bool   // refused by the vault (stops at once); false is unreachable (serves until the TTL is over)
	Code   string // vault's code, e.g. "Forbidden", "KeyNotFound"; "Unreachable"
	Detail string // for people
	// Unusable: access was granted, and the key is of a kind or in a state that cannot protect an account key.
	Unusable bool
	// InUse: of a Prepare, it is not the new key but the one in use that does not give the account key.
	InUse bool
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Keeper keeps account keys: one random 256-bit key an owner (a media account, a storage account, by ARM ID), wrapped
// by the system key or by the customer's key, with the system layer over both. It is safe for concurrent use.
type Keeper struct {
	o      Options
	flight singleflight.Group // one check of an owner at a time
	stop   chan struct{}
	close  func()
	wg     sync.WaitGroup

	mu    sync.Mutex
	cache map[string]*cached
}

// callTimeout bounds everything that is asked of a vault for one purpose.
const callTimeout = 15 * time.Second

// New returns a keeper.
func New(o Options) *Keeper {
	if o.TTL == 0 {
		o.TTL = 5 * time.Second
	}
	if o.Scan == 0 {
		o.Scan = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	k := &Keeper{o: o, stop: make(chan struct{}), cache: map[string]*cached{}}
	k.close = sync.OnceFunc(func() { close(k.stop) })
	return k
}

// Start begins to look after customer keys; Close stops.
func (k *Keeper) Start() {
	k.wg.Go(k.scan)
}

// Close stops and waits for what is under way. Key serves no more from memory.
func (k *Keeper) Close() error {
	k.close()
	k.wg.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.cache)
	return nil
}

// detached returns a context for work that several callers wait for: it ends with the keeper, not with one of them.
func (k *Keeper) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	done := make(chan struct{})
	go func() {
		select {
		case <-k.stop:
			cancel()
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() { close(done); cancel() })
}

// State returns what is known of the owner's key without asking the vault.
func (k *Keeper) State(ctx context.Context, owner string) (State, error) {
	var s State
	err := k.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		s, err = k.StateIn(ctx, tx, owner)
		return err
	})
	return s, err
}

// StateIn is State within a transaction.
func (k *Keeper) StateIn(ctx context.Context, tx *store.Tx, owner string) (State, error) {
	r, err := load(ctx, tx, owner)
	if err != nil {
		return State{}, err
	}
	return r.state(), nil
}

// Check asks the vault now and returns the state after it.
func (k *Keeper) Check(ctx context.Context, owner string) (State, error) {
	_, err := k.check(ctx, owner)
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		return State{}, err
	}
	s, err := k.State(ctx, owner)
	if err != nil {
		return State{}, fmt.Errorf("checking the account key of %s: %w", owner, err)
	}
	return s, nil
}
