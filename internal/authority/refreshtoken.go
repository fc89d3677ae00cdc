package authority

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

const (
	refreshLife    = 90 * 24 * time.Hour // each new one lives so long anew
	spaRefreshLife = 24 * time.Hour      // from the sign-in: a page's are not prolonged
	// reuseGrace is how long after its successor was used a public client's refresh token may still come: processes that
	// share a cache refresh at once. A successor that was never used may not have arrived, so before that there is no limit.
	reuseGrace = time.Minute
	// maxRefreshTokens is how many of a grant are kept.
	maxRefreshTokens = 50
)

func hashOf(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

// refreshEnd is when a refresh token that is made now expires.
func (g *userGrant) refreshEnd(now time.Time) time.Time {
	if g.SPA {
		return g.SignIn.Time.Add(spaRefreshLife)
	}
	return now.Add(refreshLife)
}

// addRefreshToken gives a grant one more refresh token; parent is the hash of the one that it was given for.
func (a *Authority) addRefreshToken(ctx context.Context, tx *store.Tx, g *userGrant, parent []byte) (string, error) {
	if parent == nil {
		parent = []byte{}
	}
	now := time.Now()
	secret, expires := "1."+opaque(48), g.refreshEnd(now)
	_, err := tx.Exec(ctx, `INSERT INTO authority_refresh_tokens (hash, grant_id, parent, replaced, created, expires) VALUES ($1, $2, $3, 0, $4, $5)`,
		hashOf(secret), g.ID, parent, store.Micros(now), store.Micros(expires))
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM authority_refresh_tokens WHERE grant_id = $1 AND hash NOT IN
			(SELECT hash FROM authority_refresh_tokens WHERE grant_id = $1 ORDER BY created DESC LIMIT $2)`, g.ID, maxRefreshTokens)
	}
	if err == nil { // the grant outlives the access token that this refresh token gets last
		_, err = tx.Exec(ctx, `UPDATE authority_grants SET expires = $1 WHERE id = $2`, store.Micros(expires.Add(longestUserToken)), g.ID)
	}
	if err != nil {
		return "", fmt.Errorf("storing a refresh token: %w", err)
	}
	return secret, nil
}

// refreshRow is a refresh token as it is kept.
type refreshRow struct {
	grant    *userGrant
	parent   []byte
	replaced time.Time // when one that was given for it was used; zero: none was
	created  time.Time
	expires  time.Time
}

func findRefreshToken(ctx context.Context, tx *store.Tx, hash []byte) (row refreshRow, err error) {
	var id string
	var replaced, created, expires int64
	err = tx.QueryRow(ctx, `SELECT grant_id, parent, replaced, created, expires FROM authority_refresh_tokens WHERE hash = $1`, hash).
		Scan(&id, &row.parent, &replaced, &created, &expires)
	if err != nil {
		return row, err
	}
	row.replaced, row.created, row.expires = store.Time(replaced), store.Time(created), store.Time(expires)
	row.grant, err = findGrant(ctx, tx, id)
	return row, err
}

// stolen reports whether the token's use says that somebody else has a copy: a public client that has used what it got for
// the token has no reason to come with it again.
func (row *refreshRow) stolen(now time.Time) bool {
	return !row.grant.Proved && !row.replaced.IsZero() && now.After(row.replaced.Add(reuseGrace))
}

// refresh is the grant in which a client gets new tokens for a refresh token (RFC 6749 section 6), for any resource.
// https://learn.microsoft.com/entra/identity-platform/refresh-tokens
func (a *Authority) refresh(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	sent := r.form.Get("refresh_token")
	if sent == "" {
		return nil, missing("refresh_token")
	}
	reg, method, used, err := a.userClient(ctx, r)
	if err != nil {
		return nil, err
	}
	hash := hashOf(sent)
	var row refreshRow
	err = a.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		row, err = findRefreshToken(ctx, tx, hash)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errUnknownGrant("refresh token")
	}
	if err != nil {
		return nil, fmt.Errorf("reading a refresh token: %w", err)
	}
	g := row.grant
	r.record.Principal = g.SignIn.UserID
	now := time.Now()
	switch {
	case !strings.EqualFold(g.ClientID, reg.AppID):
		return nil, errUnknownGrant("refresh token")
	case g.Proved && method == "0":
		return nil, errNoCredential()
	case r.browser != g.SPA:
		return nil, errCrossOrigin(g.SPA)
	case g.SPA && now.After(row.expires):
		return nil, aadsts(http.StatusBadRequest, "invalid_grant", 700084,
			"The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of %v, which can't be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page. The token was issued on %s.",
			spaRefreshLife, row.created.UTC().Format(time.RFC3339))
	case now.After(row.expires):
		return nil, aadsts(http.StatusBadRequest, "invalid_grant", 700082,
			"The refresh token has expired due to inactivity. The token was issued on %s and was inactive for %v.", row.created.UTC().Format(time.RFC3339), refreshLife)
	case row.stolen(now):
		return nil, a.revokeStolen(ctx, g)
	}
	p, err := a.user(ctx, g.SignIn)
	if err != nil {
		return nil, err
	}
	w := g.Wanted
	if r.form.Get("scope") != "" || r.form.Get("resource") != "" {
		if w, err = wantedOf(r.form, r.v2); err != nil {
			return nil, err
		}
	}
	r.record.Details["audience"] = shown(w.Resource)
	scopes, err := a.grantScopes(ctx, reg.AppID, p.ID, w)
	if err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, used, w.Resource+"\x00"+string(hash), r.record.ClientIP); err != nil {
		return nil, err
	}
	secret, err := a.rotateRefreshToken(ctx, hash)
	if err != nil {
		return nil, err
	}
	out, err := a.issue(r, g, p, w, scopes, method, "")
	if err != nil {
		return nil, err
	}
	out.refresh = secret
	return out, nil
}

// rotateRefreshToken gives a new refresh token for one that is good, and notes that the one before it has arrived.
func (a *Authority) rotateRefreshToken(ctx context.Context, hash []byte) (secret string, err error) {
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		row, err := findRefreshToken(ctx, tx, hash)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE authority_refresh_tokens SET replaced = $1 WHERE hash = $2 AND replaced = 0`, store.Micros(time.Now()), row.parent)
		if err != nil {
			return err
		}
		secret, err = a.addRefreshToken(ctx, tx, row.grant, hash)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) { // revoked in this moment
		return "", errUnknownGrant("refresh token")
	}
	if err != nil {
		return "", fmt.Errorf("rotating a refresh token: %w", err)
	}
	return secret, nil
}

// revokeStolen revokes what came of a grant of whose refresh token there is a copy, and returns the refusal.
func (a *Authority) revokeStolen(ctx context.Context, g *userGrant) error {
	if err := a.revoke(ctx, g.Root); err != nil {
		return err
	}
	return aadsts(http.StatusBadRequest, "invalid_grant", 50173,
		"The provided grant has expired due to it being revoked, a fresh auth token is needed. The refresh token came again after the one that it was exchanged for was used, so all tokens of the sign-in were revoked.")
}

func errUnknownGrant(what string) error {
	return aadsts(http.StatusBadRequest, "invalid_grant", 70000, "Provided grant is invalid or malformed: the %s is not known, was revoked, or was issued to another client.", what)
}

// errCrossOrigin keeps the tokens of pages and those of programs apart, as Entra does: a page's live shorter, and a program
// sends no Origin.
func errCrossOrigin(spa bool) error {
	if spa {
		return aadsts(http.StatusBadRequest, "invalid_request", 9002327, "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.")
	}
	return aadsts(http.StatusBadRequest, "invalid_request", 9002326, "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.")
}
