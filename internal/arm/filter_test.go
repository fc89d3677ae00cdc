package arm

import "testing"

// TestFilterOfAzureCLI: what Azure CLI puts into $filter: a resource group, which no item shows as a property, and
// times without a zone, which are UTC.
func TestFilterOfAzureCLI(t *testing.T) {
	t.Parallel()
	item := map[string]any{
		"name": "Demo", "tags": map[string]any{"cost": "it's 1,2"},
		"id":   "/subscriptions/8d9a5b4e-2f0c-4c5b-9d3e-0a1b2c3d4e5f/resourceGroups/Films/providers/Microsoft.Media/mediaservices/a",
		"type": "Microsoft.Media/mediaservices", "eventTimestamp": "2026-11-23T22:30:00.5Z",
	}
	for filter, want := range map[string]bool{
		"resourceGroup eq 'films'": true,
		"resourceGroup eq 'other'": false,
		"resourceGroup eq 'films' and resourceType eq 'Microsoft.Storage/storageAccounts'":                     false,
		"eventTimestamp ge 2026-11-23T22:22:19.054877 and eventTimestamp le 2026-11-23T23:22:19.054877":        true,
		"eventTimestamp ge 2026-11-23T22:30:01":                                                                false,
		"eventTimestamp ge '2026-11-23T22:22:19.054877' and eventTimestamp le '2026-11-23T22:30:00.5000001'":   true,
		"resourceGroup eq 'films' and not (eventTimestamp gt 2026-11-23T22:30:00 or resourceGroup eq 'films')": false,
		"substringof('em', name)": true, "startswith(name, 'de') and not endswith(name,'x')": true, "contains(name, 'x') or name eq 'demo'": true,
		"substringof('os', tagName) and tagValue eq 'IT''s 1,2'": true, "startswith(name, 'e')": false, "substringof('e', none)": false,
	} {
		keep, err := parseFilter(filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got, err := keep(item); err != nil || got != want {
			t.Errorf("%s: %t, %v", filter, got, err)
		}
	}
}

func TestBadFilters(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{
		"substringof('a')", "substringof('a', name", "substringof(name, 'a')", "nope('a', name)", "startswith(name, 1)", "startswith(name 'a')",
		"startswith('a', 'b')", "name eq", "secret eq 'a'", "substringof('a', secret)", "name,name eq 'a'",
	} {
		if _, err := parseFilter(filter, "name", "tagname"); err == nil {
			t.Errorf("%s was accepted", filter)
		}
	}
}
