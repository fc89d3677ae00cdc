package authority

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// onBehalfOf is the grant in which an application that was called with a user's token calls another resource in the user's
// name. The grant that it gives dies with the one that the user's token is of.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow
func (a *Authority) onBehalfOf(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	assertion := r.form.Get("assertion")
	switch {
	case r.form.Get("requested_token_use") != "on_behalf_of":
		return nil, aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: 'requested_token_use', with the value 'on_behalf_of'.")
	case assertion == "":
		return nil, missing("assertion")
	case r.client.anonymous():
		return nil, errNoCredential()
	case r.browser:
		return nil, errCrossOrigin(false)
	}
	reg, method, used, err := a.userClient(ctx, r)
	if err != nil {
		return nil, err
	}
	own := append([]string{reg.AppID, "api://" + reg.AppID}, reg.IdentifierURIs...)
	caller, err := a.Verify(ctx, assertion, func(audience string) bool {
		return slices.ContainsFunc(own, func(name string) bool {
			return strings.EqualFold(strings.TrimSuffix(audience, "/"), strings.TrimSuffix(name, "/"))
		})
	})
	if err != nil {
		return nil, refuseAssertion(err, own)
	}
	r.record.Principal = caller.ObjectID
	if caller.Type != azure.TypeUser {
		return nil, aadsts(http.StatusBadRequest, "invalid_request", 7000114, "Application '%s' is not allowed to make application on-behalf-of calls.", shown(caller.AppID))
	}
	c, err := a.authentic(ctx, assertion)
	if err != nil {
		return nil, err
	}
	var from *userGrant
	err = a.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		from, err = findGrant(ctx, tx, c.GrantID)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errUnknownGrant("assertion")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the grant of an assertion: %w", err)
	}
	p, err := a.user(ctx, from.SignIn)
	if err != nil {
		return nil, err
	}
	w, err := wantedOf(r.form, r.v2)
	if err != nil {
		return nil, err
	}
	r.record.Details["audience"] = shown(w.Resource)
	scopes, err := a.grantScopes(ctx, reg.AppID, p.ID, w)
	if err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, used, w.Resource+"\x00"+string(hashOf(assertion)), r.record.ClientIP); err != nil {
		return nil, err
	}
	g := &userGrant{ID: azure.NewGUID(), Root: from.Root, ClientID: reg.AppID, Proved: true, SignIn: from.SignIn, Wanted: w}
	var refreshToken string
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := findGrant(ctx, tx, from.ID); err != nil { // revoked in this moment
			return err
		}
		refreshToken, err = a.begin(ctx, tx, g)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errUnknownGrant("assertion")
	}
	if err != nil {
		return nil, fmt.Errorf("storing a grant on behalf of user %s: %w", p.ID, err)
	}
	out, err := a.issue(r, g, p, w, scopes, method, "")
	if err != nil {
		return nil, err
	}
	out.refresh = refreshToken
	return out, nil
}

// refuseAssertion says what is wrong with the user's token, in Entra's codes.
func refuseAssertion(err error, own []string) error {
	var t *azure.TokenError
	if !errors.As(err, &t) {
		return err
	}
	switch t.Problem {
	case azure.TokenAudience:
		return aadsts(http.StatusBadRequest, "invalid_grant", 500131,
			"Assertion audience does not match the Client app presenting the assertion. The audience in the assertion was '%s' and the expected audience is one of '%s'.", shown(t.Found), strings.Join(own, "', '"))
	case azure.TokenExpired, azure.TokenNotYetValid:
		return aadsts(http.StatusBadRequest, "invalid_grant", 500133, "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token: %s.", t.Detail)
	}
	return aadsts(http.StatusBadRequest, "invalid_grant", 50013, "Assertion failed signature validation, or is no access token of this authority that is still good: %s.", t.Detail)
}
