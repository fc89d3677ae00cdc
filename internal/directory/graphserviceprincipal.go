package directory

import (
	"maps"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

var servicePrincipalSet = &objectSet{
	name: "servicePrincipals", odata: "#microsoft.graph.servicePrincipal", from: fromPrincipals,
	where: `o.kind IN ('Application', 'FirstParty', 'SystemAssigned', 'UserAssigned')`,
	kept: map[string]shape{
		"tags": texts, "notes": text, "description": text, "appRoleAssignmentRequired": flag, "homepage": text, "loginUrl": text, "logoutUrl": text,
		"preferredSingleSignOnMode": text, "notificationEmailAddresses": texts, "alternativeNames": texts, "samlSingleSignOnSettings": record,
		"preferredTokenSigningKeyThumbprint": text, "samlMetadataUrl": text,
	},
	creates: []string{"appId", "accountEnabled", "displayName", "servicePrincipalType", "owners@odata.bind"},
	changes: []string{"accountEnabled", "keyCredentials", "passwordCredentials"},
	fixed:   []string{"id", "appId"},
	show: func(g *Graph, o *object) map[string]any {
		shown := map[string]any{
			"tags": []any{}, "appRoleAssignmentRequired": false, "description": nil, "homepage": nil, "notes": nil, "loginUrl": nil, "logoutUrl": nil,
			"preferredSingleSignOnMode": nil, "notificationEmailAddresses": []any{}, "samlSingleSignOnSettings": nil, "addIns": []any{},
			"alternativeNames": []any{}, "applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "deletedDateTime": nil, "appDescription": nil,
			"info": nil, "preferredTokenSigningKeyThumbprint": nil, "resourceSpecificApplicationPermissions": []any{}, "samlMetadataUrl": nil,
			"tokenEncryptionKeyId": nil, "verifiedPublisher": map[string]any{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		}
		maps.Copy(shown, o.attributes)
		names, kind, audience := []any{o.AppID}, "Application", "AzureADMyOrg"
		roles, scopes, replies := []any{}, []any{}, []any{}
		shown["appOwnerOrganizationId"] = g.Directory.TenantID
		switch o.Kind {
		case SystemAssigned, UserAssigned:
			explicit := "False"
			if o.Kind == UserAssigned {
				explicit = "True"
			}
			kind, shown["alternativeNames"], shown["appOwnerOrganizationId"] = "ManagedIdentity", []any{"isExplicit=" + explicit, o.IdentityID}, nil
		case FirstParty:
			offered := firstParties(o.AppID)
			for _, name := range offered.names {
				names = append(names, name)
			}
			for _, role := range offered.roles {
				roles = append(roles, showRole(role))
			}
			for _, scope := range offered.scopes {
				scopes = append(scopes, showScope(scope))
			}
			shown["appOwnerOrganizationId"], audience = microsoftTenant, "AzureADMultipleOrgs"
		case Application:
			app := complete(applicationDefaults(), o.application)
			names = append(names, list(app, "identifierUris")...)
			roles, scopes = list(app, "appRoles"), list(app, "api", "oauth2PermissionScopes")
			for _, platform := range []string{"web", "spa", "publicClient"} {
				replies = append(replies, list(app, platform, "redirectUris")...)
			}
			audience, _ = app["signInAudience"].(string)
			shown["info"], shown["appDescription"] = app["info"], app["description"]
			if web, ok := app["web"].(map[string]any); ok && shown["homepage"] == nil {
				shown["homepage"], shown["logoutUrl"] = web["homePageUrl"], web["logoutUrl"]
			}
		}
		shown["id"], shown["appId"], shown["displayName"], shown["appDisplayName"] = o.ID, o.AppID, o.Name, o.Name
		shown["accountEnabled"], shown["createdDateTime"], shown["servicePrincipalType"] = o.Enabled, o.created, kind
		shown["servicePrincipalNames"], shown["signInAudience"], shown["replyUrls"] = names, audience, replies
		shown["appRoles"], shown["oauth2PermissionScopes"] = roles, scopes
		shown["passwordCredentials"], shown["keyCredentials"] = showSecrets(o.passwords), showCertificates(o.keys)
		return shown
	},
}

// list returns the list at a path of an object's properties.
func list(properties map[string]any, path ...string) []any {
	for _, name := range path[:len(path)-1] {
		properties, _ = properties[name].(map[string]any)
	}
	l, _ := properties[path[len(path)-1]].([]any)
	return l
}

// unchangeable refuses to change what is not the tenant's own.
func (o *object) unchangeable() error {
	switch {
	case o.Managed():
		return errGraph("The service principal is the managed identity of '%s' and changes and goes with it.", o.IdentityID)
	case o.Kind == FirstParty:
		return azure.Errorf(http.StatusForbidden, "Authorization_RequestDenied", "The service principal of '%s' belongs to every tenant and cannot be changed so.", o.Name)
	}
	return nil
}

// createServicePrincipal lets an application sign in.
func (g *Graph) createServicePrincipal(w http.ResponseWriter, r *azure.Request) error {
	c, err := readChange(r, servicePrincipalSet, servicePrincipalSet.creates)
	if err != nil {
		return err
	}
	ctx := r.Context()
	return g.answerCreated(w, r, servicePrincipalSet, func(tx *store.Tx) (*object, error) {
		taken, err := servicePrincipalSet.objects(ctx, tx, ` AND o.app_id = $1`, key(c.AppID))
		if err != nil {
			return nil, err
		}
		if len(taken) > 0 {
			return nil, azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
				"The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", c.AppID)
		}
		app, err := applicationSet.objects(ctx, tx, ` AND o.app_id = $1`, key(c.AppID))
		if err != nil {
			return nil, err
		}
		if len(app) == 0 {
			return nil, errGraph("The appId '%s' of the service principal does not reference a valid application object.", c.AppID)
		}
		o := &object{set: servicePrincipalSet, Principal: Principal{ID: azure.NewGUID(), AppID: app[0].AppID, Kind: Application, Name: app[0].Name, Enabled: c.AccountEnabled == nil || *c.AccountEnabled}}
		return o, g.insertObject(ctx, tx, r, o, c)
	})
}
