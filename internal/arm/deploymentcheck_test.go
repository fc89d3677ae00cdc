package arm

import (
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestValidateUnderConditions: who may assign one role alone may validate a template that assigns it, and no other.
func TestValidateUnderConditions(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		limited := rbac.Assignment{
			ID: azure.NewGUID(), Scope: g1, RoleID: ownerRole, PrincipalID: stranger, PrincipalType: azure.TypeUser,
			Condition: "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'}) OR " +
				"@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + readerRole + "}",
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return w.m.o.RBAC.Assign(t.Context(), tx, limited) }); err != nil {
			t.Fatal(err)
		}
		grant := func(role string) string {
			return deploymentBody("Incremental", "", `"resources": [{"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "[guid('x')]",
				"properties": {"principalId": "`+reader+`", "roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', `+role+`)]"}}]`)
		}
		validate := func(body string) *answer { return w.do(stranger, "POST", deployments+"d/validate"+groupV, body) }
		validate(grant("'" + readerRole + "'")).want(200)
		validate(grant("'"+contributorRole+"'")).fails(400, "InvalidTemplateDeployment")
		// Which role it will be is not known yet; the write decides.
		validate(grant("reference('" + widgets + "/later', '2023-01-01').role")).want(200)
		w.do(builder, "POST", deployments+"d/validate"+groupV, grant("reference('"+widgets+"/later', '2023-01-01').role")).fails(400, "InvalidTemplateDeployment")
		a := w.deploy(stranger, deployments+"real", grant("'"+contributorRole+"'"))
		if a.at("properties.provisioningState") != "Failed" {
			t.Errorf("%s", a.Body)
		}
	})
}

// TestDeploymentOfBicep deploys what Bicep makes of loops, functions, types and existing resources.
func TestDeploymentOfBicep(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", widgets+"/old"+sync1, `{"location":"westeurope","properties":{"size":5}}`).want(201)
		sections := `"languageVersion": "2.0",
			"definitions": {"sizes": {"type": "array", "items": {"type": "int", "minValue": 1}}},
			"functions": [{"namespace": "__bicep", "members": {"label": {"parameters": [{"type": "int", "name": "n"}], "output": {"type": "string", "value": "[format('rig-{0}', parameters('n'))]"}}}}],
			"parameters": {"sizes": {"$ref": "#/definitions/sizes"}},
			"resources": {
				"old": {"existing": true, "type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": "old"},
				"rigs": {"copy": {"name": "rigs", "count": "[length(parameters('sizes'))]"}, "type": "Test.Things/rigs", "apiVersion": "2024-01-01",
					"name": "[__bicep.label(copyIndex())]", "location": "westeurope", "properties": {"size": "[add(parameters('sizes')[copyIndex()], reference('old').size)]"}},
				"sum": {"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": "sum", "location": "westeurope", "dependsOn": ["rigs"],
					"properties": {"size": "[reduce(map(references('rigs'), lambda('r', lambdaVariables('r').size)), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))]"}}
			},
			"outputs": {"sum": {"type": "int", "value": "[reference('sum').size]"}, "who": {"type": "string", "value": "[deployer().objectId]"}}`
		a := w.deploy(builder, deployments+"bicep", deploymentBody("Incremental", `"sizes": {"value": [1, 2, 3]}`, sections))
		if a.at("properties.provisioningState") != "Succeeded" || a.at("properties.outputs.sum.value") != 21.0 || a.at("properties.outputs.who.value") != builder {
			t.Fatalf("%s", a.Body)
		}
		w.do(builder, "PUT", deployments+"bad"+groupV, deploymentBody("Incremental", `"sizes": {"value": [0]}`, sections)).fails(400, "InvalidTemplate")
		w.consistent()
	})
}
