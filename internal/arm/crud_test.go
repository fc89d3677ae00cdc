package arm

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestResourceLifecycle(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w1 := widgets + "/One"
		w.do(owner, "GET", w1+sync1, "").fails(404, "ResourceNotFound")
		w.do(owner, "HEAD", w1+sync1, "").want(404)
		w.do(owner, "PATCH", w1+sync1, `{"tags":{}}`).fails(404, "ResourceNotFound")

		a := w.do(owner, "PUT", w1+sync1, `{"location":"West Europe","tags":{"a":"1"},"kind":"big","sku":{"name":"S1"},"properties":{"size":3}}`).want(201)
		want := map[string]any{
			"id": g1 + "/providers/Test.Things/widgets/One", "name": "One", "type": "Test.Things/widgets", "location": "westeurope",
			"tags": map[string]any{"a": "1"}, "kind": "big", "sku": map[string]any{"name": "S1"}, "identity": map[string]any{"type": "None"},
			"properties": map[string]any{"size": 3.0, "provisioningState": "Succeeded"},
		}
		got := a.json()
		if by := at(got, "systemData.createdBy"); by != "caller 1" {
			t.Errorf("createdBy is %v", by)
		}
		delete(got, "systemData")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("PUT answered (-want +got):\n%s", d)
		}
		etag := a.Header().Get("ETag")

		// Case and slashes do not count; the ID is as first written.
		odd := strings.ToUpper(strings.Replace(w1, "Test.Things/widgets", "TEST.things/WIDGETS", 1))
		a = w.do(owner, "GET", "/"+odd+"/"+sync1, "").want(200)
		if a.at("id") != want["id"] || a.Header().Get("ETag") != etag {
			t.Errorf("odd case shows %v", a.json())
		}
		w.do(owner, "HEAD", w1+sync1, "").want(204)

		// PATCH replaces tags, keeps the rest; PUT is 200 the second time.
		a = w.do(owner, "PATCH", w1+sync1, `{"tags":{"b":"2"},"properties":{"size":4}}`, "If-Match", etag).want(200)
		if d := cmp.Diff(map[string]any{"b": "2"}, a.at("tags")); d != "" || a.at("kind") != "big" || a.at("properties.size") != 4.0 {
			t.Errorf("after PATCH: %v", a.json())
		}
		w.do(owner, "PATCH", w1+sync1, `{"tags":{}}`, "If-Match", etag).fails(412, "PreconditionFailed")
		w.do(owner, "PUT", w1+sync1, `{"location":"westeurope"}`, "If-None-Match", "*").fails(412, "PreconditionFailed")
		w.do(owner, "PUT", widgets+"/two"+sync1, `{"location":"westeurope"}`, "If-Match", "*").fails(412, "PreconditionFailed")
		w.do(owner, "PUT", w1+sync1, `{"properties":{"size":5}}`).want(200)
		w.do(owner, "PUT", w1+sync1, `{"location":"north europe"}`).fails(409, "InvalidResourceLocation")

		// Names of widgets are unique in the server.
		w.do(owner, "PUT", subPath+"/resourcegroups/G2"+groupV, `{"location":"northeurope"}`).want(201)
		other := subPath + "/resourceGroups/g2/providers/Test.Things/widgets/ONE"
		w.do(owner, "PUT", other+sync1, `{"location":"westeurope"}`).fails(409, "WidgetTaken")

		// A new resource's ID has its group's name as it was first written.
		a = w.do(owner, "PUT", strings.Replace(other, "ONE", "three", 1)+sync1, `{"location":"westeurope"}`).want(201)
		if id := a.at("id"); id != subPath+"/resourceGroups/G2/providers/Test.Things/widgets/three" {
			t.Errorf("id is %v", id)
		}

		// Actions.
		if a := w.do(owner, "POST", w1+"/POKE"+sync1, "").want(200); a.at("poked") != "One" {
			t.Errorf("action answered %s", a.Body)
		}
		w.do(owner, "POST", w1+"/fail"+sync1, "").fails(409, "CannotPoke")
		w.do(owner, "POST", w1+"/prod"+sync1, "").fails(404, "InvalidResourceType")
		w.do(owner, "POST", widgets+"/none/poke"+sync1, "").fails(404, "ResourceNotFound")
		if a := w.do(owner, "POST", subPath+"/providers/Test.Things/CHECKNAMEAVAILABILITY"+sync1, ""); a.at("scope") != subPath {
			t.Errorf("command answered %s", a.Body)
		}

		// Children go with their parent.
		w.do(owner, "PUT", w1+"/parts/p1"+sync1, `{"properties":{"size":1}}`).want(201)
		w.do(owner, "PUT", widgets+"/none/parts/p1"+sync1, `{}`).fails(404, "ParentResourceNotFound")
		w.do(owner, "GET", widgets+"/none/parts/p1"+sync1, ``).fails(404, "ParentResourceNotFound")
		w.do(owner, "DELETE", w1+sync1, "", "If-Match", `"other"`).fails(412, "PreconditionFailed")
		w.do(owner, "DELETE", w1+sync1, "").want(200)
		w.do(owner, "DELETE", w1+sync1, "").want(204)
		w.do(owner, "GET", w1+"/parts/p1"+sync1, "").fails(404, "ParentResourceNotFound")
		w.consistent()
	})
}

