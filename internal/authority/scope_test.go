package authority

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		scope, resource string
		v2              bool
		want            wanted
	}{
		{"a resource's default", armAud + "/.default", "", true, wanted{Resource: armAud, Scopes: []string{".default"}}},
		{"a resource with a slash", armAud + "//.default", "", true, wanted{Resource: armAud + "/", Scopes: []string{".default"}}},
		{"two scopes of one", "api://a/b api://a/c openid", "", true, wanted{Resource: "api://a", Scopes: []string{"b", "c"}, OpenID: true}},
		{"Graph's", "User.Read  offline_access", "", true, wanted{Resource: graphResource, Scopes: []string{"User.Read"}, Offline: true}},
		{"none but OpenID Connect's", "openid profile email", "", true, wanted{Resource: graphResource, OpenID: true, Profile: true, Email: true}},
		{"version 1", "openid", armAud, false, wanted{Resource: armAud, Scopes: []string{".default"}, OpenID: true, Profile: true, Email: true, Offline: true}},
		{"version 1 with nothing", "", "", false, wanted{Resource: oldGraphResource, Scopes: []string{".default"}, OpenID: true, Profile: true, Email: true, Offline: true}},
		{"AD FS", armAud + "/.default", "", false, wanted{Resource: armAud, Scopes: []string{".default"}, OpenID: true, Profile: true, Email: true, Offline: true}},
		{"version 2 takes no resource", "openid", armAud, true, wanted{Resource: graphResource, OpenID: true}},
	} {
		got, err := wantedOf(url.Values{"scope": {c.scope}, "resource": {c.resource}}, c.v2)
		got.Asked = ""
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
	for _, bad := range []string{"", "/x", "https://a/", "https://a/b c/d", "https://a/b\x00", "é"} {
		if got, err := wantedOf(url.Values{"scope": {bad}}, true); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
