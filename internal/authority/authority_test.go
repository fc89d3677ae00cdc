package authority

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	tenant     = "11111111-2222-4333-8444-555555555555"
	storageAud = "https://storage.azure.com"
	group      = "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/Group"
)

var (
	hosts   = azure.Hosts{Domain: "keyreel.localhost", Port: "8443"}
	schemas = []store.Schema{seal.Schema, audit.Schema, directory.Schema, Schema}
)

// node is an authority with what it stands on.
type node struct {
	*Authority
	d   *directory.Directory
	log *audit.Log
}

// open returns a node over db; nodes over the same database share the keyring's root.
func open(t testing.TB, db *store.DB, root seal.Root) *node {
	t.Helper()
	n := &node{d: &directory.Directory{DB: db, TenantID: tenant}}
	ctx := context.Background()
	ring, err := seal.OpenKeyring(ctx, db, root)
	if err != nil {
		t.Fatal(err)
	}
	if n.log, err = audit.Open(ctx, db); err != nil {
		t.Fatal(err)
	}
	n.Authority, err = Open(ctx, Options{DB: db, Keyring: ring, Directory: n.d, Audit: n.log, Hosts: hosts, TenantID: tenant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := n.log.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func newRoot(t testing.TB) seal.Root {
	t.Helper()
	root, err := seal.FileRoot(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newNode(t testing.TB) *node {
	t.Helper()
	return open(t, storetest.SQLite(t, schemas...), newRoot(t))
}

func (n *node) update(t testing.TB, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	ctx := context.Background()
	if err := n.d.DB.Update(ctx, func(tx *store.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

func (n *node) application(t testing.TB) (p directory.Principal, secret seal.Secret) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
		p, secret, err = n.d.CreateApplication(ctx, tx, "app")
		return err
	})
	return p, secret
}

// system makes the system-assigned identity of a media account.
func (n *node) system(t testing.TB, name string) directory.Principal {
	t.Helper()
	return n.systemOf(t, "Microsoft.Media/mediaServices/"+name)
}

// systemOf makes the system-assigned identity of a resource of the group.
func (n *node) systemOf(t testing.TB, resource string) directory.Principal {
	t.Helper()
	id, err := azure.ParseResourceID(group + "/providers/" + resource)
	if err != nil {
		t.Fatal(err)
	}
	var oid string
	n.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
		oid, _, err = n.d.AssignSystem(ctx, tx, id)
		return err
	})
	return n.principal(t, oid)
}

func (n *node) principal(t testing.TB, oid string) directory.Principal {
	t.Helper()
	p, err := n.d.Principal(context.Background(), oid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// userAssigned makes a user-assigned identity through the provider, as the resource manager does.
func (n *node) userAssigned(t testing.TB, name string) directory.Principal {
	t.Helper()
	id, err := azure.ParseResourceID(group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var oid string
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		if err := commitIdentity(ctx, n.d, tx, id); err != nil {
			return err
		}
		oid, _, err = n.d.UserAssigned(ctx, tx, id)
		return err
	})
	return n.principal(t, oid)
}

// records returns the audit records of an operation, oldest first.
func (n *node) records(t testing.TB, operation string) []audit.Record {
	t.Helper()
	rs, err := n.log.Query(context.Background(), audit.Filter{Operation: operation})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func accepting(audiences ...string) func(string) bool {
	return func(a string) bool { return slices.Contains(audiences, a) }
}

func commitIdentity(ctx context.Context, d *directory.Directory, tx *store.Tx, id azure.ResourceID) error {
	return d.Provider().Types[0].Commit(ctx, tx, &arm.Write{New: &arm.Resource{ID: id}})
}

func (n *node) disable(t testing.TB, p directory.Principal) {
	t.Helper()
	n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.SetEnabled(ctx, tx, p.ID, false) })
}
