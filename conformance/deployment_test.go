package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// mediaTemplate makes a storage account and a media account that reaches it as its own identity.
const mediaTemplate = `{
	"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
	"contentVersion": "1.0.0.0",
	"parameters": {"location": {"type": "string", "defaultValue": "[resourceGroup().location]"}, "prefix": {"type": "string", "minLength": 3}},
	"variables": {
		"storage": "[toLower(take(concat(parameters('prefix'), uniqueString(resourceGroup().id)), 20))]",
		"media": "[concat(parameters('prefix'), 'media')]",
		"roles": ["ba92f5b4-2d11-453d-a403-e96b0029c9fe", "acdd72a7-3385-48ef-bd42-f606fba81ae7"]
	},
	"resources": [
		{
			"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": "[variables('storage')]",
			"location": "[parameters('location')]", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {}
		},
		{
			"type": "Microsoft.Media/mediaservices", "apiVersion": "2023-01-01", "name": "[variables('media')]", "location": "[parameters('location')]",
			"dependsOn": ["[resourceId('Microsoft.Storage/storageAccounts', variables('storage'))]"],
			"identity": {"type": "SystemAssigned"},
			"properties": {"storageAccounts": [{"id": "[resourceId('Microsoft.Storage/storageAccounts', variables('storage'))]", "type": "Primary"}]}
		},
		{
			"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01",
			"name": "[guid(resourceGroup().id, variables('roles')[copyIndex()])]", "copy": {"name": "grants", "count": "[length(variables('roles'))]"},
			"scope": "[resourceId('Microsoft.Storage/storageAccounts', variables('storage'))]",
			"properties": {
				"roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', variables('roles')[copyIndex()])]",
				"principalId": "[reference(resourceId('Microsoft.Media/mediaservices', variables('media')), '2023-01-01', 'Full').identity.principalId]",
				"principalType": "ServicePrincipal"
			}
		}
	],
	"outputs": {
		"blob": {"type": "string", "value": "[reference(variables('storage')).primaryEndpoints.blob]"},
		"principal": {"type": "string", "value": "[reference(variables('media'), '2023-01-01', 'Full').identity.principalId]"},
		"keys": {"type": "int", "value": "[length(listKeys(variables('storage'), '2023-01-01').keys)]"}
	}
}`

// TestTemplateDeployment deploys twice what the story of the demo sets up call by call.
func TestTemplateDeployment(t *testing.T) {
	t.Parallel()
	s := start(t)
	client, err := armresources.NewDeploymentsClient(s.sub, s.Admin, s.options())
	check(t, err)
	var template map[string]any
	check(t, json.Unmarshal([]byte(mediaTemplate), &template))
	for range 2 {
		poller, err := client.BeginCreateOrUpdate(t.Context(), s.group, "media", armresources.Deployment{Properties: &armresources.DeploymentProperties{
			Mode: to.Ptr(armresources.DeploymentModeIncremental), Template: template,
			Parameters: map[string]any{"prefix": map[string]any{"value": "story"}},
		}}, nil)
		check(t, err)
		made, err := poller.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second})
		check(t, err)
		outputs, _ := made.Properties.Outputs.(map[string]any)
		for name, typ := range map[string]string{"blob": "String", "principal": "String", "keys": "Int"} {
			output, _ := outputs[name].(map[string]any)
			if output["type"] != typ || output["value"] == nil || output["value"] == "" {
				t.Errorf("output %s is %v", name, output)
			}
		}
		if n := len(made.Properties.OutputResources); n != 4 {
			t.Errorf("%d resources, want 4", n)
		}
	}
	s.newVault(t, "exported-vault", nil)
	s.identity(t, "exported")
	groups, err := armresources.NewResourceGroupsClient(s.sub, s.Admin, s.options())
	check(t, err)
	export, err := groups.BeginExportTemplate(t.Context(), s.group, armresources.ExportTemplateRequest{
		Resources: []*string{to.Ptr("*")}, Options: to.Ptr("IncludeParameterDefaultValue"),
	}, nil)
	check(t, err)
	exported, err := export.PollUntilDone(t.Context(), poll())
	check(t, err)
	if exported.Error != nil {
		t.Errorf("the export tells of %v", *exported.Error.Message)
	}
	again, err := client.BeginCreateOrUpdate(t.Context(), s.group, "again", armresources.Deployment{Properties: &armresources.DeploymentProperties{
		Mode: to.Ptr(armresources.DeploymentModeComplete), Template: exported.Template,
	}}, nil)
	check(t, err)
	_, err = again.PollUntilDone(t.Context(), poll())
	check(t, err)
}

// TestAzureCLIDeployment drives deployments, tags and locks with Debian's az.
func TestAzureCLIDeployment(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	file := filepath.Join(t.TempDir(), "template.json")
	check(t, os.WriteFile(file, []byte(mediaTemplate), 0o600))
	a.prints(t, "Succeeded", "deployment group validate -g rg -f "+file+" -p prefix=story --query properties.provisioningState")
	a.prints(t, "Succeeded", "deployment group create -g rg -n cli -f "+file+" -p prefix=story --query properties.provisioningState")
	a.prints(t, "cli", "deployment group list -g rg --query [].name")
	a.prints(t, "4", "deployment operation group list -g rg -n cli --query length(@)")
	a.fails(t, "prefix", "deployment group create -g rg -n bad -f "+file+" -p prefix=x")
	a.az(t, "lock create -g rg -n keep --lock-type CanNotDelete")
	a.prints(t, "keep", "lock list -g rg --query [].name")
	a.fails(t, "ScopeLocked", "group delete -n rg -y")
	a.az(t, "lock delete -g rg -n keep")
	a.prints(t, "b", "tag update --resource-id /subscriptions/"+a.sub+"/resourceGroups/rg --operation merge --tags a=b --query properties.tags.a")
	a.az(t, "deployment group delete -g rg -n cli")
}
