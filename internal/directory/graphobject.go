package directory

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// maxObject bounds the body of a request, and so what is kept of an object as it was sent.
const maxObject = 256 << 10 // bytes

// object is a directory object with what Microsoft Graph shows of it. An application and its service principal are one
// row with two ids, and share their name and credentials.
type object struct {
	Principal
	created      time.Time
	attributes   map[string]any // as clients sent them
	registration string         // object id of the application
	registered   map[string]any // attributes of the application
	passwords    []ClientSecret
	keys         []Certificate
}

// objectSet is one of Graph's collections.
type objectSet struct {
	name  string
	odata string // type
	where string
	id    string   // column
	kept  []string // properties that are kept as clients send them
	show  func(g *Graph, o *object) map[string]any
}

const (
	fromObjects   = ` FROM directory_principals p LEFT JOIN directory_applications a ON a.app_id = p.app_id WHERE `
	objectColumns = `p.id, coalesce(p.app_id, ''), p.kind, p.name, p.identity_id, p.enabled, p.created, p.attributes, coalesce(a.id, ''), coalesce(a.attributes, '{}')`
)

var applicationSet = &objectSet{
	name: "applications", odata: "#microsoft.graph.application", where: `a.id IS NOT NULL`, id: `a.id`,
	kept: []string{
		"identifierUris", "signInAudience", "web", "spa", "publicClient", "api", "appRoles", "requiredResourceAccess", "optionalClaims", "tags",
		"notes", "description", "groupMembershipClaims", "isFallbackPublicClient", "isDeviceOnlyAuthSupported", "oauth2RequirePostResponse",
		"serviceManagementReference", "info", "defaultRedirectUri", "samlMetadataUrl", "parentalControlSettings",
	},
	show: func(_ *Graph, o *object) map[string]any {
		shown := map[string]any{"signInAudience": "AzureADMyOrg", "identifierUris": []any{}, "tags": []any{}, "appRoles": []any{}, "requiredResourceAccess": []any{}}
		maps.Copy(shown, o.registered)
		shown["id"], shown["appId"], shown["displayName"], shown["createdDateTime"] = o.registration, o.AppID, o.Name, o.created
		shown["passwordCredentials"], shown["keyCredentials"] = showSecrets(o.passwords), showCertificates(o.keys)
		return shown
	},
}

var servicePrincipalSet = &objectSet{
	name: "servicePrincipals", odata: "#microsoft.graph.servicePrincipal", id: `p.id`,
	where: `p.kind IN ('Application', 'SystemAssigned', 'UserAssigned') AND coalesce(a.service_principal, 1) = 1`,
	kept:  []string{"tags", "notes", "description", "appRoleAssignmentRequired", "homepage", "loginUrl", "preferredSingleSignOnMode", "notificationEmailAddresses"},
	show: func(g *Graph, o *object) map[string]any {
		shown := map[string]any{"tags": []any{}, "appRoleAssignmentRequired": false, "description": nil, "homepage": nil}
		maps.Copy(shown, o.attributes)
		kind, names, alternatives := "Application", []any{o.AppID}, []any{}
		if uris, ok := o.registered["identifierUris"].([]any); ok {
			names = append(names, uris...)
		}
		if o.Managed() {
			explicit := "False"
			if o.Kind == UserAssigned {
				explicit = "True"
			}
			kind, alternatives = "ManagedIdentity", []any{"isExplicit=" + explicit, o.IdentityID}
		} else {
			shown["appOwnerOrganizationId"] = g.Directory.TenantID
		}
		shown["id"], shown["appId"], shown["displayName"], shown["appDisplayName"] = o.ID, o.AppID, o.Name, o.Name
		shown["accountEnabled"], shown["createdDateTime"], shown["servicePrincipalType"] = o.Enabled, o.created, kind
		shown["servicePrincipalNames"], shown["alternativeNames"] = names, alternatives
		shown["passwordCredentials"], shown["keyCredentials"] = showSecrets(o.passwords), showCertificates(o.keys)
		return shown
	},
}

var userSet = &objectSet{
	name: "users", odata: "#microsoft.graph.user", where: `p.kind = 'User'`, id: `p.id`,
	kept: []string{
		"displayName", "givenName", "surname", "mail", "mailNickname", "jobTitle", "department", "companyName", "employeeId", "mobilePhone",
		"businessPhones", "officeLocation", "preferredLanguage", "usageLocation", "otherMails", "userType", "city", "country", "postalCode",
		"state", "streetAddress", "passwordPolicies",
	},
	show: func(_ *Graph, o *object) map[string]any {
		shown := map[string]any{
			"displayName": o.Name, "givenName": nil, "surname": nil, "mail": nil, "mailNickname": nil, "jobTitle": nil, "mobilePhone": nil,
			"officeLocation": nil, "preferredLanguage": nil, "businessPhones": []any{}, "userType": "Member",
		}
		maps.Copy(shown, o.attributes)
		shown["id"], shown["userPrincipalName"], shown["accountEnabled"], shown["createdDateTime"] = o.ID, o.Name, o.Enabled, o.created
		return shown
	},
}

var groupSet = &objectSet{
	name: "groups", odata: "#microsoft.graph.group", where: `p.kind = 'Group'`, id: `p.id`,
	kept: []string{"description", "mailNickname", "mailEnabled", "securityEnabled", "groupTypes", "visibility", "isAssignableToRole"},
	show: func(_ *Graph, o *object) map[string]any {
		shown := map[string]any{"description": nil, "mailNickname": nil, "mail": nil, "mailEnabled": false, "securityEnabled": true, "groupTypes": []any{}, "visibility": nil}
		maps.Copy(shown, o.attributes)
		shown["id"], shown["displayName"], shown["createdDateTime"] = o.ID, o.Name, o.created
		return shown
	},
}

