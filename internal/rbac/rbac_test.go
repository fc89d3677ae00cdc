package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
	"pgregory.net/rapid"
)

const (
	owner           = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	reader          = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	blobContributor = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	alice           = "aaaaaaaa-0000-4000-8000-000000000001"
	bob             = "bbbbbbbb-0000-4000-8000-000000000002"
	group           = "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/Group"
	account         = group + "/providers/Microsoft.Storage/storageAccounts/acct"
	blobWrite       = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
)

func open(t testing.TB, db *store.DB) *rbac.RBAC {
	t.Helper()
	r, err := rbac.New(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func update(t testing.TB, db *store.DB, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := try(db, fn); err != nil {
		t.Fatal(err)
	}
}

func try(db *store.DB, fn func(ctx context.Context, tx *store.Tx) error) error {
	ctx := context.Background()
	return db.Update(ctx, func(tx *store.Tx) error { return fn(ctx, tx) })
}

func assign(t testing.TB, db *store.DB, r *rbac.RBAC, id, principal, role, scope string) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return r.Assign(ctx, tx, assignment(id, principal, role, scope))
	})
}

func assignment(id, principal, role, scope string) rbac.Assignment {
	return rbac.Assignment{
		ID: id, PrincipalID: principal, RoleID: role, Scope: scope, PrincipalType: azure.TypeServicePrincipal,
		Created: time.UnixMicro(1_700_000_000_000_000).UTC(), CreatedBy: bob,
		Updated: time.UnixMicro(1_700_000_000_000_000).UTC(), UpdatedBy: bob,
	}
}

