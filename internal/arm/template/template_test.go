package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
)

const groupID = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/g1"

func testScope(t testing.TB) Scope {
	t.Helper()
	id, err := azure.ParseResourceID(groupID)
	if err != nil {
		t.Fatal(err)
	}
	return Scope{
		ID: id, Now: time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC), Seed: "seed",
		ResourceGroup: map[string]any{"id": groupID, "name": "g1", "location": "westeurope", "tags": map[string]any{}},
		Subscription:  map[string]any{"subscriptionId": id.Subscription()},
	}
}

// deployed answers for resources that are there.
type deployed map[string]any

func (d deployed) Reference(_ context.Context, id, version string, full bool) (any, error) {
	v, ok := d[id]
	if !ok {
		return nil, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "no %s", id)
	}
	if full {
		return map[string]any{"properties": v, "apiVersion": version}, nil
	}
	return v, nil
}

func (d deployed) List(_ context.Context, action, id, _ string, _ any) (any, error) {
	return map[string]any{"action": action, "id": id}, nil
}

// asDocument makes a template of its sections.
func asDocument(sections string) []byte {
	return []byte(`{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  ` + sections + `
}`)
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`[concat('a', 1, true())]`: `"a1True"`, `[concat(createArray(1), createArray('b'))]`: `[1,"b"]`, `[[literal]`: `"[literal]"`, `plain`: `"plain"`,
		`[format('{0}-{1}{{}}', 'a', 2)]`: `"a-2{}"`, `[toUpper(concat('it''s'))]`: `"IT'S"`, `[replace('a-b', '-', '')]`: `"ab"`,
		`[split('a,b;c', createArray(',', ';'))]`: `["a","b","c"]`, `[join(createArray('a', 1), '/')]`: `"a/1"`, `[length('äb')]`: `2`,
		`[empty('')]`: `true`, `[empty(null())]`: `true`, `[contains('abc', 'b')]`: `true`, `[contains(createArray(1, 2), 2)]`: `true`,
		`[contains(createObject('A', 1), 'a')]`: `true`, `[if(equals(1, 1), 'y', div(1, 0))]`: `"y"`, `[not(or(false(), false()))]`: `true`,
		`[and(true(), false())]`: `false`, `[add(1, -2)]`: `-1`, `[mul(3, sub(5, 1))]`: `12`, `[div(7, 2)]`: `3`, `[mod(7, 3)]`: `1`,
		`[int('42')]`: `42`, `[string(createObject('a', 1))]`: `"{\"a\":1}"`, `[bool('True')]`: `true`, `[array('a')]`: `["a"]`,
		`[union(createObject('a', createObject('x', 1)), createObject('A', createObject('y', 2)))]`: `{"A":{"x":1,"y":2}}`,
		`[union(createArray(1, 2), createArray(2, 3))]`:                                             `[1,2,3]`, `[intersection(createArray(1, 2), createArray(2, 3))]`: `[2]`,
		`[first('abc')]`: `"a"`, `[last(createArray(1, 2))]`: `2`, `[take('abc', 2)]`: `"ab"`, `[skip(createArray(1, 2), 5)]`: `[]`,
		`[range(2, 3)]`: `[2,3,4]`, `[json('{"a": [1, null]}').a[0]]`: `1`, `[base64ToString(base64('x'))]`: `"x"`, `[substring('abc', 1, 1)]`: `"b"`,
		`[startsWith('Abc', 'aB')]`: `true`, `[endsWith('abc', 'C')]`: `true`, `[coalesce(null(), 'x')]`: `"x"`, `[createObject('a', 1)['a']]`: `1`,
		`[guid('a', 'b')]`: `"` + nameGUID("a-b") + `"`, `[length(uniqueString('a'))]`: `13`, `[max(1, 3, 2)]`: `3`, `[min(createArray(4, 2))]`: `2`,
		`[less('a', 'b')]`: `true`, `[greaterOrEquals(2, 2)]`: `true`, `[padLeft(7, 3, '0')]`: `"007"`, `[indexOf('xäbc', 'B')]`: `2`, `[trim(' a ')]`: `"a"`,
		`[uriComponent('a b')]`: `"a%20b"`, `[uri('https://h/a/', 'b')]`: `"https://h/a/b"`, `[items(createObject('k', 1))]`: `[{"key":"k","value":1}]`,
		`[resourceGroup().location]`: `"westeurope"`, `[RESOURCEGROUP().Location]`: `"westeurope"`,
		`[resourceId('Test.Things/widgets/parts', 'w', 'p')]`:              `"` + groupID + `/providers/Test.Things/widgets/w/parts/p"`,
		`[resourceId('other', 'Test.Things/widgets', 'w')]`:                `"` + groupID[:len(groupID)-2] + `other/providers/Test.Things/widgets/w"`,
		`[subscriptionResourceId('Microsoft.Authorization/x', 'r')]`:       `"` + groupID[:51] + `/providers/Microsoft.Authorization/x/r"`,
		`[extensionResourceId('/a/b', 'Test.Things/widgets', 'w')]`:        `"/a/b/providers/Test.Things/widgets/w"`,
		`[tenantResourceId('Microsoft.Management/managementGroups', 'm')]`: `"/providers/Microsoft.Management/managementGroups/m"`,
		`[variables('list')[1]]`:                                           `"x1"`, `[variables('V').deep]`: `["v"]`, `[parameters('Size')]`: `7`, `[tryGet(createObject('a', 1), 'b')]`: `null`,
	} {
		sections, err := json.Marshal(map[string]any{"v": expression})
		if err != nil {
			t.Fatal(err)
		}
		d, err := bind(t, `"parameters": {"size": {"type": "int", "defaultValue": 7}},
			"variables": {"copy": [{"name": "list", "count": 2, "input": "[concat('x', copyIndex('list'))]"}], "v": {"deep": ["[variables('name')]"]}, "name": "v"},
			"resources": []`, nil)
		if err != nil {
			t.Fatal(err)
		}
		var raw map[string]any
		if err := json.Unmarshal(sections, &raw); err != nil {
			t.Fatal(err)
		}
		e := evaluation{d: d}
		v, err := e.value(raw["v"])
		got, _ := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%s = %s, %v; want %s", expression, got, err, want)
		}
	}
}

