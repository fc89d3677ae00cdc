package blob

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// network is an account's firewall.
type network struct {
	Deny      bool           `json:"deny,omitempty"`     // defaultAction: Deny
	Disabled  bool           `json:"disabled,omitempty"` // publicNetworkAccess: Disabled; ipRules do not count then
	Trusted   bool           `json:"trusted,omitempty"`  // bypass has AzureServices
	Prefixes  []netip.Prefix `json:"prefixes,omitempty"` // ipRules
	Resources []accessRule   `json:"resources,omitempty"`
}

// accessRule lets one resource's identity through.
type accessRule struct {
	TenantID   string `json:"tenantId"`
	ResourceID string `json:"resourceId"`
}

// trustedTypes are the resource types that bypass: AzureServices lets through, in lower case.
var trustedTypes = []string{"microsoft.media/mediaservices"}

// admit decides whether a request passes. remote is the client's host:port; caller is nil for shared keys.
func (n *network) admit(remote string, caller *azure.Caller) *azure.Error {
	if !n.Deny && !n.Disabled {
		return nil
	}
	if caller != nil && caller.ResourceID != "" {
		for _, rule := range n.Resources {
			if strings.EqualFold(rule.ResourceID, caller.ResourceID) && strings.EqualFold(rule.TenantID, caller.TenantID) {
				return nil
			}
		}
		id, err := azure.ParseResourceID(caller.ResourceID)
		if n.Trusted && err == nil && slices.Contains(trustedTypes, strings.ToLower(id.Type())) {
			return nil
		}
	}
	from, known := addrOf(remote)
	if n.Disabled {
		return refused(remote, "publicNetworkAccess is 'Disabled'", "Set it to 'Enabled', or let the caller be a trusted service with bypass 'AzureServices'.")
	}
	if known && slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Contains(from) }) {
		return nil
	}
	return refused(remote, "networkAcls.defaultAction is 'Deny' and no rule lets this client through",
		"Add its address to networkAcls.ipRules, its resource to networkAcls.resourceAccessRules, or 'AzureServices' to networkAcls.bypass for a trusted service with a bearer token.")
}

func refused(remote, rule, mend string) *azure.Error {
	return azure.Errorf(http.StatusForbidden, "AuthorizationFailure",
		"This request is not authorized to perform this operation. The client '%s' was refused because the account's %s. %s", remote, rule, mend)
}

func addrOf(remote string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap(), true
	}
	a, err := netip.ParseAddr(remote)
	return a.Unmap(), err == nil
}

// parseIPRule reads the value of an ipRule: an address or a prefix.
func parseIPRule(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("'%s' is neither an address nor a prefix", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
