package arm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const lockV = "?api-version=2016-09-01"

func TestLocks(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const body = `{"location":"westeurope"}`
		w.do(owner, "PUT", widgets+"/a"+sync1, body).want(201)
		w.do(owner, "PUT", rigs+"/a"+sync1, body).want(201)
		locks := "/providers/Microsoft.Authorization/locks/"
		put := func(scope, name, level string) {
			t.Helper()
			w.do(owner, "PUT", scope+locks+name+lockV, `{"properties":{"level":"`+level+`","notes":"keep"}}`).want(201)
		}
		drop := func(scope, name string) { t.Helper(); w.do(owner, "DELETE", scope+locks+name+lockV, "").want(200) }
		refused := func(method, path, body, lock string) {
			t.Helper()
			if msg := w.do(owner, method, path, body).fails(409, "ScopeLocked"); !strings.Contains(msg, "'"+lock+"'") {
				t.Errorf("%s %s: %s does not name %s", method, path, msg, lock)
			}
		}

		put(widgets+"/a", "keep", "cannotdelete")
		if got := w.do(owner, "GET", strings.ToUpper(widgets+"/a")+locks+"KEEP"+lockV, "").want(200).at("properties.level"); got != "CanNotDelete" {
			t.Errorf("level %v", got)
		}
		refused("DELETE", strings.ToUpper(widgets)+"/A"+sync1, "", "keep")
		refused("DELETE", g1+groupV, "", "keep")
		w.do(owner, "PUT", widgets+"/a"+sync1, body).want(200)
		w.do(owner, "POST", widgets+"/a/poke"+sync1, "").want(200)
		w.do(owner, "DELETE", rigs+"/a"+sync1, "").want(200)
		if d := cmp.Diff([]string{"keep"}, w.do(owner, "GET", g1+strings.TrimSuffix(locks, "/")+lockV, "").names()); d != "" {
			t.Error(d)
		}
		w.do(builder, "DELETE", widgets+"/a"+locks+"keep"+lockV, "").fails(403, "AuthorizationFailed")
		w.do(stranger, "DELETE", widgets+"/a"+sync1, "").fails(403, "AuthorizationFailed")
		drop(widgets+"/a", "keep")
		w.do(owner, "DELETE", widgets+"/a"+locks+"keep"+lockV, "").want(204)

		put(subPath, "frozen", "ReadOnly")
		refused("PUT", widgets+"/a"+sync1, body, "frozen")
		refused("PATCH", widgets+"/a"+sync1, `{}`, "frozen")
		refused("POST", widgets+"/a/poke"+sync1, "", "frozen")
		refused("PUT", widgets+"/a/providers/Microsoft.Resources/tags/default"+groupV, `{"properties":{"tags":{}}}`, "frozen")
		refused("PUT", widgets+"/a/providers/Microsoft.Authorization/roleAssignments/cccccccc-0000-0000-0000-000000000001?api-version=2022-04-01", `{}`, "frozen")
		w.do(owner, "GET", widgets+"/a"+sync1, "").want(200)
		drop(subPath, "frozen")

		put(g1, "group", "ReadOnly")
		w.do(owner, "PUT", subPath+"/resourceGroups/g10"+groupV, body).want(201) // not below g1
		refused("PUT", widgets+"/b"+sync1, body, "group")
		drop(g1, "group")
		w.follow(owner, w.do(owner, "DELETE", g1+groupV, "").want(202).Header().Get("Location")).want(200)

		for _, c := range []struct{ path, body, code string }{
			{g1 + "0" + locks + "x" + lockV, `{"properties":{"level":"NotSpecified"}}`, "InvalidLockLevel"},
			{g1 + "0" + locks + "x" + lockV, `{}`, "InvalidLockLevel"},
			{locks + "x" + lockV, `{"properties":{"level":"ReadOnly"}}`, "AuthorizationFailed"},
			{g1 + locks + "x" + lockV, `{"properties":{"level":"ReadOnly"}}`, "ResourceGroupNotFound"},
		} {
			if a := w.do(owner, "PUT", c.path, c.body); a.at("error.code") != c.code {
				t.Errorf("%s %s: %s", c.path, c.body, a.Body)
			}
		}
		w.consistent()
	})
}

