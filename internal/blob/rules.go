package blob

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

const bypassAzure = "AzureServices"

var tlsVersions = map[string]uint16{
	"TLS1_0": tls.VersionTLS10, "TLS1_1": tls.VersionTLS11, "TLS1_2": tls.VersionTLS12, "TLS1_3": tls.VersionTLS13,
}

// settings checks an account's properties, puts them into canonical form and returns what the data plane needs of them.
func (p *accountProperties) settings() (set settings, err error) {
	if !oneOf(p.AccessTier, "Hot", "Cool", "Cold", "Premium") {
		return set, invalidProperty("accessTier", "accessTier '%s' is not Hot, Cool, Cold or Premium.", *p.AccessTier)
	}
	if !oneOf(p.PublicNetworkAccess, "Enabled", "Disabled") {
		return set, invalidProperty("publicNetworkAccess", "publicNetworkAccess '%s' is not Enabled or Disabled.", *p.PublicNetworkAccess)
	}
	version, ok := tlsVersions[strings.ToUpper(*p.MinimumTLS)]
	if !ok {
		return set, invalidProperty("minimumTlsVersion", "minimumTlsVersion '%s' is not TLS1_0, TLS1_1, TLS1_2 or TLS1_3.", *p.MinimumTLS)
	}
	set = settings{SharedKey: *p.AllowSharedKey, PublicBlobs: *p.AllowBlobPublic, HTTPSOnly: *p.HTTPSOnly, MinimumTLS: version, AccessTier: *p.AccessTier}
	if set.Network, err = p.NetworkACLs.network(); err != nil {
		return set, err
	}
	set.Network.Disabled = *p.PublicNetworkAccess == "Disabled"
	return set, nil
}

// oneOf reports whether a value is one of the known ones in any case, and spells it as they do.
func oneOf(value *string, known ...string) bool {
	i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, *value) })
	if i < 0 {
		return false
	}
	*value = known[i]
	return true
}

func (acl *networkACLs) network() (n network, err error) {
	if !oneOf(&acl.DefaultAction, "Allow", "Deny") {
		return n, invalidProperty("networkAcls.defaultAction", "networkAcls.defaultAction '%s' is not Allow or Deny.", acl.DefaultAction)
	}
	n.Deny = acl.DefaultAction == "Deny"
	if n.Trusted, err = acl.bypass(); err != nil {
		return n, err
	}
	if len(acl.VirtualNetworkRules) > 0 {
		return n, invalidProperty("networkAcls.virtualNetworkRules", "networkAcls.virtualNetworkRules cannot be kept: there are no virtual networks here. Use ipRules.")
	}
	acl.VirtualNetworkRules = nonNil(acl.VirtualNetworkRules)
	acl.IPRules = nonNil(acl.IPRules)
	for i := range acl.IPRules {
		rule := &acl.IPRules[i]
		if rule.Action == "" {
			rule.Action = "Allow"
		}
		if !oneOf(&rule.Action, "Allow") {
			return n, invalidProperty("networkAcls.ipRules", "The action '%s' of an ipRule is not Allow.", rule.Action)
		}
		prefix, err := parseIPRule(rule.Value)
		if err != nil {
			return n, invalidProperty("networkAcls.ipRules", "networkAcls.ipRules: %v.", err)
		}
		n.Prefixes = append(n.Prefixes, prefix)
	}
	for _, rule := range acl.ResourceAccessRules {
		id, err := azure.ParseResourceID(rule.ResourceID)
		if err != nil || id.Namespace == "" || id.IsCollection() || strings.Contains(rule.ResourceID, "*") {
			return n, invalidProperty("networkAcls.resourceAccessRules", "networkAcls.resourceAccessRules: '%s' is not the ID of one resource.", rule.ResourceID)
		}
		n.Resources = append(n.Resources, rule)
	}
	return n, nil
}

// bypass reads "None" or a list such as "Logging, AzureServices" and reports whether trusted services pass.
func (acl *networkACLs) bypass() (trusted bool, err error) {
	if acl.Bypass == nil {
		all := bypassAzure
		acl.Bypass = &all
	}
	var words []string
	for word := range strings.SplitSeq(*acl.Bypass, ",") {
		word = strings.TrimSpace(word)
		if !oneOf(&word, "None", "Logging", "Metrics", bypassAzure) {
			return false, invalidProperty("networkAcls.bypass", "networkAcls.bypass: '%s' is not None, Logging, Metrics or AzureServices.", word)
		}
		trusted = trusted || word == bypassAzure
		words = append(words, word)
	}
	if len(words) > 1 && slices.Contains(words, "None") {
		return false, invalidProperty("networkAcls.bypass", "networkAcls.bypass: 'None' does not go with others.")
	}
	list := strings.Join(words, ", ")
	acl.Bypass = &list
	return trusted, nil
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
