package directory

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreel/keyreel/internal/store"
)

// Registration is what an application has registered for the sign-in of users.
type Registration struct {
	AppID              string
	ObjectID           string // of the application; empty for Microsoft's own
	ServicePrincipalID string // empty when there is none: nobody can sign in to it
	Name               string // display name
	Enabled            bool   // its service principal is there and not disabled
	Public             bool   // it may redeem codes without a credential
	RedirectURIs       []RedirectURI
	Scopes             []Scope  // that it offers as a resource; disabled ones are left out
	IdentifierURIs     []string // by which tokens for it are asked, besides its client id
}

// RedirectURI is where the authority may send an answer.
type RedirectURI struct {
	URI  string
	Type string // "web", "spa" or "publicClient"
}

// Scope is a delegated permission that an application offers.
type Scope struct {
	ID    string // GUID
	Value string // such as "user_impersonation"
	Name  string // for users who are asked for it; may be empty
}

// wellKnownClients are Microsoft's public clients, which every tenant has.
var wellKnownClients = map[string]bool{
	"04b07795-8ddb-461a-bbee-02f9e1bf7b46": true, // Microsoft Azure CLI
	"1950a258-227b-4e31-a9cf-717495945fc2": true, // Microsoft Azure PowerShell
}

// wellKnownRedirects are theirs. Like every public client's, http://localhost stands for each of its ports (RFC 8252).
var wellKnownRedirects = []RedirectURI{
	{URI: "http://localhost", Type: "publicClient"},
	{URI: "https://login.microsoftonline.com/common/oauth2/nativeclient", Type: "publicClient"},
}

// registered is what of an application's properties matters to sign-in, as Microsoft Graph names it.
type registered struct {
	Fallback       bool               `json:"isFallbackPublicClient"`
	IdentifierURIs []string           `json:"identifierUris"`
	Web            registeredRedirect `json:"web"`
	SPA            registeredRedirect `json:"spa"`
	PublicClient   registeredRedirect `json:"publicClient"`
	API            struct {
		Scopes []struct {
			ID        string `json:"id"`
			Value     string `json:"value"`
			Enabled   *bool  `json:"isEnabled"`
			UserName  string `json:"userConsentDisplayName"`
			AdminName string `json:"adminConsentDisplayName"`
		} `json:"oauth2PermissionScopes"`
		PreAuthorized []struct {
			AppID  string   `json:"appId"`
			IDs    []string `json:"delegatedPermissionIds"`
			OldIDs []string `json:"permissionIds"` // as /beta calls them
		} `json:"preAuthorizedApplications"`
	} `json:"api"`
	Required []struct {
		AppID  string `json:"resourceAppId"`
		Access []struct {
			ID   string `json:"id"`
			Type string `json:"type"` // "Scope", or "Role", which is no user's
		} `json:"resourceAccess"`
	} `json:"requiredResourceAccess"`
}

type registeredRedirect struct {
	RedirectURIs []string `json:"redirectUris"`
}

// ClientRegistration returns the registration of a client id; sql.ErrNoRows when there is none. Microsoft's public
// clients are known without one. It reads the database, so a change is seen at once.
func (d *Directory) ClientRegistration(ctx context.Context, appID string) (Registration, error) {
	r := Registration{AppID: key(appID)}
	attributes := "{}"
	err := d.DB.View(ctx, func(tx *store.Tx) error {
		p, err := find(ctx, tx, `app_id = $1`, r.AppID)
		if wellKnownClients[r.AppID] {
			r.Name, r.Public = p.Name, true
		} else if err == nil || errors.Is(err, sql.ErrNoRows) {
			err = tx.QueryRow(ctx, `SELECT id, name, attributes FROM directory_applications WHERE app_id = $1`, r.AppID).Scan(&r.ObjectID, &r.Name, &attributes)
		}
		r.ServicePrincipalID, r.Enabled = p.ID, p.Enabled
		return err
	})
	if err != nil {
		return Registration{}, fmt.Errorf("reading the registration of %s: %w", appID, err)
	}
	if r.ObjectID == "" {
		r.RedirectURIs = slices.Clone(wellKnownRedirects)
		return r, nil
	}
	return r, r.fill(attributes)
}

// scopes are those that an application offers.
func (r *registered) scopes() []Scope {
	var offered []Scope
	for _, s := range r.API.Scopes {
		if s.Enabled == nil || *s.Enabled {
			offered = append(offered, Scope{ID: s.ID, Value: s.Value, Name: cmp.Or(s.UserName, s.AdminName)})
		}
	}
	return offered
}

// fill reads the properties of an application.
func (r *Registration) fill(attributes string) error {
	var have registered
	if err := json.Unmarshal([]byte(attributes), &have); err != nil {
		return fmt.Errorf("reading the registration of %s: %w", r.AppID, err)
	}
	for _, kind := range []struct {
		name string
		uris []string
	}{{"web", have.Web.RedirectURIs}, {"spa", have.SPA.RedirectURIs}, {"publicClient", have.PublicClient.RedirectURIs}} {
		for _, uri := range kind.uris {
			r.RedirectURIs = append(r.RedirectURIs, RedirectURI{URI: uri, Type: kind.name})
		}
	}
	r.Scopes = have.scopes()
	r.IdentifierURIs = have.IdentifierURIs
	r.Public = have.Fallback || len(have.PublicClient.RedirectURIs) > 0
	return nil
}
