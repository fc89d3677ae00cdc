package authority

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
)

const (
	maxToken    = 16 << 10    // bytes; ours are about 1,500
	reloadEvery = time.Second // how often a key that is not known may send us to the database
)

// Verify is azure.VerifyToken for the tokens of this authority. That a signature was good is remembered until the
// token expires; everything else, the life of its principal above all, is checked on every call.
func (a *Authority) Verify(ctx context.Context, raw string, accepts func(audience string) bool) (*azure.Caller, error) {
	c, err := a.authentic(ctx, raw)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	switch {
	case c.Issuer != a.issuer():
		return nil, refuse(azure.TokenIssuer, c.Issuer, "its issuer is '%s' and not '%s'", c.Issuer, a.issuer())
	case c.TenantID != a.o.TenantID:
		return nil, refuse(azure.TokenIssuer, c.TenantID, "its tenant is '%s' and not '%s'", c.TenantID, a.o.TenantID)
	case !accepts(c.Audience):
		return nil, refuse(azure.TokenAudience, c.Audience, "its audience '%s' is not this service", c.Audience)
	case now.After(time.Unix(c.Expires, 0).Add(skew)):
		return nil, refuse(azure.TokenExpired, "", "it expired at %s", time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	case now.Add(skew).Before(time.Unix(c.NotBefore, 0)):
		return nil, refuse(azure.TokenNotYetValid, "", "it is valid from %s", time.Unix(c.NotBefore, 0).UTC().Format(time.RFC3339))
	case c.IDType != appToken && c.IDType != userToken:
		return nil, refuse(azure.TokenMalformed, "", "it is no access token")
	}
	p, err := a.o.Directory.Principal(ctx, c.ObjectID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, refuse(azure.TokenPrincipal, "", "its principal %s was deleted", c.ObjectID)
	case err != nil:
		return nil, err
	case !p.Enabled:
		return nil, refuse(azure.TokenPrincipal, "", "its principal %s is disabled", c.ObjectID)
	case (p.Kind == directory.User) != (c.IDType == userToken):
		return nil, refuse(azure.TokenPrincipal, "", "its principal %s is of another kind", c.ObjectID)
	case c.IDType == appToken && p.AppID != c.AppID:
		return nil, refuse(azure.TokenPrincipal, "", "its principal %s has another client id", c.ObjectID)
	}
	if c.IDType == userToken {
		if err := a.checkGrant(ctx, c.GrantID); err != nil {
			return nil, err
		}
		if err := a.checkDelegation(ctx, c); err != nil {
			return nil, err
		}
	}
	groups, err := a.o.Directory.Groups(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	caller := &azure.Caller{
		ObjectID: p.ID, TenantID: c.TenantID, AppID: c.AppID, Type: p.Type(), Name: p.Name, Groups: groups,
		Issuer: c.Issuer, Audience: c.Audience, TokenID: c.TokenID,
		IdentityID: c.IdentityID, ResourceID: c.ResourceID,
	}
	if c.IDType == userToken {
		caller.Scopes = strings.Fields(c.Scopes)
	}
	if caller.ResourceID == "" {
		caller.ResourceID = c.IdentityID
	}
	return caller, nil
}

func refuse(problem azure.TokenProblem, found, format string, args ...any) *azure.TokenError {
	return &azure.TokenError{Problem: problem, Detail: fmt.Sprintf(format, args...), Found: found}
}

// authentic returns the claims of a token that one of our keys signed.
func (a *Authority) authentic(ctx context.Context, raw string) (*claims, error) {
	if raw == "" {
		return nil, refuse(azure.TokenMissing, "", "there is no token")
	}
	if len(raw) > maxToken {
		return nil, refuse(azure.TokenMalformed, "", "it is longer than %d bytes", maxToken)
	}
	hash := sha256.Sum256([]byte(raw))
	if c := a.verified.get(hash); c != nil {
		return c, nil
	}
	signed, id, err := parse(raw)
	if err != nil {
		return nil, err
	}
	k := a.keys.Load().find(id, time.Now())
	if k == nil { // another node may have made it a moment ago
		if err := a.load(ctx, reloadEvery); err != nil {
			return nil, err
		}
		if k = a.keys.Load().find(id, time.Now()); k == nil {
			return nil, refuse(azure.TokenSignature, "", "no key of this authority has the id that it names")
		}
	}
	payload, err := signed.Verify(k.public())
	if err != nil {
		return nil, refuse(azure.TokenSignature, "", "its signature does not match")
	}
	c := &claims{}
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, refuse(azure.TokenMalformed, "", "its claims are not what this authority writes")
	}
	a.verified.put(hash, c)
	return c, nil
}

// parse takes a token apart and returns the id of the key that it names. Only RS256 is let through, so neither "none"
// nor a MAC made with a public key gets as far as a signature check.
func parse(raw string) (signed *jose.JSONWebSignature, keyID string, err error) {
	signed, err = jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, "", refuse(azure.TokenMalformed, "", "it is not a JWT signed with RS256")
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != "JWT" {
		return nil, "", refuse(azure.TokenMalformed, "", "its typ is not JWT")
	}
	if header.KeyID == "" {
		return nil, "", refuse(azure.TokenMalformed, "", "it names no key")
	}
	return signed, header.KeyID, nil
}

// verifiedTokens remembers tokens whose signature was good, by SHA-256. When a generation is full it becomes the old
// one, and what is not asked for again goes with the next.
type verifiedTokens struct {
	mu          sync.RWMutex
	recent, old map[[sha256.Size]byte]*claims
}

const maxVerified = 8192 // tokens in a generation

func (v *verifiedTokens) get(hash [sha256.Size]byte) *claims {
	v.mu.RLock()
	c, fresh := v.recent[hash]
	if !fresh {
		c = v.old[hash]
	}
	v.mu.RUnlock()
	if c != nil && !fresh {
		v.put(hash, c)
	}
	return c
}

func (v *verifiedTokens) put(hash [sha256.Size]byte, c *claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.recent == nil || len(v.recent) >= maxVerified {
		v.old, v.recent = v.recent, make(map[[sha256.Size]byte]*claims)
	}
	v.recent[hash] = c
}
