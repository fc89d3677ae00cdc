package arm

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	sub2      = "11111111-1111-1111-1111-222222222222"
	activityV = "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"
)

// activities follows the links of the activity log and returns the operations of its entries, page by page.
func (w *world) activities(subscription, filter string) (pages [][]string) {
	w.t.Helper()
	next := "/subscriptions/" + subscription + activityV
	if filter != "" {
		next += "&$filter=" + url.QueryEscape(filter)
	}
	for next != "" {
		a := w.do(owner, "GET", next, "").want(200)
		page := []string{}
		for _, item := range a.at("value").([]any) {
			page = append(page, at(item, "operationName.value").(string))
		}
		pages = append(pages, page)
		link, _ := a.at("nextLink").(string)
		next = strings.TrimPrefix(link, "https://management.keyreel.localhost:8443")
	}
	return pages
}

func TestActivityLog(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
		write := func(name, resource string, after time.Duration, principal string) {
			t.Helper()
			rec := audit.Record{
				Time: noon.Add(after), Category: "Administrative", Operation: name, Resource: resource, Principal: principal, Result: "Allowed",
			}
			if err := w.m.o.Audit.Append(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
		}
		write("half", widgets+"/a", 500*time.Millisecond, builder)
		write("whole", widgets+"/b", time.Second, owner)
		write("later", rigs+"/a", 2*time.Second, builder)
		write("alien", "/subscriptions/"+sub2+"/resourceGroups/g1", time.Second, builder)
		write("neighbour", "/subscriptions/"+sub+"0/resourceGroups/g1", time.Second, builder)

		for _, c := range []struct {
			filter string
			want   []string
		}{
			{"eventTimestamp ge '2030-01-01T12:00:00Z'", []string{"half", "whole", "later"}},
			{"eventTimestamp ge 2030-01-01T12:00:00Z", []string{"half", "whole", "later"}},
			{"eventTimestamp gt '2030-01-01T12:00:00.5Z'", []string{"whole", "later"}},
			{"eventTimestamp ge '2030-01-01T12:00:00.5000001Z'", []string{"whole", "later"}},
			{"eventTimestamp ge '2030-01-01T13:00:01+01:00'", []string{"whole", "later"}},
			{"eventTimestamp ge '2030-01-01T12:00:00Z' and eventTimestamp le '2030-01-01T12:00:01Z'", []string{"half", "whole"}},
			{"eventTimestamp ge '2030-01-01' and eventTimestamp lt '2030-01-01T12:00:01.0000000Z'", []string{"half"}},
			{"eventTimestamp ge '2030-01-01' and caller eq '" + strings.ToUpper(builder) + "'", []string{"half", "later"}},
			{"eventTimestamp ge '2030-01-01' and (caller eq '" + builder + "' or operationName eq 'whole')", []string{"half", "whole", "later"}},
			{"eventTimestamp ge '2030-01-01' and not caller eq '" + builder + "'", []string{"whole"}},
			{"eventTimestamp ge '2030-01-01' and resourceId eq '" + strings.ToUpper(widgets) + "/A'", []string{"half"}},
			{"eventTimestamp ge '2030-01-01' and resourceUri eq '" + widgets + "/b'", []string{"whole"}},
			{"eventTimestamp ge '2030-01-01' and resourceGroupName eq 'G1' and resourceType eq 'test.things/rigs'", []string{"later"}},
			{"eventTimestamp ge '2030-01-01' and resourceProvider eq 'Test.Things' and status eq 'Allowed'", []string{"half", "whole", "later"}},
			{"resourceId eq '/subscriptions/" + sub2 + "/resourceGroups/g1'", nil},
			{"properties/caller eq '" + builder + "' and operationName eq 'half'", nil},
			{"operationName eq 'caller eq ''x'''", nil},
		} {
			var got []string
			for _, page := range w.activities(sub, c.filter) {
				got = append(got, page...)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s:\n%s", c.filter, d)
			}
		}

		list := subPath + activityV
		w.do(stranger, "GET", list, "").fails(403, "AuthorizationFailed")
		w.do(builder, "GET", list, "").fails(403, "AuthorizationFailed")
		w.do(owner, "GET", "/subscriptions/"+sub2+activityV, "").fails(403, "AuthorizationFailed")
		w.do(owner, "GET", "/subscriptions/"+activityV, "").fails(400, "InvalidResourceId")
		w.do(owner, "GET", list+"&$filter=caller", "").fails(400, "InvalidFilterInQueryString")
		for _, token := range []string{"x", "!", "LTE", "YWJj", "AA", base64.RawURLEncoding.EncodeToString([]byte("9999999999999999999"))} {
			w.do(owner, "GET", list+"&$skipToken="+token, "").fails(400, "InvalidSkipToken")
		}
	})
}

func TestActivityLogPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	for i := range 401 {
		rec := audit.Record{Category: "Administrative", Operation: "Many", Resource: fmt.Sprintf("%s/%d", widgets, i), Principal: builder, Result: "Allowed"}
		if err := w.m.o.Audit.Append(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for _, page := range w.activities(sub, "caller eq '"+builder+"'") {
		sizes = append(sizes, len(page))
	}
	if d := cmp.Diff([]int{200, 200, 1}, sizes); d != "" {
		t.Errorf("pages:\n%s", d)
	}
	list := subPath + activityV + "&$filter=" + url.QueryEscape("caller eq '"+builder+"'")
	if link := w.do(owner, "GET", "//"+list[1:], "").at("nextLink").(string); !strings.HasPrefix(link, "https://management.keyreel.localhost:8443/subscriptions/") {
		t.Errorf("link %s", link)
	}
}

// TestOddPaths asks for paths that could be taken for others.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	for _, c := range []struct {
		path, code string
		status     int
	}{
		{"/subscriptions//resourceGroups" + groupV, "InvalidResourceId", 400},
		{"/subscriptions/" + sub + "//resourceGroups/g1" + groupV, "InvalidResourceId", 400},
		{widgets + "%2Fa" + sync1, "InvalidRequestUri", 400},
		{widgets + "/a%00" + sync1, "InvalidRequestUri", 400},
		{widgets + "/%ff" + sync1, "InvalidRequestUri", 400},
		{subPath + "/resourceGroups/providers/resources" + groupV, "ResourceGroupNotFound", 404},
		{g1 + "/resources" + groupV + "&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(g1+"/\x00")), "InvalidSkipToken", 400},
		{g1 + "/resources" + groupV + "&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(g1+"/\xff")), "InvalidSkipToken", 400},
	} {
		a := w.do(owner, "GET", c.path, "")
		if a.Code != c.status || a.at("error.code") != c.code {
			t.Errorf("%s: %d %s", c.path, a.Code, a.Body)
		}
	}
	for _, name := range []string{".", ".."} {
		w.do(owner, "PUT", widgets+"/"+name+sync1, `{"location":"westeurope"}`).fails(400, "InvalidResourceName")
	}
	w.do(owner, "GET", strings.ToUpper(g1)+groupV, "").want(200)
	w.do(owner, "GET", "//"+g1[1:]+"/"+groupV, "").want(200)
	w.do(owner, "PUT", g1+"/providers/Test.Things//widgets/w"+sync1, `{"location":"westeurope"}`).want(201) // as az does
	w.do(owner, "GET", g1+"/providers/Test.Things///widgets/w"+sync1, "").fails(400, "InvalidResourceId")
}