func bind(t testing.TB, sections string, arguments map[string]any) (*Deployment, error) {
	t.Helper()
	parsed, err := Parse(asDocument(sections))
	if err != nil {
		return nil, err
	}
	return parsed.Bind(arguments, testScope(t))
}

func TestBadTemplates(t *testing.T) {
	t.Parallel()
	doubling := `"variables": {"v0": "x"`
	for i := range 40 {
		doubling += fmt.Sprintf(`, "v%d": "[createArray(variables('v%d'), variables('v%d'))]"`, i+1, i, i)
	}
	const widget = `"type": "Test.Things/widgets", "apiVersion": "2023-01-01"`
	for _, c := range []struct{ name, sections, says string }{
		{"no resources", `"variables": {}`, "no 'resources'"},
		{"syntax", "\"resources\": [\n{\"a\": }]", "line 5"},
		{"expression", "\"resources\": [],\n\"variables\": {\n\"a\": \"[concat('x]\"}", "variables.a, line 6"},
		{"function", `"resources": [], "outputs": {"o": {"type": "string", "value": "[nope()]"}}`, "'nope' is not known"},
		{"parameter missing", `"resources": [], "parameters": {"p": {"type": "string"}}`, "the value for the template parameter 'p' is not provided"},
		{"parameter type", `"resources": [], "parameters": {"p": {"type": "int", "defaultValue": "x"}}`, "type 'int' is needed, not 'String'"},
		{"parameter range", `"resources": [], "parameters": {"p": {"type": "int", "maxValue": 3, "defaultValue": 4}}`, "'maxValue', which is 3"},
		{"parameter allowed", `"resources": [], "parameters": {"p": {"type": "string", "allowedValues": ["a"], "defaultValue": "b"}}`, "'b' is not part"},
		{"secure parameter", `"resources": [], "parameters": {"p": {"type": "secureString", "minLength": 9, "defaultValue": "hush"}}`, "its value does not meet"},
		{"cycle of defaults", `"resources": [], "parameters": {"p": {"type": "string", "defaultValue": "[parameters('p')]"}}`, "depends on itself"},
		{"cycle of variables", `"resources": [{` + widget + `, "name": "[variables('a')]"}], "variables": {"a": "[variables('b')]", "b": "[variables('a')]"}`, "depends on itself"},
		{"cycle of resources", `"resources": [{` + widget + `, "name": "a", "dependsOn": ["b"]}, {` + widget + `, "name": "b", "dependsOn": ["a"]}]`, "circular"},
		{"unknown dependency", `"resources": [{` + widget + `, "name": "a", "dependsOn": ["b"]}]`, "'b' is not defined"},
		{"twice", `"resources": [{` + widget + `, "name": "a"}, {` + widget + `, "name": "A"}]`, "multiple times"},
		{"segments", `"resources": [{` + widget + `, "name": "a/b"}]`, "matching numbers of segments"},
		{"reference in a name", `"resources": [{` + widget + `, "name": "[reference('x').y]"}]`, "before resources are deployed"},
		{"too much", doubling + `}, "resources": [{` + widget + `, "name": "[string(variables('v40'))]"}]`, "too much to evaluate"},
		{"too many", `"resources": [{` + widget + `, "name": "a", "copy": {"name": "c", "count": 801}}]`, "'count'"},
		{"linked name", `"resources": [{` + widget + `, "name": "a", "scope": "/x"}]`, "not a valid resource ID"},
		{"language version", `"languageVersion": "2.1-experimental", "resources": []`, "'2.1-experimental' is not supported"},
		{"extensions", `"languageVersion": "2.0", "extensions": {"g": {}}, "resources": {}`, "'extensions' is not supported"},
		{"symbols without their language", `"resources": {}`, "it is not an array"},
		{"newGuid elsewhere", `"resources": [], "outputs": {"o": {"type": "string", "value": "[newGuid()]"}}`, "default of a parameter alone"},
	} {
		d, err := bind(t, c.sections, nil)
		if err == nil {
			_, err = d.Outputs(t.Context(), deployed{})
		}
		var e *azure.Error
		if !errors.As(err, &e) || e.Status >= 500 || !strings.Contains(e.Message, c.says) || strings.Contains(e.Message, "hush") {
			t.Errorf("%s: %v, want %s", c.name, err, c.says)
		}
	}
	if _, err := bind(t, `"resources": []`, map[string]any{"other": "x"}); err == nil || !strings.Contains(err.Error(), "'other'") {
		t.Errorf("unknown argument: %v", err)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	d, err := bind(t, `
	// comments are allowed
	"parameters": {
		"count": {"type": "int"}, "secret": {"type": "securestring"},
		"id": {"type": "string", "defaultValue": "[newGuid()]"}, "now": {"type": "string", "defaultValue": "[utcNow('yyyy-MM-dd HH:mm:ss.fff')]"}
	},
	"resources": [
		{"type": "Test.Things/widgets/parts", "apiVersion": "1", "name": "w0/p", "properties": {"of": "[reference('w0').size]"}},
		{
			"type": "Test.Things/widgets", "apiVersion": "1", "name": "[concat('w', copyIndex())]", "location": "[resourceGroup().location]",
			"copy": {"name": "ws", "count": "[parameters('count')]"}, "tags": {"[concat('k', copyIndex(1))]": "v"},
			"properties": {"copy": [{"name": "sizes", "count": 2, "input": "[add(copyIndex('sizes'), copyIndex())]"}], "secret": "[parameters('secret')]"},
			"resources": [{"type": "bolts", "apiVersion": "1", "name": "b"}]
		},
		{"type": "Test.Things/off", "apiVersion": "1", "name": "o", "condition": false, "dependsOn": ["ws"]},
		{"type": "Test.Things/last", "apiVersion": "1", "name": "z", "dependsOn": ["ws", "o"]},
		{"type": "Microsoft.Authorization/locks", "apiVersion": "1", "name": "l", "scope": "Test.Things/last/z"}
	],
	"outputs": {
		"key": {"type": "object", "value": "[listKeys('z', '1')]"}, "s": {"type": "securestring", "value": "[parameters('secret')]"},
		"many": {"type": "array", "copy": {"count": 2, "input": "[copyIndex()]"}}
	}`, map[string]any{"Count": int64(2), "secret": "hush"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range d.Resources {
		names = append(names, r.Type+" "+r.Name)
	}
	want := []string{
		"Test.Things/widgets w0", "Test.Things/widgets/bolts w0/b", "Test.Things/widgets w1", "Test.Things/widgets/bolts w1/b",
		"Test.Things/last z", "Microsoft.Authorization/locks l", "Test.Things/widgets/parts w0/p",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("order:\n%s", diff)
	}
	if got, want := d.Resources[5].ID, groupID+"/providers/Test.Things/last/z/providers/Microsoft.Authorization/locks/l"; got != want {
		t.Errorf("lock %s, want %s", got, want)
	}
	rt := deployed{d.Resources[0].ID: map[string]any{"size": int64(3)}}
	body, err := d.Body(t.Context(), d.Resources[2], rt)
	if diff := cmp.Diff(map[string]any{
		"location": "westeurope", "tags": map[string]any{"k2": "v"}, "properties": map[string]any{"sizes": []any{int64(1), int64(2)}, "secret": "hush"},
	}, body); diff != "" || err != nil {
		t.Errorf("body: %v\n%s", err, diff)
	}
	if body, err = d.Body(t.Context(), d.Resources[6], rt); err != nil || body["properties"].(map[string]any)["of"] != int64(3) {
		t.Errorf("part: %v, %v", body, err)
	}
	outputs, err := d.Outputs(t.Context(), rt)
	if diff := cmp.Diff(map[string]any{
		"key":  map[string]any{"type": "Object", "value": map[string]any{"action": "listkeys", "id": d.Resources[4].ID}},
		"s":    map[string]any{"type": "SecureString"},
		"many": map[string]any{"type": "Array", "value": []any{int64(0), int64(1)}},
	}, outputs); diff != "" || err != nil {
		t.Errorf("outputs: %v\n%s", err, diff)
	}
	shown, _ := json.Marshal(d.Parameters())
	if strings.Contains(string(shown), "hush") || !strings.Contains(string(shown), "2030-01-02 03:04:05.600") || !d.HasSecrets() {
		t.Errorf("parameters %s", shown)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{template: {"a//b": true}} // end`:               `{"template": {"a//b": true}} `,
		"{/* two\nlines */ \"a\": \"x\ny\", \"b\": null}": "{\n \"a\": \"x\\ny\"\n, \"b\": null}",
		`{"a": "\"//", $b : 1e3}`:                         `{"a": "\"//", "$b" : 1e3}`,
		`{"a": "open`:                                     `{"a": "open`,
		`/* open`:                                         `/* open`,
	} {
		if got := string(Strict([]byte(text))); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"[concat('a', 1)]", "[a.b[0]['c']]", "[if(true(), 'it''s', -1)]", "[[x]", "[((]", "[range(0, 10000)]", "[join(range(0,10000),'x')]"} {
		f.Add(s)
	}
	parsed, err := Parse(asDocument(`"resources": []`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parsed.Bind(nil, testScope(t))
		if err != nil {
			t.Fatal(err)
		}
		d.budget = 100_000
		e := evaluation{d: d, ctx: t.Context(), rt: deployed{}}
		if v, err := e.value(s); err == nil {
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("%q gives %v, which is not JSON: %v", s, v, err)
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add(asDocument(`"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x", "copy": {"name": "l", "count": 3}}], /* c */ "outputs": {}`))
	f.Add(asDocument(`"parameters": {"p": {"type": "int", "defaultValue": 1}}, "variables": {"copy": [{"name": "v", "count": 2, "input": 1}]}, "resources": []`))
	f.Add(asDocument(ownFunctions + `, ` + definitions + `, "parameters": {"p": {"$ref": "#/definitions/name", "defaultValue": "ab"}}, "resources": {
		"a": {"type": "A.B/c", "apiVersion": "1", "name": "[string(__bicep.four(1))]"}, "b": {"existing": true, "type": "A.B/c", "apiVersion": "1", "name": "x"}},
		"outputs": {"o": {"type": "array", "value": "[map(range(0, 2), lambda('x', lambdaVariables('x')))]"}}`))
	f.Add([]byte(`{"a": [1, 2.5e3, "x\"//y"]} // end`))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		d, err := parsed.Bind(nil, testScope(t))
		if err != nil {
			return
		}
		for _, r := range d.Resources {
			_, _ = d.Body(t.Context(), r, deployed{})
		}
		_, _ = d.Outputs(t.Context(), deployed{})
	})
}
