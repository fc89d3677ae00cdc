package directory

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

var userSet = &objectSet{
	name: "users", odata: "#microsoft.graph.user", from: fromPrincipals, where: `o.kind = 'User'`,
	kept: map[string]shape{
		"displayName": text, "givenName": text, "surname": text, "mail": text, "mailNickname": text, "jobTitle": text, "department": text,
		"companyName": text, "employeeId": text, "employeeType": text, "employeeHireDate": text, "employeeOrgData": record, "mobilePhone": text,
		"faxNumber": text, "businessPhones": texts, "officeLocation": text, "preferredLanguage": text, "usageLocation": text, "otherMails": texts,
		"userType": text, "city": text, "country": text, "postalCode": text, "state": text, "streetAddress": text, "passwordPolicies": text,
		"ageGroup": text, "consentProvidedForMinor": text, "onPremisesImmutableId": text, "showInAddressList": flag,
	},
	none: []string{
		"externalUserStateChangeDateTime", "signInActivity", "lastPasswordChangeDateTime", "signInSessionsValidFromDateTime", "identities",
		"assignedLicenses", "assignedPlans", "provisionedPlans", "onPremisesExtensionAttributes", "onPremisesLastSyncDateTime", "legalAgeGroupClassification",
	},
	creates: []string{"accountEnabled", "userPrincipalName", "passwordProfile"},
	changes: []string{"accountEnabled", "userPrincipalName", "passwordProfile"},
	check: func(attributes map[string]any) error {
		if name, _ := attributes["displayName"].(string); name == "" {
			return errGraph("A value is required for property 'displayName' of resource 'User'.")
		}
		if kind, ok := attributes["userType"].(string); ok && kind != "Member" && kind != "Guest" {
			return errProperty("userType", "it is Member or Guest")
		}
		if place, ok := attributes["usageLocation"].(string); ok && (len(place) != 2 || strings.ToUpper(place) != place) {
			return errProperty("usageLocation", "it is a country's code of two capital letters (ISO 3166)")
		}
		return nil
	},
	show: func(_ *Graph, o *object) map[string]any {
		shown := map[string]any{"displayName": o.Name, "businessPhones": []any{}, "userType": "Member", "otherMails": []any{}, "proxyAddresses": []any{}, "imAddresses": []any{}}
		for _, property := range []string{
			"givenName", "surname", "mail", "mailNickname", "jobTitle", "department", "companyName", "employeeId", "employeeType", "employeeHireDate",
			"employeeOrgData", "mobilePhone", "faxNumber", "officeLocation", "preferredLanguage", "usageLocation", "city", "country", "postalCode", "state",
			"streetAddress", "passwordPolicies", "ageGroup", "consentProvidedForMinor", "onPremisesImmutableId", "showInAddressList", "creationType",
			"externalUserState", "deletedDateTime", "onPremisesSyncEnabled", "onPremisesDomainName", "onPremisesDistinguishedName",
			"onPremisesSamAccountName", "onPremisesSecurityIdentifier", "onPremisesUserPrincipalName", "aboutMe",
		} {
			shown[property] = nil
		}
		maps.Copy(shown, o.attributes)
		delete(shown, managerAttribute)
		shown["id"], shown["userPrincipalName"], shown["accountEnabled"], shown["createdDateTime"] = o.ID, o.Name, o.Enabled, o.created
		return shown
	},
}

// managerAttribute is where the id of a user's manager is kept. It is no property of Graph's but a reference.
const managerAttribute = "manager@id"

type passwordProfile struct {
	Password    *seal.Secret `json:"password"`
	ForceChange *bool        `json:"forceChangePasswordNextSignIn"`
	WithMFA     *bool        `json:"forceChangePasswordNextSignInWithMfa"`
}

// Entra's bounds of a password.
const (
	minPassword = 8
	maxPassword = 256
)

// checkNewPassword asks for three kinds of characters, unless the user's policies say otherwise.
// https://learn.microsoft.com/entra/identity/authentication/concept-sspr-policy
func checkNewPassword(password seal.Secret, policies any) error {
	n := utf8.RuneCountInString(string(password))
	kinds := map[string]bool{}
	for _, c := range string(password) {
		switch {
		case unicode.IsLower(c):
			kinds["lower"] = true
		case unicode.IsUpper(c):
			kinds["upper"] = true
		case unicode.IsDigit(c):
			kinds["digit"] = true
		default:
			kinds["symbol"] = true
		}
	}
	weak, _ := policies.(string)
	if n >= minPassword && n <= maxPassword && (len(kinds) >= 3 || strings.Contains(weak, "DisableStrongPassword")) {
		return nil
	}
	e := errGraph("The specified password does not comply with password complexity requirements. Please provide a different password: "+
		"%d to %d characters, of three kinds out of lower-case and upper-case letters, digits and symbols.", minPassword, maxPassword)
	e.Target = "passwordProfile.password"
	return e
}

// SetPassword gives a user a new password, under which sign-ins that began before are over. With mustChange it is good
// for choosing another one only, as far as the sign-in asks MustChangePassword.
func (d *Directory) SetPassword(ctx context.Context, principalID string, password seal.Secret, mustChange bool) error {
	hash := newPasswordHash(password) // outside the transaction: it is slow on purpose
	return d.DB.Update(ctx, func(tx *store.Tx) error { return storePassword(ctx, tx, principalID, hash, mustChange) })
}

