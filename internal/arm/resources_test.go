package arm

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	for _, v := range []string{"", "?api-version=2015-01-01", "?api-version=1.0"} {
		if a := w.do("", "GET", "/metadata/endpoints"+v, "").want(200); a.at("authentication.loginEndpoint") != "https://login.keyreel.localhost:8443/" {
			t.Errorf("%q: %s", v, a.Body)
		}
	}
	var list []map[string]any
	if err := json.Unmarshal(w.do("", "GET", "/metadata/endpoints?api-version=2019-05-01", "").want(200).Body.Bytes(), &list); err != nil || len(list) != 1 {
		t.Fatalf("2019-05-01: %v, %v", list, err)
	}
	a := w.do("", "GET", "/metadata/endpoints?api-version=2022-09-01", "").want(200)
	if d := cmp.Diff(list[0], a.json()); d != "" {
		t.Errorf("the cloud differs:\n%s", d)
	}
	want := map[string]any{"storage": "keyreel.localhost:8443", "keyVaultDns": "vault.keyreel.localhost:8443"}
	if d := cmp.Diff(want, a.at("suffixes")); d != "" || a.at("resourceManager") != "https://management.keyreel.localhost:8443/" {
		t.Errorf("metadata: %s", a.Body)
	}
}

func TestProvidersAndLocations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	for _, r := range []struct{ method, path string }{
		{"GET", subPath + "/providers/test.things"}, {"POST", subPath + "/providers/Test.Things/register"},
	} {
		a := w.do(owner, r.method, r.path+groupV, "").want(200)
		first := a.json()["resourceTypes"].([]any)[0]
		want := map[string]any{
			"resourceType": "widgets", "locations": []any{"West Europe", "North Europe"}, "apiVersions": []any{"2024-01-01", "2023-01-01"},
			"capabilities": "SupportsTags, SupportsLocation",
		}
		if d := cmp.Diff(want, first); d != "" || a.at("registrationState") != "Registered" {
			t.Errorf("%s (-want +got):\n%s", r.path, d)
		}
	}
	w.do(owner, "GET", subPath+"/providers/No.Such"+groupV, "").fails(404, "InvalidResourceNamespace")
	a := w.do(owner, "GET", subPath+"/locations"+groupV, "")
	if d := cmp.Diff([]string{"westeurope", "northeurope"}, a.names()); d != "" {
		t.Error(d)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	w := openWorld(t, storetest.SQLite(t, testSchemas...))
	w.m.sealed = false
	v := []string{"2024-01-01"}
	for name, p := range map[string]Provider{
		"taken":        {Namespace: "TEST.things"},
		"empty":        {},
		"foreign type": {Namespace: "A.B", Types: []Type{{Name: "C.D/x", Versions: v, ReadOnly: true}}},
		"no versions":  {Namespace: "A.C", Types: []Type{{Name: "A.C/x", ReadOnly: true}}},
		"no Validate":  {Namespace: "A.D", Types: []Type{{Name: "A.D/x", Versions: v}}},
		"no action":    {Namespace: "A.E", Commands: []Command{{Name: "x", Method: "GET", Pattern: "/providers/A.E/x", Handle: w.m.metadata}}},
	} {
		if err := w.m.Register(p); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	w.m.Handler()
	if err := w.m.Register(Provider{Namespace: "A.F"}); err == nil {
		t.Error("registered after Handler")
	}
}

// TestConcurrentWrites sends many writes of one resource at once: each succeeds or is told to retry.
func TestConcurrentWrites(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		var wg sync.WaitGroup
		codes := make(chan *answer, 40)
		for i := range 20 {
			path := rigs + "/r" + sync1
			if i%2 == 0 {
				path = widgets + "/w" + sync1
			}
			wg.Go(func() {
				codes <- w.do(owner, "PUT", path, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`)
			})
		}
		wg.Wait()
		close(codes)
		created := 0
		for a := range codes {
			switch a.Code {
			case http.StatusCreated:
				created++
			case http.StatusOK:
			case http.StatusConflict:
				if a.fails(409, "AnotherOperationInProgress"); a.Header().Get("Retry-After") == "" {
					t.Error("409 without Retry-After")
				}
			default:
				t.Errorf("%d %s", a.Code, a.Body)
			}
		}
		if created != 2 {
			t.Errorf("%d answers say created, want 2", created)
		}
		w.consistent()
	})
}

func TestServiceChanges(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		etag := w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201).Header().Get("ETag")
		ctx := t.Context()
		err := db.Update(ctx, func(tx *store.Tx) error {
			res, err := w.m.Find(ctx, tx, "test.things/WIDGETS", "W")
			if err != nil {
				return err
			}
			part := &Resource{ID: res.ID.Child("parts", "own"), Properties: json.RawMessage(`{"size":1}`)}
			for range 2 { // the second time it is there already
				if err := w.m.Create(ctx, tx, part); err != nil {
					return err
				}
			}
			return w.m.Update(ctx, tx, res.ID, func(res *Resource) error {
				res.Properties = json.RawMessage(`{"size":9}`)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		a := w.do(owner, "GET", widgets+"/w"+sync1, "")
		if a.at("properties.size") != 9.0 || a.Header().Get("ETag") == etag {
			t.Errorf("after Update: %s", a.Body)
		}
		if d := cmp.Diff([]string{"own"}, w.do(owner, "GET", widgets+"/w/parts"+sync1, "").names()); d != "" {
			t.Error(d)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"name eq 'a'", "tagName eq 'a' and tagValue eq 'b'", "not (properties/x gt 5 or y eq null)", "a eq 'it''s'", "((((", "a eq", "x ne Type'v'", "a lt 2024-01-01",
	} {
		f.Add(s)
	}
	item := map[string]any{"name": "a", "type": "b", "tags": map[string]string{"a": "b"}, "properties": map[string]any{"x": 6, "at": "2024-01-01T00:00:00Z"}}
	f.Fuzz(func(t *testing.T, text string) {
		keep, err := parseFilter(text)
		if err != nil {
			return
		}
		yes, err := keep(item)
		if err != nil {
			t.Fatal(err)
		}
		// A filter that parses has an opposite, when there is room for it.
		if strings.TrimSpace(text) == "" || len(text)+len("not ()") > maxFilter {
			return
		}
		opposite, err := parseFilter("not (" + text + ")")
		if err != nil {
			t.Fatalf("%q parses, its negation does not: %v", text, err)
		}
		if no, err := opposite(item); err != nil || no == yes {
			t.Errorf("%q and its negation both give %v (%v)", text, yes, err)
		}
	})
}

func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"/subscriptions/x", "//a//b/", "/a%2Fb", "/%zz", "/%00", "/a%20b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := splitPath(path)
		if err != nil {
			return
		}
		for _, s := range segments {
			if strings.ContainsAny(s, "/\x00\n") {
				t.Errorf("%q gives segment %q", path, s)
			}
		}
	})
}

func FuzzRoleFilter(f *testing.F) {
	for _, s := range []string{"atScope()", "assignedTo('a') and atScope()", "principalId eq 'x'", "and", " and and "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseRoleFilter(text, "principalid")
		if err == nil && strings.TrimSpace(text) != "" && !got.atScope && got.assignedTo == "" && len(got.equal) == 0 &&
			!strings.Contains(strings.ToLower(text), "atscopeandbelow") && !strings.Contains(text, "''") {
			t.Errorf("%q was accepted and filters nothing", text)
		}
	})
}
