package authority

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
)

// A token carries no groups: those that its principal is in now count, with the same token.
func TestVerifyGroups(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	system := n.system(t, "acct")
	raw, _, err := n.IdentityToken(t.Context(), system.ID, system.IdentityID, storageAud)
	if err != nil {
		t.Fatal(err)
	}
	var inner, outer directory.Principal
	n.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
		if inner, err = n.d.CreateGroup(ctx, tx, "inner"); err != nil {
			return err
		}
		if outer, err = n.d.CreateGroup(ctx, tx, "outer"); err != nil {
			return err
		}
		_, err = n.d.AddMember(ctx, tx, outer.ID, inner.ID)
		return err
	})
	want := func(step string, groups int) {
		t.Helper()
		caller, err := n.Verify(t.Context(), raw, accepting(storageAud))
		if err != nil || len(caller.Groups) != groups || !cmp.Equal(caller.Principals()[0], system.ID) {
			t.Errorf("%s: %+v, %v, want %d groups", step, caller, err, groups)
		}
	}
	want("in no group", 0)
	n.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := n.d.AddMember(ctx, tx, inner.ID, system.ID)
		return err
	})
	want("in a group and through it in another", 2)
	n.update(t, func(ctx context.Context, tx *store.Tx) error { return n.d.Delete(ctx, tx, outer.ID) })
	want("the other was deleted", 1)
}