func decide(t testing.TB, r *rbac.RBAC, principal, action string, data bool, scope string) *rbac.Decision {
	t.Helper()
	d, err := r.Decide(context.Background(), rbac.Query{Principals: []string{principal}, Action: action, Data: data, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecide(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		blob := account + "/blobServices/default/containers/c"

		d := decide(t, r, alice, blobWrite, true, blob)
		want := "principal " + alice + " may not perform '" + blobWrite + "' at '" + blob +
			"': no role assignment there or above grants it; 'Storage Blob Data Contributor' would"
		if d.Allowed || d.Reason() != want {
			t.Errorf("before the grant: allowed %v, reason\n%s, want\n%s", d.Allowed, d.Reason(), want)
		}
		assign(t, db, r, "a1", alice, blobContributor, account)
		d = decide(t, r, strings.ToUpper(alice), blobWrite, true, strings.ToUpper(blob))
		if !d.Allowed || d.Role.Name != "Storage Blob Data Contributor" || d.Assignment.ID != "a1" || !strings.Contains(d.Reason(), "(assignment a1)") {
			t.Errorf("after the grant: %+v, %s", d, d.Reason())
		}
		if decide(t, r, alice, blobWrite, true, account+"2").Allowed {
			t.Error("a grant on 'acct' reaches 'acct2'")
		}
		if decide(t, r, alice, blobWrite, true, group).Allowed {
			t.Error("a grant reaches upwards")
		}
		if decide(t, r, alice, blobWrite, false, blob).Allowed {
			t.Error("a data action is granted as an action")
		}
		if decide(t, r, bob, blobWrite, true, blob).Allowed {
			t.Error("a grant reaches another principal")
		}
		q := rbac.Query{Principals: []string{bob, alice}, Action: blobWrite, Data: true, Scope: blob}
		if d, err := r.Decide(t.Context(), q); err != nil || !d.Allowed {
			t.Errorf("by a group: %v, %v", d, err)
		}
		for _, none := range [][]string{nil, {""}} {
			if d, err := r.Decide(t.Context(), rbac.Query{Principals: none, Action: blobWrite, Data: true, Scope: blob}); err != nil || d.Allowed {
				t.Errorf("principals %q: %v, %v", none, d, err)
			}
		}

		update(t, db, func(ctx context.Context, tx *store.Tx) error {
			_, ok, err := r.Unassign(ctx, tx, strings.ToUpper(account), "A1")
			if !ok {
				t.Error("Unassign found nothing")
			}
			return err
		})
		if decide(t, r, alice, blobWrite, true, blob).Allowed {
			t.Error("a grant that was removed still allows")
		}
	})
}

func TestLeastPrivilegeFirst(t *testing.T) {
	t.Parallel()
	r := open(t, storetest.SQLite(t, rbac.Schema))
	for _, c := range []struct {
		action string
		data   bool
		first  string
		before []string // roles that come later, in this order
	}{
		{blobWrite, true, "Storage Blob Data Contributor", []string{"Storage Blob Data Owner"}},
		{
			"Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", true, "Storage Blob Data Reader",
			[]string{"Storage Blob Data Contributor", "Storage Blob Data Owner"},
		},
		{
			"Microsoft.KeyVault/vaults/keys/wrap/action", true, "Key Vault Crypto Service Encryption User",
			[]string{"Key Vault Crypto User", "Key Vault Crypto Officer", "Key Vault Administrator"},
		},
		{
			"Microsoft.KeyVault/vaults/secrets/getSecret/action", true, "Key Vault Secrets User",
			[]string{"Key Vault Secrets Officer", "Key Vault Administrator"},
		},
		{"Microsoft.Media/mediaservices/read", false, "Reader", []string{"Media Services Account Administrator", "Contributor", "Owner"}},
		{"Microsoft.Media/mediaservices/write", false, "Media Services Account Administrator", []string{"Contributor", "Owner"}},
		{"Microsoft.Authorization/roleAssignments/write", false, "Role Based Access Control Administrator", []string{"Owner"}},
		{"Microsoft.Storage/storageAccounts/listKeys/action", false, "Storage Account Key Operator Service Role", []string{"Reader and Data Access", "Storage Account Contributor", "Contributor", "Owner"}},
		{"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", false, "Managed Identity Operator", []string{"Contributor", "Owner"}},
		{"Microsoft.Nothing/at/all", true, "", nil},
	} {
		d := decide(t, r, alice, c.action, c.data, group)
		roles := strings.Join(d.Roles, "\n") + "\n"
		if !strings.HasPrefix(roles, c.first+"\n") {
			t.Errorf("%s: got %q first, want %q", c.action, d.Roles, c.first)
		}
		at := 0
		for _, name := range c.before {
			i := strings.Index(roles, "\n"+name+"\n")
			if i < at {
				t.Errorf("%s: %q is missing or too early in %q", c.action, name, d.Roles)
			}
			at = i
		}
	}
}

func TestAssign(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		assign(t, db, r, "a1", alice, reader, group)
		for _, c := range []struct {
			name string
			a    rbac.Assignment
			want *azure.Error
		}{
			{"the same again", assignment("A1", strings.ToUpper(alice), reader, strings.ToUpper(group)), nil},
			{"equal with another id", assignment("a2", alice, reader, group), &azure.Error{Status: http.StatusConflict, Code: "RoleAssignmentExists"}},
			{"the same id with another role", assignment("a1", alice, owner, group), &azure.Error{Status: http.StatusBadRequest, Code: "RoleAssignmentUpdateNotPermitted"}},
			{"the same id with another principal", assignment("a1", bob, reader, group), &azure.Error{Status: http.StatusBadRequest, Code: "RoleAssignmentUpdateNotPermitted"}},
			{"the same id elsewhere", assignment("a1", alice, reader, account), nil},
			{"unknown role", assignment("a3", alice, bob, group), &azure.Error{Status: http.StatusBadRequest, Code: "RoleDefinitionDoesNotExist"}},
			{"no principal", assignment("a3", "", reader, group), &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleAssignment"}},
			{"NUL", assignment("a3\x00", alice, reader, group), &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleAssignment"}},
			{"no scope", assignment("a3", alice, reader, ""), &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleAssignment"}},
		} {
			err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Assign(ctx, tx, c.a) })
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			}
		}
		got, err := r.Assignments(t.Context(), account, false)
		if err != nil {
			t.Fatal(err)
		}
		want := []rbac.Assignment{assignment("a1", alice, reader, group), assignment("a1", alice, reader, account)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAssignRolledBack(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, rbac.Schema)
	r := open(t, db)
	boom := errors.New("boom")
	err := try(db, func(ctx context.Context, tx *store.Tx) error {
		if err := r.Assign(ctx, tx, assignment("a1", alice, owner, "/")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) || decide(t, r, alice, "x/read", false, "/").Allowed {
		t.Errorf("an assignment that was rolled back grants, or the error was lost: %v", err)
	}
}

func TestAssignmentsAndPurge(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		assign(t, db, r, "root", alice, reader, "/")
		assign(t, db, r, "group", alice, reader, group)
		assign(t, db, r, "group2", alice, reader, group+"2")
		assign(t, db, r, "account", bob, reader, account)
		assign(t, db, r, "account2", bob, reader, account+"2")

		list := func(scope string, below bool) string {
			as, err := r.Assignments(t.Context(), scope, below)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, a := range as {
				ids = append(ids, a.ID)
			}
			return strings.Join(ids, " ")
		}
		check := func(step, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: got %q, want %q", step, got, want)
			}
		}
		check("at the account", list(account, false), "root group account")
		check("at and below the group", list(strings.ToUpper(group)+"/", true), "root group account account2")
		check("at and below the root", list("/", true), "root group account account2 group2")
		check("at the root", list("/", false), "root")

		purge := func(principal, scope string) {
			t.Helper()
			update(t, db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, principal, scope) })
		}
		purge("", account)
		check("account purged", list("/", true), "root group account2 group2")
		if !decide(t, r, alice, "x/read", false, account).Allowed || decide(t, r, bob, "x/read", false, account).Allowed {
			t.Error("purging a scope took what stands above, or left what stands there")
		}
		purge("", group)
		check("group purged", list("/", true), "root group2")
		purge(strings.ToUpper(alice), "")
		check("alice purged", list("/", true), "")
		if decide(t, r, alice, "x/read", false, group).Allowed {
			t.Error("a purged principal is allowed")
		}
		for _, args := range [][2]string{{"", ""}, {alice, group}} {
			if err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, args[0], args[1]) }); err == nil {
				t.Errorf("Purge(%q) is no error", args)
			}
		}
	})
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		r := open(t, db)
		role := rbac.Definition{
			ID: "cccccccc-0000-4000-8000-000000000003", Name: "Blob auditor", Description: "d", Scopes: []string{group},
			Permissions: []rbac.Permission{{Actions: []string{"*/read"}, NotActions: []string{"*/secret/read"}, DataActions: []string{}, NotDataActions: []string{}}},
		}
		define := func(d rbac.Definition) error {
			return try(db, func(ctx context.Context, tx *store.Tx) error { return r.Define(ctx, tx, d) })
		}
		if err := define(role); err != nil {
			t.Fatal(err)
		}
		got, ok, err := r.Definition(ctx, strings.ToUpper(role.ID))
		if diff := cmp.Diff(role, got); !ok || err != nil || diff != "" {
			t.Error(ok, err, diff)
		}
		got, ok, err = r.DefinitionByName(ctx, "BLOB auditor")
		if diff := cmp.Diff(role, got); !ok || err != nil || diff != "" {
			t.Error(ok, err, diff)
		}
		if d, ok, err := r.DefinitionByName(ctx, "owner"); !ok || err != nil || d.ID != owner {
			t.Error(d, ok, err)
		}
		for _, id := range []string{"nothing", "", "\x00\xff"} {
			if _, ok, err := r.Definition(ctx, id); ok || err != nil {
				t.Errorf("role %q: %v, %v", id, ok, err)
			}
		}
		at, err := r.Definitions(ctx, account)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := r.Definitions(ctx, "/subscriptions/other")
		if err != nil || len(at) != len(elsewhere)+1 || at[len(at)-1].Name != role.Name {
			t.Errorf("%d roles at the account, %d elsewhere, %v", len(at), len(elsewhere), err)
		}

		assign(t, db, r, "a1", alice, role.ID, group)
		if !decide(t, r, alice, "x/read", false, account).Allowed || decide(t, r, alice, "x/secret/read", false, account).Allowed {
			t.Error("the custom role's actions or notActions do not hold")
		}
		role.Permissions[0].Actions = []string{"y/read"}
		if err := define(role); err != nil {
			t.Fatal(err)
		}
		if decide(t, r, alice, "x/read", false, account).Allowed {
			t.Error("a narrowed role still allows what it no longer holds")
		}

		other := role
		other.ID = bob
		builtIn := role
		builtIn.ID = owner
		slow := role
		slow.Permissions = []rbac.Permission{{Actions: []string{"a*b*c*d*"}}}
		long := role
		long.Permissions = []rbac.Permission{{Actions: slices.Repeat([]string{"a/read"}, 2049)}}
		reserved := role
		reserved.Name = "OWNER"
		for _, c := range []struct {
			name string
			d    rbac.Definition
			code string
		}{
			{"name taken", other, "RoleDefinitionWithSameNameExists"},
			{"built-in id", builtIn, "InvalidRoleDefinition"},
			{"built-in name", reserved, "RoleDefinitionWithSameNameExists"},
			{"too many wildcards", slow, "InvalidRoleDefinition"},
			{"too many actions", long, "InvalidRoleDefinition"},
			{"nothing", rbac.Definition{}, "InvalidRoleDefinition"},
		} {
			var e *azure.Error
			if err := define(c.d); !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("%s: got %v, want %s", c.name, err, c.code)
			}
		}

		undefine := func() (ok bool, err error) {
			err = try(db, func(ctx context.Context, tx *store.Tx) error {
				var err error
				_, ok, err = r.Undefine(ctx, tx, role.ID)
				return err
			})
			return ok, err
		}
		if ok, err := undefine(); ok || !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "RoleDefinitionHasAssignments"}) {
			t.Errorf("removing an assigned role: %v, %v", ok, err)
		}
		update(t, db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, alice, "") })
		if ok, err := undefine(); !ok || err != nil {
			t.Errorf("removing a role: %v, %v", ok, err)
		}
		if ok, err := undefine(); ok || err != nil {
			t.Errorf("removing it again: %v, %v", ok, err)
		}
	})
}