func storePassword(ctx context.Context, tx *store.Tx, principalID, hash string, mustChange bool) error {
	n, err := tx.Exec(ctx, `UPDATE directory_passwords SET hash = $1, must_change = $2 WHERE principal_id = $3`, hash, bit(mustChange), key(principalID))
	if err == nil && n == 0 {
		return errNoObject(principalID)
	}
	return err
}

// MustChangePassword reports whether a user's password is to be changed at the next sign-in; sql.ErrNoRows when there is
// no such user.
func (d *Directory) MustChangePassword(ctx context.Context, principalID string) (must bool, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT must_change FROM directory_passwords WHERE principal_id = $1`, key(principalID)).Scan(&must)
	})
	return must, err
}

func (g *Graph) createUser(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, userSet, userSet.creates)
	if err != nil {
		return err
	}
	switch {
	case c.UserPrincipalName == nil || !validName(*c.UserPrincipalName):
		return errGraph("A value is required for property 'userPrincipalName' of resource 'User': a name such as ada@example.org.")
	case c.PasswordProfile == nil || c.PasswordProfile.Password == nil:
		return errGraph("A password must be specified to create a new user.")
	}
	if err := checkNewPassword(*c.PasswordProfile.Password, c.kept["passwordPolicies"]); err != nil {
		return err
	}
	hash := newPasswordHash(*c.PasswordProfile.Password) // outside the transaction: it is slow on purpose
	ctx := r.Context()
	return g.answerCreated(w, r, userSet, func(tx *store.Tx) (*object, error) {
		p, err := insertUser(ctx, tx, *c.UserPrincipalName, hash)
		if err != nil {
			return nil, err
		}
		o := &object{Principal: p, set: userSet, attributes: merge(nil, c.kept)}
		if err := userSet.check(o.attributes); err != nil {
			return nil, err
		}
		if err := o.save(ctx, tx); err != nil {
			return nil, err
		}
		if err := storePassword(ctx, tx, p.ID, hash, c.PasswordProfile.mustChange(false)); err != nil {
			return nil, err
		}
		return o, g.Directory.SetEnabled(ctx, tx, p.ID, c.AccountEnabled == nil || *c.AccountEnabled)
	})
}

// validName reports whether a user can sign in with a name: something, an at sign, something.
func validName(name string) bool {
	before, after, ok := strings.Cut(name, "@")
	return ok && before != "" && after != "" && len(name) <= 1024 && key(name) != "" && !strings.ContainsAny(name, " \t\r\n'/\\") && !strings.Contains(after, "@")
}

// mustChange is whether the password is to be changed at the next sign-in; was when the profile does not say.
func (p *passwordProfile) mustChange(was bool) bool {
	if p.ForceChange == nil && p.WithMFA == nil {
		return was
	}
	return p.ForceChange != nil && *p.ForceChange || p.WithMFA != nil && *p.WithMFA
}

// changeUser stores what of a user is not kept as it was sent. The hash is that of a new password, or empty.
func (g *Graph) changeUser(ctx context.Context, tx *store.Tx, o *object, c *change, hash string) error {
	if c.UserPrincipalName != nil && *c.UserPrincipalName != o.Name {
		if !validName(*c.UserPrincipalName) {
			return errProperty("userPrincipalName", "it is a name such as ada@example.org")
		}
		var others int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM directory_passwords WHERE user_key = $1 AND principal_id <> $2`, key(*c.UserPrincipalName), o.ID).Scan(&others)
		if err != nil {
			return err
		}
		if others > 0 {
			return errTaken("userPrincipalName", *c.UserPrincipalName)
		}
		if _, err := tx.Exec(ctx, `UPDATE directory_passwords SET user_key = $1 WHERE principal_id = $2`, key(*c.UserPrincipalName), o.ID); err != nil {
			return err
		}
		o.Name = *c.UserPrincipalName
	}
	if c.PasswordProfile == nil {
		return nil
	}
	if hash != "" {
		return storePassword(ctx, tx, o.ID, hash, c.PasswordProfile.mustChange(false))
	}
	_, err := tx.Exec(ctx, `UPDATE directory_passwords SET must_change = $1 WHERE principal_id = $2`, bit(c.PasswordProfile.mustChange(false)), o.ID)
	return err
}

// Passwords checks users' passwords as the sign-in does, so that nobody guesses here what is locked there.
type Passwords interface {
	// ProvePassword counts a wrong password from an address towards the lockout of a sign-in name: ErrWrongSecret,
	// ErrDisabled, or an azure.Error while the name is locked for the address or too many passwords are checked at a time.
	ProvePassword(ctx context.Context, name string, password seal.Secret, clientIP string) error
}

// changePassword lets a user choose another password, who knows the present one.
func (g *Graph) changePassword(w http.ResponseWriter, r *azure.Request) error {
	var req struct {
		Current seal.Secret `json:"currentPassword"`
		New     seal.Secret `json:"newPassword"`
	}
	if err := r.DecodeJSON("Request_BadRequest", &req); err != nil {
		return err
	}
	id := r.Vars["id"]
	var user *object
	err := g.Directory.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		user, err = userSet.find(r.Context(), tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if err := checkNewPassword(req.New, user.attributes["passwordPolicies"]); err != nil {
		return err
	}
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	var locked *azure.Error
	switch err := g.Passwords.ProvePassword(r.Context(), user.Name, req.Current, ip); {
	case errors.Is(err, ErrWrongSecret):
		return errProperty("currentPassword", "it is not the user's password")
	case errors.As(err, &locked):
		return azure.Errorf(http.StatusTooManyRequests, "TooManyRequests", "%s", locked.Message)
	case err != nil:
		return err
	}
	if err := g.Directory.SetPassword(r.Context(), id, req.New, false); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
