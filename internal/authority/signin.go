package authority

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// The form of the sign-in page carries the authorization request as it was sent (request, and ver for the endpoint's
// version). It is read and checked anew when the form comes back, so nothing is gained by changing it.
const (
	version1 = "1"
	version2 = "2"
)

// showSignIn asks the user for a name and a password, or whether to go on as who is signed in.
func (a *Authority) showSignIn(w http.ResponseWriter, r *azure.Request, status int, z *authorization, s *session, problem string, change bool) error {
	p := page{
		Kind: "signin", Title: "Sign in", Problem: problem, App: plain(z.client.Name), Name: z.hint,
		Action: "/" + url.PathEscape(r.Vars["tenant"]) + "/login", Form: formToken(w, r, sessionSecret(r)),
		Params: url.Values{"request": {z.query.Encode()}, "ver": {version1}}, targets: []string{z.redirect.URI},
	}
	if change {
		p.Kind, p.Title = "change", "Update your password"
	}
	if z.v2 {
		p.Params.Set("ver", version2)
	}
	if s != nil && z.prompt != "login" && !z.expired(s) {
		p.Account = s.user.Name
	}
	return writePage(w, status, p)
}

// expired reports whether the user signed in longer ago than the client likes.
func (z *authorization) expired(s *session) bool {
	return z.limited && time.Since(s.signIn.Time) > z.maxAge
}

// signInForm serves the form of the sign-in page.
func (a *Authority) signInForm(w http.ResponseWriter, r *azure.Request) error {
	if _, err := a.tenant(r); err != nil {
		return err
	}
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if err := checkForm(r, form); err != nil {
		return a.auditRefusal(r.Context(), audit.Record{Operation: "SignIn.Password", ClientIP: clientIP(r.Request)}, err)
	}
	query, err := url.ParseQuery(form.Get("request"))
	if err != nil {
		return aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request cannot be read: %v.", err)
	}
	z, err := a.authorization(r.Context(), query, form.Get("ver") == version2)
	if err != nil {
		return a.refuseAuthorization(w, r, z, err)
	}
	s, err := a.session(r)
	if err != nil {
		return err
	}
	if form.Get("account") == "current" && s != nil && z.prompt != "login" && !z.expired(s) {
		return a.finishAuthorization(w, r, z, s)
	}
	z.hint = form.Get("login")
	s, err = a.signInByForm(w, r, form, z.client.AppID)
	if problem := signInProblem(err); problem != "" {
		e, _ := azure.AsError(err)
		azure.EventOf(r.Context()).ErrorCode = e.Code
		return a.showSignIn(w, r, pageStatus(e), z, nil, problem, e.Target == "50055")
	}
	if err != nil {
		return err
	}
	return a.finishAuthorization(w, r, z, s)
}

// signInByForm checks the name and password of a form and begins a session in the place of the browser's old one.
func (a *Authority) signInByForm(w http.ResponseWriter, r *azure.Request, form url.Values, clientID string) (s *session, err error) {
	ctx := r.Context()
	record := audit.Record{Operation: "SignIn.Password", ClientIP: clientIP(r.Request), Details: map[string]string{"clientId": clientID}}
	s = &session{}
	begin := func(tx *store.Tx, p directory.Profile) (err error) {
		s.signIn = signIn{UserID: p.ID, Stamp: p.Stamp, Time: time.Now(), Address: record.ClientIP}
		if old := sessionSecret(r); old != "" {
			if _, err := tx.Exec(ctx, `DELETE FROM authority_sessions WHERE hash = $1`, hashOf(old)); err != nil {
				return err
			}
		}
		s.secret, err = newSession(ctx, tx, s.signIn)
		s.hash = hashOf(s.secret)
		return err
	}
	s.user, err = a.checkPassword(ctx, form.Get("login"), seal.Secret(form.Get("passwd")), &record, begin)
	if mustChange(err) && form.Has("newpasswd") {
		if err := a.replacePassword(ctx, form, &record); err != nil {
			return nil, err
		}
		s.user, err = a.checkPassword(ctx, form.Get("login"), seal.Secret(form.Get("newpasswd")), &record, begin)
	}
	if err != nil {
		return nil, a.auditRefusal(ctx, record, err)
	}
	record.Result, record.Status = "Success", http.StatusOK
	if err := a.audit(ctx, record); err != nil {
		return nil, err
	}
	setCookie(w, sessionCookie, s.secret)
	return s, nil
}

