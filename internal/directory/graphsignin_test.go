package directory_test

import (
	"context"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// revoked notes whose grants were taken back.
type revoked struct{ users []string }

func (r *revoked) RevokeUser(_ context.Context, _ *store.Tx, userID string) error {
	r.users = append(r.users, userID)
	return nil
}

func TestRevokeSignInSessions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		ada, err := g.d.CreateUser(t.Context(), "ada@example.org", "Correct horse")
		if err != nil {
			t.Fatal(err)
		}
		bob, err := g.d.CreateUser(t.Context(), "bob@example.org", "Correct horse")
		if err != nil {
			t.Fatal(err)
		}
		stamp := func() string {
			t.Helper()
			p, err := g.d.Profile(t.Context(), ada.ID)
			if err != nil {
				t.Fatal(err)
			}
			return p.Stamp
		}
		first := stamp()
		g.refused(bob.ID, "POST", "/v1.0/users/"+ada.ID+"/revokeSignInSessions", "", 403, "Authorization_RequestDenied")
		g.refused(g.admin.ID, "POST", "/v1.0/me/revokeSignInSessions", "", 400, "BadRequest")
		g.refused(g.admin.ID, "POST", "/v1.0/users/nobody@example.org/revokeSignInSessions", "", 404, "Request_ResourceNotFound")
		if stamp() != first || len(g.revoked.users) != 0 {
			t.Errorf("a refused request has revoked: %v", g.revoked.users)
		}
		if got := g.do("POST", "/v1.0/users/ada@example.org/revokeSignInSessions", "", 200); got["value"] != true {
			t.Errorf("%v", got)
		}
		second := stamp()
		if status, got := g.as(ada.ID, "POST", "/v1.0/me/revokeSignInSessions", ""); status != 200 {
			t.Errorf("her own: %d %v", status, got)
		}
		if third := stamp(); first == second || second == third || strings.Join(g.revoked.users, " ") != ada.ID+" "+ada.ID {
			t.Errorf("%s %s %s, revoked %v", first, second, third, g.revoked.users)
		}
		if _, err := g.d.VerifyPassword(t.Context(), "ada@example.org", "Correct horse"); err != nil {
			t.Errorf("the password is as it was: %v", err)
		}

		// Restored, the user has signed in nowhere.
		g.do("DELETE", "/v1.0/users/"+ada.ID, "", 204)
		before := second
		g.do("POST", "/v1.0/directory/deletedItems/"+ada.ID+"/restore", "", 200)
		if after := stamp(); after == first || after == before {
			t.Error("restored with the sign-ins from before")
		}
	})
}

// A user's client does what its scopes say, whatever the user may do.
func TestGraphScopes(t *testing.T) {
	t.Parallel()
	g := newGraph(t, storetest.SQLite(t, graphSchemas...))
	ada, err := g.d.CreateUser(t.Context(), "ada@example.org", "Correct horse")
	if err != nil {
		t.Fatal(err)
	}
	update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
		return g.r.Assign(ctx, tx, rbac.Assignment{ID: azure.NewGUID(), Scope: "/", RoleID: owner, PrincipalID: ada.ID})
	})
	for _, c := range []struct {
		scopes        string
		reads, writes bool
	}{
		{"", false, false},
		{"openid profile email offline_access", false, false},
		{"openid User.Read", true, false},
		{"Directory.Read.All Group.Read.All", true, false},
		{"Group.ReadWrite.All", true, true},
		{"Directory.AccessAsUser.All User.Read", true, true},
	} {
		caller := ada.ID + " " + c.scopes
		if c.scopes == "" {
			caller = ada.ID + " openid"
		}
		status, _ := g.as(caller, "GET", "/v1.0/me", "")
		if c.reads != (status == 200) {
			t.Errorf("%q reads: %d", c.scopes, status)
		}
		status, _ = g.as(caller, "POST", "/v1.0/groups", `{"displayName":"g","mailEnabled":false,"mailNickname":"g","securityEnabled":true}`)
		if c.writes != (status == 201) || !c.writes && status != 403 {
			t.Errorf("%q writes: %d", c.scopes, status)
		}
	}
	g.refused(ada.ID+" User.Read", "POST", "/v1.0/me/revokeSignInSessions", "", 403, "Authorization_RequestDenied")
}
