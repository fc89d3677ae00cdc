package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// maxObject bounds the body of a request, and so what is kept of an object as it was sent.
const maxObject = 256 << 10 // bytes

// object is a directory object with what Microsoft Graph shows of it.
type object struct {
	Principal   // of an application, its object id and a kind of no principal's
	set         *objectSet
	created     time.Time
	attributes  map[string]any // as clients sent them
	application map[string]any // of a service principal, those of its application
	passwords   []ClientSecret
	keys        []Certificate
}

// objectSet is one of Graph's collections. Objects are read from its table as o.
type objectSet struct {
	name    string
	odata   string // type
	from    string
	where   string
	kept    map[string]shape // properties that are kept as clients send them
	fixed   []string         // properties that clients may send again as they are: their change is not taken
	creates []string         // properties with a meaning of their own that POST takes
	changes []string         // and PATCH
	show    func(g *Graph, o *object) map[string]any
	none    []string                              // properties of the type that no object here has: null when they are selected
	check   func(attributes map[string]any) error // nil: shapes say it all
}

const fromPrincipals = `SELECT o.id, coalesce(o.app_id, ''), o.kind, o.name, o.identity_id, o.enabled, o.created, o.attributes, coalesce(a.attributes, '{}')
	FROM directory_principals o LEFT JOIN directory_applications a ON a.app_id = o.app_id`

var groupSet = &objectSet{
	name: "groups", odata: "#microsoft.graph.group", from: fromPrincipals, where: `o.kind = 'Group'`,
	kept: map[string]shape{
		"description": text, "mailNickname": text, "mailEnabled": flag, "securityEnabled": flag, "groupTypes": texts, "visibility": text,
		"isAssignableToRole": flag, "theme": text, "preferredLanguage": text, "preferredDataLocation": text, "classification": text,
		"isManagementRestricted": flag,
	},
	none: []string{
		"allowExternalSenders", "autoSubscribeNewMembers", "hideFromAddressLists", "hideFromOutlookClients", "onPremisesSecurityIdentifier", "isSubscribedByMail",
	},
	creates: []string{"displayName", "members@odata.bind", "owners@odata.bind"}, changes: []string{"displayName", "members@odata.bind"},
	check: checkGroup,
	show: func(_ *Graph, o *object) map[string]any {
		shown := map[string]any{
			"description": nil, "mailNickname": nil, "mail": nil, "mailEnabled": false, "securityEnabled": true, "groupTypes": []any{}, "visibility": nil,
			"isAssignableToRole": nil, "theme": nil, "preferredLanguage": nil, "preferredDataLocation": nil, "classification": nil, "proxyAddresses": []any{},
			"deletedDateTime": nil, "onPremisesSyncEnabled": nil, "onPremisesDomainName": nil, "onPremisesNetBiosName": nil,
			"onPremisesSamAccountName": nil, "membershipRule": nil, "membershipRuleProcessingState": nil, "isManagementRestricted": nil,
			"renewedDateTime": o.created, "resourceProvisioningOptions": []any{}, "resourceBehaviorOptions": []any{},
			"securityIdentifier": nil, "expirationDateTime": nil, "creationOptions": []any{},
		}
		maps.Copy(shown, o.attributes)
		shown["id"], shown["displayName"], shown["createdDateTime"] = o.ID, o.Name, o.created
		return shown
	},
}

// properties are those that can be selected and filtered by.
func (s *objectSet) properties() []string {
	names := s.show(&Graph{Directory: &Directory{}}, &object{})
	for name := range s.kept {
		names[name] = nil
	}
	for _, name := range s.none {
		names[name] = nil
	}
	return slices.Sorted(maps.Keys(names))
}

// short is the name of the type, such as "servicePrincipal".
func (s *objectSet) short() string { return strings.TrimPrefix(s.odata, "#microsoft.graph.") }

// sets are all of them; each id is in one.
func sets() []*objectSet {
	return []*objectSet{servicePrincipalSet, userSet, groupSet, applicationSet}
}

// objects reads objects of a set without their credentials.
func (s *objectSet) objects(ctx context.Context, tx *store.Tx, where string, args ...any) ([]*object, error) {
	rows, err := tx.Query(ctx, s.from+` WHERE `+s.where+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.name, err)
	}
	defer rows.Close()
	var list []*object
	for rows.Next() {
		o := &object{set: s}
		var created int64
		var attributes, application string
		err := rows.Scan(&o.ID, &o.AppID, &o.Kind, &o.Name, &o.IdentityID, &o.Enabled, &created, &attributes, &application)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", s.name, err)
		}
		o.created = store.Time(created)
		if err := errors.Join(json.Unmarshal([]byte(attributes), &o.attributes), json.Unmarshal([]byte(application), &o.application)); err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", o.ID, err)
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// find reads one object by its id, "appId={client id}", or a user's sign-in name; azure.Error 404 when there is none.
func (s *objectSet) find(ctx context.Context, tx *store.Tx, name string) (*object, error) {
	where, value := `o.id = $1`, key(name)
	if appID, ok := strings.CutPrefix(value, "appid="); ok && s != userSet && s != groupSet {
		where, value = `o.app_id = $1`, appID
	} else if upn, ok := strings.CutPrefix(value, "userprincipalname="); s == userSet && (ok || strings.Contains(value, "@")) {
		if ok {
			value = upn
		}
		where = `o.id = (SELECT principal_id FROM directory_passwords WHERE user_key = $1)`
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

// anyObject reads an object of any set by its id; azure.Error 404 when there is none.
func anyObject(ctx context.Context, tx *store.Tx, id string) (*object, error) {
	for _, s := range sets() {
		o, err := s.find(ctx, tx, id)
		if !errors.Is(err, errNoObject(id)) {
			return o, err
		}
	}
	return nil, errNoObject(id)
}

// present shapes an object for a client, credentials and all.
func (g *Graph) present(ctx context.Context, tx *store.Tx, o *object) (map[string]any, error) {
	if err := withCredentials(ctx, tx, o); err != nil {
		return nil, err
	}
	return o.set.show(g, o), nil
}

// save stores what clients may change of an object.
func (o *object) save(ctx context.Context, tx *store.Tx) error {
	table := `directory_principals`
	if o.set == applicationSet {
		table = `directory_applications`
	}
	kept, err := json.Marshal(o.attributes)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE `+table+` SET attributes = $1, name = $2 WHERE id = $3`, string(kept), o.Name, o.ID); err != nil {
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

// typed says of what type an object in a mixed list is.
func typed(s *objectSet, shown map[string]any) map[string]any {
	shown["@odata.type"] = s.odata
	return shown
}

// checkGroup refuses what would be no group that can be granted a role: there is no mail here, and no rule computes
// members.
func checkGroup(attributes map[string]any) error {
	if on, _ := attributes["mailEnabled"].(bool); on {
		return errProperty("mailEnabled", "there are no mail-enabled groups here: it must be false")
	}
	if on, ok := attributes["securityEnabled"].(bool); ok && !on {
		return errProperty("securityEnabled", "every group here is a security group: it must be true")
	}
	if types, _ := attributes["groupTypes"].([]any); len(types) > 0 {
		return errProperty("groupTypes", "there are no Microsoft 365 groups and no dynamic ones here: it must be empty")
	}
	return nil
}