// mustChange reports whether a sign-in was refused because the password, which was right, has to be changed first.
func mustChange(err error) bool {
	e, _ := azure.AsError(err)
	return err != nil && e.Target == "50055"
}

// replacePassword keeps the new password of a form whose user, whom the record names, has just proved the current one.
func (a *Authority) replacePassword(ctx context.Context, form url.Values, record *audit.Record) error {
	next := form.Get("newpasswd")
	switch {
	case next != form.Get("confirmpasswd"):
		return aadsts(http.StatusBadRequest, "invalid_grant", 50055, "The new passwords do not match.")
	case next == form.Get("passwd"):
		return aadsts(http.StatusBadRequest, "invalid_grant", 50055, "The new password is the current one.")
	}
	err := a.o.Directory.ReplacePassword(ctx, record.Principal, seal.Secret(next))
	if e, unexpected := azure.AsError(err); err != nil && !unexpected {
		return aadsts(http.StatusBadRequest, "invalid_grant", 50055, "%s", e.Message)
	}
	if err != nil {
		return err
	}
	changed := *record
	changed.Operation, changed.Result, changed.Status = "SignIn.PasswordChanged", "Success", http.StatusOK
	return a.audit(ctx, changed)
}

// signInProblem is what the sign-in page says of an error; nothing for one that is not the user's.
func signInProblem(err error) string {
	var e *azure.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Target {
	case "50126":
		return "The user name or password is incorrect."
	case "50053":
		return "This account is temporarily locked to prevent unauthorized use. Try again later."
	case "50055":
		return strings.TrimPrefix(e.Message, "AADSTS50055: ")
	case "50057":
		return "This account has been disabled. Contact your administrator."
	case "90055":
		return "There are too many sign-ins at the moment. Try again."
	}
	return ""
}

// pageStatus is the status of the sign-in page after an error that it shows.
func pageStatus(e *azure.Error) int {
	switch e.Target {
	case "50053", "90055":
		return http.StatusTooManyRequests
	}
	return http.StatusUnauthorized
}

// logout ends the browser's session, and leads to an address that the client has registered, if it names itself (client_id,
// or an ID token of its own as id_token_hint). What clients hold already is theirs until it expires.
// https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request
func (a *Authority) logout(w http.ResponseWriter, r *azure.Request) error {
	if _, err := a.tenant(r); err != nil {
		return err
	}
	params := r.URL.Query()
	if r.Method == http.MethodPost {
		var err error
		if params, err = readForm(r); err != nil {
			return err
		}
	}
	s, err := a.session(r)
	if err != nil {
		return err
	}
	if err := a.endSession(w, r, s); err != nil {
		return err
	}
	if s != nil {
		err := a.audit(r.Context(), audit.Record{Operation: "SignIn.Out", Principal: s.user.ID, ClientIP: clientIP(r.Request), Result: "Success", Status: http.StatusOK})
		if err != nil {
			return err
		}
	}
	if to := a.afterLogout(r.Context(), params); to != "" {
		answer := url.Values{}
		if state := params.Get("state"); state != "" {
			answer.Set("state", state)
		}
		return respond(w, to, "query", answer)
	}
	return writePage(w, http.StatusOK, page{Kind: "message", Title: "You signed out", Text: "It’s a good idea to close all browser windows."})
}

// afterLogout returns the address that a sign-out leads to; empty when it is none of the client's.
func (a *Authority) afterLogout(ctx context.Context, params url.Values) string {
	to, clientID := params.Get("post_logout_redirect_uri"), params.Get("client_id")
	if to == "" {
		return ""
	}
	if hint := params.Get("id_token_hint"); hint != "" && clientID == "" {
		c, err := a.authentic(ctx, hint)
		if err != nil {
			return ""
		}
		clientID = c.Audience
	}
	reg, err := a.registration(ctx, clientID)
	if err != nil {
		return ""
	}
	if found, ok := redirectOf(reg, to); ok {
		return found.URI
	}
	return ""
}
