package directory

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// SignIns are what came of users' sign-ins.
type SignIns interface {
	// RevokeUser takes back, in the caller's transaction, all tokens that clients have in a user's name.
	RevokeUser(ctx context.Context, tx *store.Tx, userID string) error
}

// revokeSignIns ends a user's sessions in browsers and takes back the tokens of all clients; the user signs in anew.
// https://learn.microsoft.com/graph/api/user-revokesigninsessions
func (g *Graph) revokeSignIns(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	err := g.Directory.DB.Update(ctx, func(tx *store.Tx) error {
		o, err := userSet.find(ctx, tx, r.Vars["id"])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE directory_passwords SET signed_out = $1 WHERE principal_id = $2`, store.Micros(time.Now()), o.ID); err != nil {
			return fmt.Errorf("ending the sign-ins of user %s: %w", o.ID, err)
		}
		return g.SignIns.RevokeUser(ctx, tx, o.ID)
	})
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"@odata.context": g.context(r, "Edm.Boolean"), "value": true})
}

// changesDirectory reports whether a scope of Graph's lets a client change the directory, as far as its user may.
func changesDirectory(scope string) bool {
	return strings.Contains(scope, ".ReadWrite") || strings.HasPrefix(scope, "Directory.AccessAsUser.")
}

// checkScopes refuses what a client may not do in its user's name, whatever the user may: the scopes of OpenID Connect tell
// of the user alone and not of the directory, and only one that says so changes it.
func checkScopes(r *azure.Request) error {
	if r.Caller.Type != azure.TypeUser {
		return nil
	}
	for _, scope := range r.Caller.Scopes {
		switch {
		case slices.Contains([]string{"openid", "profile", "email", "offline_access"}, scope):
		case r.Route.Action == readDirectory, changesDirectory(scope):
			return nil
		}
	}
	return azure.Errorf(http.StatusForbidden, "Authorization_RequestDenied",
		"Insufficient privileges to complete the operation. The scopes of the token ('%s') do not let its client act so for the user.", strings.Join(r.Caller.Scopes, " "))
}
