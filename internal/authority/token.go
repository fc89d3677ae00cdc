package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"golang.org/x/sync/singleflight"
)

// claims of an access token, version 1.0. Those without omitempty are in every one.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type claims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	IssuedAt   int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	AIO        string `json:"aio"` // opaque
	AppID      string `json:"appid"`
	AppIDACR   string `json:"appidacr"` // "0" public client, "1" client secret, "2" certificate
	IDP        string `json:"idp"`
	IDType     string `json:"idtyp"` // appToken or userToken; ID tokens have none
	ObjectID   string `json:"oid"`
	RH         string `json:"rh"` // opaque
	Subject    string `json:"sub"`
	TenantID   string `json:"tid"`
	TokenID    string `json:"uti"`
	Version    string `json:"ver"`
	ResourceID string `json:"xms_az_rid,omitempty"` // who acts with a user-assigned identity
	IdentityID string `json:"xms_mirid,omitempty"`  // the managed identity

	// Of a user's token alone:
	ACR        string   `json:"acr,omitempty"`
	AMR        []string `json:"amr,omitempty"` // how the user signed in
	FamilyName string   `json:"family_name,omitempty"`
	GivenName  string   `json:"given_name,omitempty"`
	IPAddress  string   `json:"ipaddr,omitempty"` // from which the user signed in
	Name       string   `json:"name,omitempty"`
	Scopes     string   `json:"scp,omitempty"`
	GrantID    string   `json:"sid,omitempty"` // with which it dies
	UniqueName string   `json:"unique_name,omitempty"`
	UPN        string   `json:"upn,omitempty"`
}

// Values of idtyp.
const (
	appToken  = "app"
	userToken = "user"
)

// token is one that was issued.
type token struct {
	claims
	keyID string
	raw   string
}

func (t *token) expires() time.Time { return time.Unix(t.Expires, 0).UTC() }

// sign completes the claims of an app-only token for a principal and signs them.
func (a *Authority) sign(p directory.Principal, audience string, lifetime time.Duration, c claims) (*token, error) {
	c.AppID, c.ObjectID, c.Subject, c.IDType = p.AppID, p.ID, p.ID, appToken
	return a.signAccess(audience, lifetime, c)
}

// signAccess completes the claims that all access tokens have and signs them.
func (a *Authority) signAccess(audience string, lifetime time.Duration, c claims) (*token, error) {
	now := time.Now()
	c.Audience, c.Issuer, c.IDP = audience, a.issuer(), a.issuer()
	c.IssuedAt = now.Add(-skew).Unix() // backdated as Entra's are, for clients whose clock is behind
	c.NotBefore, c.Expires = c.IssuedAt, now.Add(lifetime).Unix()
	c.TenantID, c.Version = a.o.TenantID, "1.0"
	c.AIO, c.RH, c.TokenID = opaque(24), "0."+opaque(30)+".", opaque(16)
	raw, keyID, err := a.signJWT(c)
	if err != nil {
		return nil, err
	}
	return &token{claims: c, keyID: keyID, raw: raw}, nil
}

// signJWT signs claims with the key that signs now.
func (a *Authority) signJWT(claims any) (raw, keyID string, err error) {
	k, err := a.keys.Load().signing(time.Now())
	if err != nil {
		return "", "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", "", err
	}
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return "", "", fmt.Errorf("signing a token with key %s: %w", k.id, err)
	}
	raw, err = signed.CompactSerialize()
	return raw, k.id, err
}

func opaque(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// appLifetime is 60 to 90 minutes, spread so that clients do not all come back at once.
func appLifetime() time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(30*60+1))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return time.Hour + time.Duration(n.Int64())*time.Second
}

// signInCategory is the category of all of this package's records.
const signInCategory = "SignIn"

// auditIssue writes down a token that was issued, and returns when that is durable.
func (a *Authority) auditIssue(ctx context.Context, r audit.Record, t *token) error {
	details := map[string]string{"audience": t.Audience, "tokenId": t.TokenID, "keyId": t.keyID}
	maps.Copy(details, r.Details)
	r.Details, r.Principal, r.Result, r.Status = details, t.ObjectID, "Success", http.StatusOK
	return a.audit(ctx, r)
}

