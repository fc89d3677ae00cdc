package authority

import (
	"context"
	"crypto/sha1" // x5t is defined as SHA-1 (RFC 7515 section 4.1.7); it only names a certificate
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
)

// longestAssertion is how far ahead an assertion may expire: MSAL's live for 10 minutes, Terraform's for an hour.
const longestAssertion = time.Hour

var assertionAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256}

// checkAssertion verifies a JWT with which a client signs in: its own, made with the key of one of its certificates, or
// that of an issuer which a federated credential names. The proof is still to be used. An unknown client is sql.ErrNoRows.
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials, RFC 7523 section 3
func (a *Authority) checkAssertion(ctx context.Context, c client, record *audit.Record) (directory.Principal, proof, error) {
	p, err := a.o.Directory.ByAppID(ctx, c.id)
	if err != nil {
		return p, proof{}, err
	}
	record.Principal = p.ID
	if len(c.assertion) > maxToken {
		return p, proof{}, malformedAssertion("it is longer than %d bytes", maxToken)
	}
	signed, err := jose.ParseSignedCompact(c.assertion, assertionAlgorithms)
	if err != nil {
		return p, proof{}, malformedAssertion("it is not a JWT signed with RS256 or PS256")
	}
	said, err := assertionClaims(signed.UnsafePayloadWithoutVerification())
	if err != nil {
		return p, proof{}, err
	}
	if !strings.EqualFold(said.Issuer, p.AppID) {
		return p, proof{assertion: true}, a.checkFederated(ctx, signed, p)
	}
	p, certificates, err := a.o.Directory.Certificates(ctx, p.AppID)
	if err != nil {
		return p, proof{}, err
	}
	payload, err := verifyWith(signed, certificates, time.Now())
	if err != nil {
		return p, proof{}, err
	}
	used, err := a.checkAssertionClaims(payload, p.AppID, time.Now())
	if err == nil && !p.Enabled {
		err = directory.ErrDisabled
	}
	return p, used, err
}

func assertionClaims(payload []byte) (*jwt.Claims, error) {
	c := &jwt.Claims{}
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, malformedAssertion("its claims cannot be read")
	}
	return c, nil
}

func malformedAssertion(format string, args ...any) error {
	return aadsts(http.StatusUnauthorized, "invalid_client", 50027, "JWT token is invalid or malformed: "+format+".", args...)
}

// verifyWith returns what was signed, if the certificate that the header names is one of those given, is valid now, and
// made the signature. A key or chain in the header itself (jwk, x5c) proves nothing and is not looked at.
func verifyWith(signed *jose.JSONWebSignature, certificates []directory.Certificate, now time.Time) ([]byte, error) {
	header := signed.Signatures[0].Protected
	name, matches, err := thumbprint(header)
	if err != nil {
		return nil, err
	}
	reason := "The key was not found."
	for _, c := range certificates {
		if !matches(c.X509.Raw) {
			continue
		}
		if now.Before(c.X509.NotBefore.Add(-skew)) || now.After(c.X509.NotAfter) {
			reason = "The key used is expired or not yet valid."
			continue
		}
		if payload, err := signed.Verify(c.X509.PublicKey); err == nil {
			return payload, nil
		}
		reason = "The key was found, but use of the key to verify the signature failed."
		break
	}
	return nil, aadsts(http.StatusUnauthorized, "invalid_client", 700027,
		"The certificate used to sign the client assertion is not registered on the application, or the signature is not its. [Reason - %s, Thumbprint of key used by client: '%s']", reason, shown(name))
}

// thumbprint returns the header's name for the certificate, and how that is compared: x5t#S256, else x5t, else kid as
// the same hash as x5t. Clients write them in base64 or base64url, padded or not.
func thumbprint(header jose.Header) (name string, matches func(der []byte) bool, err error) {
	sha256Name, _ := header.ExtraHeaders["x5t#S256"].(string)
	sha1Name, _ := header.ExtraHeaders["x5t"].(string)
	name, size := sha256Name, sha256.Size
	if name == "" {
		name, size = sha1Name, sha1.Size
	}
	if name == "" {
		name = header.KeyID
	}
	want, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(name))
	if err != nil || len(want) != size {
		return name, nil, malformedAssertion("its header names no certificate by x5t#S256, x5t or kid")
	}
	return name, func(der []byte) bool {
		if size == sha256.Size {
			return sha256.Sum256(der) == [sha256.Size]byte(want)
		}
		return sha1.Sum(der) == [sha1.Size]byte(want)
	}, nil
}

