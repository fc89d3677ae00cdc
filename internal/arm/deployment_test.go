package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const deployments = g1 + "/providers/Microsoft.Resources/deployments/"

// deploymentBody is the body of a deployment with a template of these sections.
func deploymentBody(mode, parameters, sections string) string {
	return fmt.Sprintf(`{"properties": {"mode": %q, "parameters": {%s}, "template": {
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0", %s}}}`,
		mode, parameters, sections)
}

const twoThings = `
	"parameters": {"secret": {"type": "securestring"}, "size": {"type": "int", "defaultValue": 3}},
	"resources": [
		{"type": "Test.Things/widgets/parts", "apiVersion": "2023-01-01", "name": "w1/p", "dependsOn": ["w1"],
			"properties": {"size": "[reference('r1').size]"}},
		{"type": "Test.Things/rigs", "apiVersion": "2024-01-01", "name": "r1", "location": "[resourceGroup().location]",
			"properties": {"size": "[parameters('size')]", "key": "[parameters('secret')]"}},
		{"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": "w1", "location": "westeurope", "tags": {"a": "b"}}
	],
	"outputs": {"size": {"type": "int", "value": "[reference(resourceId('Test.Things/rigs', 'r1')).size]"},
		"s": {"type": "securestring", "value": "[parameters('secret')]"}}`

// deploy puts a deployment and follows it to its end.
func (w *world) deploy(caller, path, body string) *answer {
	w.t.Helper()
	a := w.do(caller, "PUT", path+groupV, body)
	if a.Code != 200 && a.Code != 201 {
		return a
	}
	w.follow(caller, a.Header().Get("Azure-AsyncOperation")).want(200)
	return w.do(caller, "GET", path+groupV, "").want(200)
}

