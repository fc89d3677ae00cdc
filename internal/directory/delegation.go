package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

// Delegation is what an application, the client, may do at another, the resource, in a user's name.
// https://learn.microsoft.com/entra/identity-platform/permissions-consent-overview
type Delegation struct {
	Client   Principal // its service principal
	Resource Principal // its service principal
	Offered  []Scope   // by the resource
	Granted  []string  // scopes, sorted: consented to for this user or for all, or pre-authorized by the resource
	Required []string  // scopes of the resource that the client has registered to need
	// Trusted needs no consent: the client is one of Microsoft's, or is the resource itself.
	Trusted bool
	// AnyScope is of Microsoft Graph and its predecessor, whose scopes are too many to be listed.
	AnyScope bool
}

// delegations counts changes of whatever a Delegation is made of.
const delegations = rowcache.Table("directory_delegations_generation")

// Delegation returns what a client may do at a resource for a user; sql.ErrNoRows when client or resource is not there.
// The client goes by its client id, the resource by that or by an identifier URI, the user by object id; without a user
// only what is granted for all counts. It answers from memory, and sees a change in this process at once and one on
// another node within 5 s.
func (d *Directory) Delegation(ctx context.Context, client, resource, userID string) (Delegation, error) {
	load := func(ctx context.Context, tx *store.Tx, _ string) (Delegation, error) {
		return ReadDelegation(ctx, tx, client, resource, userID)
	}
	return d.delegations.Get(ctx, rowcache.Source[Delegation]{DB: d.DB, Table: delegations, Load: load},
		key(client)+"\x00"+key(resource)+"\x00"+key(userID))
}

// ReadDelegation is Delegation from the database.
func ReadDelegation(ctx context.Context, tx *store.Tx, client, resource, userID string) (Delegation, error) {
	d, err := readDelegation(ctx, tx, key(client), strings.TrimSuffix(key(resource), "/"), key(userID))
	if err != nil {
		return Delegation{}, fmt.Errorf("reading what %s may do at %s: %w", client, resource, err)
	}
	return d, nil
}

func readDelegation(ctx context.Context, tx *store.Tx, client, resource, userID string) (d Delegation, err error) {
	if !guidPattern.MatchString(resource) {
		err := tx.QueryRow(ctx, `SELECT app_id FROM directory_identifier_uris WHERE uri_key = $1 OR uri_key = $2`, resource, resource+"/").Scan(&resource)
		if err != nil {
			return d, err
		}
	}
	if d.Client, err = find(ctx, tx, `app_id = $1`, client); err != nil {
		return d, err
	}
	if d.Resource, err = find(ctx, tx, `app_id = $1`, resource); err != nil {
		return d, err
	}
	d.Trusted = wellKnownClients[client] || client == resource
	needs, err := registeredOf(ctx, tx, d.Client)
	if err != nil {
		return d, err
	}
	offers, err := registeredOf(ctx, tx, d.Resource)
	if err != nil {
		return d, err
	}
	switch resource {
	case graphResource, oldGraphResource:
		d.AnyScope = true
	}
	if d.Resource.Kind == FirstParty {
		d.Offered = firstPartyScopes(resource, d.Resource.Name)
	} else {
		d.Offered = offers.scopes()
	}
	for _, needed := range needs.Required {
		for _, access := range needed.Access {
			if key(needed.AppID) == resource && access.Type == "Scope" {
				d.Required = append(d.Required, d.scopeByID(access.ID)...)
			}
		}
	}
	for _, c := range offers.API.PreAuthorized {
		if key(c.AppID) == client {
			for _, id := range slices.Concat(c.IDs, c.OldIDs) {
				d.Granted = append(d.Granted, d.scopeByID(id)...)
			}
		}
	}
	consented, err := ids(ctx, tx, `SELECT scope FROM directory_permission_grants WHERE client_id = $1 AND resource_id = $2 AND principal_id IN ('', $3)`,
		d.Client.ID, d.Resource.ID, userID)
	if err != nil {
		return d, err
	}
	for _, scopes := range consented {
		d.Granted = append(d.Granted, strings.Fields(scopes)...)
	}
	slices.Sort(d.Granted)
	d.Granted = slices.Compact(d.Granted)
	return d, nil
}