// properties are those that objects of the set have.
func (s *objectSet) properties() []string {
	return slices.Sorted(maps.Keys(s.show(&Graph{Directory: &Directory{}}, &object{})))
}

func showSecrets(list []ClientSecret) []any {
	shown := []any{}
	for _, c := range list {
		shown = append(shown, showSecret(c))
	}
	return shown
}

func showSecret(c ClientSecret) map[string]any {
	shown := map[string]any{
		"keyId": c.ID, "displayName": c.Name, "hint": c.Hint, "startDateTime": c.Created, "endDateTime": nil, "secretText": nil, "customKeyIdentifier": nil,
	}
	if !c.Expires.IsZero() {
		shown["endDateTime"] = c.Expires
	}
	return shown
}

func showCertificates(list []Certificate) []any {
	shown := []any{}
	for _, c := range list {
		shown = append(shown, map[string]any{
			"keyId": c.ID, "type": "AsymmetricX509Cert", "usage": "Verify", "displayName": c.X509.Subject.String(), "key": nil,
			"startDateTime": c.X509.NotBefore.UTC(), "endDateTime": c.X509.NotAfter.UTC(), "customKeyIdentifier": fmt.Sprintf("%X", sha1.Sum(c.X509.Raw)),
		})
	}
	return shown
}

// objects reads objects of a set without their credentials.
func (s *objectSet) objects(ctx context.Context, tx *store.Tx, where string, args ...any) ([]*object, error) {
	rows, err := tx.Query(ctx, `SELECT `+objectColumns+fromObjects+s.where+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.name, err)
	}
	defer rows.Close()
	var list []*object
	for rows.Next() {
		o := &object{}
		var created int64
		var attributes, registered string
		err := rows.Scan(&o.ID, &o.AppID, &o.Kind, &o.Name, &o.IdentityID, &o.Enabled, &created, &attributes, &o.registration, &registered)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.name, err)
		}
		o.created = store.Time(created)
		if err := errors.Join(json.Unmarshal([]byte(attributes), &o.attributes), json.Unmarshal([]byte(registered), &o.registered)); err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", o.ID, err)
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// find reads one object by its id, "appId={client id}", or a user's sign-in name; azure.Error 404 when there is none.
func (s *objectSet) find(ctx context.Context, tx *store.Tx, name string) (*object, error) {
	where, value := s.id+` = $1`, key(name)
	if appID, ok := strings.CutPrefix(value, "appid="); ok {
		where, value = `p.app_id = $1`, appID
	} else if s == userSet && strings.Contains(value, "@") {
		where = `p.id = (SELECT principal_id FROM directory_passwords WHERE user_key = $1)`
	}
	list, err := s.objects(ctx, tx, ` AND `+where, value)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoObject(name)
	}
	return list[0], nil
}

// withCredentials adds the credentials of applications and service principals.
func withCredentials(ctx context.Context, tx *store.Tx, o *object) (err error) {
	if o.Kind != Application {
		return nil
	}
	if o.passwords, err = secrets(ctx, tx, o.ID); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, `SELECT id, der FROM directory_certificates WHERE principal_id = $1 ORDER BY created, id`, o.ID)
	if err != nil {
		return fmt.Errorf("reading the certificates of %s: %w", o.ID, err)
	}
	defer rows.Close()
	for rows.Next() {
		var c Certificate
		var der []byte
		if err := rows.Scan(&c.ID, &der); err != nil {
			return err
		}
		if c.X509, err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("certificate %s: %w", c.ID, err)
		}
		o.keys = append(o.keys, c)
	}
	return rows.Err()
}

// present shapes an object for a client.
func (g *Graph) present(ctx context.Context, tx *store.Tx, s *objectSet, o *object) (map[string]any, error) {
	if err := withCredentials(ctx, tx, o); err != nil {
		return nil, err
	}
	return s.show(g, o), nil
}

// save stores what clients may change of an object.
func (s *objectSet) save(ctx context.Context, tx *store.Tx, o *object) error {
	statement, attributes, id := `UPDATE directory_principals SET attributes = $1 WHERE id = $2`, o.attributes, o.ID
	if s == applicationSet {
		statement, attributes, id = `UPDATE directory_applications SET attributes = $1 WHERE id = $2`, o.registered, o.registration
	}
	text, err := json.Marshal(attributes)
	if err != nil {
		return err
	}
	if _, err = tx.Exec(ctx, statement, string(text), id); err == nil && s != userSet {
		_, err = tx.Exec(ctx, `UPDATE directory_principals SET name = $1 WHERE id = $2`, o.Name, o.ID)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", o.ID, err)
	}
	return nil
}

// principalNamed returns a principal in the caller's transaction; azure.Error 404 when there is none.
func principalNamed(ctx context.Context, tx *store.Tx, id string) (Principal, error) {
	p, err := find(ctx, tx, `id = $1`, key(id))
	if errors.Is(err, sql.ErrNoRows) {
		return p, errNoObject(id)
	}
	return p, err
}

func typed(s *objectSet, shown map[string]any) map[string]any {
	shown["@odata.type"] = s.odata
	return shown
}

func (g *Graph) context(urls azure.URLs, s string) string {
	return urls.Graph() + "/v1.0/$metadata#" + s
}