func TestDeployment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		a := w.deploy(builder, deployments+"d1", deploymentBody("incremental", `"secret": {"value": "hush"}`, twoThings))
		if a.at("properties.provisioningState") != "Succeeded" || a.at("properties.outputs.size.value") != 3.0 || a.at("properties.mode") != "Incremental" {
			t.Fatalf("deployment: %s", a.Body)
		}
		w.do(owner, "GET", rigs+"/r1"+sync1, "").want(200)
		if got := w.do(owner, "GET", widgets+"/w1/parts/p"+sync1, "").want(200).at("properties.size"); got != 3.0 {
			t.Errorf("the part's size is %v", got)
		}
		for _, path := range []string{deployments + "d1/operations", g1 + "/deployments/d1/operations"} {
			list := w.do(builder, "GET", path+groupV, "").want(200)
			if n := len(list.at("value").([]any)); n != 3 {
				t.Errorf("%s: %d operations: %s", path, n, list.Body)
			}
		}
		if d := cmp.Diff([]string{"d1"}, w.do(builder, "GET", strings.TrimSuffix(deployments, "/")+groupV, "").names()); d != "" {
			t.Error(d)
		}
		// The secret stands in the resource that it was meant for, and nowhere else.
		err := db.View(t.Context(), func(tx *store.Tx) error {
			for _, q := range []string{
				`SELECT count(*) FROM arm_resources WHERE properties LIKE '%hush%' AND type <> 'test.things/rigs'`,
				`SELECT count(*) FROM arm_operations WHERE work LIKE '%hush%' OR error LIKE '%hush%'`,
				`SELECT count(*) FROM arm_deployment_steps WHERE error LIKE '%hush%'`,
			} {
				var n int
				if err := tx.QueryRow(t.Context(), q).Scan(&n); err != nil || n > 0 {
					t.Errorf("%s: %d, %v", q, n, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}

		// Again, with another size: what is there is changed.
		a = w.deploy(builder, deployments+"D1", deploymentBody("", `"secret": {"value": "hush"}, "size": {"value": 4}`, twoThings))
		if a.at("properties.outputs.size.value") != 4.0 || a.at("properties.provisioningState") != "Succeeded" {
			t.Errorf("again: %s", a.Body)
		}
		// Complete takes away what the template does not have.
		w.do(owner, "PUT", widgets+"/other"+sync1, `{"location":"westeurope"}`).want(201)
		a = w.deploy(builder, deployments+"d2", deploymentBody("Complete", ``, `"resources": [
			{"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": "w1", "location": "westeurope"}]`))
		if a.at("properties.provisioningState") != "Succeeded" {
			t.Errorf("complete: %s", a.Body)
		}
		if d := cmp.Diff([]string{"w1"}, w.do(owner, "GET", g1+"/resources"+groupV, "").names()); d != "" {
			t.Errorf("after a complete deployment:\n%s", d)
		}
		w.do(builder, "DELETE", deployments+"d2"+groupV, "").want(204)
		w.do(builder, "DELETE", deployments+"d2"+groupV, "").want(204)
		w.consistent()
	})
}

func TestFailingDeployments(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		const widget = `"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "location": "westeurope"`
		const grant = `{"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "[guid('x')]",
			"properties": {"principalId": "` + stranger + `", "roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '` + ownerRole + `')]"}}`
		for i, c := range []struct{ name, sections, code string }{
			{"bad properties", `"resources": [{` + widget + `, "name": "a", "properties": {"size": -1}}]`, "BadSize"},
			{"more than the caller's rights", `"resources": [` + grant + `]`, "AuthorizationFailed"},
			{"another group", `"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "a", "resourceGroup": "g2",
				"properties": {"mode": "Incremental", "template": {}}}]`, "AuthorizationFailed"},
			{"unknown type", `"resources": [{"type": "Test.Things/none", "apiVersion": "2023-01-01", "name": "a"}]`, "InvalidResourceType"},
			{"api-version", `"resources": [{"type": "Test.Things/widgets", "apiVersion": "1999-01-01", "name": "a"}]`, "NoRegisteredProviderFound"},
			{"reference to nothing", `"resources": [{` + widget + `, "name": "b", "properties": {"size": "[reference('` + widgets + `/none', '2023-01-01').size]"}}]`, "ResourceNotFound"},
		} {
			a := w.deploy(builder, fmt.Sprintf("%sd%d", deployments, i), deploymentBody("Incremental", "", c.sections))
			details, _ := a.at("properties.error.details").([]any)
			if a.at("properties.provisioningState") != "Failed" || a.at("properties.error.code") != "DeploymentFailed" || len(details) != 1 || at(details[0], "code") != c.code {
				t.Errorf("%s: %s", c.name, a.Body)
			}
		}
		a := w.deploy(builder, deployments+"out", deploymentBody("", "", `"resources": [], "outputs": {"o": {"type": "int", "value": "x"}}`))
		if a.at("properties.error.code") != "DeploymentOutputEvaluationFailed" {
			t.Errorf("outputs: %s", a.Body)
		}
		for _, c := range []struct{ name, body, code string }{
			{"no template", `{"properties": {"mode": "Incremental"}}`, "InvalidDeployment"},
			{"linked", `{"properties": {"templateLink": {"uri": "https://elsewhere"}}}`, "InvalidDeployment"},
			{"mode", deploymentBody("Sometimes", "", `"resources": []`), "InvalidDeployment"},
			{"template", deploymentBody("", "", `"resources": {}`), "InvalidTemplate"},
			{"parameter", deploymentBody("", `"p": {"value": 1}`, `"resources": []`), "InvalidTemplate"},
			{"vault", deploymentBody("", `"p": {"reference": {"keyVault": {"id": "x"}}}`, `"resources": []`), "InvalidDeploymentParameters"},
		} {
			if a := w.do(builder, "PUT", deployments+"bad"+groupV, c.body); a.Code != 400 || a.at("error.code") != c.code {
				t.Errorf("%s: %s", c.name, a.Body)
			}
		}
		empty := deploymentBody("", "", `"resources": []`)
		w.do(reader, "PUT", deployments+"x"+groupV, empty).fails(403, "AuthorizationFailed")
		w.do(stranger, "GET", deployments+"d0"+groupV, "").fails(403, "AuthorizationFailed")
		w.do(reader, "POST", deployments+"x/validate"+groupV, empty).fails(403, "AuthorizationFailed")
		w.do(owner, "PUT", strings.Replace(deployments, "g1", "none", 1)+"x"+groupV, empty).fails(404, "ResourceGroupNotFound")
		w.do(owner, "PUT", deployments+strings.Repeat("x", 65)+groupV, empty).fails(400, "InvalidDeploymentName")
		w.do(owner, "POST", deployments+"d0/cancel"+groupV, "").fails(409, "DeploymentCannotBeCancelled")
		w.do(stranger, "GET", widgets+"/a"+sync1, "").fails(403, "AuthorizationFailed")
		w.consistent()
	})
}

