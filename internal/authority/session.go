package authority

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
)

// Cookies of the sign-in pages. The prefix __Host- makes browsers refuse them over plain HTTP and from other hosts of the
// domain. Both live until the browser ends.
const (
	sessionCookie = "__Host-keyreel-session" // a secret, of which the row has the hash
	formCookie    = "__Host-keyreel-form"    // binds forms to the browser that was given them
	sessionLife   = 24 * time.Hour           // since the user signed in
)

// session is a browser in which a user has signed in.
type session struct {
	secret string // of the cookie
	hash   []byte
	signIn signIn
	user   directory.Profile
}

// newSession stores a session and returns the cookie's secret.
func newSession(ctx context.Context, tx *store.Tx, s signIn) (secret string, err error) {
	secret = opaque(32)
	if _, err := tx.Exec(ctx, `DELETE FROM authority_sessions WHERE expires < $1`, store.Micros(time.Now())); err != nil {
		return "", fmt.Errorf("removing expired sessions: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO authority_sessions (hash, principal_id, stamp, signed_in, expires) VALUES ($1, $2, $3, $4, $5)`,
		hashOf(secret), s.UserID, s.Stamp, store.Micros(s.Time), store.Micros(s.Time.Add(sessionLife)))
	if err != nil {
		return "", fmt.Errorf("storing a session: %w", err)
	}
	return secret, nil
}

// session returns the session of the browser; nil when it has none that lives: the user was deleted or disabled, has a new
// password, or has signed out.
func (a *Authority) session(r *azure.Request) (*session, error) {
	ctx := r.Context()
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, nil
	}
	s := &session{secret: cookie.Value, hash: hashOf(cookie.Value), signIn: signIn{Address: clientIP(r.Request)}}
	err = a.o.DB.View(ctx, func(tx *store.Tx) error {
		var at int64
		err := tx.QueryRow(ctx, `SELECT principal_id, stamp, signed_in FROM authority_sessions WHERE hash = $1 AND expires > $2`, s.hash, store.Micros(time.Now())).
			Scan(&s.signIn.UserID, &s.signIn.Stamp, &at)
		s.signIn.Time = store.Time(at)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a session: %w", err)
	}
	s.user, err = a.user(ctx, s.signIn)
	if e, unexpected := azure.AsError(err); err != nil && !unexpected && e.Code == "invalid_grant" {
		return nil, nil
	}
	return s, err
}

// endSession removes the browser's session.
func (a *Authority) endSession(w http.ResponseWriter, r *azure.Request, s *session) error {
	setCookie(w, sessionCookie, "")
	if s == nil {
		return nil
	}
	ctx := r.Context()
	err := a.o.DB.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM authority_sessions WHERE hash = $1`, s.hash)
		return err
	})
	if err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// setCookie sets a cookie until the browser ends; without a value, it removes it. It goes along when another site leads
// here, because that is how sign-ins begin, but not with other sites' forms.
func setCookie(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// formToken returns what a form of this browser has to carry, and sets the cookie that it is bound to. It is bound to the
// secret of the session as well, if there is one: a form from before a sign-in, or of another user, is refused.
func formToken(w http.ResponseWriter, r *azure.Request, session string) string {
	cookie, err := r.Cookie(formCookie)
	if err != nil || len(cookie.Value) < 43 {
		cookie = &http.Cookie{Value: opaque(32)}
		setCookie(w, formCookie, cookie.Value)
	}
	return boundTo(cookie.Value, session)
}

func boundTo(browser, session string) string {
	return base64.RawURLEncoding.EncodeToString(hashOf("keyreel form\x00" + browser + "\x00" + session))
}

// sessionSecret is the session's cookie as the browser sent it.
func sessionSecret(r *azure.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// checkForm refuses a form that was not given to this browser by us.
func checkForm(r *azure.Request, form url.Values) error {
	cookie, err := r.Cookie(formCookie)
	if err == nil && len(cookie.Value) >= 43 && subtle.ConstantTimeCompare([]byte(boundTo(cookie.Value, sessionSecret(r))), []byte(form.Get("form"))) == 1 {
		return nil
	}
	return aadsts(http.StatusForbidden, "invalid_request", 165000,
		"Invalid Request: The user session has changed since this page was loaded, or the browser does not keep cookies. Go back to the application and sign in from there.")
}