// registeredOf reads the registration behind a service principal; that of Microsoft's own is empty.
func registeredOf(ctx context.Context, tx *store.Tx, p Principal) (registered, error) {
	var have registered
	if p.Kind != Application {
		return have, nil
	}
	var attributes string
	if err := tx.QueryRow(ctx, `SELECT attributes FROM directory_applications WHERE app_id = $1`, p.AppID).Scan(&attributes); err != nil {
		return have, err
	}
	return have, json.Unmarshal([]byte(attributes), &have)
}

func (d *Delegation) scopeByID(id string) []string {
	for _, s := range d.Offered {
		if key(s.ID) == key(id) {
			return []string{s.Value}
		}
	}
	return nil
}

// Default is what the scope ".default" stands for: what is granted, else what the client has registered to need, else the
// one with which it acts as the user.
func (d *Delegation) Default() []string {
	all := make([]string, 0, len(d.Offered))
	for _, s := range d.Offered {
		all = append(all, s.Value)
	}
	switch {
	case d.Trusted && d.AnyScope:
		return []string{"Directory.AccessAsUser.All", "User.Read"}
	case d.Trusted:
		return all
	case len(d.Granted) > 0:
		return d.Granted
	case len(d.Required) > 0:
		return d.Required
	case d.AnyScope:
		return []string{"User.Read"}
	case slices.Contains(all, asTheUser):
		return []string{asTheUser}
	}
	return all
}

// Offers reports whether the resource knows a scope.
func (d *Delegation) Offers(scope string) bool {
	return d.AnyScope || slices.ContainsFunc(d.Offered, func(s Scope) bool { return s.Value == scope })
}

// ScopeName tells users what a scope lets the client do; Graph's are told by what they do here.
func (d *Delegation) ScopeName(scope string) string {
	switch {
	case d.AnyScope && changesDirectory(scope):
		return "Read and change the directory as you"
	case d.AnyScope:
		return "Read the directory as you"
	}
	for _, s := range d.Offered {
		if s.Value == scope {
			return s.Name
		}
	}
	return ""
}

// Missing returns those of some scopes to which nobody has consented.
func (d *Delegation) Missing(scopes []string) []string {
	if d.Trusted {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return slices.Contains(d.Granted, s) })
}

// Consent grants scopes to the client of a delegation, for one user or, without one, for all. What was granted stays.
func (d *Directory) Consent(ctx context.Context, tx *store.Tx, to Delegation, userID string, scopes []string) error {
	var had string
	err := tx.QueryRow(ctx, `SELECT scope FROM directory_permission_grants WHERE client_id = $1 AND resource_id = $2 AND principal_id = $3`,
		to.Client.ID, to.Resource.ID, key(userID)).Scan(&had)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("reading a permission grant: %w", err)
	}
	all := strings.Fields(had)
	for _, s := range scopes {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO directory_permission_grants (id, client_id, resource_id, principal_id, scope) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (client_id, resource_id, principal_id) DO UPDATE SET scope = EXCLUDED.scope`,
		azure.NewGUID(), to.Client.ID, to.Resource.ID, key(userID), strings.Join(all, " "))
	if err != nil {
		return fmt.Errorf("storing a permission grant: %w", err)
	}
	return d.delegations.Changed(ctx, tx, delegations)
}

// changed makes a change of principals known, here once it is durable and on other nodes within 5 s.
func (d *Directory) changed(ctx context.Context, tx *store.Tx, ids ...string) error {
	if err := d.principals.Changed(ctx, tx, generation, ids...); err != nil {
		return err
	}
	return d.delegations.Changed(ctx, tx, delegations)
}
