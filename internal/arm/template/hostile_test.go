package template

import (
	"fmt"
	"strings"
	"testing"
)

// manyProperties makes n properties with a prefix.
func manyProperties(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%s%d": 0, `, prefix, i)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// Whoever may deploy sends templates of some MiB. What they take must grow with their size and not with its square: each
// of these took minutes, or all of the memory.
func TestHostileTemplate(t *testing.T) {
	t.Parallel()
	const (
		looped = `"type": "A.B/c", "apiVersion": "1", "name": "[concat('x', copyIndex())]", "copy": {"name": "loop", "count": 800}`
		one    = `"type": "A.B/c", "apiVersion": "1", "name": `
	)
	for _, test := range []struct {
		name, text, want string // part of the error, or none
	}{
		{"a long name above many values", `"resources": [], "metadata": {"` + strings.Repeat("a", 1<<20) + `": [` + strings.Repeat("0,", 200_000) + `0]}`, ""},
		{"many properties", `"resources": [], "metadata": {` + manyProperties("p", 50_000) + `}`, ""},
		{
			"objects without a name in common",
			`"variables": {"a": {` + manyProperties("a", 20_000) + `}, "b": {` + manyProperties("b", 20_000) + `}},
				"resources": [{` + one + `"[string(length(union(variables('a'), variables('b'))))]"}]`, "",
		},
		{
			"objects whose names differ in case",
			`"variables": {"a": {` + manyProperties("a", 20_000) + `}, "b": {` + manyProperties("A", 20_000) + `}},
				"resources": [{` + one + `"[string(equals(variables('a'), variables('b')))]"}]`, "",
		},
		{
			"a property in another case, many times",
			`"variables": {"a": {` + manyProperties("a", 50_000) + `}}, "resources": [{` + looped + `, "condition": "[equals(variables('a').A1, 1)]"}]`,
			"takes too much",
		},
		{"dependencies", `"resources": [{` + looped + `, "dependsOn": [` + strings.Repeat(`"loop", `, 100_000) + `"loop"]}]`, "can depend on 800"},
		{
			"copies of a literal", `"variables": {"v": {"copy": [{"name": "n", "count": 800, "input": [` + strings.Repeat(`0, `, 20_000) + `0]}]}},
				"resources": [{` + one + `"[string(length(variables('v')))]"}]`, "takes too much",
		},
		{
			"references", `"resources": [{` + looped + `, "properties": {"a": [` + strings.Repeat(`"[reference('nothing')]", `, 50_000) + `0]}}]`,
			"takes too much",
		},
		{
			"references by long names", `"resources": [{` + looped + `, "properties": {"a": [` +
				strings.Repeat(`"[reference(concat(`+strings.Repeat(`'n', `, 500)+`'n'))]", `, 50) + `0]}}]`, "takes too much",
		},
		{
			"objects in loops in loops", `"variables": {"v": {"copy": [{"name": "a", "count": 800, "input": {"copy": [{"name": "b", "count": 800, "input": {
				"copy": [{"name": "c", "count": 800, "input": {}}]}}]}}]}}, "resources": [{` + one + `"[string(length(variables('v')))]"}]`, "takes too much",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			parsed, err := Parse(asDocument(test.text))
			if err == nil {
				_, err = parsed.Bind(nil, testScope(t))
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.500v, want %q", err, test.want)
			}
		})
	}
}
