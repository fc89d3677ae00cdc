package directory_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	tenant = "11111111-2222-4333-8444-555555555555"
	reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
)

var schemas = []store.Schema{directory.Schema, rbac.Schema}

// open returns a directory that is wired to role assignments as the server wires it.
func open(t testing.TB, db *store.DB) (*directory.Directory, *rbac.RBAC) {
	t.Helper()
	r, err := rbac.New(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	return &directory.Directory{DB: db, TenantID: tenant, Purge: func(ctx context.Context, tx *store.Tx, principalID string) error {
		return r.Purge(ctx, tx, principalID, "")
	}}, r
}

func resourceID(t testing.TB, s string) azure.ResourceID {
	t.Helper()
	id, err := azure.ParseResourceID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func account(t testing.TB) azure.ResourceID {
	return resourceID(t, "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/Group/providers/Microsoft.Media/mediaServices/Acct")
}

func update(t testing.TB, d *directory.Directory, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := try(d, fn); err != nil {
		t.Fatal(err)
	}
}

func try(d *directory.Directory, fn func(ctx context.Context, tx *store.Tx) error) error {
	ctx := context.Background()
	return d.DB.Update(ctx, func(tx *store.Tx) error { return fn(ctx, tx) })
}

func assignSystem(t testing.TB, d *directory.Directory, id azure.ResourceID) (principalID, clientID string) {
	t.Helper()
	update(t, d, func(ctx context.Context, tx *store.Tx) (err error) {
		principalID, clientID, err = d.AssignSystem(ctx, tx, id)
		return err
	})
	return principalID, clientID
}

func TestSystemAssigned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		d, r := open(t, db)
		id := account(t)
		principalID, clientID := assignSystem(t, d, id)

		want := directory.Principal{ID: principalID, AppID: clientID, Kind: directory.SystemAssigned, Name: "Acct", IdentityID: id.String(), Enabled: true}
		for name, get := range map[string]func() (directory.Principal, error){
			"Principal": func() (directory.Principal, error) { return d.Principal(ctx, strings.ToUpper(principalID)) },
			"ByAppID":   func() (directory.Principal, error) { return d.ByAppID(ctx, strings.ToUpper(clientID)) },
		} {
			got, err := get()
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: %v %s", name, err, diff)
			}
		}
		again, _ := assignSystem(t, d, resourceID(t, strings.ToUpper(id.String())))
		if again != principalID {
			t.Error("asking again made another identity")
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error {
			if typ, err := d.PrincipalType(ctx, tx, principalID); typ != azure.TypeServicePrincipal || err != nil {
				t.Error(typ, err)
			}
			return r.Assign(ctx, tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/", RoleID: reader, PrincipalID: principalID})
		})

		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.RemoveSystem(ctx, tx, id) })
		if _, err := d.Principal(ctx, principalID); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a removed identity is still there: %v", err)
		}
		left, err := r.Assignments(ctx, "/", true)
		if err != nil || len(left) != 0 {
			t.Errorf("a removed identity keeps role assignments: %v, %v", left, err)
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.RemoveSystem(ctx, tx, id) })
		if new, _ := assignSystem(t, d, id); new == principalID {
			t.Error("a resource made again has its old identity")
		}
	})
}

// What fails in Purge must undo the deletion with it.
func TestDeleteFails(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, schemas...)
	d, _ := open(t, db)
	id := account(t)
	principalID, _ := assignSystem(t, d, id)
	boom := errors.New("boom")
	d.Purge = func(context.Context, *store.Tx, string) error { return boom }
	if err := try(d, func(ctx context.Context, tx *store.Tx) error { return d.RemoveSystem(ctx, tx, id) }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Principal(t.Context(), principalID); err != nil {
		t.Errorf("the principal went although its deletion failed: %v", err)
	}
}

