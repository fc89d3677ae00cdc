package directory

import "strings"

// Properties of Azure AD Graph that have another name in Microsoft Graph, by collection.
var oldNames = map[string]map[string]string{
	"users":             {"mobile": "mobilePhone", "physicalDeliveryOfficeName": "officeLocation", "immutableId": "onPremisesImmutableId"},
	"serviceprincipals": {"oauth2Permissions": "oauth2PermissionScopes", "appOwnerTenantId": "appOwnerOrganizationId"},
	"applications":      {},
}

// oldApplication is where of an application's properties lie in Microsoft Graph.
var oldApplication = map[string][]string{
	"homepage": {"web", "homePageUrl"}, "replyUrls": {"web", "redirectUris"}, "logoutUrl": {"web", "logoutUrl"},
	"oauth2AllowImplicitFlow":        {"web", "implicitGrantSettings", "enableAccessTokenIssuance"},
	"oauth2AllowIdTokenImplicitFlow": {"web", "implicitGrantSettings", "enableIdTokenIssuance"},
	"oauth2Permissions":              {"api", "oauth2PermissionScopes"}, "knownClientApplications": {"api", "knownClientApplications"},
	"acceptMappedClaims": {"api", "acceptMappedClaims"}, "publicClient": {"isFallbackPublicClient"},
}

// newProperties translates the properties that a request sends.
func newProperties(sent map[string]any, set string) (map[string]any, error) {
	if sent == nil {
		return nil, nil
	}
	properties := map[string]any{}
	for name, value := range sent {
		switch to := oldApplication[name]; {
		case name == "objectType" || name == "objectId" || strings.HasPrefix(name, "odata."):
		case set == "applications" && name == "availableToOtherTenants":
			properties["signInAudience"] = nil
			if value == true {
				properties["signInAudience"] = "AzureADMultipleOrgs"
			}
		case set == "applications" && to != nil:
			put(properties, to, value)
		case name == "passwordCredentials":
			if list, _ := value.([]any); len(list) > 0 {
				return nil, errProperty(name, "a client cannot choose its secret: addPassword of Microsoft Graph makes one")
			}
			properties[name] = value
		case name == "keyCredentials":
			properties[name] = newKeys(value)
		case name == "passwordProfile":
			profile, _ := value.(map[string]any)
			fresh := map[string]any{}
			for field, v := range profile {
				if field == "forceChangePasswordNextLogin" {
					field = "forceChangePasswordNextSignIn"
				}
				fresh[field] = v
			}
			properties[name] = fresh
		case oldNames[set][name] != "":
			properties[oldNames[set][name]] = value
		case set == "users" && name == "telephoneNumber":
			properties["businessPhones"] = []any{}
			if value != nil {
				properties["businessPhones"] = []any{value}
			}
		default:
			properties[name] = value
		}
	}
	return properties, nil
}

func newKeys(value any) any {
	list, _ := value.([]any)
	keys := []any{}
	for _, v := range list {
		old, _ := v.(map[string]any)
		keys = append(keys, map[string]any{
			"keyId": old["keyId"], "type": old["type"], "usage": old["usage"], "key": old["value"], "startDateTime": old["startDate"], "endDateTime": old["endDate"],
		})
	}
	return keys
}

// put sets a value at a path.
func put(properties map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		inner, ok := properties[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			properties[name] = inner
		}
		properties = inner
	}
	properties[path[len(path)-1]] = value
}

// at returns the value at a path, or nil.
func at(properties map[string]any, path []string) any {
	for _, name := range path[:len(path)-1] {
		properties, _ = properties[name].(map[string]any)
	}
	return properties[path[len(path)-1]]
}

// oldType is the name of a type, such as "ServicePrincipal".
func oldType(shown map[string]any, set string) string {
	name, _ := shown["@odata.type"].(string)
	name = strings.TrimPrefix(name, "#microsoft.graph.")
	if name == "" {
		name = map[string]string{"me": "user", "users": "user", "groups": "group", "applications": "application", "serviceprincipals": "servicePrincipal"}[key(set)]
	}
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// oldObject translates an object that is answered.
func oldObject(shown map[string]any, set string) map[string]any {
	if reference, ok := shown["@odata.id"]; ok {
		return map[string]any{"url": reference}
	}
	old := map[string]any{}
	kind := oldType(shown, set)
	names := map[string]string{"id": "objectId", "passwordCredentials": "", "keyCredentials": ""}
	for was, is := range oldNames[strings.ToLower(kind)+"s"] {
		names[is] = was
	}
	for name, value := range shown {
		if to, ok := names[name]; ok && to != "" {
			old[to] = value
		} else if !ok && !strings.HasPrefix(name, "@odata.") {
			old[name] = value
		}
	}
	for _, name := range []string{"passwordCredentials", "keyCredentials"} {
		if list, ok := shown[name].([]any); ok {
			old[name] = oldCredentials(list)
		}
	}
	if kind == "" {
		return old
	}
	old["odata.type"], old["objectType"] = "Microsoft.DirectoryServices."+kind, kind
	switch kind {
	case "Application":
		for was, path := range oldApplication {
			old[was] = at(shown, path)
		}
		if audience, ok := shown["signInAudience"].(string); ok {
			old["availableToOtherTenants"] = audience != "AzureADMyOrg"
		}
		for _, name := range []string{"web", "spa", "api", "isFallbackPublicClient"} {
			delete(old, name)
		}
	case "User":
		if phones, ok := shown["businessPhones"].([]any); ok {
			delete(old, "businessPhones")
			old["telephoneNumber"] = nil
			if len(phones) > 0 {
				old["telephoneNumber"] = phones[0]
			}
		}
	}
	return old
}

func oldCredentials(list []any) []any {
	old := []any{}
	for _, v := range list {
		c, _ := v.(map[string]any)
		one := map[string]any{"keyId": c["keyId"], "startDate": c["startDateTime"], "endDate": c["endDateTime"], "value": nil, "customKeyIdentifier": c["customKeyIdentifier"]}
		if c["type"] != nil {
			one["type"], one["usage"] = c["type"], c["usage"]
		}
		old = append(old, one)
	}
	return old
}
