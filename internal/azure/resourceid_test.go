package azure

import (
	"strings"
	"testing"
)

func TestParseResourceID(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, canonical, typ, name, parent string }{
		{"/", "/", "Microsoft.Resources/tenants", "", "/"},
		{"/subscriptions/ABC", "/subscriptions/abc", "Microsoft.Resources/subscriptions", "abc", "/"},
		{"/SUBSCRIPTIONS/s/ResourceGroups/G/", "/subscriptions/s/resourceGroups/G", "Microsoft.Resources/resourceGroups", "G", "/subscriptions/s"},
		{
			"/subscriptions/s/resourcegroups/g/PROVIDERS/Microsoft.Media/mediaservices/A/assets/x",
			"/subscriptions/s/resourceGroups/g/providers/Microsoft.Media/mediaservices/A/assets/x",
			"Microsoft.Media/mediaservices/assets", "x", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Media/mediaservices/A",
		},
		{
			"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/st/providers/Microsoft.Authorization/roleAssignments/r",
			"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/st/providers/Microsoft.Authorization/roleAssignments/r",
			"Microsoft.Authorization/roleAssignments", "r", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/st",
		},
		{"/providers/Microsoft.Authorization/roleDefinitions/d", "/providers/Microsoft.Authorization/roleDefinitions/d", "Microsoft.Authorization/roleDefinitions", "d", "/"},
		{"/subscriptions/s/providers/Microsoft.Media/mediaservices", "/subscriptions/s/providers/Microsoft.Media/mediaservices", "Microsoft.Media/mediaservices", "", "/subscriptions/s"},
	}
	for _, tt := range tests {
		id, err := ParseResourceID(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if id.String() != tt.canonical || id.Type() != tt.typ || id.Name() != tt.name || id.Parent().String() != tt.parent {
			t.Errorf("%s: %s, type %s, name %s, parent %s", tt.in, id, id.Type(), id.Name(), id.Parent())
		}
	}
}

func TestParseResourceIDRefuses(t *testing.T) {
	t.Parallel()
	for in, why := range map[string]string{
		"subscriptions/s":                                      "begin with '/'",
		"/subscriptions":                                       "subscription is missing",
		"/subscriptions/s/resourceGroups":                      "group's name is missing",
		"/subscriptions//resourceGroups/g":                     "segment 2 is empty",
		"/subscriptions/s/groups/g":                            "'groups' is not",
		"/tenants/t":                                           "'tenants' is not",
		"/subscriptions/s/resourceGroups/g/extra":              "not",
		"/subscriptions/s/providers":                           "namespace is missing",
		"/subscriptions/s/providers/N/t/providers/M/u/x":       "name is missing before",
		"/subscriptions/s/resourceGroups/g/providers/N/t//u/x": "segment 8 is empty",
	} {
		if _, err := ParseResourceID(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: error %v does not say %q", in, err, why)
		}
	}
}

// Every request's path is taken apart before anybody knows who sends it, so what a long one costs must be bounded.
func TestParseLongResourceID(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("/providers/a/b/c", maxResourceID/len("/providers/a/b/c"))
	if _, err := ParseResourceID(id); err != nil {
		t.Errorf("as long as may be: %v", err)
	}
	_, err := ParseResourceID(id + "/providers/a/b/c")
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("too long: %.300v", err)
	}
}

func FuzzParseResourceID(f *testing.F) {
	f.Add("/subscriptions/s/resourceGroups/g/providers/Microsoft.Media/mediaservices/a/assets/x")
	f.Add("/providers/providers/providers/x")
	f.Add("/subscriptions/s/providers/N/t/n/providers/M/u")
	f.Add("/subscriptions/" + strings.Repeat("\u023a", 2000)) // longer in lower case
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseResourceID(s)
		if err != nil {
			return
		}
		again, err := ParseResourceID(id.String())
		if err != nil || again.String() != id.String() {
			t.Errorf("%q -> %q -> %q, %v", s, id, again, err)
		}
		for range 100 {
			if id.String() == "/" {
				return
			}
			id = id.Parent()
		}
		t.Errorf("%q: its parents do not end at the tenant", s)
	})
}
