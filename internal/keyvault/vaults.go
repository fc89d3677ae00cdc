package keyvault

import (
	"context"
	"embed"
	"log/slog"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds vaults' names, deleted vaults, keys and their versions.
var Schema = store.Schema{Name: "keyvault", FS: schemaFS}

// Options of Vaults. All but Log are needed.
type Options struct {
	DB       *store.DB
	Keyring  *seal.Keyring
	Manager  *arm.Manager
	RBAC     *rbac.RBAC
	Audit    *audit.Log
	Verify   azure.VerifyToken
	Hosts    azure.Hosts
	TenantID string
	Log      *slog.Logger // of the sweep's failures; nil is slog.Default()
}

// Vaults serves every vault. It is safe for concurrent use.
type Vaults struct {
	Options
	operations []operation
	rows       rows
	privates   *privateKeys
	stop       context.CancelFunc
	swept      sync.WaitGroup
}

// New returns the vaults of a database and begins to erase what is past its retention period. Close stops that.
func New(o Options) *Vaults {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	v := &Vaults{Options: o, privates: newPrivateKeys(256), stop: stop}
	v.operations = v.keyOperations()
	v.swept.Go(func() { v.sweep(ctx, time.Hour) })
	return v
}

// Close waits for the sweep to end.
func (v *Vaults) Close() error {
	v.stop()
	v.swept.Wait()
	return nil
}

func (v *Vaults) sweep(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := v.DB.Update(ctx, func(tx *store.Tx) error { return eraseExpired(ctx, tx, time.Now()) })
		if err != nil && ctx.Err() == nil {
			v.Log.Error("erasing vaults and keys past their retention period", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// eraseExpired removes the vaults and keys whose retention period has ended.
func eraseExpired(ctx context.Context, tx *store.Tx, now time.Time) error {
	const (
		vaults = `(SELECT id FROM keyvault_vaults WHERE deleted > 0 AND purge <= $1)`
		keys   = `(SELECT vault, name FROM keyvault_keys WHERE deleted > 0 AND purge <= $1)`
	)
	for _, q := range []string{
		`DELETE FROM keyvault_versions WHERE vault IN ` + vaults,
		`DELETE FROM keyvault_keys WHERE vault IN ` + vaults,
		`DELETE FROM keyvault_vaults WHERE deleted > 0 AND purge <= $1`,
		`DELETE FROM keyvault_versions WHERE (vault, name) IN ` + keys,
		`DELETE FROM keyvault_keys WHERE deleted > 0 AND purge <= $1`,
	} {
		if _, err := tx.Exec(ctx, q, store.Micros(now)); err != nil {
			return err
		}
	}
	return nil
}
