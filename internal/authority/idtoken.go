package authority

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
)

// idClaims are those of an ID token, of both versions.
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
type idClaims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	AuthTime  int64  `json:"auth_time"`
	ObjectID  string `json:"oid"`
	Subject   string `json:"sub"`
	TenantID  string `json:"tid"`
	TokenID   string `json:"uti"`
	Version   string `json:"ver"`
	RH        string `json:"rh"`
	SessionID string `json:"sid,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
	CodeHash  string `json:"c_hash,omitempty"`
	Email     string `json:"email,omitempty"`
	Name      string `json:"name,omitempty"`

	PreferredName string `json:"preferred_username,omitempty"` // version 2

	AMR        []string `json:"amr,omitempty"` // version 1, as what follows
	FamilyName string   `json:"family_name,omitempty"`
	GivenName  string   `json:"given_name,omitempty"`
	IPAddress  string   `json:"ipaddr,omitempty"`
	UniqueName string   `json:"unique_name,omitempty"`
	UPN        string   `json:"upn,omitempty"`
}

// idTokenFor is what an ID token is made for.
type idTokenFor struct {
	version2 bool
	urls     azure.URLs // in whose naming version 2 names its issuer
	nonce    string
	code     string // that goes with it, for c_hash
}

const idTokenLife = time.Hour

// idToken tells the client who the user is. It is no access token: it has no idtyp, so Verify refuses it.
func (a *Authority) idToken(g *userGrant, p directory.Profile, w wanted, to idTokenFor) (string, error) {
	now := time.Now()
	c := idClaims{
		Audience: g.ClientID, Issuer: a.issuer(), IssuedAt: now.Add(-skew).Unix(), NotBefore: now.Add(-skew).Unix(), Expires: now.Add(idTokenLife).Unix(),
		AuthTime: g.SignIn.Time.Unix(), ObjectID: p.ID, Subject: pairwise(p.ID, g.ClientID), TenantID: a.o.TenantID,
		TokenID: opaque(16), RH: "0." + opaque(30) + ".", Version: "1.0", SessionID: g.ID, Nonce: to.nonce,
	}
	if to.code != "" {
		hash := sha256.Sum256([]byte(to.code))
		c.CodeHash = base64.RawURLEncoding.EncodeToString(hash[:len(hash)/2])
	}
	if w.Email {
		c.Email = p.Mail
	}
	if w.Profile {
		c.Name = p.DisplayName
	}
	if to.version2 {
		c.Issuer, c.Version = to.urls.Login()+"/"+a.o.TenantID+"/v2.0", "2.0"
		if w.Profile {
			c.PreferredName = p.Name
		}
	} else {
		c.AMR, c.FamilyName, c.GivenName, c.IPAddress, c.UniqueName, c.UPN = []string{"pwd"}, p.Surname, p.GivenName, g.SignIn.Address, p.Name, p.Name
	}
	raw, _, err := a.signJWT(c)
	return raw, err
}

// pairwise is the subject under which an audience knows a user: the same at each sign-in, another for each audience.
func pairwise(userID, audience string) string {
	hash := sha256.Sum256([]byte("keyreel subject\x00" + userID + "\x00" + strings.ToLower(strings.TrimSuffix(audience, "/"))))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// clientInfo names the account to MSAL: without it its cache does not know whose tokens they are.
func (a *Authority) clientInfo(userID string) string {
	text, err := json.Marshal(map[string]string{"uid": userID, "utid": a.o.TenantID})
	if err != nil {
		panic(err) // two strings
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
