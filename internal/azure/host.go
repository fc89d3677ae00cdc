package azure

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Service names, as they stand in host names.
const (
	Login       = "login"
	Management  = "management"
	Graph       = "graph"
	Portal      = "portal"
	Vault       = "vault"
	Blob        = "blob"
	Streaming   = "streaming"
	KeyDelivery = "keydelivery"
	// Authorization is the policy decision point, which Azure has one of in each region.
	Authorization = "authorization"
)

// Hosts is the naming of a server's hosts under its own domain. Azure's public names are understood beside them.
type Hosts struct {
	Domain string // "keyreel.localhost"
	Port   string // the port that clients see; "" is 443
}

// Target is what a host name stands for.
type Target struct {
	Service string // one of the service names
	Name    string // vault or account; for Streaming "{endpoint}-{account}"; for Authorization a region
	Public  bool   // the name was one of Azure's public names
}

var publicHosts = map[string]string{
	"login.microsoftonline.com": Login, "login.windows.net": Login, "login.microsoft.com": Login, "sts.windows.net": Login,
	"management.azure.com": Management, "management.core.windows.net": Management,
	"graph.microsoft.com": Graph, "graph.windows.net": Graph,
	"portal.azure.com": Portal,
}

var publicSuffixes = []struct{ suffix, service string }{
	{".vault.azure.net", Vault},
	{".blob.core.windows.net", Blob},
	{".streaming.media.azure.net", Streaming},
	{".keydelivery.media.azure.net", KeyDelivery},
	{".authorization.azure.net", Authorization},
}

// PublicNames lists Azure's public names that Parse understands: host names, and the suffixes of others, without a dot
// in front.
func PublicNames() []string {
	names := slices.Sorted(maps.Keys(publicHosts))
	for _, p := range publicSuffixes {
		names = append(names, p.suffix[1:])
	}
	return names
}

// Parse says which service a Host header or SNI name stands for, in any case and with any port. It reports false
// for names that are not the server's.
func (h Hosts) Parse(host string) (Target, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if service, ok := publicHosts[host]; ok {
		return Target{Service: service, Public: true}, true
	}
	for _, p := range publicSuffixes {
		if name, ok := strings.CutSuffix(host, p.suffix); ok && name != "" && !strings.Contains(name, ".") {
			return Target{Service: p.service, Name: name, Public: true}, true
		}
	}
	sub, ok := strings.CutSuffix(host, "."+strings.ToLower(h.Domain))
	if !ok {
		return Target{}, false
	}
	name, service, named := strings.Cut(sub, ".")
	if !named {
		switch name {
		case Login, Management, Graph, Portal:
			return Target{Service: name}, true
		}
		return Target{}, false
	}
	switch service {
	case Vault, Blob, Streaming, KeyDelivery, Authorization:
		return Target{Service: service, Name: name}, name != ""
	}
	return Target{}, false
}

// URLs builds absolute URLs in the naming through which a request came: a client that knows the server by Azure's
// public names is given public names back. The zero Public naming uses the server's own domain.
type URLs struct {
	Hosts  Hosts
	Public bool
}

// For returns the naming in which to answer r.
func (h Hosts) For(r *http.Request) URLs {
	t, _ := h.Parse(r.Host)
	return URLs{Hosts: h, Public: t.Public}
}

func (u URLs) own(host string) string {
	if u.Hosts.Port != "" && u.Hosts.Port != "443" {
		host += ":" + u.Hosts.Port
	}
	return host
}

func (u URLs) base(public, own string) string {
	if u.Public {
		return "https://" + public
	}
	return "https://" + u.own(own+"."+u.Hosts.Domain)
}

// Login returns the authority, e.g. "https://login.keyreel.localhost:8443", without a slash at the end, as do all.
func (u URLs) Login() string { return u.base("login.microsoftonline.com", Login) }

// Management returns the resource manager.
func (u URLs) Management() string { return u.base("management.azure.com", Management) }

// Graph returns Microsoft Graph.
func (u URLs) Graph() string { return u.base("graph.microsoft.com", Graph) }

// Portal returns the web portal.
func (u URLs) Portal() string { return u.base("portal.azure.com", Portal) }

// Vault returns a vault's data plane.
func (u URLs) Vault(name string) string {
	return u.base(name+".vault.azure.net", name+"."+Vault)
}

// VaultResource returns what a vault's challenge names as its resource: the parent of every vault's host, port
// included, so that the clients' own check of the challenge holds.
func (u URLs) VaultResource() string { return u.base("vault.azure.net", Vault) }

// Blob returns a storage account's Blob data plane.
func (u URLs) Blob(account string) string {
	return u.base(account+".blob.core.windows.net", account+"."+Blob)
}

// Streaming returns the host of a streaming endpoint.
func (u URLs) Streaming(endpoint, account string) string {
	name := endpoint + "-" + account
	return u.base(name+".streaming.media.azure.net", name+"."+Streaming)
}

// KeyDelivery returns a media account's key delivery.
func (u URLs) KeyDelivery(account string) string {
	return u.base(account+".keydelivery.media.azure.net", account+"."+KeyDelivery)
}

// Authorization returns the policy decision point of a region.
func (u URLs) Authorization(region string) string {
	return u.base(region+".authorization.azure.net", region+"."+Authorization)
}

// AuthorizationResource returns what tokens for the policy decision point are meant for, whatever the region.
func (u URLs) AuthorizationResource() string {
	return u.base("authorization.azure.net", Authorization)
}

// BlobSuffix and VaultSuffix are the DNS suffixes that clouds' metadata name, without a leading dot.
func (u URLs) BlobSuffix() string {
	if u.Public {
		return "core.windows.net"
	}
	return u.own(u.Hosts.Domain)
}

// VaultSuffix is the DNS suffix of vaults.
func (u URLs) VaultSuffix() string { return strings.TrimPrefix(u.VaultResource(), "https://") }