func TestValidateAndWhatIf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	w.do(owner, "PUT", widgets+"/same"+sync1, `{"location":"westeurope","properties":{"size":1,"more":2}}`).want(201)
	w.do(owner, "PUT", widgets+"/changed"+sync1, `{"location":"westeurope","properties":{"size":1}}`).want(201)
	w.do(owner, "PUT", widgets+"/other"+sync1, `{"location":"westeurope"}`).want(201)
	thing := func(name string, size int) string {
		return fmt.Sprintf(`{"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": %q, "location": "West Europe", "properties": {"size": %d}}`, name, size)
	}
	body := deploymentBody("Complete", "", `"resources": [`+thing("new", 1)+`,`+thing("same", 1)+`,`+thing("changed", 2)+`]`)
	a := w.do(builder, "POST", deployments+"x/whatIf"+groupV, body).want(200)
	got := map[string]string{}
	for _, c := range a.at("properties.changes").([]any) {
		id := at(c, "resourceId").(string)
		got[id[strings.LastIndexByte(id, '/')+1:]] = at(c, "changeType").(string)
	}
	if d := cmp.Diff(map[string]string{"new": "Create", "same": "NoChange", "changed": "Modify", "other": "Delete"}, got); d != "" {
		t.Errorf("changes:\n%s", d)
	}
	w.do(owner, "GET", widgets+"/new"+sync1, "").want(404)

	secret := w.do(builder, "POST", deployments+"x/whatIf"+groupV, deploymentBody("", `"secret": {"value": "hush"}`, twoThings)).want(200)
	if strings.Contains(secret.Body.String(), "hush") {
		t.Errorf("what-if shows a secret: %s", secret.Body)
	}
	a = w.do(builder, "POST", deployments+"x/validate"+groupV, body).want(200)
	if len(a.at("properties.validatedResources").([]any)) != 3 {
		t.Errorf("validated: %s", a.Body)
	}
	w.do(builder, "POST", deployments+"x/validate"+groupV, deploymentBody("", "", `"resources": [{"type": "Test.Things/none", "apiVersion": "1", "name": "a"}]`)).
		fails(400, "InvalidTemplateDeployment")
	w.do(builder, "POST", deployments+"x/validate"+groupV, deploymentBody("", "", `"resources": [1]`)).fails(400, "InvalidTemplate")
}

func TestSubscriptionDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	at := subPath + "/providers/Microsoft.Resources/deployments/"
	body := deploymentBody("", "", `"resources": [
		{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2021-04-01", "name": "made", "location": "westeurope"},
		{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "inner", "resourceGroup": "made", "dependsOn": ["made"],
			"properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"}, "parameters": {"n": {"value": "[concat('in', 'ner')]"}},
				"template": {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
					"parameters": {"n": {"type": "string"}},
					"resources": [{"type": "Test.Things/rigs", "apiVersion": "2024-01-01", "name": "[parameters('n')]", "location": "[resourceGroup().location]"}],
					"outputs": {"n": {"type": "string", "value": "[parameters('n')]"}}}}}],
		"outputs": {"n": {"type": "string", "value": "[reference('inner').outputs.n.value]"}}`)
	located := func(body, location string) string {
		return `{"location": "` + location + `", ` + strings.TrimPrefix(body, "{")
	}
	w.do(owner, "PUT", at+"outer"+groupV, body).fails(400, "LocationRequired")
	w.do(owner, "PUT", at+"outer"+groupV, located(body, "nowhere")).fails(400, "LocationRequired")
	body = located(body, "West Europe")
	a := w.deploy(owner, at+"outer", body)
	w.do(owner, "PUT", at+"outer"+groupV, located(deploymentBody("", "", `"resources": []`), "northeurope")).fails(409, "InvalidDeploymentLocation")
	if names := w.do(owner, "GET", subPath+"/resources"+groupV, "").names(); a.at("location") != "westeurope" || len(names) != 1 {
		t.Errorf("location %v, resources %v", a.at("location"), names)
	}
	if a.at("properties.provisioningState") != "Succeeded" || a.at("properties.outputs.n.value") != "inner" {
		t.Fatalf("%s", a.Body)
	}
	w.do(owner, "GET", subPath+"/resourceGroups/made/providers/Test.Things/rigs/inner"+sync1, "").want(200)
	if d := cmp.Diff([]string{"outer"}, w.do(owner, "GET", strings.TrimSuffix(at, "/")+groupV, "").names()); d != "" {
		t.Errorf("at the subscription:\n%s", d)
	}
	w.do(builder, "PUT", at+"x"+groupV, body).fails(403, "AuthorizationFailed")
	w.do(owner, "PUT", at+"x"+groupV, located(deploymentBody("Complete", "", `"resources": []`), "westeurope")).fails(400, "InvalidDeployment")
	w.consistent()
}

