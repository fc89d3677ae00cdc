package directory

import "strings"

// microsoftTenant owns Microsoft's own applications.
const microsoftTenant = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"

// graphResource is the application id of Microsoft Graph in every tenant.
const graphResource = "00000003-0000-0000-c000-000000000000"

// oldGraphResource is that of its predecessor, Azure AD Graph.
const oldGraphResource = "00000002-0000-0000-c000-000000000000"

// asTheUser is the scope that every first-party resource but Graph offers.
const asTheUser = "user_impersonation"

// firstParty is what an application of Microsoft's offers: the names of the resource, and of its permissions those that
// configurations for Azure name most.
type firstParty struct {
	names  []string
	roles  [][2]string // id, value: for applications
	scopes [][2]string // id, value: on behalf of users
}

// firstParties returns what is known of those whose rows the schema makes, by application id.
// https://learn.microsoft.com/graph/permissions-reference
func firstParties(appID string) firstParty {
	switch appID {
	case graphResource:
		return firstParty{
			names: []string{"https://graph.microsoft.com", "https://graph.microsoft.com/"},
			roles: [][2]string{
				{"df021288-bdef-4463-88db-98f22de89214", "User.Read.All"},
				{"741f803b-c850-494e-b5df-cde7c675a1ca", "User.ReadWrite.All"},
				{"7ab1d382-f21e-4acd-a863-ba3e13f7da61", "Directory.Read.All"},
				{"19dbc75e-c2e2-444c-a770-ec69d8559fc7", "Directory.ReadWrite.All"},
				{"9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30", "Application.Read.All"},
				{"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9", "Application.ReadWrite.All"},
				{"18a4783c-866b-4cc7-a460-3d5e5662c884", "Application.ReadWrite.OwnedBy"},
				{"06b708a9-e830-4db3-a914-8e69da51d44f", "AppRoleAssignment.ReadWrite.All"},
				{"5b567255-7703-4780-807c-7be8301ae99b", "Group.Read.All"},
				{"62a82d76-70ea-41e2-9197-370581804d09", "Group.ReadWrite.All"},
			},
			scopes: [][2]string{
				{"e1fe6dd8-ba31-4d61-89e7-88639da4683d", "User.Read"},
				{"0e263e50-5827-48a4-b97c-d940288653c7", "Directory.AccessAsUser.All"},
				{"b340eb25-3456-403f-be2f-af7a0d370277", "User.ReadBasic.All"},
				{"a154be20-db9c-4678-8ab7-66f6cc099a59", "User.Read.All"},
				{"204e0828-b5ca-4ad8-b9f3-f32a958e7cc4", "User.ReadWrite.All"},
				{"06da0dbc-49e2-44d2-8312-53f166ab848a", "Directory.Read.All"},
				{"c5366453-9fb0-48a5-a156-24f0c49a4b84", "Directory.ReadWrite.All"},
				{"c79f8feb-a9db-4090-85f9-90d820caa0eb", "Application.Read.All"},
				{"bdfbf15f-ee85-4955-8675-146e8e5296b5", "Application.ReadWrite.All"},
				{"5f8c59db-677d-491f-a6b8-5f174b11ec1d", "Group.Read.All"},
				{"4e46008b-f24c-477d-8fff-7bb4ec7aafe0", "Group.ReadWrite.All"},
				{"37f7f235-527c-4136-accd-4a02d197296e", "openid"},
				{"14dad69e-099b-42c9-810b-d002981feec1", "profile"},
				{"64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0", "email"},
				{"7427e0e9-2fba-42fe-b0c0-848c9e6a8182", "offline_access"},
			},
		}
	case oldGraphResource:
		return firstParty{names: []string{"https://graph.windows.net", "https://graph.windows.net/"}, scopes: [][2]string{{"311a71cc-e848-46a1-bdf8-97ff7156d8e6", "User.Read"}}}
	case "797f4846-ba00-4fd7-ba43-dac1f8f63013":
		return firstParty{
			names:  []string{"https://management.azure.com/", "https://management.core.windows.net/"},
			scopes: [][2]string{{"41094075-9dad-400e-a0bd-54e686782033", "user_impersonation"}},
		}
	case "cfa8b339-82a2-471a-a3c9-0fc0be7a4093":
		return firstParty{names: []string{"https://vault.azure.net"}, scopes: [][2]string{{"f53da476-18e3-4152-8e01-aec403e6edc0", "user_impersonation"}}}
	case "e406a681-f3d4-42a8-90b6-c2b029497af1":
		return firstParty{names: []string{"https://storage.azure.com/"}, scopes: [][2]string{{"03e0da56-190b-40ad-a80c-ea378c433f7f", "user_impersonation"}}}
	}
	return firstParty{}
}

// firstPartyScopes are the delegated permissions of a resource of Microsoft's, with a name by which users know
// what they are asked for.
func firstPartyScopes(appID, name string) []Scope {
	var offered []Scope
	for _, s := range firstParties(appID).scopes {
		offered = append(offered, Scope{ID: s[0], Value: s[1]})
	}
	if len(offered) == 0 {
		offered = []Scope{{Value: asTheUser}}
	}
	for i, s := range offered {
		if s.Value == asTheUser {
			offered[i].Name = "Access " + name + " as you"
		}
	}
	return offered
}

// reservedURI reports whether a resource of Microsoft's goes by an identifier URI.
func reservedURI(uri string) bool {
	for _, appID := range []string{
		graphResource, oldGraphResource, "797f4846-ba00-4fd7-ba43-dac1f8f63013", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
		"e406a681-f3d4-42a8-90b6-c2b029497af1",
	} {
		for _, name := range firstParties(appID).names {
			if strings.TrimSuffix(key(uri), "/") == strings.TrimSuffix(name, "/") {
				return true
			}
		}
	}
	return false
}

func showRole(role [2]string) map[string]any {
	return map[string]any{
		"id": role[0], "value": role[1], "displayName": role[1], "description": role[1], "isEnabled": true,
		"allowedMemberTypes": []any{"Application"}, "origin": "Application",
	}
}

func showScope(scope [2]string) map[string]any {
	return map[string]any{
		"id": scope[0], "value": scope[1], "isEnabled": true, "type": "User", "adminConsentDisplayName": scope[1], "adminConsentDescription": scope[1],
		"userConsentDisplayName": scope[1], "userConsentDescription": scope[1],
	}
}
