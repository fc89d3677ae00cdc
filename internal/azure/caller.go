package azure

import (
	"context"
	"fmt"
)

// Principal types, as Microsoft.Authorization names them.
const (
	TypeUser             = "User"
	TypeGroup            = "Group"
	TypeServicePrincipal = "ServicePrincipal"
)

// Caller is who a request acts for, as its verified token says. It is checked against the living directory when it
// is made, so a deleted identity never becomes a Caller.
type Caller struct {
	ObjectID string   // the principal's object id, lower case
	TenantID string   // the tenant's id, lower case
	AppID    string   // client id; empty for a user's own sign-in without application
	Type     string   // TypeUser or TypeServicePrincipal
	Name     string   // display name or user principal name, for messages
	Groups   []string // object ids of the groups that the principal is in
	Issuer   string   // the token's iss
	Audience string   // the token's aud, as it stands there
	TokenID  string   // the token's uti
	Scopes   []string // of a user's token: what its client may do in the user's name; an application's has none

	// Managed identities only: the identity's own resource ID (xms_mirid), and the resource that acts with it
	// (xms_az_rid, or xms_mirid when the identity is the resource's own).
	IdentityID string
	ResourceID string

	// Nested is of requests that a deployment makes for its caller: one more than the deployments that each may nest. It is
	// 0 in a client's own request.
	Nested int
}

// Principals lists every object id under which a role may have been assigned to the caller.
func (c *Caller) Principals() []string {
	return append([]string{c.ObjectID}, c.Groups...)
}

// VerifyToken checks a bearer token and returns its caller. accepts decides on the audience, which differs by
// service. A token that is refused gives a *TokenError.
type VerifyToken func(ctx context.Context, raw string, accepts func(audience string) bool) (*Caller, error)

// TokenProblem is what is wrong with a token.
type TokenProblem string

// What can be wrong with a token.
const (
	TokenMissing      TokenProblem = "missing"
	TokenMalformed    TokenProblem = "malformed"    // not a JWT, alg none or not RS256, no kid
	TokenSignature    TokenProblem = "signature"    // unknown key, or the signature does not match
	TokenExpired      TokenProblem = "expired"      // exp is past, beyond the allowed skew
	TokenNotYetValid  TokenProblem = "notYetValid"  // nbf is ahead, beyond the allowed skew
	TokenIssuer       TokenProblem = "issuer"       // another issuer or tenant
	TokenAudience     TokenProblem = "audience"     // meant for another service
	TokenPrincipal    TokenProblem = "principal"    // its principal was deleted or disabled
	TokenNotPermitted TokenProblem = "notPermitted" // the kind of credential is refused here
)

// TokenError says why a token was refused. Each service renders it with its own codes.
type TokenError struct {
	Problem TokenProblem
	Detail  string // for people; holds no part of the token but its claims iss, aud, exp, nbf, oid
	Found   string // the offending iss or aud
}

func (e *TokenError) Error() string {
	return fmt.Sprintf("token refused (%s): %s", e.Problem, e.Detail)
}