// TestDeploymentIsCanceled cancels a deployment while its first resource is being written.
func TestDeploymentIsCanceled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	begun, goOn := make(chan struct{}), make(chan struct{})
	w.hook(func() {
		w.prepare = func(*Write) error { close(begun); <-goOn; return nil }
	})
	a := w.do(builder, "PUT", deployments+"d"+groupV, deploymentBody("", `"secret": {"value": "x"}`, twoThings)).want(201)
	<-begun
	w.do(builder, "PUT", deployments+"d"+groupV, deploymentBody("", "", `"resources": []`)).fails(409, "AnotherOperationInProgress")
	if got := w.do(builder, "GET", deployments+"d"+groupV, "").at("properties.provisioningState"); got != "Running" {
		t.Errorf("state %v", got)
	}
	w.do(builder, "POST", deployments+"d/cancel"+groupV, "").want(204)
	close(goOn)
	if status := w.follow(builder, a.Header().Get("Azure-AsyncOperation")).at("error.code"); status != "DeploymentCanceled" {
		t.Errorf("the operation ended with %v", status)
	}
	if got := w.do(builder, "GET", deployments+"d"+groupV, "").at("properties.provisioningState"); got != "Canceled" {
		t.Errorf("state %v", got)
	}
	w.hook(func() { w.prepare = nil })
	if got := w.deploy(builder, deployments+"d", deploymentBody("", `"secret": {"value": "x"}`, twoThings)).at("properties.provisioningState"); got != "Succeeded" {
		t.Errorf("state %v", got)
	}
	w.consistent()
}

