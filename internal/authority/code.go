package authority

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	codeLife = 10 * time.Minute
	codeKept = 24 * time.Hour // longer than it is good, so that a second use is noticed
)

// code is what an authorization code stands for.
type code struct {
	ClientID     string `json:"client"`
	Redirect     string `json:"redirect"`     // as the request sent it
	RedirectType string `json:"redirectType"` // "web", "spa" or "publicClient"
	Challenge    string `json:"challenge,omitempty"`
	Method       string `json:"method,omitempty"` // of the challenge: "S256" or "plain"
	Nonce        string `json:"nonce,omitempty"`
	SignIn       signIn `json:"signIn"`
	Wanted       wanted `json:"wanted"`
}

// newCode stores an authorization code and returns it.
func (a *Authority) newCode(ctx context.Context, c code) (string, error) {
	about, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	secret, now := "1."+opaque(48), time.Now()
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM authority_codes WHERE expires < $1`, store.Micros(now.Add(-codeKept))); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO authority_codes (hash, grant_id, about, expires) VALUES ($1, '', $2, $3)`,
			hashOf(secret), string(about), store.Micros(now.Add(codeLife)))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("storing an authorization code: %w", err)
	}
	return secret, nil
}

var codeVerifier = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// checkVerifier is PKCE (RFC 7636 section 4.6).
func (c *code) checkVerifier(verifier string) error {
	switch {
	case c.Challenge == "" && verifier == "":
		return nil
	case c.Challenge == "": // a downgrade: somebody has put a code of another sign-in in
		return aadsts(http.StatusBadRequest, "invalid_grant", 50148, "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE: there was none.")
	case verifier == "":
		return aadsts(http.StatusBadRequest, "invalid_grant", 50148, "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE: 'code_verifier' is missing.")
	case !codeVerifier.MatchString(verifier):
		return aadsts(http.StatusBadRequest, "invalid_grant", 501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request: it needs 43 to 128 unreserved characters.")
	}
	have := verifier
	if c.Method == "S256" {
		hash := sha256.Sum256([]byte(verifier))
		have = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	if subtle.ConstantTimeCompare([]byte(have), []byte(c.Challenge)) != 1 {
		return aadsts(http.StatusBadRequest, "invalid_grant", 501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request.")
	}
	return nil
}

// storedCode is a code's row.
type storedCode struct {
	code
	grantID string // of what it was redeemed for; empty: it was not
	expires time.Time
}

func findCode(ctx context.Context, tx *store.Tx, hash []byte) (c storedCode, err error) {
	var about string
	var expires int64
	if err = tx.QueryRow(ctx, `SELECT grant_id, about, expires FROM authority_codes WHERE hash = $1`, hash).Scan(&c.grantID, &about, &expires); err != nil {
		return c, err
	}
	c.expires = store.Time(expires)
	return c, json.Unmarshal([]byte(about), &c.code)
}

// redeemCode is the grant of RFC 6749 section 4.1.3. A code is good once; a second use revokes what came of the first,
// because one of the two was not the client's.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
func (a *Authority) redeemCode(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	sent := r.form.Get("code")
	if sent == "" {
		return nil, missing("code")
	}
	reg, method, used, err := a.userClient(ctx, r)
	if err != nil {
		return nil, err
	}
	hash := hashOf(sent)
	var c storedCode
	err = a.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		c, err = findCode(ctx, tx, hash)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errUnknownGrant("code")
	}
	if err != nil {
		return nil, fmt.Errorf("reading an authorization code: %w", err)
	}
	if err := c.check(r, reg.AppID, method); err != nil {
		return nil, err
	}
	r.record.Principal = c.SignIn.UserID
	if c.grantID != "" {
		return nil, a.codeAgain(ctx, c.grantID)
	}
	if time.Now().After(c.expires) {
		return nil, aadsts(http.StatusBadRequest, "invalid_grant", 70008, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.")
	}
	p, err := a.user(ctx, c.SignIn)
	if err != nil {
		return nil, err
	}
	w := c.Wanted
	if r.form.Get("scope") != "" || r.form.Get("resource") != "" {
		if w, err = wantedOf(r.form, r.v2); err != nil {
			return nil, err
		}
		w.OpenID, w.Offline = w.OpenID || c.Wanted.OpenID, w.Offline || c.Wanted.Offline
		w.Profile, w.Email = w.Profile || c.Wanted.Profile, w.Email || c.Wanted.Email
	}
	r.record.Details["audience"] = shown(w.Resource)
	scopes, err := a.grantScopes(ctx, reg.AppID, p.ID, w)
	if err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, used, w.Resource+"\x00"+string(hash), r.record.ClientIP); err != nil {
		return nil, err
	}
	g := &userGrant{ID: azure.NewGUID(), ClientID: reg.AppID, Proved: method != "0", SPA: c.RedirectType == "spa", SignIn: c.SignIn, Wanted: w}
	var refreshToken, earlier string
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		earlier = ""
		n, err := tx.Exec(ctx, `UPDATE authority_codes SET grant_id = $1 WHERE hash = $2 AND grant_id = ''`, g.ID, hash)
		if err != nil {
			return err
		}
		if n == 0 { // another request was quicker
			return tx.QueryRow(ctx, `SELECT grant_id FROM authority_codes WHERE hash = $1`, hash).Scan(&earlier)
		}
		refreshToken, err = a.begin(ctx, tx, g)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redeeming an authorization code: %w", err)
	}
	if earlier != "" {
		return nil, a.codeAgain(ctx, earlier)
	}
	out, err := a.issue(r, g, p, w, scopes, method, c.Nonce)
	if err != nil {
		return nil, err
	}
	out.refresh = refreshToken
	return out, nil
}

// check compares what the code was made for with who brings it.
func (c *code) check(r *tokenRequest, clientID, method string) error {
	switch {
	case !strings.EqualFold(c.ClientID, clientID):
		return errUnknownGrant("code")
	case r.browser != (c.RedirectType == "spa"):
		return errCrossOrigin(c.RedirectType == "spa")
	case c.RedirectType == "web" && method == "0":
		return errNoCredential()
	case c.RedirectType != "web" && method != "0":
		return aadsts(http.StatusUnauthorized, "invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case r.form.Get("redirect_uri") != c.Redirect:
		return aadsts(http.StatusBadRequest, "invalid_grant", 500112,
			"The reply address '%s' does not match the reply address '%s' provided when requesting Authorization code.", shown(r.form.Get("redirect_uri")), shown(c.Redirect))
	}
	return c.checkVerifier(r.form.Get("code_verifier"))
}

// codeAgain revokes what came of a code, and returns the refusal of its second use.
func (a *Authority) codeAgain(ctx context.Context, grantID string) error {
	if err := a.revoke(ctx, grantID); err != nil {
		return err
	}
	return errCodeRedeemed()
}

func errCodeRedeemed() error {
	return aadsts(http.StatusBadRequest, "invalid_grant", 54005,
		"OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.")
}
