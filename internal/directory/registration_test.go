package directory_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestClientRegistration(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		app := g.do("POST", "/v1.0/applications", `{"displayName":"web","identifierUris":["api://web"],
			"web":{"redirectUris":["https://a.example/cb"]},"spa":{"redirectUris":["http://localhost:3000/"]},"publicClient":{"redirectUris":["http://localhost"]},
			"api":{"oauth2PermissionScopes":[{"id":"`+tenant+`","value":"read","isEnabled":true,"type":"User","adminConsentDisplayName":"d","adminConsentDescription":"d"},
				{"id":"`+owner+`","value":"off","isEnabled":false,"type":"User","adminConsentDisplayName":"d","adminConsentDescription":"d"}]}}`, 201)
		appID := app["appId"].(string)
		want := directory.Registration{
			AppID: appID, ObjectID: app["id"].(string), Name: "web", Public: true,
			RedirectURIs:   []directory.RedirectURI{{URI: "https://a.example/cb", Type: "web"}, {URI: "http://localhost:3000/", Type: "spa"}, {URI: "http://localhost", Type: "publicClient"}},
			Scopes:         []directory.Scope{{ID: tenant, Value: "read", Name: "d"}},
			IdentifierURIs: []string{"api://web"},
		}
		got, err := g.d.ClientRegistration(t.Context(), appID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("without a service principal: %s", diff)
		}
		want.ServicePrincipalID = g.do("POST", "/v1.0/servicePrincipals", `{"appId":"`+appID+`"}`, 201)["id"].(string)
		want.Enabled = true
		got, err = g.d.ClientRegistration(t.Context(), appID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("with one: %v %s", err, diff)
		}
		if _, err := g.d.ClientRegistration(t.Context(), tenant); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("unknown: %v", err)
		}
		cli, err := g.d.ClientRegistration(t.Context(), "04B07795-8ddb-461a-bbee-02f9e1bf7b46")
		if diff := cmp.Diff(directory.Registration{
			AppID: "04b07795-8ddb-461a-bbee-02f9e1bf7b46", Name: "Microsoft Azure CLI", Enabled: true, Public: true,
			RedirectURIs: []directory.RedirectURI{
				{URI: "http://localhost", Type: "publicClient"},
				{URI: "https://login.microsoftonline.com/common/oauth2/nativeclient", Type: "publicClient"},
			},
		}, cli, cmpopts.IgnoreFields(directory.Registration{}, "ServicePrincipalID")); err != nil || diff != "" {
			t.Errorf("the Azure CLI: %v %s", err, diff)
		}
	})
}
