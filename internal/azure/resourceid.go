package azure

import (
	"net/http"
	"strings"
)

// ResourceID is a parsed ARM resource ID or scope. Comparisons go by Key: ARM's names and types have no case.
//
//	/                                                          the tenant
//	/subscriptions/{s}                                         a subscription
//	/subscriptions/{s}/resourceGroups/{g}                      a resource group
//	{scope}/providers/{namespace}/{type}/{name}[/{type}/{name}...]   a resource; {scope} may be a resource itself
type ResourceID struct {
	Scope     string   // canonical text of what stands before the last /providers/; the whole ID without one
	Namespace string   // "Microsoft.Media"; empty for a plain scope
	Types     []string // "mediaServices", "assets"
	Names     []string // one a type; one fewer when the ID names a collection
}

// maxResourceID bounds an ID: anybody can send one, and taking it apart costs more than its length.
const maxResourceID = 4096 // bytes

// ParseResourceID parses an ID in any case. Odd shapes (a missing segment, an empty name, more than 4096 bytes) give an
// InvalidResourceId error that names the place.
func ParseResourceID(s string) (ResourceID, error) {
	var id ResourceID
	if len(s) > maxResourceID {
		return id, badID(s[:64]+"...", "it is longer than "+itoa(maxResourceID)+" bytes")
	}
	path := strings.TrimSuffix(s, "/")
	if path == "" {
		return ResourceID{Scope: "/"}, nil
	}
	if !strings.HasPrefix(path, "/") {
		return id, badID(s, "it does not begin with '/'")
	}
	parts := strings.Split(path[1:], "/")
	for i, p := range parts {
		if p == "" {
			return id, badID(s, "segment "+itoa(i+1)+" is empty")
		}
	}
	last := -1
	for i, p := range parts {
		if strings.EqualFold(p, "providers") {
			last = i
		}
	}
	if last < 0 {
		scope, err := parseScope(s, parts)
		return ResourceID{Scope: scope}, err
	}
	if last == 0 {
		id.Scope = "/"
	} else {
		parent, err := ParseResourceID("/" + strings.Join(parts[:last], "/"))
		if err != nil {
			return id, err
		}
		if parent.IsCollection() {
			return id, badID(s, "a name is missing before 'providers'")
		}
		id.Scope = parent.String()
	}
	rest := parts[last+1:]
	if len(rest) == 0 {
		return id, badID(s, "the provider namespace is missing")
	}
	id.Namespace = rest[0]
	for i, p := range rest[1:] {
		if i%2 == 0 {
			id.Types = append(id.Types, p)
		} else {
			id.Names = append(id.Names, p)
		}
	}
	return id, nil
}

func parseScope(s string, parts []string) (string, error) {
	if !strings.EqualFold(parts[0], "subscriptions") {
		return "", badID(s, "'"+parts[0]+"' is not 'subscriptions' or 'providers'")
	}
	if len(parts) == 1 {
		return "", badID(s, "the subscription is missing")
	}
	subscription := strings.ToLower(parts[1])
	switch {
	case len(subscription) > len(parts[1]): // no GUID does that; the canonical form must not be longer than the ID
		return "", badID(s, "the subscription is not a GUID")
	case len(parts) == 2:
		return "/subscriptions/" + subscription, nil
	case len(parts) == 4 && strings.EqualFold(parts[2], "resourceGroups"):
		return "/subscriptions/" + subscription + "/resourceGroups/" + parts[3], nil
	case len(parts) == 3 && strings.EqualFold(parts[2], "resourceGroups"):
		return "", badID(s, "the resource group's name is missing")
	}
	return "", badID(s, "'"+parts[2]+"' is not 'resourceGroups' or 'providers'")
}

func badID(id, why string) *Error {
	return Errorf(http.StatusBadRequest, "InvalidResourceId", "'%s' is not a valid resource ID: %s.", id, why)
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + itoa(n%10)
	}
	return string(rune('0' + n))
}

// String returns the ID in canonical form: the words of the scheme as Azure writes them, names as given.
func (id ResourceID) String() string {
	if id.Namespace == "" {
		return id.Scope
	}
	var b strings.Builder
	if id.Scope != "/" {
		b.WriteString(id.Scope)
	}
	b.WriteString("/providers/" + id.Namespace)
	for i, t := range id.Types {
		b.WriteString("/" + t)
		if i < len(id.Names) {
			b.WriteString("/" + id.Names[i])
		}
	}
	return b.String()
}

// Key returns the ID in lower case: the form under which it is stored and compared.
func (id ResourceID) Key() string { return strings.ToLower(id.String()) }

// IsCollection reports whether the ID names a collection of resources and not one of them.
func (id ResourceID) IsCollection() bool {
	return id.Namespace != "" && (len(id.Types) == 0 || len(id.Types) > len(id.Names))
}

// Type returns the resource type, e.g. "Microsoft.Media/mediaServices/assets"; plain scopes have
// "Microsoft.Resources/tenants", ".../subscriptions" and ".../resourceGroups".
func (id ResourceID) Type() string {
	if id.Namespace != "" {
		return strings.Join(append([]string{id.Namespace}, id.Types...), "/")
	}
	switch strings.Count(id.Scope, "/") {
	case 1:
		return "Microsoft.Resources/tenants"
	case 2:
		return "Microsoft.Resources/subscriptions"
	}
	return "Microsoft.Resources/resourceGroups"
}

// Name returns the last name; for a plain scope its last segment.
func (id ResourceID) Name() string {
	if id.Namespace == "" {
		return id.Scope[strings.LastIndexByte(id.Scope, '/')+1:]
	}
	if len(id.Names) == 0 {
		return ""
	}
	return id.Names[len(id.Names)-1]
}

// Subscription returns the subscription's GUID, or "".
func (id ResourceID) Subscription() string { return segmentAfter(id.Scope, "subscriptions") }

// ResourceGroup returns the resource group's name, or "".
func (id ResourceID) ResourceGroup() string { return segmentAfter(id.Scope, "resourcegroups") }

func segmentAfter(path, word string) string {
	parts := strings.Split(path, "/")
	for i := 1; i+1 < len(parts); i += 2 {
		if strings.EqualFold(parts[i], word) {
			return parts[i+1]
		}
	}
	return ""
}

// Parent returns the enclosing resource or scope: an asset's account, an account's resource group, a group's
// subscription, a subscription's tenant "/". The tenant is its own parent.
func (id ResourceID) Parent() ResourceID {
	if id.Namespace != "" {
		if n := len(id.Types) - 1; n > 0 {
			return ResourceID{Scope: id.Scope, Namespace: id.Namespace, Types: id.Types[:n], Names: id.Names[:min(n, len(id.Names))]}
		}
		parent, err := ParseResourceID(id.Scope)
		if err != nil {
			return ResourceID{Scope: "/"}
		}
		return parent
	}
	switch id.Type() {
	case "Microsoft.Resources/resourceGroups":
		return ResourceID{Scope: id.Scope[:strings.Index(id.Scope[1:], "/resourceGroups/")+1]}
	default:
		return ResourceID{Scope: "/"}
	}
}

// Child returns the ID of a child resource, e.g. id.Child("assets", "a1").
func (id ResourceID) Child(typ, name string) ResourceID {
	return ResourceID{
		Scope: id.Scope, Namespace: id.Namespace,
		Types: append(append([]string{}, id.Types...), typ), Names: append(append([]string{}, id.Names...), name),
	}
}
