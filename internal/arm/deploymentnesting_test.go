package arm

import (
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/arm/template"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// nestedLoop is a template's resources: a loop of deployments, in each of which is what stands in it.
func nestedLoop(count int, in string) string {
	return fmt.Sprintf(`"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "[concat(deployment().name, '-', copyIndex())]",
		"copy": {"name": "l", "count": %d}, "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"}, "template": {
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0", %s}}}]`, count, in)
}

// Loops of deployments in loops of deployments are 800 to the power of their depth.
func TestNestedDeploymentsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	const none = `"resources": []`
	if a := w.deploy(builder, deployments+"few", deploymentBody("", "", nestedLoop(2, nestedLoop(2, none)))); a.at("properties.provisioningState") != "Succeeded" {
		t.Errorf("a few: %s", a.Body)
	}
	a := w.do(builder, "PUT", deployments+"many"+groupV, deploymentBody("", "", nestedLoop(2, nestedLoop(400, none)))).want(201)
	if end := w.follow(builder, a.Header().Get("Azure-AsyncOperation")); end.at("status") != "Failed" {
		t.Errorf("many: %s", end.Body)
	}
	var n int
	err := w.db.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM arm_resources WHERE type = $1`, "microsoft.resources/deployments").Scan(&n)
	})
	if err != nil || n > 7+3 { // the few, and the many without those of the second depth
		t.Errorf("%d deployments, %v", n, err)
	}
}

func TestNest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ before, nested, after int }{ // after: 0 is refused
		{0, 0, 1 + maxNested},
		{0, maxNested, 1},
		{0, maxNested + 1, 0},
		{0, 20, 1 + 39},
		{1 + 39, 39, 1},
		{1 + 39, 40, 0},
		{1, 0, 1},
		{1, 1, 0},
	} {
		d := &deploymentRun{caller: &azure.Caller{Nested: test.before}, plan: &deploymentPlan{bound: &template.Deployment{}}}
		for range test.nested {
			d.plan.bound.Resources = append(d.plan.bound.Resources, &template.Resource{Type: "microsoft.resources/Deployments"})
		}
		err := d.nest()
		if (err != nil) != (test.after == 0) || err == nil && d.caller.Nested != test.after {
			t.Errorf("%+v: %d, %v", test, d.caller.Nested, err)
		}
	}
}