// checkAssertionClaims checks what a client says of itself.
func (a *Authority) checkAssertionClaims(payload []byte, clientID string, now time.Time) (proof, error) {
	c, err := assertionClaims(payload)
	if err != nil {
		return proof{}, err
	}
	switch {
	case !strings.EqualFold(c.Issuer, clientID) || !strings.EqualFold(c.Subject, clientID):
		return proof{}, aadsts(http.StatusUnauthorized, "invalid_client", 700021,
			"Client assertion application identifier doesn't match 'client_id' parameter: iss is '%s' and sub is '%s', and both have to be '%s'.", shown(c.Issuer), shown(c.Subject), clientID)
	case len(c.Audience) != 1 || !a.isTokenEndpoint(c.Audience[0]):
		return proof{}, aadsts(http.StatusUnauthorized, "invalid_client", 700023,
			"Client assertion audience claim does not match Realm issuer: aud is '%s' and not the token endpoint of the tenant '%s'.", shown(strings.Join(c.Audience, " ")), a.o.TenantID)
	}
	expires, err := checkTimes(c, now, longestAssertion)
	if err != nil {
		return proof{}, err
	}
	used := proof{assertion: true, clientID: clientID, id: c.ID, expires: expires}
	if used.id == "" { // what was signed stands for itself
		hash := sha256.Sum256(payload)
		used.id = "sha256:" + base64.RawURLEncoding.EncodeToString(hash[:])
	}
	return used, nil
}

// checkTimes compares seconds and not times: a client may write any number. It lets no exp be further ahead than longest,
// unless that is 0.
func checkTimes(c *jwt.Claims, now time.Time, longest time.Duration) (expires time.Time, err error) {
	at, tolerated := now.Unix(), int64(skew.Seconds())
	why := ""
	switch {
	case c.Expiry == nil:
		why = "it has no exp"
	case int64(*c.Expiry) < at-tolerated:
		why = "it has expired"
	case longest > 0 && int64(*c.Expiry) > at+tolerated+int64(longest.Seconds()):
		why = fmt.Sprintf("its exp is more than %v ahead", longest)
	case c.NotBefore != nil && int64(*c.NotBefore) > at+tolerated:
		why = "its nbf is ahead"
	case c.IssuedAt != nil && int64(*c.IssuedAt) > at+tolerated:
		why = "its iat is ahead"
	default:
		return c.Expiry.Time(), nil
	}
	return time.Time{}, aadsts(http.StatusUnauthorized, "invalid_client", 700024,
		"Client assertion is not within its valid time range: %s. Current time: %s.", why, now.UTC().Format(time.RFC3339))
}

// isTokenEndpoint reports whether an aud is one of the names of this tenant's token endpoint, or of its issuer. Azure's
// "common" is not: it names every tenant there is.
func (a *Authority) isTokenEndpoint(audience string) bool {
	audience = strings.ToLower(strings.TrimSuffix(audience, "/"))
	if audience == strings.TrimSuffix(a.issuer(), "/") {
		return true
	}
	own, public := azure.URLs{Hosts: a.o.Hosts}.Login(), azure.URLs{Hosts: a.o.Hosts, Public: true}.Login()
	for _, base := range []string{own + "/" + a.o.TenantID, public + "/" + a.o.TenantID, own + "/adfs"} {
		for _, path := range []string{"", "/v2.0", "/oauth2/token", "/oauth2/v2.0/token"} {
			if audience == strings.ToLower(base)+path {
				return true
			}
		}
	}
	return false
}

// useOnce remembers that an assertion was used, and refuses it the second time, on every node and after a restart. For
// another resource the same client address may use it again, because msal-node signs one for ten minutes and asks with
// it for everything.
func (a *Authority) useOnce(ctx context.Context, p proof, resource, source string) error {
	if p.id == "" {
		return nil
	}
	first := sha256.Sum256([]byte(p.clientID + "\x00" + p.id))
	each := sha256.Sum256([]byte(p.clientID + "\x00" + p.id + "\x00" + strings.ToLower(strings.TrimSuffix(resource, "/"))))
	var replayed bool
	err := a.o.DB.Update(ctx, func(tx *store.Tx) error {
		replayed = false
		if _, err := tx.Exec(ctx, `DELETE FROM authority_assertions WHERE expires < $1`, store.Micros(time.Now())); err != nil {
			return err
		}
		for _, hash := range [][sha256.Size]byte{first, each} {
			n, err := tx.Exec(ctx, `INSERT INTO authority_assertions (hash, source, expires) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING`,
				hash[:], source, store.Micros(p.expires.Add(3*skew))) // long enough for every node's clock
			if err != nil {
				return err
			}
			replayed = replayed || n == 0 && hash == each
		}
		var began string
		if err := tx.QueryRow(ctx, `SELECT source FROM authority_assertions WHERE hash = $1`, first[:]).Scan(&began); err != nil {
			return err
		}
		replayed = replayed || began != source
		return nil
	})
	if err != nil {
		return fmt.Errorf("remembering an assertion of client %s: %w", p.clientID, err)
	}
	if replayed {
		return aadsts(http.StatusUnauthorized, "invalid_client", 50013,
			"Assertion failed: the client assertion with jti '%s' was used before. Sign a new one for each request.", shown(p.id))
	}
	return nil
}
