package authority

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/keyreel/keyreel/internal/directory"
)

// checkFederated verifies a token of another issuer that stands for one of the principal's credentials. Only an issuer
// that one of them names is ever asked for its keys. Such a token may come again while it lives: it is the content of a
// file that a platform renews now and then.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation
func (a *Authority) checkFederated(ctx context.Context, signed *jose.JSONWebSignature, p directory.Principal) error {
	if signed.Signatures[0].Protected.Algorithm != string(jose.RS256) {
		return malformedAssertion("another issuer's token has to be signed with RS256")
	}
	c, err := assertionClaims(signed.UnsafePayloadWithoutVerification())
	if err != nil {
		return err
	}
	credentials, err := a.o.Directory.FederatedCredentials(ctx, p.AppID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(credentials, func(f directory.FederatedCredential) bool { return federated(f, c) }) {
		return aadsts(http.StatusUnauthorized, "invalid_client", 70021,
			"No matching federated identity record found for presented assertion. Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'. Issuer, subject and the one audience are compared exactly.",
			shown(c.Issuer), shown(c.Subject), shown(strings.Join(c.Audience, " ")))
	}
	if _, err := checkTimes(c, time.Now(), 0); err != nil {
		return err
	}
	key, err := a.issuers.key(ctx, c.Issuer, signed.Signatures[0].Protected.KeyID)
	switch {
	case errors.Is(err, errNoIssuerKey):
		return aadsts(http.StatusUnauthorized, "invalid_client", 700027, "The assertion's issuer publishes no RSA key with the kid '%s'.", shown(signed.Signatures[0].Protected.KeyID))
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil: // what exactly went wrong is for the operator: the caller would learn about the network here
		e := aadsts(http.StatusServiceUnavailable, "temporarily_unavailable", 50166, "The keys of the assertion's issuer '%s' could not be fetched.", shown(c.Issuer))
		return e.Because(err)
	}
	if _, err := signed.Verify(key); err != nil {
		return aadsts(http.StatusUnauthorized, "invalid_client", 700027, "The assertion's signature is not that of its issuer's key.")
	}
	if !p.Enabled {
		return directory.ErrDisabled
	}
	return nil
}

// federated reports whether a credential is for such a token: all is compared exactly, and a token for several audiences
// is nobody's.
func federated(f directory.FederatedCredential, c *jwt.Claims) bool {
	return f.Issuer == c.Issuer && f.Subject == c.Subject && c.Subject != "" && len(c.Audience) == 1 && slices.Contains(f.Audiences, c.Audience[0])
}
