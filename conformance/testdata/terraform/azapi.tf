terraform {
  required_providers {
    azapi = { source = "azure/azapi" }
  }
}
# Who signs in, and to where, comes from the environment.
provider "azapi" {}

variable "name" { type = string }
variable "note" { type = string }

data "azapi_client_config" "me" {}
data "azapi_resource" "subscription" {
  type                   = "Microsoft.Resources/subscriptions@2021-01-01"
  resource_id            = "/subscriptions/${data.azapi_client_config.me.subscription_id}"
  response_export_values = ["*"]
}

resource "azapi_resource" "rg" {
  type      = "Microsoft.Resources/resourceGroups@2021-04-01"
  name      = var.name
  parent_id = "/subscriptions/${data.azapi_client_config.me.subscription_id}"
  location  = "westeurope"
  tags      = { tier = var.note }
}

resource "azapi_resource" "identity" {
  for_each               = toset(["a", "b"])
  type                   = "Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31"
  name                   = "id-${each.key}"
  parent_id              = azapi_resource.rg.id
  location               = "westeurope"
  response_export_values = ["properties.principalId", "properties.clientId"]
}

resource "azapi_resource" "federated" {
  type      = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31"
  name      = "fed"
  parent_id = azapi_resource.identity["a"].id
  body      = jsonencode({ properties = { issuer = "https://issuer.example", subject = "system:serviceaccount:ns:sa", audiences = ["api://AzureADTokenExchange"] } })
}

resource "azapi_resource" "storage" {
  type      = "Microsoft.Storage/storageAccounts@2023-01-01"
  name      = "${var.name}store"
  parent_id = azapi_resource.rg.id
  location  = "westeurope"
  tags      = { tier = var.note }
  identity { type = "SystemAssigned" }
  body = jsonencode({
    kind = "StorageV2"
    sku  = { name = "Standard_LRS" }
    properties = {
      minimumTlsVersion        = "TLS1_2"
      allowBlobPublicAccess    = false
      supportsHttpsTrafficOnly = true
      networkAcls              = { defaultAction = "Allow", bypass = "AzureServices" }
    }
  })
  response_export_values = ["*"]
}

resource "azapi_resource" "container" {
  type      = "Microsoft.Storage/storageAccounts/blobServices/containers@2023-01-01"
  name      = "things"
  parent_id = "${azapi_resource.storage.id}/blobServices/default"
  body      = jsonencode({ properties = { publicAccess = "None", metadata = { a = "b" } } })
}

resource "azapi_update_resource" "blobservice" {
  type        = "Microsoft.Storage/storageAccounts/blobServices@2023-01-01"
  resource_id = "${azapi_resource.storage.id}/blobServices/default"
  body        = jsonencode({ properties = { deleteRetentionPolicy = { enabled = false }, isVersioningEnabled = false } })
}

resource "azapi_resource" "vault" {
  type      = "Microsoft.KeyVault/vaults@2023-02-01"
  name      = "${var.name}vault"
  parent_id = azapi_resource.rg.id
  location  = "westeurope"
  body = jsonencode({
    properties = {
      tenantId                  = data.azapi_client_config.me.tenant_id
      sku                       = { family = "A", name = "standard" }
      enableRbacAuthorization   = true
      softDeleteRetentionInDays = 7
      accessPolicies            = []
    }
  })
  response_export_values = ["properties.vaultUri"]
}

locals {
  roles = { blob = "ba92f5b4-2d11-453d-a403-e96b0029c9fe", reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7" }
}
resource "azapi_resource" "assignment" {
  for_each  = local.roles
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "https://${var.name}/${each.key}")
  parent_id = azapi_resource.storage.id
  body = jsonencode({
    properties = {
      roleDefinitionId = "/subscriptions/${data.azapi_client_config.me.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/${each.value}"
      principalId      = jsondecode(azapi_resource.identity["a"].output).properties.principalId
      principalType    = "ServicePrincipal"
    }
  })
}

resource "azapi_resource" "role" {
  type      = "Microsoft.Authorization/roleDefinitions@2022-04-01"
  name      = uuidv5("url", "https://${var.name}/role")
  parent_id = azapi_resource.rg.id
  body = jsonencode({
    properties = {
      roleName         = "${var.name} reader", description = "reads", type = "CustomRole"
      assignableScopes = [azapi_resource.rg.id]
      permissions      = [{ actions = ["Microsoft.Storage/*/read"], notActions = [] }]
    }
  })
}

resource "azapi_resource" "media" {
  type      = "Microsoft.Media/mediaServices@2023-01-01"
  name      = "${var.name}media"
  parent_id = azapi_resource.rg.id
  location  = "westeurope"
  identity {
    type         = "UserAssigned"
    identity_ids = [azapi_resource.identity["a"].id]
  }
  body = jsonencode({
    properties = {
      storageAuthentication = "ManagedIdentity"
      storageAccounts = [{
        id       = azapi_resource.storage.id, type = "Primary"
        identity = { userAssignedIdentity = azapi_resource.identity["a"].id, useSystemAssignedIdentity = false }
      }]
    }
  })
  response_export_values = ["*"]
  depends_on             = [azapi_resource.assignment]
}

resource "azapi_resource" "transform" {
  type      = "Microsoft.Media/mediaServices/transforms@2022-07-01"
  name      = "adaptive"
  parent_id = azapi_resource.media.id
  body      = jsonencode({ properties = { outputs = [{ onError = "StopProcessingJob", relativePriority = "Normal", preset = { "@odata.type" = "#Microsoft.Media.BuiltInStandardEncoderPreset", presetName = "AdaptiveStreaming" } }] } })
}

resource "azapi_resource" "asset" {
  type      = "Microsoft.Media/mediaServices/assets@2023-01-01"
  name      = "film"
  parent_id = azapi_resource.media.id
  body      = jsonencode({ properties = { description = var.note } })
}

resource "azapi_resource_action" "keys" {
  type                   = "Microsoft.Storage/storageAccounts@2023-01-01"
  resource_id            = azapi_resource.storage.id
  action                 = "listKeys"
  method                 = "POST"
  response_export_values = ["keys"]
}

data "azapi_resource_list" "assignments" {
  type                   = "Microsoft.Authorization/roleAssignments@2022-04-01"
  parent_id              = azapi_resource.storage.id
  depends_on             = [azapi_resource.assignment]
  response_export_values = ["*"]
}
output "assignments" { value = length(jsondecode(data.azapi_resource_list.assignments.output).value) }
output "vault" { value = jsondecode(azapi_resource.vault.output).properties.vaultUri }
output "subscription" { value = jsondecode(data.azapi_resource.subscription.output).displayName }
