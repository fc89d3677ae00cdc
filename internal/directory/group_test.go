package directory_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func group(t testing.TB, d *directory.Directory, name string) (g directory.Principal) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *store.Tx) (err error) {
		g, err = d.CreateGroup(ctx, tx, name)
		return err
	})
	return g
}

func join(t testing.TB, d *directory.Directory, groupID, memberID string) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *store.Tx) error {
		_, err := d.AddMember(ctx, tx, groupID, memberID)
		return err
	})
}

func wantGroups(t testing.TB, step string, d *directory.Directory, id string, want ...string) {
	t.Helper()
	got, err := d.Groups(context.Background(), id)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v %s", step, err, diff)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		d, r := open(t, db)
		member, _ := assignSystem(t, d, account(t))
		inner, outer, outmost := group(t, d, "inner"), group(t, d, "outer"), group(t, d, "outmost")
		wantGroups(t, "at first", d, member)
		join(t, d, inner.ID, member)
		wantGroups(t, "a member", d, member, inner.ID)
		join(t, d, outmost.ID, outer.ID)
		join(t, d, outer.ID, inner.ID)
		wantGroups(t, "through other groups", d, member, inner.ID, outer.ID, outmost.ID)
		join(t, d, inner.ID, outmost.ID)
		wantGroups(t, "groups in a circle", d, member, inner.ID, outer.ID, outmost.ID)
		join(t, d, inner.ID, member) // again

		update(t, d, func(ctx context.Context, tx *store.Tx) error {
			if typ, err := d.PrincipalType(ctx, tx, inner.ID); typ != azure.TypeGroup || err != nil {
				t.Error(typ, err)
			}
			return nil
		})
		notFound := &azure.Error{Status: http.StatusNotFound, Code: "Request_ResourceNotFound"}
		for name, pair := range map[string][2]string{
			"no such group": {tenant, member}, "no such member": {inner.ID, tenant}, "into a principal": {member, inner.ID}, "into itself": {inner.ID, inner.ID},
			"no text": {"\x00", "\xff"},
		} {
			err := try(d, func(ctx context.Context, tx *store.Tx) error {
				_, err := d.AddMember(ctx, tx, pair[0], pair[1])
				return err
			})
			if !errors.Is(err, notFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if members, err := d.Members(t.Context(), outer.ID); err != nil || !cmp.Equal(members, []string{inner.ID}) {
			t.Error(members, err)
		}

		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.Delete(ctx, tx, outer.ID) })
		wantGroups(t, "the group between was deleted", d, member, inner.ID)
		update(t, d, func(ctx context.Context, tx *store.Tx) error {
			_, err := d.RemoveMember(ctx, tx, inner.ID, member)
			return err
		})
		wantGroups(t, "removed", d, member)
		join(t, d, inner.ID, member)
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.Delete(ctx, tx, member) })
		wantGroups(t, "deleted", d, member)
		if _, err := r.Assignments(t.Context(), "/", true); err != nil {
			t.Error(err)
		}
	})
}

func TestGroupsOnOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, schemas...)
		here, _ := open(t, db)
		there, _ := open(t, db)
		member, _ := assignSystem(t, here, account(t))
		g := group(t, here, "g")
		join(t, here, g.ID, member)
		wantGroups(t, "there", there, member, g.ID)
		update(t, here, func(ctx context.Context, tx *store.Tx) error {
			_, err := here.RemoveMember(ctx, tx, g.ID, member)
			return err
		})
		wantGroups(t, "here, at once", here, member)
		time.Sleep(2 * time.Second)
		wantGroups(t, "there, after 2 s", there, member)
	})
}
