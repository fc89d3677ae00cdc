package template

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
)

const ownFunctions = `"functions": [{"namespace": "__bicep", "members": {
	"twice": {"parameters": [{"type": "int", "name": "n"}], "output": {"type": "int", "value": "[mul(2, parameters('n'))]"}},
	"four": {"parameters": [{"type": "int", "name": "N"}], "output": {"type": "int", "value": "[__bicep.twice(__bicep.twice(parameters('n')))]"}},
	"again": {"parameters": [], "output": {"type": "int", "value": "[__bicep.again()]"}},
	"vars": {"parameters": [], "output": {"type": "int", "value": "[variables('v')]"}},
	"object": {"parameters": [{"type": "string", "name": "s"}], "output": {"type": "object", "value": {"a": ["[parameters('s')]"]}}}
}}]`

func TestLambdasAndFunctions(t *testing.T) {
	t.Parallel()
	dogs := `createArray(createObject('n', 'b', 'age', 3), createObject('n', 'a', 'age', 1), createObject('n', 'c', 'age', 2))`
	for expression, want := range map[string]string{
		`[map(` + dogs + `, lambda('d', lambdaVariables('D').n))]`:                                                                                   `["b","a","c"]`,
		`[map(createArray('x', 'y'), lambda('d', 'i', format('{0}{1}', lambdaVariables('i'), lambdaVariables('d'))))]`:                               `["0x","1y"]`,
		`[filter(range(0, 5), lambda('n', greater(lambdaVariables('n'), 2)))]`:                                                                       `[3,4]`,
		`[map(sort(` + dogs + `, lambda('a', 'b', less(lambdaVariables('a').age, lambdaVariables('b').age))), lambda('d', lambdaVariables('d').n))]`: `["a","c","b"]`,
		`[reduce(range(1, 4), 10, lambda('sum', 'n', add(lambdaVariables('sum'), lambdaVariables('n'))))]`:                                           `20`,
		`[toObject(` + dogs + `, lambda('d', lambdaVariables('d').n), lambda('d', lambdaVariables('d').age))]`:                                       `{"a":1,"b":3,"c":2}`,
		`[toObject(createArray('k'), lambda('d', lambdaVariables('d')))]`:                                                                            `{"k":"k"}`,
		`[groupBy(createArray('aa', 'b', 'cc'), lambda('s', string(length(lambdaVariables('s')))))]`:                                                 `{"1":["b"],"2":["aa","cc"]}`,
		`[mapValues(createObject('a', 1), lambda('v', add(lambdaVariables('v'), 1)))]`:                                                               `{"a":2}`,
		`[map(range(0, 2), lambda('x', map(range(0, 2), lambda('y', add(lambdaVariables('x'), lambdaVariables('y'))))))]`:                            `[[0,1],[1,2]]`,
		`[map(range(0, 1), lambda('x', variables('v')))]`:                                                                                            `[7]`,
		`[__bicep.four(3)]`: `12`, `[__BICEP.Twice(variables('v'))]`: `14`, `[__bicep.object('x').a[0]]`: `"x"`,
		`[map(range(0, 2), lambda('x', __bicep.twice(lambdaVariables('x'))))]`: `[0,2]`,
		`[tryGet(createObject('a', createArray(1)), 'a', 0)]`:                  `1`, `[tryGet(createObject('a', 1), 'b', 'c')]`: `null`, `[tryGet(null(), 'b')]`: `null`,
		`[shallowMerge(createArray(createObject('a', 1), createObject('a', 2, 'b', 3)))]`: `{"a":2,"b":3}`,
		`[dateTimeAdd('2030-01-31T00:00:00Z', 'P1M')]`:                                    `"2030-03-03T00:00:00Z"`, `[dateTimeAdd('2030-01-01 10:00:00Z', '-PT9H30M', 'HH:mm')]`: `"00:30"`,
		`[dateTimeToEpoch(dateTimeFromEpoch(1683040573))]`: `1683040573`, `[dataUriToString(dataUri('hé'))]`: `"hé"`, `[dataUriToString('data:,a%20b')]`: `"a b"`,
	} {
		d, err := bind(t, ownFunctions+`, "variables": {"v": 7}, "resources": []`, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := evaluation{d: d}
		v, err := e.value(expression)
		if got, _ := json.Marshal(v); err != nil || string(got) != want {
			t.Errorf("%s = %s, %v; want %s", expression, got, err, want)
		}
	}
	for expression, says := range map[string]string{
		`[lambda('x', 1)]`: "where no function takes one", `[lambdaVariables('x')]`: "not known here", `[map(range(0, 1), 1)]`: "a lambda with",
		`[map(1, lambda('x', 1))]`: "an array is needed", `[filter(range(0, 1), lambda('x', 1))]`: "not a boolean", `[map(range(0, 1), lambda('a', 'b', 'c', 1))]`: "is given 2 values",
		`[sort(range(0, 2), lambda('a', 'b', 1))]`: "not a boolean", `[toObject(range(0, 2), lambda('a', 1))]`: "the name of a property",
		`[map(range(0, 1), lambda(1, 1))]`: "are strings", `[reduce(range(0, 1), lambda('a', 1))]`: "does not take 2", `[mapValues(range(0, 1), lambda('a', 1))]`: "an object is needed",
		`[__bicep.none()]`: "is not known", `[__bicep.twice()]`: "takes 1 arguments, not 0", `[__bicep.twice('x')]`: "type 'int' is needed", `[__bicep.again()]`: "nested deeper",
		`[__bicep.vars()]`: "cannot use variables", `[fail('so it is')]`: "so it is", `[managementGroup()]`: "no management groups",
		`[dateTimeAdd('x', 'P1D')]`: "is not a time", `[dateTimeAdd('2030-01-01', 'P')]`: "is not a duration", `[dateTimeAdd('2030-01-01', 'P9999Y')]`: "years 1 to 9999",
		`[map(range(0, 10000), lambda('x', map(range(0, 10000), lambda('y', lambdaVariables('x')))))]`: "takes too much",
	} {
		d, err := bind(t, ownFunctions+`, "variables": {"v": 7}, "resources": []`, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := evaluation{d: d}
		if v, err := e.value(expression); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s = %v, %v; want %s", expression, v, err, says)
		}
	}
	for _, bad := range []string{
		`"functions": {}`, `"functions": [1]`, `"functions": [{"namespace": "n"}]`, `"functions": [{"namespace": "n", "members": {"f": {}}}]`,
		`"functions": [{"namespace": "n", "members": {"f": {"parameters": [{}], "output": {"value": 1}}}}]`,
	} {
		if _, err := Parse(asDocument(bad + `, "resources": []`)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

const definitions = `"languageVersion": "2.0", "definitions": {
	"name": {"type": "string", "minLength": 2}, "secret": {"type": "secureString"},
	"node": {"type": "object", "properties": {"name": {"$ref": "#/definitions/name"}, "next": {"$ref": "#/definitions/node", "nullable": true}}, "additionalProperties": false},
	"pet": {"type": "object", "discriminator": {"propertyName": "kind", "mapping": {
		"cat": {"type": "object", "properties": {"kind": {"type": "string"}, "lives": {"type": "int", "maxValue": 9}}}, "dog": {"$ref": "#/definitions/dog"}}}},
	"dog": {"type": "object", "properties": {"tricks": {"type": "array", "items": {"type": "string", "allowedValues": ["sit", "roll"]}}}, "additionalProperties": {"type": "string"}},
	"pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "int"}], "items": false},
	"days": {"type": "array", "allowedValues": ["mon", "tue"]}, "loop": {"$ref": "#/definitions/loop"},
	"wheel": {"type": "object", "discriminator": {"propertyName": "kind", "mapping": {"a": {"$ref": "#/definitions/wheel"}}}},
	"login": {"type": "object", "properties": {"user": {"type": "string"}, "password": {"$ref": "#/definitions/secret"}}}
}`

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, value, says string }{
		{"name", `"ab"`, ""},
		{"name", `"a"`, "'minLength', which is 2"},
		{"node", `{"name": "ab", "Next": {"name": "cd"}}`, ""},
		{"node", `{"name": "ab", "next": {"name": "c"}}`, "'p.next.name'"},
		{"node", `{"next": null}`, "the property 'name' is missing"},
		{"node", `{"name": "ab", "x": 1}`, "the property 'x' is not allowed"},
		{"pet", `{"kind": "cat", "lives": 9}`, ""},
		{"pet", `{"kind": "cat", "lives": 10}`, "maxValue"},
		{"pet", `{"kind": "cow"}`, "is not one of 'cat', 'dog'"},
		{"pet", `{"kind": "dog", "tricks": ["sit"]}`, ""},
		{"pet", `{"kind": "dog", "tricks": ["fly"]}`, "'p.tricks[0]' is not valid: 'fly'"},
		{"pet", `{"kind": "dog", "tricks": [], "age": 1}`, "type 'string' is needed"},
		{"pair", `["a", 1]`, ""},
		{"pair", `["a"]`, "has 1 elements and needs 2"},
		{"pair", `["a", 1, 2]`, "more than 2"},
		{"days", `["tue", "mon"]`, ""},
		{"days", `["sun"]`, "is not part of the allowed"},
		{"none", `1`, "is not one of the template's 'definitions'"},
		{"loop", `1`, "refers to itself"},
		{"wheel", `{"kind": "a"}`, "without an end"},
		{"login", `{"user": "u", "password": 1}`, "type 'securestring' is needed"},
	} {
		value, err := Decode([]byte(c.value))
		if err != nil {
			t.Fatal(err)
		}
		_, err = bind(t, definitions+`, "parameters": {"p": {"$ref": "#/definitions/`+c.typ+`"}}, "resources": {}`, map[string]any{"p": value})
		var e *azure.Error
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s %s: %v", c.typ, c.value, err)
		case c.says != "" && (!errors.As(err, &e) || e.Status != 400 || !strings.Contains(e.Message, c.says)):
			t.Errorf("%s %s: %v, want %s", c.typ, c.value, err, c.says)
		}
	}
	d, err := bind(t, definitions+`, "parameters": {"p": {"$ref": "#/definitions/login"}, "n": {"$ref": "#/definitions/name", "nullable": true, "defaultValue": null}},
		"resources": {}, "outputs": {"o": {"$ref": "#/definitions/login", "value": "[parameters('p')]"}, "n": {"$ref": "#/definitions/name", "value": "xy"}}`,
		map[string]any{"p": map[string]any{"user": "u", "password": "hush"}})
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := d.Outputs(t.Context(), deployed{})
	shown, _ := json.Marshal([]any{d.Parameters(), outputs})
	if err != nil || strings.Contains(string(shown), "hush") || !d.HasSecrets() || !strings.Contains(string(shown), `"xy"`) {
		t.Errorf("%s, %v", shown, err)
	}
}

// TestSymbolicNames: what Bicep makes of resources, loops, existing resources and references.
func TestSymbolicNames(t *testing.T) {
	t.Parallel()
	d, err := bind(t, `"languageVersion": "2.0", "resources": {
		"last": {"type": "Test.Things/last", "apiVersion": "1", "name": "z", "dependsOn": ["ws"], "properties": {
			"old": "[reference('old').size]", "second": "[reference('ws[1]').size]", "sizes": "[map(references('ws'), lambda('w', lambdaVariables('w').size))]",
			"id": "[resourceInfo('ws[0]').id]", "key": "[listKeys(resourceInfo('old').id, '1').action]"}},
		"ws": {"type": "Test.Things/widgets", "apiVersion": "1", "name": "[concat('w', copyIndex())]", "copy": {"name": "ws", "count": 2}},
		"old": {"existing": true, "type": "Test.Things/olds", "apiVersion": "2", "name": "o", "resourceGroup": "other", "dependsOn": ["first"]},
		"first": {"type": "Test.Things/first", "apiVersion": "1", "name": "a"},
		"lock": {"type": "Microsoft.Authorization/locks", "apiVersion": "1", "name": "l", "scope": "[resourceId('Test.Things/last', 'z')]", "dependsOn": ["last", "ws[1]"]},
		"off": {"condition": false, "type": "Test.Things/first", "apiVersion": "1", "name": "b"}
	}, "outputs": {"o": {"type": "string", "value": "[resourceInfo('first').name]"}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range d.Resources {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"a", "w0", "w1", "z", "l"}, names); diff != "" {
		t.Errorf("order:\n%s", diff)
	}
	group := groupID + "/providers/Test.Things/widgets/"
	old := strings.Replace(groupID, "/g1", "/other", 1) + "/providers/Test.Things/olds/o"
	rt := deployed{group + "w0": map[string]any{"size": int64(1)}, group + "w1": map[string]any{"size": int64(2)}, old: map[string]any{"size": int64(9)}}
	body, err := d.Body(t.Context(), d.Resources[3], rt)
	if diff := cmp.Diff(map[string]any{"properties": map[string]any{
		"old": int64(9), "second": int64(2), "sizes": []any{int64(1), int64(2)}, "id": group + "w0", "key": "listkeys",
	}}, body); diff != "" || err != nil {
		t.Errorf("body: %v\n%s", err, diff)
	}
	for _, c := range []struct{ resources, says string }{
		{`{"a": {"type": "T.T/a", "apiVersion": "1", "name": "a", "dependsOn": ["b"]}}`, "'b' is not defined"},
		{`{"a": {"type": "T.T/a", "apiVersion": "1", "name": "a", "resources": [{}]}}`, "beside their parent"},
		{`{"a": {"existing": 1, "type": "T.T/a", "apiVersion": "1", "name": "a"}}`, "true or false"},
		{`[{"existing": true, "type": "T.T/a", "apiVersion": "1", "name": "a"}]`, "symbolic names"},
		{`{"a": {"type": "T.T/a", "apiVersion": "1", "name": "a", "properties": "[reference('b').x]"}}`, "'b' is not defined"},
		{`{"a": {"type": "T.T/a", "apiVersion": "1", "name": "[resourceInfo('z').name]"}}`, "not yet known"},
		{`{"a": 1}`, "not an object"},
		{`1`, "it is not an array"},
	} {
		d, err := bind(t, `"languageVersion": "2.0", "resources": `+c.resources, nil)
		if err == nil {
			_, err = d.Body(t.Context(), d.Resources[0], deployed{})
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", c.resources, err, c.says)
		}
	}
}

// TestHostileTypes: a check of values takes as much as they and their types are large, and no more than is allowed.
func TestHostileTypes(t *testing.T) {
	t.Parallel()
	for name, sections := range map[string]string{
		"a large type for many values": `"languageVersion": "2.0", "definitions": {"d": {"type": "int", "metadata": 1, ` + manyProperties("p", 5_000) + `}},
			"parameters": {"p": {"type": "array", "items": {"$ref": "#/definitions/d"}, "defaultValue": [` + strings.Repeat("0, ", 50_000) + `0]}}, "resources": {}`,
		"many allowed values": `"parameters": {"p": {"type": "array", "allowedValues": [` + strings.Repeat("1, ", 20_000) + `1],
			"defaultValue": [` + strings.Repeat("0, ", 50_000) + `0]}}, "resources": []`,
		"many names of many resources": `"languageVersion": "2.0", "resources": {"a": {"copy": {"name": "a", "count": 800}, "type": "A.B/c", "apiVersion": "1", "name": "[concat('x', copyIndex())]"},
			"b": {"type": "A.B/c", "apiVersion": "1", "name": "[string(map(range(0, 10000), lambda('i', map(range(0, 100), lambda('j', resourceInfo('a[1]').id)))))]"}}`,
	} {
		if _, err := bind(t, sections, nil); err == nil || !strings.Contains(err.Error(), "takes too much") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