func (a *Authority) audit(ctx context.Context, r audit.Record) error {
	r.Category, r.RequestID = signInCategory, azure.RequestID(ctx)
	if err := a.o.Audit.Append(ctx, r); err != nil {
		return fmt.Errorf("auditing a sign-in: %w", err)
	}
	return nil
}

var errIdentityNotFound = azure.Errorf(http.StatusBadRequest, "invalid_request", "Identity not found")

// IdentityToken returns a token with which a resource acts as a managed identity: its own, or a user-assigned one.
// principalID is the identity's object id, resourceID (ARM ID) the resource that acts, audience the resource asked for.
// A deleted identity gives azure.Error 400 "Identity not found". A token is handed out again until half of its life
// is over; whether the identity still exists is checked on every call.
func (a *Authority) IdentityToken(ctx context.Context, principalID, resourceID, audience string) (raw string, expires time.Time, err error) {
	t, _, err := a.identityToken(ctx, principalID, resourceID, audience, "", nil)
	if err != nil {
		return "", time.Time{}, err
	}
	return t.raw, t.expires(), nil
}

// identityToken is IdentityToken for the endpoints: a token whose SHA-256 (hex) is notThis is not handed out again,
// and details are for the audit. cached says that the token was issued, and audited, before.
func (a *Authority) identityToken(ctx context.Context, principalID, resourceID, audience, notThis string, details map[string]string) (t *token, cached bool, err error) {
	p, err := a.managedIdentity(ctx, principalID, resourceID)
	if err == nil {
		err = a.checkAudience(ctx, audience)
	}
	record := audit.Record{Operation: "Token.ManagedIdentity", Principal: principalID, Identity: p.IdentityID, Resource: resourceID, Details: details}
	if err != nil {
		return nil, false, a.auditRefusal(ctx, record, err)
	}
	key := issuedKey{principal: p.ID, resource: resourceID, audience: audience}
	if t := a.issued.get(key, notThis); t != nil {
		return t, true, nil
	}
	v, err, _ := a.issued.flights.Do(strings.Join([]string{key.principal, key.resource, key.audience, notThis}, "\n"), func() (any, error) {
		ctx := context.WithoutCancel(ctx)              // others may wait for it
		if t := a.issued.get(key, notThis); t != nil { // a flight that has just ended made it
			return t, nil
		}
		c := claims{AppIDACR: "2", IdentityID: p.IdentityID}
		if p.Kind == directory.UserAssigned {
			c.ResourceID = resourceID
		}
		t, err := a.sign(p, audience, longestToken, c)
		if err != nil {
			return nil, err
		}
		if err := a.auditIssue(ctx, record, t); err != nil {
			return nil, err
		}
		a.issued.put(key, t)
		return t, nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("issuing a token for identity %s: %w", p.ID, err)
	}
	return v.(*token), false, nil
}

// managedIdentity returns the identity with which a resource may act: a living one, and nobody else's own.
func (a *Authority) managedIdentity(ctx context.Context, principalID, resourceID string) (directory.Principal, error) {
	p, err := a.o.Directory.Principal(ctx, principalID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return p, errIdentityNotFound
	case err != nil:
		return p, err
	case !p.Managed() || !p.Enabled:
		return p, errIdentityNotFound
	case p.Kind == directory.SystemAssigned && resourceID != "" && !strings.EqualFold(strings.TrimSuffix(resourceID, "/"), p.IdentityID):
		return p, errIdentityNotFound
	}
	return p, nil
}

// issuedTokens keeps the tokens of managed identities that may be handed out again.
type issuedTokens struct {
	flights singleflight.Group
	mu      sync.Mutex
	tokens  map[issuedKey]*token
}

type issuedKey struct{ principal, resource, audience string }

const maxIssued = 10_000

func (s *issuedTokens) get(k issuedKey, notThis string) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[k]
	if t == nil || time.Until(t.expires()) < longestToken/2 {
		return nil
	}
	if notThis != "" {
		hash := sha256.Sum256([]byte(t.raw))
		if strings.EqualFold(notThis, hex.EncodeToString(hash[:])) {
			return nil
		}
	}
	return t
}

func (s *issuedTokens) put(k issuedKey, t *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || len(s.tokens) >= maxIssued {
		s.tokens = map[issuedKey]*token{}
	}
	s.tokens[k] = t
}
