package media

import (
	"crypto/tls"
	"net/http"
	"net/netip"

	"github.com/keyreel/keyreel/internal/azure"
)

// tlsVersions are the values of minimumTlsVersion that the listener's own minimum does not cover already.
var tlsVersions = map[string]uint16{"Tls12": tls.VersionTLS12, "Tls13": tls.VersionTLS13}

// admits checks what stands before every request to the account's streaming and key delivery hosts: that the public
// network may reach them, and that the connection is as safe as the account demands. The handshake is over by then, as
// hosts of many accounts share a listener.
func (a *account) admits(r *http.Request) error {
	name := a.Resource.ID.Name()
	if a.PublicNetworkAccess == "Disabled" {
		return azure.Errorf(http.StatusForbidden, "PublicNetworkAccessDisabled", "Public network access to the media account '%s' is disabled.", name)
	}
	if r.TLS == nil || r.TLS.Version < tlsVersions[a.MinimumTLSVersion] {
		return azure.Errorf(http.StatusBadRequest, "TlsVersionNotPermitted", "The TLS version of the connection is not permitted: the media account '%s' has minimumTlsVersion %s.", name, a.MinimumTLSVersion)
	}
	return nil
}

func (c *accessControl) check() error {
	const target = "properties.keyDelivery.accessControl"
	if err := oneOf(target+".defaultAction", &c.DefaultAction, "Allow", "Deny"); err != nil {
		return err
	}
	if c.IPAllowList == nil {
		c.IPAllowList = []string{}
	}
	if c.DefaultAction == "Allow" && len(c.IPAllowList) > 0 {
		return badRequest(target+".ipAllowList", "The IP allow list must be empty when the default action is Allow.")
	}
	for _, s := range c.IPAllowList {
		if _, ok := parsePrefix(s); !ok {
			return badRequest(target+".ipAllowList", "'%s' is neither an IP address nor a CIDR block.", s)
		}
	}
	return nil
}

// allows reports whether an address may ask for keys. An address that is not known is none on the list.
func (c accessControl) allows(addr netip.Addr) bool {
	if c.DefaultAction != "Deny" {
		return true
	}
	for _, s := range c.IPAllowList {
		if prefix, ok := parsePrefix(s); ok && prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), true
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix, err == nil
}