// Two deciders over one database stand for two nodes.
func TestOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, rbac.Schema)
		here, there := open(t, db), open(t, db)
		assign(t, db, here, "a1", alice, owner, "/")
		if !decide(t, here, alice, "x/read", false, account).Allowed {
			t.Error("a grant is not seen at once where it was made")
		}
		time.Sleep(2 * time.Second)
		if !decide(t, there, alice, "x/read", false, account).Allowed {
			t.Error("a grant is not seen on the other node after 2 s")
		}
		update(t, db, func(ctx context.Context, tx *store.Tx) error { return here.Purge(ctx, tx, alice, "") })
		if decide(t, here, alice, "x/read", false, account).Allowed {
			t.Error("a removed grant still allows where it was removed")
		}
		time.Sleep(2 * time.Second)
		if decide(t, there, alice, "x/read", false, account).Allowed {
			t.Error("a removed grant still allows on the other node after 2 s")
		}
	})
}

// TestModel compares decisions with a model that knows no index, no cache and no normal form.
func TestModel(t *testing.T) {
	t.Parallel()
	scopes := []string{
		"/", "/subscriptions/s", "/subscriptions/S/resourceGroups/g", "/subscriptions/s/resourceGroups/G2",
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a", "/subscriptions/s/resourcegroups/g/providers/Microsoft.Storage/storageAccounts/ab",
	}
	actions := map[string]map[string]bool{ // role: what it allows of the probes below
		owner:           {"read": true, "write": true},
		reader:          {"read": true},
		blobContributor: {"blob": true},
	}
	probes := map[string]rbac.Query{
		"read":  {Action: "Microsoft.Media/mediaServices/READ"},
		"write": {Action: "Microsoft.Media/mediaServices/write"},
		"blob":  {Action: blobWrite, Data: true},
	}
	principals := []string{alice, bob, "carol"}
	db := storetest.SQLite(t, rbac.Schema)
	r := open(t, db)
	rapid.Check(t, func(t *rapid.T) {
		if err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, "", "/") }); err != nil {
			t.Fatal(err)
		}
		type key struct{ principal, role, scope string }
		model := map[key]string{} // to assignment id
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"assign": func(t *rapid.T) {
				k := key{
					rapid.SampledFrom(principals).Draw(t, "principal"),
					rapid.SampledFrom([]string{owner, reader, blobContributor}).Draw(t, "role"), rapid.SampledFrom(scopes).Draw(t, "scope"),
				}
				n++
				id := fmt.Sprint("id", n)
				err := try(db, func(ctx context.Context, tx *store.Tx) error {
					return r.Assign(ctx, tx, assignment(id, k.principal, k.role, k.scope))
				})
				if _, exists := model[k]; exists != (err != nil) {
					t.Fatalf("assigning %v: exists %v, error %v", k, exists, err)
				}
				if err == nil {
					model[k] = id
				}
			},
			"unassign": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing to unassign")
				}
				k := rapid.SampledFrom(slices.SortedFunc(maps.Keys(model), func(a, b key) int {
					return strings.Compare(model[a], model[b])
				})).Draw(t, "assignment")
				err := try(db, func(ctx context.Context, tx *store.Tx) error {
					_, ok, err := r.Unassign(ctx, tx, k.scope, model[k])
					if !ok && err == nil {
						err = errors.New("not found")
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				delete(model, k)
			},
			"purge": func(t *rapid.T) {
				p := rapid.SampledFrom(principals).Draw(t, "principal")
				if err := try(db, func(ctx context.Context, tx *store.Tx) error { return r.Purge(ctx, tx, p, "") }); err != nil {
					t.Fatal(err)
				}
				for k := range model {
					if k.principal == p {
						delete(model, k)
					}
				}
			},
			"": func(t *rapid.T) {
				p := rapid.SampledFrom(principals).Draw(t, "principal")
				scope := rapid.SampledFrom(scopes).Draw(t, "scope")
				for name, q := range probes {
					want := false
					for k := range model {
						parts := strings.Split(strings.ToLower(scope), "/")
						for i := range parts {
							at := strings.Join(parts[:i+1], "/")
							if k.principal == p && actions[k.role][name] && (k.scope == "/" || strings.EqualFold(at, k.scope)) {
								want = true
							}
						}
					}
					q.Principals, q.Scope = []string{p}, scope
					d, err := r.Decide(context.Background(), q)
					if err != nil || d.Allowed != want {
						t.Fatalf("%s by %s at %s: got %+v, %v, want %v; model %v", name, p, scope, d, err, want, model)
					}
				}
			},
		})
	})
}
