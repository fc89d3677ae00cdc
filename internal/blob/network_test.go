package blob

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

func TestFirewall(t *testing.T) {
	t.Parallel()
	const media = testGroup + "/providers/Microsoft.Media/mediaservices/m"
	mediaCaller := &azure.Caller{TenantID: testTenant, ResourceID: media}
	vm := &azure.Caller{TenantID: testTenant, ResourceID: testGroup + "/providers/Microsoft.Compute/virtualMachines/v"}
	person := &azure.Caller{TenantID: testTenant}
	rule := []accessRule{{testTenant, strings.ToUpper(vm.ResourceID)}}
	home := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		name   string
		rules  network
		remote string
		caller *azure.Caller
		pass   bool
	}{
		{"open", network{}, "198.51.100.1:5", person, true},
		{"closed", network{Deny: true}, "198.51.100.1:5", person, false},
		{"closed to shared keys", network{Deny: true, Trusted: true}, "198.51.100.1:5", nil, false},
		{"address", network{Deny: true, Prefixes: home}, "192.0.2.7:5", nil, true},
		{"address mapped to IPv6", network{Deny: true, Prefixes: home}, "[::ffff:192.0.2.7]:5", nil, true},
		{"other address", network{Deny: true, Prefixes: home}, "192.0.3.7:5", nil, false},
		{"no address", network{Deny: true, Prefixes: home}, "in-process", person, false},
		{"trusted", network{Deny: true, Trusted: true}, "in-process", mediaCaller, true},
		{"trusted without bypass", network{Deny: true}, "in-process", mediaCaller, false},
		{"trusted of another type", network{Deny: true, Trusted: true}, "in-process", vm, false},
		{"resource rule", network{Deny: true, Resources: rule}, "in-process", vm, true},
		{"resource rule of another tenant", network{Deny: true, Resources: []accessRule{{"x", vm.ResourceID}}}, "in-process", vm, false},
		{"disabled", network{Disabled: true, Prefixes: home}, "192.0.2.7:5", person, false},
		{"disabled lets trusted through", network{Disabled: true, Trusted: true}, "in-process", mediaCaller, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.rules.admit(c.remote, c.caller)
			if (err == nil) != c.pass {
				t.Fatalf("got %v", err)
			}
			if err != nil && (err.Status != 403 || err.Code != "AuthorizationFailure") {
				t.Errorf("got %d %s", err.Status, err.Code)
			}
		})
	}
}