func TestUserAssigned(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		d, _ := open(t, db)
		typ := d.Provider().Types[0]
		res := &arm.Resource{ID: resourceID(t, "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Ident")}
		notFound := &azure.Error{Status: http.StatusNotFound, Code: "ResourceNotFound"}

		lookUp := func() (principalID string, err error) {
			err = try(d, func(ctx context.Context, tx *store.Tx) (err error) {
				principalID, _, err = d.UserAssigned(ctx, tx, res.ID)
				return err
			})
			return principalID, err
		}
		if _, err := lookUp(); !errors.Is(err, notFound) {
			t.Errorf("before: %v", err)
		}
		for range 2 { // a PUT again keeps the identity
			update(t, d, func(ctx context.Context, tx *store.Tx) error { return typ.Commit(ctx, tx, &arm.Write{New: res}) })
		}
		principalID, err := lookUp()
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Principal(t.Context(), principalID)
		if err != nil || p.Kind != directory.UserAssigned || p.IdentityID != res.ID.String() {
			t.Errorf("%+v, %v", p, err)
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error {
			props, err := typ.Show(ctx, tx, res, arm.View{})
			if err != nil {
				return err
			}
			want := `{"tenantId":"` + tenant + `","principalId":"` + p.ID + `","clientId":"` + p.AppID + `"}`
			if got, err := json.Marshal(props); err != nil || string(got) != want {
				t.Errorf("got %s, %v, want %s", got, err, want)
			}
			return typ.Delete(ctx, tx, res)
		})
		if _, err := lookUp(); !errors.Is(err, notFound) {
			t.Errorf("after: %v", err)
		}
		if _, err := d.Principal(t.Context(), principalID); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("the principal outlives its identity: %v", err)
		}
	})
}

func TestIdentityName(t *testing.T) {
	t.Parallel()
	check := (&directory.Directory{}).Provider().Types[0].CheckName
	for name, ok := range map[string]bool{
		"abc": true, "a_b-c": true, "0ab": true, strings.Repeat("a", 128): true,
		"ab": false, "-ab": false, "a.b": false, "": false, strings.Repeat("a", 129): false, "a/b": false,
	} {
		if err := check(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestClientSecrets(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		d, _ := open(t, db)
		var app directory.Principal
		var secret, second seal.Secret
		update(t, d, func(ctx context.Context, tx *store.Tx) (err error) {
			if app, secret, err = d.CreateApplication(ctx, tx, "app"); err != nil {
				return err
			}
			second, err = d.AddSecret(ctx, tx, app.ID)
			return err
		})
		for _, s := range []seal.Secret{secret, second} {
			got, err := d.VerifySecret(ctx, strings.ToUpper(app.AppID), s)
			if diff := cmp.Diff(app, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		}
		_, managed := assignSystem(t, d, account(t))
		for _, c := range []struct {
			name, appID string
			secret      seal.Secret
			want        error
		}{
			{"wrong secret", app.AppID, secret + "x", directory.ErrWrongSecret},
			{"no secret", app.AppID, "", directory.ErrWrongSecret},
			{"unknown application", tenant, secret, sql.ErrNoRows},
			{"no application", "", secret, sql.ErrNoRows},
			{"no text", "\xff\x00", "\xff\x00", sql.ErrNoRows},
			{"managed identity", managed, "", sql.ErrNoRows},
		} {
			if _, err := d.VerifySecret(ctx, c.appID, c.secret); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			}
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.SetEnabled(ctx, tx, app.ID, false) })
		if _, err := d.VerifySecret(ctx, app.AppID, secret); !errors.Is(err, directory.ErrDisabled) {
			t.Errorf("disabled: %v", err)
		}
		if p, err := d.Principal(ctx, app.ID); err != nil || p.Enabled {
			t.Errorf("disabled: %+v, %v", p, err)
		}
		if err := try(d, func(ctx context.Context, tx *store.Tx) error { return d.SetEnabled(ctx, tx, tenant, false) }); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("disabling nobody: %v", err)
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.Delete(ctx, tx, app.ID) })
		if _, err := d.VerifySecret(ctx, app.AppID, secret); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("deleted: %v", err)
		}
	})
}

