package arm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestExportTemplate: what is exported can be deployed again and changes nothing.
func TestExportTemplate(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/w-1"+sync1, `{"location":"westeurope","tags":{"a":"[b]"},"kind":"big","sku":{"name":"S"},
			"identity":{"type":"SystemAssigned"},"properties":{"size":3,"note":"[[it's"}}`).want(201)
		w.do(owner, "PUT", widgets+"/w-1/parts/it's"+sync1, `{"properties":{"size":1}}`).want(201)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"northeurope"}`).want(201)
		w.do(owner, "PUT", g1+"/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01", `{"properties":{"level":"CanNotDelete"}}`).want(201)

		// What the service made along with its parent comes again with it.
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			id, err := azure.ParseResourceID(rigs + "/r/bolts/made")
			if err != nil {
				return err
			}
			return w.m.Create(t.Context(), tx, &Resource{ID: id, Properties: json.RawMessage(`{}`)})
		})
		if err != nil {
			t.Fatal(err)
		}

		const path = g1 + "/exportTemplate" + groupV
		a := w.do(owner, "POST", path, `{"resources":["*"],"options":"IncludeParameterDefaultValue, IncludeComments"}`).want(200)
		if a.at("error") != nil {
			t.Fatalf("export: %s", a.Body)
		}
		if d := cmp.Diff(map[string]any{
			"rigs_r_name":      map[string]any{"type": "String", "defaultValue": "r"},
			"widgets_w_1_name": map[string]any{"type": "String", "defaultValue": "w-1"},
		}, a.at("template.parameters")); d != "" {
			t.Errorf("parameters:\n%s", d)
		}
		resources := a.at("template.resources").([]any)
		if len(resources) != 3 || at(resources[1], "comments") != "Generalized from resource: '"+widgets+"/w-1'." || at(resources[1], "properties.provisioningState") != nil {
			t.Errorf("resources: %s", a.Body)
		}
		before := w.do(owner, "GET", widgets+"/w-1"+sync1, "").want(200)
		text, err := json.Marshal(map[string]any{"properties": map[string]any{"mode": "Complete", "template": a.at("template")}})
		if err != nil {
			t.Fatal(err)
		}
		if done := w.deploy(owner, deployments+"again", string(text)); done.at("properties.provisioningState") != "Succeeded" {
			t.Fatalf("deploying it again: %s", done.Body)
		}
		after := w.do(owner, "GET", widgets+"/w-1"+sync1, "").want(200)
		for _, name := range []string{"tags", "kind", "sku", "properties", "identity", "location"} {
			if d := cmp.Diff(before.at(name), after.at(name)); d != "" {
				t.Errorf("%s has changed:\n%s", name, d)
			}
		}
		literal := w.do(owner, "POST", path, `{"resources":["`+widgets+`/W-1/parts/it's"],"options":"SkipAllParameterization"}`).want(200)
		one := literal.at("template.resources").([]any)
		if len(one) != 1 || at(one[0], "name") != "w-1/it's" || len(literal.at("template.parameters").(map[string]any)) != 0 {
			t.Errorf("literal: %s", literal.Body)
		}
		w.hook(func() {
			w.gate = func(res *Resource, _ Op) error { return azure.Errorf(403, "Inaccessible", "%s", res.ID.Name()) }
		})
		partly := w.do(owner, "POST", path, `{"resources":["*"]}`).want(200)
		if len(partly.at("template.resources").([]any)) != 2 || partly.at("error.code") != "ExportTemplateCompletedWithErrors" {
			t.Errorf("with one inaccessible: %s", partly.Body)
		}

		w.do(reader, "POST", path, `{"resources":["*"]}`).fails(403, "AuthorizationFailed")
		for _, bad := range []string{`{}`, `{"resources":["x"]}`, `{"resources":["` + subPath + `/resourceGroups/g2/providers/Test.Things/rigs/r"]}`, `{"resources":["` + widgets + `"]}`} {
			w.do(owner, "POST", path, bad).fails(400, "InvalidExportRequest")
		}
		w.do(owner, "POST", path, `{"resources":["*"],"options":"All"}`).fails(400, "InvalidExportOptions")
		w.do(owner, "POST", path, `{"resources":["`+widgets+`/none"]}`).fails(404, "ResourceNotFound")
		w.do(owner, "POST", subPath+"/resourceGroups/none/exportTemplate"+groupV, `{"resources":["*"]}`).fails(404, "ResourceGroupNotFound")
	})
}

func TestExportDeployment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		body := deploymentBody("Incremental", `"p": {"value": "hush"}`, `"parameters": {"p": {"type": "securestring"}}, "variables": {"v": "very secret"}, "resources": []`)
		if a := w.deploy(owner, deployments+"D", body); a.at("properties.provisioningState") != "Succeeded" {
			t.Fatalf("%s", a.Body)
		}
		a := w.do(owner, "POST", deployments+"d/exportTemplate"+groupV, "").want(200)
		if a.at("template.variables.v") != "very secret" || strings.Contains(a.Body.String(), "hush") {
			t.Errorf("%s", a.Body)
		}
		w.do(reader, "POST", deployments+"d/exportTemplate"+groupV, "").fails(403, "AuthorizationFailed")
		w.do(owner, "POST", deployments+"none/exportTemplate"+groupV, "").fails(404, "ResourceNotFound")
		w.do(owner, "DELETE", deployments+"d"+groupV, "").want(204)
		err := db.View(t.Context(), func(tx *store.Tx) error {
			var n int
			err := tx.QueryRow(t.Context(), `SELECT count(*) FROM arm_deployment_templates`).Scan(&n)
			if n != 0 {
				err = fmt.Errorf("%d templates are left", n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