// TestDeploymentAfterACrash cuts passes off after each of their transactions; the deployment ends all the same.
func TestDeploymentAfterACrash(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := openWorld(t, db) // no jobs run: the test makes the passes itself
		w.seed()
		w.do(builder, "PUT", deployments+"d"+groupV, deploymentBody("", `"secret": {"value": "x"}`, twoThings)).want(201)
		ctx := t.Context()
		load := func(key string) (op *operation) {
			t.Helper()
			err := db.View(ctx, func(tx *store.Tx) error {
				res, err := load(ctx, tx, strings.ToLower(key))
				if err != nil || res == nil || res.operation == "" {
					return err
				}
				op, err = w.m.operation(ctx, tx, res.operation)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return op
		}
		forget := func(set string) { // as if the pass had ended before it stored a step's outcome
			t.Helper()
			err := db.Update(ctx, func(tx *store.Tx) error {
				_, err := tx.Exec(ctx, `UPDATE arm_deployment_steps SET `+set)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		finish := func(key string) {
			t.Helper()
			if op := load(key); op != nil {
				if err := w.m.runWrite(ctx, w.m.types[typeKey(op.Resource)].Type, op, op.write()); err != nil {
					t.Fatal(err)
				}
			}
		}
		op := load(deployments + "d")
		pass := func() error { return w.m.deploy(ctx, op.write()) }
		if err := pass(); !errors.Is(err, errWaiting) {
			t.Fatalf("first pass: %v", err)
		}
		forget(`status = 'Running', operation = ''`)
		if err := pass(); !errors.Is(err, errWaiting) { // the rig is busy: with the write of the pass that was cut off
			t.Fatalf("second pass: %v", err)
		}
		finish(rigs + "/r1")
		forget(`status = 'Running', operation = ''`)
		if err := pass(); !errors.Is(err, errWaiting) { // the rig is written again
			t.Fatalf("third pass: %v", err)
		}
		finish(rigs + "/r1")
		wr := op.write()
		if err := w.m.deploy(ctx, wr); err != nil {
			t.Fatalf("last pass: %v", err)
		}
		if err := w.m.runWrite(ctx, w.m.types[strings.ToLower(deploymentType)].Type, op, op.write()); err != nil {
			t.Fatal(err)
		}
		if a := w.do(builder, "GET", deployments+"d"+groupV, ""); a.at("properties.provisioningState") != "Succeeded" {
			t.Errorf("%s", a.Body)
		}
		if err := pass(); !errors.Is(err, errEnded) {
			t.Errorf("a pass after the end: %v", err)
		}
		w.consistent()
	})
}

// TestDeploymentsClient deploys with Azure's own client package.
func TestDeploymentsClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	srv := httptest.NewTLSServer(w.handler)
	t.Cleanup(srv.Close)
	ctx := t.Context()
	client, err := armresources.NewDeploymentsClient(sub, ownerToken{}, &azarm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: onHost{srv.Client(), srv.Listener.Addr().String()},
			Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: "https://management.keyreel.localhost:8443", Audience: "https://management.azure.com"},
			}},
		},
		DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	var template map[string]any
	if err := json.Unmarshal([]byte(`{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",`+twoThings+`}`), &template); err != nil {
		t.Fatal(err)
	}
	properties := &armresources.DeploymentProperties{
		Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template,
		Parameters: map[string]any{"secret": map[string]any{"value": "hush"}},
	}
	poll := &runtime.PollUntilDoneOptions{Frequency: time.Second}
	validating, err := client.BeginValidate(ctx, "g1", "sdk", armresources.Deployment{Properties: properties}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if valid, err := validating.PollUntilDone(ctx, poll); err != nil || valid.Error != nil {
		t.Fatalf("validate: %+v, %v", valid.Error, err)
	}
	asking, err := client.BeginWhatIf(ctx, "g1", "sdk", armresources.DeploymentWhatIf{Properties: &armresources.DeploymentWhatIfProperties{
		Mode: properties.Mode, Template: template, Parameters: properties.Parameters,
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if what, err := asking.PollUntilDone(ctx, poll); err != nil || len(what.Properties.Changes) != 3 || *what.Properties.Changes[0].ChangeType != armresources.ChangeTypeCreate {
		t.Fatalf("what-if: %+v, %v", what.Properties, err)
	}
	creating, err := client.BeginCreateOrUpdate(ctx, "g1", "sdk", armresources.Deployment{Properties: properties}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made, err := creating.PollUntilDone(ctx, poll)
	if err != nil || *made.Properties.ProvisioningState != armresources.ProvisioningStateSucceeded {
		t.Fatalf("create: %+v, %v", made.Properties, err)
	}
	if outputs := made.Properties.Outputs.(map[string]any); at(outputs, "size.value") != 3.0 {
		t.Errorf("outputs %v", outputs)
	}
	if there, err := client.CheckExistence(ctx, "g1", "sdk", nil); err != nil || !there.Success {
		t.Errorf("CheckExistence: %v, %v", there, err)
	}
	n := 0
	for pager := client.NewListByResourceGroupPager("g1", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Value)
	}
	if n != 1 {
		t.Errorf("%d deployments", n)
	}
	var failed *azcore.ResponseError
	if _, err := client.Cancel(ctx, "g1", "sdk", nil); !errors.As(err, &failed) || failed.StatusCode != 409 {
		t.Errorf("Cancel: %v", err)
	}
	deleting, err := client.BeginDelete(ctx, "g1", "sdk", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deleting.PollUntilDone(ctx, poll); err != nil {
		t.Error(err)
	}
}
