package authority

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

const maxName, maxPassword = 1024, 1024 // bytes

// checkPassword signs a user in by name and password, and calls keep in the transaction that forgets the wrong passwords
// before. A name that is nobody's is told from a wrong password by nothing: not by the text, not by the status, not by the
// lockout, and not by the time, which is argon2's. The record names the user by object id alone: what is nobody's name may
// be a password that was typed into the wrong field.
func (a *Authority) checkPassword(ctx context.Context, name string, password seal.Secret, record *audit.Record, keep func(*store.Tx, directory.Profile) error) (directory.Profile, error) {
	var nobody directory.Profile
	name = strings.TrimSpace(name)
	if name == "" || password == "" || len(name) > maxName || len(password) > maxPassword {
		return nobody, errWrongPassword()
	}
	account, source := accountOf(name), network(record.ClientIP)
	done, err := a.turn(ctx, account, source)
	if err != nil {
		return nobody, err
	}
	defer done()
	// Read first: when the password is changed meanwhile, the stamp is that of the old one, and good for nothing.
	profile, err := a.o.Directory.ProfileByName(ctx, name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nobody, err
	}
	p, err := a.o.Directory.VerifyPassword(ctx, name, password)
	switch {
	case errors.Is(err, directory.ErrWrongSecret):
		if profile.ID != "" {
			record.Principal = profile.ID
		}
		if err := a.failed(ctx, account, source); err != nil {
			return nobody, err
		}
		return nobody, errWrongPassword()
	case errors.Is(err, directory.ErrDisabled): // which only who knows the password is told
		record.Principal = profile.ID
		return nobody, errDisabledUser()
	case err != nil:
		return nobody, err
	case p.ID != profile.ID: // made in this moment
		return nobody, errWrongPassword()
	}
	record.Principal = p.ID
	if profile.MustChange {
		return nobody, aadsts(http.StatusBadRequest, "invalid_grant", 50055, "The password is expired: it has to be changed on the sign-in page.")
	}
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		if err := succeeded(ctx, tx, account, source); err != nil {
			return err
		}
		return keep(tx, profile)
	})
	if err != nil {
		return nobody, fmt.Errorf("signing in user %s: %w", p.ID, err)
	}
	return profile, nil
}

// ProvePassword is directory.Passwords.
func (a *Authority) ProvePassword(ctx context.Context, name string, password seal.Secret, clientIP string) error {
	if password == "" || len(password) > maxPassword {
		return directory.ErrWrongSecret
	}
	account, source := accountOf(name), network(clientIP)
	done, err := a.turn(ctx, account, source)
	if err != nil {
		return err
	}
	defer done()
	_, err = a.o.Directory.VerifyPassword(ctx, name, password)
	if errors.Is(err, directory.ErrWrongSecret) {
		if err := a.failed(ctx, account, source); err != nil {
			return err
		}
	}
	return err
}

func errWrongPassword() error {
	return aadsts(http.StatusBadRequest, "invalid_grant", 50126, "Error validating credentials due to invalid username or password.")
}

// password is the grant in which a client has the user's name and password (RFC 6749 section 4.3). It takes a client that
// is registered as public, or that proves itself.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth-ropc
func (a *Authority) password(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	for _, name := range []string{"username", "password"} {
		if r.form.Get(name) == "" {
			return nil, missing(name)
		}
	}
	reg, method, _, err := a.userClient(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case method == "0" && !reg.Public:
		return nil, errNoCredential()
	case r.browser:
		return nil, errCrossOrigin(false)
	}
	w, err := wantedOf(r.form, r.v2)
	if err != nil {
		return nil, err
	}
	r.record.Details["audience"] = shown(w.Resource)
	if _, err := a.delegation(ctx, reg.AppID, "", w); err != nil {
		return nil, err
	}
	var scopes granted
	g := &userGrant{ID: azure.NewGUID(), ClientID: reg.AppID, Proved: method != "0", Wanted: w}
	var refreshToken string
	p, err := a.checkPassword(ctx, r.form.Get("username"), seal.Secret(r.form.Get("password")), r.record, func(tx *store.Tx, p directory.Profile) (err error) {
		d, err := a.delegationIn(ctx, tx, reg.AppID, p.ID, w)
		if err != nil {
			return err
		}
		if scopes, err = d.grant(w); err != nil {
			return err
		}
		g.SignIn = signIn{UserID: p.ID, Stamp: p.Stamp, Time: time.Now(), Address: r.record.ClientIP}
		refreshToken, err = a.begin(ctx, tx, g)
		return err
	})
	if err != nil {
		return nil, err
	}
	out, err := a.issue(r, g, p, w, scopes, method, "")
	if err != nil {
		return nil, err
	}
	out.refresh = refreshToken
	return out, nil
}

// userRealm tells MSAL and ADAL that a name signs in here, with a password, and not at another organisation. It says so of
// every name.
func (a *Authority) userRealm(w http.ResponseWriter, r *azure.Request) error {
	if _, err := a.tenant(r); err != nil {
		return err
	}
	_, domain, _ := strings.Cut(r.Vars["user"], "@")
	return azure.WriteJSON(w, http.StatusOK, map[string]string{
		"ver": "1.0", "account_type": "Managed", "domain_name": shown(domain), "cloud_instance_name": cloudInstance(a.o.Hosts.For(r.Request)),
		"cloud_audience_urn": "urn:federation:MicrosoftOnline",
	})
}

// cloudInstance is the authority's host as discovery documents name it.
func cloudInstance(urls azure.URLs) string {
	return strings.TrimPrefix(strings.TrimPrefix(urls.Login(), "https://"), "login.")
}