func TestLists(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", subPath+"/resourceGroups/g2"+groupV, `{"location":"northeurope","tags":{"env":"test"}}`).want(201)
		for _, name := range []string{"b", "A", "c"} {
			w.do(owner, "PUT", widgets+"/"+name+sync1, `{"location":"westeurope","tags":{"env":"`+name+`","x":"prod"}}`).want(201)
		}
		g2widgets := strings.Replace(widgets, "/g1/", "/g2/", 1)
		w.do(owner, "PUT", g2widgets+"/d"+sync1, `{"location":"northeurope"}`).want(201)
		for i := range 7 {
			w.do(owner, "PUT", fmt.Sprintf("%s/A/parts/p%d%s", widgets, i, sync1), fmt.Sprintf(`{"properties":{"size":%d,"made":"2024-01-0%dT00:00:00Z"}}`, i, i+1)).want(201)
		}
		q := func(s string) string { return "&$filter=" + url.QueryEscape(s) }
		for _, test := range []struct {
			name, path string
			want       []string
		}{
			{"group", widgets + sync1, []string{"A", "b", "c"}},
			{"subscription", subPath + "/providers/test.things/widgets" + sync1, []string{"A", "b", "c", "d"}},
			{"groups", subPath + "/resourcegroups" + groupV, []string{"g1", "g2"}},
			{"groups by tag", subPath + "/resourcegroups" + groupV + q("tagName eq 'env' and tagValue eq 'test'"), []string{"g2"}},
			{"resources of the subscription", subPath + "/resources" + groupV, []string{"A", "b", "c", "d"}},
			{"resources of a group", g1 + "/resources" + groupV, []string{"A", "b", "c"}},
			{"resources by type", subPath + "/resources" + groupV + q("resourceType eq 'test.things/Widgets' and name eq 'a'"), []string{"A"}},
			{"resources of another type", subPath + "/resources" + groupV + q("resourceType eq 'Test.Things/rigs'"), []string{}},
			{"resources by tag", subPath + "/resources" + groupV + q("tagName eq 'env' and tagValue eq 'b'"), []string{"b"}},
			{"another tag's value", subPath + "/resources" + groupV + q("tagName eq 'env' and tagValue eq 'prod'"), []string{}},
			{"by property", widgets + "/A/parts" + sync1 + q("properties/size ge 5 or (name eq 'p0')"), []string{"p0", "p5", "p6"}},
			{"by time", widgets + "/A/parts" + sync1 + q("properties/made lt 2024-01-03T00:00:00Z"), []string{"p0", "p1"}},
			{"not", widgets + "/A/parts" + sync1 + q("not properties/size lt 6"), []string{"p6"}},
			{"top", subPath + "/resources" + groupV + "&$top=2", []string{"A", "b"}},
		} {
			if d := cmp.Diff(test.want, w.do(owner, "GET", test.path, "").names()); d != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, d)
			}
		}

		// Pages follow each other and hold everything once; $top bounds them all.
		for top, want := range map[string]int{"": 7, "&$top=5": 5, "&$top=3": 3, "&$top=1": 1} {
			var all []string
			for link := widgets + "/A/parts" + sync1 + top; link != ""; {
				a := w.do(owner, "GET", strings.TrimPrefix(link, "https://management.keyreel.localhost:8443"), "")
				all = append(all, a.names()...)
				if len(a.names()) > 3 {
					t.Errorf("a page has %d items", len(a.names()))
				}
				link, _ = a.json()["@odata.nextLink"].(string)
			}
			if d := cmp.Diff([]string{"p0", "p1", "p2", "p3", "p4", "p5", "p6"}[:want], all); d != "" {
				t.Errorf("pages with %q (-want +got):\n%s", top, d)
			}
		}
		w.do(owner, "GET", widgets+sync1+"&$skiptoken=L2E", "").fails(400, "InvalidSkipToken")
		w.do(owner, "GET", widgets+sync1+"&$skiptoken=%25", "").fails(400, "InvalidSkipToken")
		w.do(owner, "GET", widgets+sync1+"&$top=0", "").fails(400, "InvalidTopValue")
		w.do(owner, "GET", widgets+sync1+q("name like 'a'"), "").fails(400, "InvalidFilterInQueryString")
		w.do(owner, "GET", widgets+sync1+"&$orderby=size", "").fails(400, "InvalidOrderBy")
		w.do(owner, "GET", subPath+"/resourceGroups/none/providers/Test.Things/widgets"+sync1, "").fails(404, "ResourceGroupNotFound")
		w.do(owner, "GET", widgets+"/none/parts"+sync1, "").fails(404, "ResourceNotFound")

		// What services ask for.
		err := db.View(t.Context(), func(tx *store.Tx) error {
			found, err := w.m.Find(t.Context(), tx, "Test.Things/widgets", "B")
			if err != nil || found.ID.Name() != "b" {
				t.Errorf("Find: %v, %v", found, err)
			}
			_, err = w.m.Find(t.Context(), tx, "Test.Things/widgets", "z")
			if err == nil {
				t.Error("Find found what is not there")
			}
			list, err := w.m.List(t.Context(), tx, "Test.Things/widgets/parts", found.ID.Parent())
			if err != nil || len(list) != 7 {
				t.Errorf("List: %d, %v", len(list), err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
	loc := `"location":"westeurope"`
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no version", "GET", widgets + "/w", "", 400, "MissingApiVersionParameter"},
		{"odd version", "GET", widgets + "/w?api-version=latest", "", 400, "InvalidApiVersionParameter"},
		{"unknown version", "GET", widgets + "/w?api-version=1999-01-01", "", 400, "NoRegisteredProviderFound"},
		{"unknown version of groups", "GET", g1 + "?api-version=1999-01-01", "", 400, "NoRegisteredProviderFound"},
		{"unknown type", "GET", g1 + "/providers/Test.Things/gadgets/x" + sync1, "", 404, "InvalidResourceType"},
		{"unknown namespace", "GET", g1 + "/providers/No.Such/x/y" + sync1, "", 404, "InvalidResourceNamespace"},
		{"no group", "GET", subPath + "/providers/Test.Things/widgets/w" + sync1, "", 404, "InvalidResourceType"},
		{"root", "GET", "/" + sync1, "", 404, "NotFound"},
		{"another location of a group", "PUT", g1 + groupV, `{"location":"northeurope"}`, 409, "InvalidResourceGroupLocation"},
		{"not a path", "GET", "/favicon.ico" + sync1, "", 400, "InvalidResourceId"},
		{"missing segment", "GET", subPath + "/resourceGroups//providers/Test.Things/widgets/w" + sync1, "", 400, "InvalidResourceId"},
		{"slash in a name", "GET", widgets + "/a%2fb" + sync1, "", 400, "InvalidRequestUri"},
		{"control character in a name", "PUT", widgets + "/a%00b" + sync1, `{}`, 400, "InvalidRequestUri"},
		{"method", "PUT", widgets + sync1, `{}`, 405, "MethodNotAllowed"},
		{"method on an id", "POST", widgets + "/w" + sync1, `{}`, 405, "MethodNotAllowed"},
		{"method on a command", "GET", subPath + "/providers/Test.Things/checkNameAvailability" + sync1, ``, 405, "MethodNotAllowed"},
		{"no patch", "PATCH", rigs + "/r/bolts/b" + sync1, `{}`, 405, "MethodNotAllowed"},
		{"read-only", "DELETE", rigs + "/r/logs/b" + sync1, ``, 405, "MethodNotAllowed"},
		{"subscription cannot be written", "PUT", subPath + groupV, `{}`, 405, "MethodNotAllowed"},
		{"empty body", "PUT", widgets + "/x" + sync1, ``, 400, "InvalidRequestContent"},
		{"malformed", "PUT", widgets + "/x" + sync1, `{"location":`, 400, "InvalidRequestContent"},
		{"a long kind", "PUT", widgets + "/x" + sync1, `{"location":"westeurope","kind":"` + strings.Repeat("x", maxKind+1) + `"}`, 400, "InvalidRequestContent"},
		{"a long sku", "PUT", widgets + "/x" + sync1, `{"location":"westeurope","sku":{"name":"` + strings.Repeat("x", maxSKU) + `"}}`, 400, "InvalidRequestContent"},
		{"many identities", "PUT", widgets + "/x" + sync1, `{"location":"westeurope","identity":{"type":"UserAssigned","userAssignedIdentities":{` + manyIdentities(maxIdentities+1) + `}}}`, 400, "InvalidIdentityValues"},
		{"not an object", "PUT", widgets + "/x" + sync1, `[]`, 400, "InvalidRequestContent"},
		{"two values", "PUT", widgets + "/x" + sync1, `{} {}`, 400, "InvalidRequestContent"},
		{"wrong type", "PUT", widgets + "/x" + sync1, `{"location":5}`, 400, "InvalidRequestContent"},
		{"not UTF-8", "PUT", widgets + "/x" + sync1, "{\"location\":\"\xff\"}", 400, "InvalidRequestContent"},
		{"properties", "PUT", widgets + "/x" + sync1, `{` + loc + `,"properties":"x"}`, 400, "InvalidRequestContent"},
		{"no location", "PUT", widgets + "/x" + sync1, `{}`, 400, "LocationRequired"},
		{"unknown location", "PUT", widgets + "/x" + sync1, `{"location":"moon"}`, 400, "LocationNotAvailableForResourceType"},
		{"bad name", "PUT", widgets + "/x%3Cy" + sync1, `{` + loc + `}`, 400, "InvalidResourceName"},
		{"bad group name", "PUT", subPath + "/resourceGroups/a%21" + groupV, `{` + loc + `}`, 400, "InvalidResourceGroup"},
		{"group name ends with a dot", "PUT", subPath + "/resourceGroups/a." + groupV, `{` + loc + `}`, 400, "InvalidResourceGroup"},
		{"long group name", "PUT", subPath + "/resourceGroups/" + strings.Repeat("a", 91) + groupV, `{` + loc + `}`, 400, "InvalidResourceGroup"},
		{"bad tag", "PUT", widgets + "/x" + sync1, `{` + loc + `,"tags":{"a<":"b"}}`, 400, "InvalidTagName"},
		{"the service's refusal", "PUT", widgets + "/x" + sync1, `{` + loc + `,"properties":{"size":-1}}`, 400, "BadSize"},
		{"too large", "PUT", widgets + "/x" + sync1, `{"kind":"` + strings.Repeat("x", maxBody) + `"}`, 413, "RequestBodyTooLarge"},
		{"group missing", "PUT", strings.Replace(widgets, "/g1/", "/none/", 1) + "/x" + sync1, `{` + loc + `}`, 404, "ResourceGroupNotFound"},
		{"identity on a type without one", "PUT", widgets + "/w/parts/p" + sync1, `{"identity":{"type":"SystemAssigned"}}`, 400, "IdentityNotSupported"},
		{"identity of an odd type", "PUT", widgets + "/x" + sync1, `{` + loc + `,"identity":{"type":"Both"}}`, 400, "InvalidIdentityType"},
		{"identity without type", "PUT", widgets + "/x" + sync1, `{` + loc + `,"identity":{}}`, 400, "InvalidRequestContent"},
		{"identity without ids", "PUT", widgets + "/x" + sync1, `{` + loc + `,"identity":{"type":"UserAssigned"}}`, 400, "MissingIdentityIds"},
		{"identity with ids of another type", "PUT", widgets + "/x" + sync1, `{` + loc + `,"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + widgets + `/w":{}}}}`, 400, "LinkedInvalidPropertyId"},
		{"group to delete", "DELETE", subPath + "/resourceGroups/none" + groupV, ``, 404, "ResourceGroupNotFound"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &world{t: t, m: w.m, db: w.db, handler: w.handler}
			a := w.do(owner, test.method, test.path, test.body)
			a.fails(test.status, test.code)
			if test.status == 405 && a.Header().Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	w.consistent()
}

// TestLargeGroup lists more than a batch of resources while some are deleted, the one that the link names among them,
// and then deletes the group.
func TestLargeGroup(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope"}`).want(201)
		const n = 2*batch + 50
		name := func(i int) string { return fmt.Sprintf("%s/r/bolts/b%04d", rigs, i) }
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			for i := range n {
				id, err := azure.ParseResourceID(name(i))
				if err != nil {
					return err
				}
				if err := w.m.Create(t.Context(), tx, &Resource{ID: id, Properties: json.RawMessage(`{}`)}); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), `INSERT INTO fake_things (key, body) VALUES ($1, '')`, id.Key()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		next := rigs + "/r/bolts" + sync1
		for page := 0; next != ""; page++ {
			a := w.do(owner, "GET", next, "")
			for _, name := range a.names() {
				seen[name]++
			}
			if page == 0 {
				for _, i := range []int{0, 99, 100, 250} { // seen, the link's, the next, and one far ahead
					w.do(owner, "DELETE", name(i)+sync1, "").want(200)
				}
			}
			link, _ := a.at("nextLink").(string)
			next = strings.TrimPrefix(link, "https://management.keyreel.localhost:8443")
		}
		for i := range n {
			want := 1
			if i == 100 || i == 250 {
				want = 0
			}
			if got := seen[fmt.Sprintf("b%04d", i)]; got != want {
				t.Errorf("b%04d was listed %d times, want %d", i, got, want)
			}
		}
		w.follow(owner, w.do(owner, "DELETE", g1+groupV, "").want(202).Header().Get("Location")).want(200)
		w.do(owner, "GET", rigs+"/r/bolts"+sync1, "").fails(404, "ResourceGroupNotFound")
		w.consistent()
	})
}

func manyIdentities(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i%d":{}`, g1, i))
	}
	return strings.Join(list, ",")
}
