package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// An application acts as a user only where somebody has consented: the user, or for all users who may change the directory.
// Consent is a delegated permission grant of the directory, and every use of a token asks for it (checkDelegation), so a
// grant that is deleted takes the tokens along.
// https://learn.microsoft.com/entra/identity-platform/application-consent-experience

const adminConsent = "admin_consent" // the prompt that asks for everybody's consent

// errChanged says that the question was not the one that the user has answered.
var errChanged = errors.New("the permissions are others by now")

// permission is a scope as the user is asked for it.
type permission struct{ Name, Scope, Resource string }

// asksFor returns the scopes to which an authorization request needs consent. Asked anew for ".default", the user sees what
// the client has come to need since.
func (z *authorization) asksFor(d delegation) []string {
	scopes := slices.Clone(d.scopes)
	if slices.Contains(z.wanted.Scopes, everything) && (z.prompt == "consent" || z.prompt == adminConsent) {
		scopes = append(scopes, d.Required...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// askConsent shows what the client of an authorization request wants. Whether the user may consent for all is asked again
// when the answer comes.
func (a *Authority) askConsent(w http.ResponseWriter, r *azure.Request, z *authorization, s *session, d delegation) error {
	all, err := a.mayConsentForAll(r.Context(), s)
	if err != nil {
		return err
	}
	p := page{
		Action: "/" + url.PathEscape(r.Vars["tenant"]) + "/consent", Params: url.Values{"request": {z.query.Encode()}, "ver": {version1}},
		Host: redirectHost(z.redirect.URI), targets: []string{z.redirect.URI},
	}
	switch {
	case z.prompt == adminConsent && !all:
		return a.refuseAuthorization(w, r, z, errAdminNeeded(d))
	case z.prompt == adminConsent:
		p.Everyone = "must"
	case all:
		p.Everyone = "may"
	}
	if z.v2 {
		p.Params.Set("ver", version2)
	}
	return writeConsent(w, r, p, s, d, z.asksFor(d))
}

// writeConsent completes the question for consent to scopes and sends it. The form says which they were.
func writeConsent(w http.ResponseWriter, r *azure.Request, p page, s *session, d delegation, scopes []string) error {
	p.Kind, p.Title, p.Account = "consent", "Permissions requested", s.user.Name
	p.App, p.ClientID, p.Form = plain(d.Client.Name), d.Client.AppID, formToken(w, r, s.secret)
	p.Params.Set("permissions", strings.Join(scopes, " "))
	for _, scope := range scopes {
		p.Permissions = append(p.Permissions, permission{Name: cmp.Or(plain(d.ScopeName(scope)), scope), Scope: scope, Resource: plain(d.Resource.Name)})
	}
	if len(scopes) == 0 {
		p.Permissions = []permission{{Name: "Sign you in and read your name and e-mail address", Scope: "OpenID Connect"}}
	}
	return writePage(w, http.StatusOK, p)
}

// consentForm serves the form of the consent page of an authorization request.
func (a *Authority) consentForm(w http.ResponseWriter, r *azure.Request) error {
	if _, err := a.tenant(r); err != nil {
		return err
	}
	ctx := r.Context()
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if err := checkForm(r, form); err != nil {
		return a.auditRefusal(ctx, audit.Record{Operation: "Consent.Grant", ClientIP: clientIP(r.Request)}, err)
	}
	query, err := url.ParseQuery(form.Get("request"))
	if err != nil {
		return aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request cannot be read: %v.", err)
	}
	z, err := a.authorization(ctx, query, form.Get("ver") == version2)
	if err != nil {
		return a.refuseAuthorization(w, r, z, err)
	}
	s, err := a.session(r)
	switch {
	case err != nil:
		return err
	case s == nil || z.stale(s):
		return a.showSignIn(w, r, http.StatusOK, z, s, "", false)
	case form.Get("decision") != "accept":
		return a.refuseAuthorization(w, r, z, aadsts(http.StatusBadRequest, "access_denied", 65004, "User declined to consent to access the app."))
	}
	d, err := a.delegation(ctx, z.client.AppID, s.user.ID, z.wanted)
	if err != nil {
		return a.refuseAuthorization(w, r, z, err)
	}
	err = errChanged
	if z.prompt != adminConsent || form.Get("everyone") == "yes" {
		err = a.consent(ctx, r, form, s, d, z.asksFor(d))
	}
	switch {
	case errors.Is(err, errChanged):
		return a.askConsent(w, r, z, s, d)
	case err != nil:
		return a.refuseAuthorization(w, r, z, err)
	}
	return a.answerAuthorization(w, r, z, s)
}

// stale reports whether the client wants the user to have signed in more lately.
func (z *authorization) stale(s *session) bool {
	return z.expired(s) || z.prompt == "login" && time.Since(s.signIn.Time) > codeLife
}

// consent keeps a user's consent to scopes, if the form says that these were shown. Kept twice it is the same; what is kept
// when the answer is lost needs no question the next time.
func (a *Authority) consent(ctx context.Context, r *azure.Request, form url.Values, s *session, d delegation, scopes []string) error {
	if form.Get("permissions") != strings.Join(scopes, " ") {
		return errChanged
	}
	if d.Trusted || len(scopes) == 0 {
		return nil
	}
	record := audit.Record{
		Category: signInCategory, RequestID: azure.RequestID(ctx), Operation: "Consent.Grant", Principal: s.user.ID, ClientIP: clientIP(r.Request),
		Details: map[string]string{"clientId": d.Client.AppID, "resourceId": d.Resource.AppID, "scope": shown(strings.Join(scopes, " ")), "consentType": "Principal"},
	}
	user := s.user.ID
	if form.Get("everyone") == "yes" {
		user, record.Details["consentType"] = "", "AllPrincipals"
		all, err := a.mayConsentForAll(ctx, s)
		if err != nil {
			return err
		}
		if !all {
			return a.auditRefusal(ctx, record, errAdminNeeded(d))
		}
	}
	record.Result, record.Status = "Success", http.StatusOK
	err := a.o.Audit.Update(ctx, record, func(tx *store.Tx) error {
		return a.o.Directory.Consent(ctx, tx, d.Delegation, user, scopes)
	})
	if err != nil {
		return fmt.Errorf("keeping a consent: %w", err)
	}
	return nil
}

func errAdminNeeded(d delegation) error {
	return aadsts(http.StatusForbidden, "access_denied", 90094,
		"The grant requires admin permission: consent for the whole organization to application '%s' takes the right to change the directory.", d.Client.AppID)
}

func (a *Authority) mayConsentForAll(ctx context.Context, s *session) (bool, error) {
	if a.o.MayConsentForAll == nil {
		return false, nil
	}
	groups, err := a.o.Directory.Groups(ctx, s.user.ID)
	if err != nil {
		return false, err
	}
	return a.o.MayConsentForAll(ctx, append([]string{s.user.ID}, groups...))
}

// redirectHost is where an answer goes, as a user recognizes it: a host, or the scheme of a program's own.
func redirectHost(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil {
		return redirect
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Host
	}
	return u.Scheme + "://"
}

// plain is a name that its owner chose without what would let it look like something else: characters that are not seen, or
// turn the direction of writing around.
func plain(name string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return c
	}, name))
}
