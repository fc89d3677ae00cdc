package directory

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/azure"
)

var filterProperties = []string{"id", "appId", "displayName", "accountEnabled", "mail", "tags", "createdDateTime"}

func TestFilter(t *testing.T) {
	t.Parallel()
	o := map[string]any{"id": "1", "appId": "A-2", "displayName": "O'Neill and (or) Co", "accountEnabled": true, "mail": nil, "tags": []any{"x", "Y"}, "createdDateTime": time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	for text, want := range map[string]bool{
		"id eq '1'": true, "ID EQ '1'": true, "id eq '2'": false, "id ne '2'": true, "appId eq 'a-2'": true,
		"displayName eq 'o''neill and (or) co'": true, "startswith(displayName,'o''n')": true, "startswith(displayName, 'x')": false,
		"endswith(displayName,'CO')": true, "accountEnabled eq true": true, "accountEnabled eq false": false, "accountEnabled eq 'true'": false,
		"mail eq null": true, "mail ne null": false, "startswith(mail,'')": false, "tags/any(t:t eq 'y')": true, "tags/any(t: t eq 'z')": false,
		"id eq '2' or id eq '1'": true, "id eq '2' or id eq '1' and mail ne null": false, "(id eq '1' or id eq '2') and mail eq null": true,
		"not id eq '1'": false, "not (id eq '2')": true, "id in ('2','1')": true, "id in ('2')": false, "id in (null)": false,
		"createdDateTime ge 2026-01-02T00:00:00Z": true, "createdDateTime gt 2026-01-02T00:00:00Z": false, "createdDateTime lt 2026-01-03t00:00:00.5z": true,
		"createdDateTime le 2026-01-01T00:00:00Z": false, "createdDateTime eq 2026-01-02T00:00:00Z": true, "mail ge 2026-01-02T00:00:00Z": false,
		"tags/any(t:startswith(t,'X'))": true, "tags/any(t:startswith(t, 'z'))": false, "tags/any(t:startswith(t,'y')) and id eq '1'": true,
	} {
		f, _, err := parseFilter(text, filterProperties)
		if err != nil || f(o) != want {
			t.Errorf("%s: not %v, %v", text, want, err)
		}
	}
	for _, text := range []string{
		"", "id", "id eq", "id eq x", "id gt '1'", "eq '1'", "id eq '1' and", "(id eq '1'", "id eq '1')", "nothing eq '1'", "id eq '1", "id in ()",
		"startswith(id)", "startswith(id,true)", "tags/any(t:u eq 'y')", "tags/any(t:t ne 'y')", "tags/any()", "tags/all(t:t eq 'y')", "id eq '1' id eq '1'", "\x00",
		"tags/any(t:startswith(u,'y'))", "tags/any(t:startswith(t,true))", "tags/any(t:startswith(t,'y')", "createdDateTime ge 2026", "createdDateTime ge null",
		strings.Repeat("(", maxFilter+1),
	} {
		if _, _, err := parseFilter(text, filterProperties); err == nil {
			t.Errorf("%q is taken", text)
		} else if e, _ := azure.AsError(err); e.Status != http.StatusBadRequest || e.Code != "Request_UnsupportedQuery" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What the database may be asked instead of the filter must hold for every match.
func TestFilterEqual(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]string{
		"appId eq 'x' and id eq 'y'":  {"appId": "x", "id": "y"},
		"appId eq 'x' or id eq 'y'":   nil,
		"not appId eq 'x'":            nil,
		"appId ne 'x'":                {},
		"(appId eq 'x')":              {"appId": "x"},
		"mail eq null":                {},
		"tags/any(t:t eq 'x')":        {},
		"(appId eq 'x' or id eq 'y')": nil,
	} {
		_, got, err := parseFilter(text, filterProperties)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"appId eq 'x'", "startswith(displayName,'it''s') and (id eq '1' or not mail eq null)", "tags/any(t:t eq 'y')", "id in ('a','b')", "((((", "not not not", "''''",
	} {
		f.Add(seed)
	}
	o := map[string]any{"id": "1", "appId": "2", "displayName": "x", "accountEnabled": true, "mail": nil, "tags": []any{"y", 7}}
	f.Fuzz(func(t *testing.T, text string) {
		matches, equal, err := parseFilter(text, filterProperties)
		if err != nil {
			if _, unexpected := azure.AsError(err); unexpected {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if !matches(o) {
			return
		}
		for property, value := range equal {
			if !same(o[property], value) {
				t.Errorf("%q matches without %s = %q", text, property, value)
			}
		}
	})
}
