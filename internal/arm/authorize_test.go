package arm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAuthentication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	login := `Bearer authorization_uri="https://login.keyreel.localhost:8443/` + tenant + `", error="invalid_token", error_description="`
	for token, code := range map[string]string{
		"":                            "AuthenticationFailed",
		string(azure.TokenExpired):    "ExpiredAuthenticationToken",
		string(azure.TokenSignature):  "InvalidAuthenticationToken",
		string(azure.TokenIssuer):     "InvalidAuthenticationTokenTenant",
		string(azure.TokenAudience):   "InvalidAuthenticationTokenAudience",
		"aud:https://vault.azure.net": "InvalidAuthenticationTokenAudience",
		"aud:https://management.keyreel.localhost:8444": "InvalidAuthenticationTokenAudience",
	} {
		a := w.do(token, "GET", g1+groupV, "")
		a.fails(401, code)
		if h := a.Header().Get("WWW-Authenticate"); !strings.HasPrefix(h, login) || strings.Count(h, `"`) != 6 {
			t.Errorf("%s: WWW-Authenticate is %q", code, h)
		}
	}
	w.do("", "GET", g1+groupV, "", "Authorization", "Basic eDp5").fails(401, "AuthenticationFailedInvalidHeader")
	for _, aud := range []string{
		"https://management.azure.com", "https://management.azure.com/", "https://management.core.windows.net/",
		"https://management.keyreel.localhost:8443", "https://management.keyreel.localhost/",
	} {
		w.do("aud:"+aud, "GET", g1+groupV, "").want(200)
	}
}