func TestTags(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/a"+sync1, `{"location":"westeurope","tags":{"env":"test"},"properties":{"size":1}}`).want(201)
		w.do(owner, "PUT", widgets+"/a/parts/p"+sync1, `{}`).want(201)
		tags := "/providers/Microsoft.Resources/tags/default" + groupV
		for _, c := range []struct {
			method, body string
			want         map[string]any
		}{
			{"GET", "", map[string]any{"env": "test"}},
			{"PATCH", `{"operation":"Merge","properties":{"tags":{"ENV":"prod","team":"a"}}}`, map[string]any{"ENV": "prod", "team": "a"}},
			{"PATCH", `{"operation":"Delete","properties":{"tags":{"env":"prod","team":"b"}}}`, map[string]any{"team": "a"}},
			{"PATCH", `{"operation":"Replace","properties":{"tags":{"x":"1"}}}`, map[string]any{"x": "1"}},
			{"PUT", `{"properties":{"tags":{"y":"2"}}}`, map[string]any{"y": "2"}},
			{"DELETE", "", map[string]any{}},
			{"PUT", `{"properties":{"tags":{"env":"test"}}}`, map[string]any{"env": "test"}},
		} {
			if d := cmp.Diff(c.want, w.do(owner, c.method, widgets+"/a"+tags, c.body).want(200).at("properties.tags")); d != "" {
				t.Errorf("%s %s:\n%s", c.method, c.body, d)
			}
		}
		a := w.do(owner, "GET", widgets+"/a"+sync1, "").want(200)
		if a.at("tags.env") != "test" || a.at("properties.size") != 1.0 {
			t.Errorf("the resource: %s", a.Body)
		}
		for _, scope := range []string{subPath, g1} {
			w.do(owner, "PUT", scope+tags, `{"properties":{"tags":{"env":"a"}}}`).want(200)
			if got := w.do(owner, "GET", scope+groupV, "").want(200).at("tags.env"); got != "a" {
				t.Errorf("%s: env is %v", scope, got)
			}
		}
		list := w.do(owner, "GET", subPath+"/tagNames"+groupV, "").want(200)
		first := list.at("value").([]any)[0]
		if at(first, "tagName") != "env" || at(first, "count.value") != 2.0 || len(at(first, "values").([]any)) != 2 {
			t.Errorf("names: %s", list.Body)
		}
		for _, c := range []struct{ method, path, body, code string }{
			{"PUT", widgets + "/a/parts/p" + tags, `{"properties":{"tags":{"y":"2"}}}`, "TagsNotSupported"},
			{"PUT", widgets + "/none" + tags, `{"properties":{"tags":{"y":"2"}}}`, "ResourceNotFound"},
			{"PUT", widgets + "/a" + tags, `{"properties":{"tags":{"<":"2"}}}`, "InvalidTagName"},
			{"PATCH", widgets + "/a" + tags, `{"operation":"Add"}`, "InvalidTagsPatchOperation"},
			{"GET", strings.Replace(widgets+"/a"+tags, "default", "x", 1), ``, "TagsNotFound"},
		} {
			if a := w.do(owner, c.method, c.path, c.body); a.at("error.code") != c.code {
				t.Errorf("%s %s: %s", c.method, c.path, a.Body)
			}
		}
		w.do(reader, "GET", widgets+"/a"+tags, "").want(200)
		w.do(reader, "PUT", widgets+"/a"+tags, `{"properties":{"tags":{}}}`).fails(403, "AuthorizationFailed")
		w.do(stranger, "GET", widgets+"/none"+tags, "").fails(403, "AuthorizationFailed")
	})
}

func TestProviderOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	names := map[string]any{}
	for _, item := range w.do("", "GET", "/providers/test.things/operations", "").want(200).at("value").([]any) {
		names[at(item, "name").(string)] = at(item, "display.resource")
	}
	for name, resource := range map[string]any{
		"Test.Things/widgets/write": "widgets", "Test.Things/widgets/poke/action": "widgets", "Test.Things/widgets/parts/delete": "widgets/parts",
		"Test.Things/checkNameAvailability/read": "checkNameAvailability",
	} {
		if names[name] != resource {
			t.Errorf("%s: %v, want %v", name, names[name], resource)
		}
	}
	if _, ok := names["Test.Things/rigs/logs/write"]; ok {
		t.Error("a read-only type has no write")
	}
	w.do("", "GET", "/providers/none/operations", "").fails(404, "InvalidResourceNamespace")
}