func TestUsers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		d, _ := open(t, db)
		user, err := d.CreateUser(ctx, "Ada@example.org", "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.CreateUser(ctx, "ada@EXAMPLE.org", "x"); !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "Request_BadRequest"}) {
			t.Errorf("the same name again: %v", err)
		}
		if _, err := d.CreateUser(ctx, "", "x"); !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "Request_BadRequest"}) {
			t.Errorf("no name: %v", err)
		}
		got, err := d.VerifyPassword(ctx, "ADA@example.org", "correct horse")
		if diff := cmp.Diff(user, got); err != nil || diff != "" || got.Type() != azure.TypeUser {
			t.Error(err, diff)
		}
		for _, c := range []struct {
			name     string
			password seal.Secret
		}{{"ada@example.org", "wrong"}, {"ada@example.org", ""}, {"nobody", "correct horse"}, {"\x00", "correct horse"}, {"", ""}} {
			if _, err := d.VerifyPassword(ctx, c.name, c.password); !errors.Is(err, directory.ErrWrongSecret) {
				t.Errorf("%s %s: %v", c.name, c.password, err)
			}
		}
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.SetEnabled(ctx, tx, user.ID, false) })
		if _, err := d.VerifyPassword(ctx, "ada@example.org", "correct horse"); !errors.Is(err, directory.ErrDisabled) {
			t.Errorf("disabled: %v", err)
		}
	})
}

func TestWorkloads(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		d, _ := open(t, db)
		one, _ := assignSystem(t, d, account(t))
		two, _ := assignSystem(t, d, resourceID(t, account(t).String()+"2"))
		w, secret, err := d.RegisterWorkload(ctx, directory.Workload{Name: "shell", Identities: []string{strings.ToUpper(two), one}})
		if err != nil {
			t.Fatal(err)
		}
		want := directory.Workload{ID: w.ID, Name: "shell", Identities: []string{two, one}}
		if diff := cmp.Diff(want, w); diff != "" {
			t.Error(diff)
		}
		got, ok, err := d.WorkloadBySecret(ctx, secret)
		if diff := cmp.Diff(want, got); !ok || err != nil || diff != "" {
			t.Error(ok, err, diff)
		}
		got, ok, err = d.Workload(ctx, strings.ToUpper(w.ID))
		if diff := cmp.Diff(want, got); !ok || err != nil || diff != "" {
			t.Error(ok, err, diff)
		}
		for _, s := range []seal.Secret{"", secret + "x", seal.Secret(w.ID)} {
			if _, ok, err := d.WorkloadBySecret(ctx, s); ok || err != nil {
				t.Errorf("secret of another: %v, %v", ok, err)
			}
		}
		if _, _, err := d.RegisterWorkload(ctx, directory.Workload{ID: w.ID}); !errors.Is(err, &azure.Error{Status: http.StatusConflict, Code: "WorkloadExists"}) {
			t.Errorf("the same id again: %v", err)
		}
		user, err := d.CreateUser(ctx, "ada", "x")
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{tenant, user.ID} {
			_, _, err := d.RegisterWorkload(ctx, directory.Workload{Identities: []string{id}})
			if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "PrincipalNotFound"}) {
				t.Errorf("identity %s: %v", id, err)
			}
		}

		update(t, d, func(ctx context.Context, tx *store.Tx) error { return d.Delete(ctx, tx, two) })
		if got, _, err := d.Workload(ctx, w.ID); err != nil || !cmp.Equal(got.Identities, []string{one}) {
			t.Errorf("a deleted identity stays in the workload: %v, %v", got, err)
		}
		for range 2 {
			if err := d.RemoveWorkload(ctx, w.ID); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := d.WorkloadBySecret(ctx, secret); ok || err != nil {
			t.Errorf("a removed workload's secret is good: %v", err)
		}
	})
}

func TestPrincipalNotFound(t *testing.T) {
	t.Parallel()
	d, _ := open(t, storetest.SQLite(t, schemas...))
	err := try(d, func(ctx context.Context, tx *store.Tx) error {
		_, err := d.PrincipalType(ctx, tx, tenant)
		return err
	})
	if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "PrincipalNotFound"}) {
		t.Errorf("got %v", err)
	}
}

// Two directories over one database stand for two nodes.
func TestOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, schemas...)
		here, _ := open(t, db)
		there, _ := open(t, db)
		id, _ := assignSystem(t, here, account(t))
		for range 2 { // the second answer is from memory
			if _, err := there.Principal(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		update(t, here, func(ctx context.Context, tx *store.Tx) error { return here.Delete(ctx, tx, id) })
		if _, err := here.Principal(t.Context(), id); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a deleted principal lives on where it was deleted: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := there.Principal(t.Context(), id); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a deleted principal lives on elsewhere after 2 s: %v", err)
		}
	})
}

func BenchmarkPrincipal(b *testing.B) {
	d, _ := open(b, storetest.SQLite(b, schemas...))
	id, _ := assignSystem(b, d, account(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Principal(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}
