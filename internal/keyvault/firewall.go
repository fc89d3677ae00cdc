package keyvault

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// networkACLs is a vault's firewall.
type networkACLs struct {
	Bypass              string               `json:"bypass"`        // "AzureServices" or "None"
	DefaultAction       string               `json:"defaultAction"` // "Allow" or "Deny"
	IPRules             []ipRule             `json:"ipRules"`
	VirtualNetworkRules []virtualNetworkRule `json:"virtualNetworkRules"`
}

type ipRule struct {
	Value string `json:"value"` // a prefix in CIDR notation; a bare address is stored as one
}

type virtualNetworkRule struct {
	ID string `json:"id"`
}

const maxNetworkRules = 1000

// check validates and normalizes.
func (n *networkACLs) check() error {
	for _, enum := range []struct {
		name   string
		value  *string
		values []string
	}{
		{"bypass", &n.Bypass, []string{"AzureServices", "None"}},
		{"defaultAction", &n.DefaultAction, []string{"Allow", "Deny"}},
	} {
		if *enum.value == "" && enum.name == "bypass" {
			*enum.value = "AzureServices"
		}
		i := slices.IndexFunc(enum.values, func(s string) bool { return strings.EqualFold(s, *enum.value) })
		if i < 0 {
			return badVault("networkAcls."+enum.name, "networkAcls.%s is '%s'; it has to be '%s' or '%s'.", enum.name, *enum.value, enum.values[0], enum.values[1])
		}
		*enum.value = enum.values[i]
	}
	if len(n.IPRules) > maxNetworkRules {
		return badVault("networkAcls.ipRules", "networkAcls.ipRules has %d entries; a vault takes at most %d.", len(n.IPRules), maxNetworkRules)
	}
	for i, rule := range n.IPRules {
		prefix, err := parsePrefix(rule.Value)
		if err != nil {
			return badVault("networkAcls.ipRules", "networkAcls.ipRules[%d] '%s' is neither an IP address nor a range in CIDR notation.", i, rule.Value)
		}
		n.IPRules[i].Value = prefix.String()
	}
	for i, rule := range n.VirtualNetworkRules {
		if _, err := azure.ParseResourceID(rule.ID); err != nil || rule.ID == "" {
			return badVault("networkAcls.virtualNetworkRules", "networkAcls.virtualNetworkRules[%d].id '%s' is not a subnet's resource ID.", i, rule.ID)
		}
	}
	if n.IPRules == nil {
		n.IPRules = []ipRule{}
	}
	if n.VirtualNetworkRules == nil {
		n.VirtualNetworkRules = []virtualNetworkRule{}
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}

// clientIP is the address that a request came from; "" for one that came from no socket.
func clientIP(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().WithZone("").String()
	}
	return ""
}

// trusted reports whether the caller is one of the services that bypass lets through. Only the server itself obtains
// tokens with such a resource.
func trusted(caller *azure.Caller) bool {
	if caller.ResourceID == "" {
		return false
	}
	id, err := azure.ParseResourceID(caller.ResourceID)
	return err == nil && oneOf(id.Type(), "Microsoft.Media/mediaservices", "Microsoft.Storage/storageAccounts")
}

// admit is the firewall: it decides on where a request comes from, not on what it may do.
func (c *call) admit(caller *azure.Caller) error {
	acls := c.vault.NetworkACLs
	bypass := (acls == nil || acls.Bypass == "AzureServices") && trusted(caller)
	if bypass {
		return nil
	}
	if c.vault.PublicNetworkAccess == "Disabled" {
		return forbidden("ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\n"+
			"Caller: %s\r\nVault: %s", describe(caller), c.vaultAndLocation())
	}
	if acls == nil || acls.DefaultAction == "Allow" {
		return nil
	}
	ip := clientIP(c.RemoteAddr)
	if addr, err := netip.ParseAddr(ip); err == nil {
		for _, rule := range acls.IPRules {
			if prefix, err := netip.ParsePrefix(rule.Value); err == nil && prefix.Contains(addr) {
				return nil
			}
		}
	}
	return forbidden("ForbiddenByFirewall", "Client address (%s) is not authorized and caller is not a trusted service.\r\n"+
		"Caller: %s\r\nVault: %s", ip, describe(caller), c.vaultAndLocation())
}
