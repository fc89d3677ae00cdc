package authority

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

// signIn is a user's proof of who they are, as sessions, codes and grants carry it on.
type signIn struct {
	UserID  string    `json:"user"`
	Stamp   string    `json:"stamp"` // of the password with which the user signed in
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
}

// userGrant is what a user's sign-in gave to a client. Whatever came of it dies with its row: access tokens, refresh
// tokens, and the grants that other applications got on the user's behalf.
type userGrant struct {
	ID       string `json:"-"`
	Root     string `json:"-"` // the grant that this one came of in the end; its own id when a sign-in gave it
	ClientID string `json:"client"`
	Proved   bool   `json:"proved,omitempty"` // the client had to prove itself, and has to again
	SPA      bool   `json:"spa,omitempty"`    // it is a page in a browser
	SignIn   signIn `json:"signIn"`
	Wanted   wanted `json:"wanted"`
}

// grantGeneration counts revocations, so that other nodes refuse the tokens within 5 s.
const grantGeneration = rowcache.Table("authority_generation")

// longestUserToken is how long a user's access token lives at most (appLifetime), and the clocks' difference.
const longestUserToken = 90*time.Minute + 2*skew

// user returns the user of a sign-in, if the user lives, is enabled and has the password still.
func (a *Authority) user(ctx context.Context, s signIn) (directory.Profile, error) {
	p, err := a.o.Directory.Profile(ctx, s.UserID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return p, aadsts(http.StatusBadRequest, "invalid_grant", 500341, "The user account has been deleted from the directory '%s'.", a.o.TenantID)
	case err != nil:
		return p, err
	case !p.Enabled:
		return p, errDisabledUser()
	case p.Stamp != s.Stamp:
		return p, aadsts(http.StatusBadRequest, "invalid_grant", 50173,
			"The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s'.",
			s.Time.UTC().Format(time.RFC3339))
	}
	return p, nil
}

func errDisabledUser() error {
	return aadsts(http.StatusBadRequest, "invalid_grant", 50057, "The user account is disabled.")
}

// begin stores a new grant; with a refresh token, if the client asked for one.
func (a *Authority) begin(ctx context.Context, tx *store.Tx, g *userGrant) (refreshToken string, err error) {
	now := time.Now()
	for _, table := range []string{"authority_grants", "authority_refresh_tokens"} {
		if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE expires < $1`, store.Micros(now)); err != nil {
			return "", fmt.Errorf("removing what has expired from %s: %w", table, err)
		}
	}
	if g.Root == "" {
		g.Root = g.ID
	}
	about, err := json.Marshal(g)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `INSERT INTO authority_grants (id, root, user_id, about, expires) VALUES ($1, $2, $3, $4, $5)`,
		g.ID, g.Root, g.SignIn.UserID, string(about), store.Micros(now.Add(longestUserToken)))
	if err != nil {
		return "", fmt.Errorf("storing a grant: %w", err)
	}
	if !g.Wanted.Offline {
		return "", nil
	}
	return a.addRefreshToken(ctx, tx, g, nil)
}

// findGrant returns a grant; sql.ErrNoRows when it was revoked or has expired.
func findGrant(ctx context.Context, tx *store.Tx, id string) (*userGrant, error) {
	g := &userGrant{ID: id}
	var about string
	if err := tx.QueryRow(ctx, `SELECT root, about FROM authority_grants WHERE id = $1`, id).Scan(&g.Root, &about); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(about), g); err != nil {
		return nil, fmt.Errorf("reading grant %s: %w", id, err)
	}
	return g, nil
}

// revoke takes back a grant with all that came of it.
func (a *Authority) revoke(ctx context.Context, root string) error {
	err := a.o.DB.Update(ctx, func(tx *store.Tx) error {
		for _, statement := range []string{
			`DELETE FROM authority_refresh_tokens WHERE grant_id IN (SELECT id FROM authority_grants WHERE root = $1)`,
			`DELETE FROM authority_grants WHERE root = $1`,
		} {
			if _, err := tx.Exec(ctx, statement, root); err != nil {
				return err
			}
		}
		return a.grants.Changed(ctx, tx, grantGeneration)
	})
	if err != nil {
		a.grants.Doubt() // it may have been done
		return fmt.Errorf("revoking grant %s: %w", root, err)
	}
	return nil
}

// RevokeUser is directory.SignIns: it takes back all grants of a user and ends the user's sessions. What was not redeemed yet
// is over with the stamp of the sign-in, which the directory has changed.
func (a *Authority) RevokeUser(ctx context.Context, tx *store.Tx, userID string) error {
	for _, statement := range []string{
		`DELETE FROM authority_sessions WHERE principal_id = $1`,
		`DELETE FROM authority_refresh_tokens WHERE grant_id IN (SELECT id FROM authority_grants WHERE user_id = $1)`,
		`DELETE FROM authority_grants WHERE user_id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, userID); err != nil {
			return fmt.Errorf("revoking the grants of user %s: %w", userID, err)
		}
	}
	return a.grants.Changed(ctx, tx, grantGeneration)
}

// checkGrant refuses the token of a grant that was revoked. A grant outlives its access tokens.
func (a *Authority) checkGrant(ctx context.Context, id string) error {
	_, err := a.grants.Get(ctx, rowcache.Source[struct{}]{DB: a.o.DB, Table: grantGeneration, Load: func(ctx context.Context, tx *store.Tx, id string) (struct{}, error) {
		var n int
		return struct{}{}, tx.QueryRow(ctx, `SELECT 1 FROM authority_grants WHERE id = $1`, id).Scan(&n)
	}}, id)
	if errors.Is(err, sql.ErrNoRows) {
		return refuse(azure.TokenPrincipal, "", "the sign-in that it came of was revoked")
	}
	return err
}

// userClient returns the registration of the client of a user's grant. method is how it proved itself, as the claim
// appidacr says it: "0" for one that did not try. used is to be passed to useOnce when all else is right.
func (a *Authority) userClient(ctx context.Context, r *tokenRequest) (reg directory.Registration, method string, used proof, err error) {
	method = "0"
	if !r.client.anonymous() {
		_, used, err = a.authenticate(ctx, r.client, r.record)
		if err != nil {
			return reg, "", used, err
		}
		method = used.method()
	}
	reg, err = a.registration(ctx, r.client.id)
	return reg, method, used, err
}

// issue makes the tokens of a grant for a user who lives. It writes nothing; the caller has stored the grant.
func (a *Authority) issue(r *tokenRequest, g *userGrant, p directory.Profile, w wanted, scopes granted, method, nonce string) (*tokenAnswer, error) {
	r.record.Principal = p.ID
	r.record.Details["grantId"] = g.ID
	t, err := a.signAccess(w.Resource, appLifetime(), claims{
		AppID: g.ClientID, AppIDACR: method, ObjectID: p.ID, Subject: pairwise(p.ID, w.Resource), IDType: userToken,
		ACR: "1", AMR: []string{"pwd"}, FamilyName: p.Surname, GivenName: p.GivenName, IPAddress: g.SignIn.Address, Name: p.DisplayName,
		Scopes: scopes.claim, GrantID: g.ID, UniqueName: p.Name, UPN: p.Name,
	})
	if err != nil {
		return nil, err
	}
	out := &tokenAnswer{access: t, scope: scopes.answer}
	if w.OpenID {
		if out.id, err = a.idToken(g, p, w, idTokenFor{version2: r.v2, urls: r.urls, nonce: nonce}); err != nil {
			return nil, err
		}
	}
	if r.form.Get("client_info") == "1" {
		out.clientInfo = a.clientInfo(p.ID)
	}
	return out, nil
}