// TestExistenceDoesNotLeak checks that who may not read gets the same answer for what is there and what is not.
func TestExistenceDoesNotLeak(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
	for _, r := range []struct{ method, there, missing, body string }{
		{"GET", widgets + "/w" + sync1, widgets + "/x" + sync1, ""},
		{"PUT", widgets + "/w" + sync1, widgets + "/x" + sync1, `{`},
		{"PATCH", widgets + "/w" + sync1, widgets + "/x" + sync1, `{}`},
		{"DELETE", widgets + "/w" + sync1, widgets + "/x" + sync1, ``},
		{"POST", widgets + "/w/poke" + sync1, widgets + "/x/poke" + sync1, ``},
		{"GET", widgets + "/w/parts" + sync1, widgets + "/x/parts" + sync1, ``},
		{"GET", g1 + groupV, subPath + "/resourceGroups/gx" + groupV, ``},
		{"GET", subPath + groupV, "/subscriptions/33333333-3333-3333-3333-333333333333" + groupV, ``},
		{"GET", g1 + "/resources" + groupV, subPath + "/resourceGroups/gx/resources" + groupV, ``},
	} {
		w.do(stranger, r.method, r.there, r.body).fails(403, "AuthorizationFailed")
		w.do(stranger, r.method, r.missing, r.body).fails(403, "AuthorizationFailed")
		head := w.do(stranger, "HEAD", widgets+"/x"+sync1, "")
		head.want(403)
	}
	message := w.do(reader, "DELETE", widgets+"/w"+sync1, "").fails(403, "AuthorizationFailed")
	for _, part := range []string{
		"The client 'caller 2' with object id '" + reader + "' does not have authorization to perform action 'Test.Things/widgets/delete' over scope '" + widgets + "/w'",
		"Contributor",
	} {
		if !strings.Contains(message, part) {
			t.Errorf("%q does not hold %q", message, part)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(builder, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
	w.do(reader, "GET", widgets+"/w"+sync1, "").want(200)
	w.do(reader, "GET", widgets+sync1, "").want(200)
	w.do(reader, "POST", widgets+"/w/poke"+sync1, "").fails(403, "AuthorizationFailed")
	w.do(reader, "PATCH", widgets+"/w"+sync1, `{}`).fails(403, "AuthorizationFailed")
	w.do(builder, "PUT", subPath+"/resourceGroups/g2"+groupV, `{"location":"westeurope"}`).fails(403, "AuthorizationFailed")
	w.do(builder, "POST", subPath+"/providers/Test.Things/checkNameAvailability"+sync1, "").fails(403, "AuthorizationFailed")

	// Everyone sees tenants, providers and built-in roles; subscriptions only who has a role in them.
	for _, path := range []string{"/tenants", "/providers", "/providers/test.things"} {
		w.do(stranger, "GET", path+groupV, "").want(200)
	}
	for caller, n := range map[string]int{owner: 1, reader: 1, stranger: 0} {
		if list := w.do(caller, "GET", "/subscriptions"+groupV, "").want(200).json()["value"].([]any); len(list) != n {
			t.Errorf("%s sees %d subscriptions, want %d", caller, len(list), n)
		}
	}
	w.do(owner, "GET", subPath+groupV, "").want(200)
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	var public []string
	names := map[string]bool{}
	for _, r := range w.m.Routes() {
		if r.Public != "" {
			public = append(public, r.Name)
		}
		key := r.Method + " " + r.Pattern
		if names[key] {
			t.Errorf("%s is listed twice", key)
		}
		names[key] = true
	}
	if d := cmp.Diff([]string{"Microsoft.Resources/metadata.Endpoints", "Microsoft.Resources/providers.ListOperations"}, public); d != "" {
		t.Errorf("public rows (-want +got):\n%s", d)
	}
	for _, want := range []string{
		"PATCH /subscriptions/{subscription}/resourceGroups/{resourceGroup}",
		"PUT /subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Test.Things/widgets/{widgetsName}/parts/{partsName}",
		"POST /subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Test.Things/widgets/{widgetsName}/poke",
		"GET /subscriptions/{subscription}/providers/Test.Things/locations/{location}/thingStatuses/{operation}",
		"PUT {scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentsName}",
	} {
		if !names[want] {
			t.Errorf("%s is not listed", want)
		}
	}
}

// understood returns an api-version of the row with a name.
func understood(m *Manager, name string) string {
	for _, c := range m.commands {
		if c.route.Name == name && len(c.versions) > 0 {
			return c.versions[0]
		}
	}
	typ := name[:max(0, strings.LastIndexByte(name, '.'))]
	for _, types := range []map[string]*typeRows{m.types, m.extensions} {
		if rows := types[strings.ToLower(typ)]; rows != nil {
			return rows.Versions[0]
		}
	}
	return ""
}

// TestMatrix sends every operation without a token and as a caller without a role.
func TestMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	fill := strings.NewReplacer("{subscription}", sub, "{scope}", g1, "{namespace}", "Test.Things")
	open := []string{ // the handler shows what the caller may read
		"tenants.List", "subscriptions.List", "providers.ListAtTenant", "providers.GetAtTenant", "providerOperations.List", "providerOperations.Get",
	}
	for _, r := range w.m.Routes() {
		path := fill.Replace(r.Pattern)
		for strings.Contains(path, "{") {
			i, j := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:i] + "x" + path[j+1:]
		}
		version := "?api-version=" + understood(w.m, r.Name)
		if r.Public != "" {
			w.do("", r.Method, path, "").want(200)
			continue
		}
		if a := w.do("", r.Method, path+version, ""); a.Code != 401 {
			t.Errorf("%s without a token: %d %s", r.Name, a.Code, a.Body)
		}
		want := 403
		if slices.ContainsFunc(open, func(s string) bool { return strings.HasSuffix(r.Name, "/"+s) }) {
			want = 200
		}
		if r.Action == checkAccessAction { // anybody may ask about itself; the question is missing
			want = 400
		}
		if a := w.do(stranger, r.Method, path+version, ""); a.Code != want {
			t.Errorf("%s without a role: %d, want %d: %s", r.Name, a.Code, want, a.Body)
		}
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	last := func() int64 {
		t.Helper()
		list, err := w.m.o.Audit.Query(t.Context(), audit.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return int64(len(list))
	}
	for _, test := range []struct {
		name, caller, method, path, body string
		want                             []string // result and action
	}{
		{"write", owner, "PUT", widgets + "/w" + sync1, `{"location":"westeurope"}`, []string{"Allowed Test.Things/widgets/write"}},
		{"read", owner, "GET", widgets + "/w" + sync1, ``, nil},
		{"denied read", stranger, "GET", widgets + "/w" + sync1, ``, []string{"Denied Test.Things/widgets/read"}},
		{"action", owner, "POST", widgets + "/w/poke" + sync1, ``, []string{"Allowed Test.Things/widgets/poke/action"}},
		{"failed action", owner, "POST", widgets + "/w/fail" + sync1, ``, []string{"Allowed Test.Things/widgets/fail/action", "Failure Test.Things/widgets/fail/action"}},
		{"delete", owner, "DELETE", widgets + "/w" + sync1, ``, []string{"Allowed Test.Things/widgets/delete"}},
	} {
		before := last()
		w.do(test.caller, test.method, test.path, test.body)
		list, err := w.m.o.Audit.Query(t.Context(), audit.Filter{After: before})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range list {
			got = append(got, r.Result+" "+r.Action)
			if r.Category != "Administrative" || r.Principal != test.caller || r.Resource != widgets+"/w" || r.Reason == "" {
				t.Errorf("%s: record %+v", test.name, r)
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, d)
		}
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope"}`).want(201)
	w.do(owner, "PUT", rigs+"/r/bolts/b"+sync1, `{}`).want(201)
	var ops []string
	w.hook(func() {
		w.gate = func(res *Resource, op Op) error {
			ops = append(ops, strings.TrimSpace(op.Method+" "+op.Target.Type()))
			if op.Method == "GET" && strings.EqualFold(op.Target.Type(), res.ID.Type()) {
				return nil
			}
			return azure.Errorf(403, "Inaccessible", "The customer key of %s is inaccessible.", res.ID.Name())
		}
	})
	w.do(owner, "GET", rigs+"/r"+sync1, "").want(200)
	w.do(owner, "PATCH", rigs+"/r"+sync1, `{}`).fails(403, "Inaccessible")
	w.do(owner, "GET", rigs+"/r/bolts/b"+sync1, "").fails(403, "Inaccessible")
	w.do(owner, "GET", rigs+"/r/bolts"+sync1, "").fails(403, "Inaccessible")
	w.do(owner, "GET", rigs+sync1, "").want(200)
	w.do(stranger, "GET", rigs+"/r/bolts/b"+sync1, "").fails(403, "AuthorizationFailed")
	w.do(owner, "PUT", rigs+"/new"+sync1, `{"location":"westeurope"}`).want(201)
	if d := cmp.Diff([]string{"GET Test.Things/rigs", "PATCH Test.Things/rigs", "GET Test.Things/rigs/bolts", "GET Test.Things/rigs/bolts"}, ops); d != "" {
		t.Errorf("gated (-want +got):\n%s", d)
	}
}
