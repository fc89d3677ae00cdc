package rbac

import "slices"

// What nearly every management role brings along.
var common = []string{
	"Microsoft.Authorization/*/read",
	"Microsoft.Insights/alertRules/*",
	"Microsoft.Resources/deployments/*",
	"Microsoft.Resources/subscriptions/resourceGroups/read",
	"Microsoft.Support/*",
}

// What the Key Vault officers and readers bring along.
var vaultCommon = append(slices.Clone(common),
	"Microsoft.KeyVault/checkNameAvailability/read",
	"Microsoft.KeyVault/deletedVaults/read",
	"Microsoft.KeyVault/locations/*/read",
	"Microsoft.KeyVault/vaults/*/read",
	"Microsoft.KeyVault/operations/read",
)

const (
	account   = "Microsoft.Storage/storageAccounts/"
	container = account + "blobServices/containers/"
	blobKey   = account + "blobServices/generateUserDelegationKey/action"
	queue     = account + "queueServices/queues/"
	table     = account + "tableServices/tables/"
	file      = account + "fileServices/fileshares/files/"
	vault     = "Microsoft.KeyVault/vaults/"
	media     = "Microsoft.Media/mediaservices/"
	identity  = "Microsoft.ManagedIdentity/userAssignedIdentities/"
)

func allow(patterns ...string) Permission { return Permission{Actions: patterns} }

func builtin(id, name, description string, p Permission) Definition {
	return Definition{ID: id, Name: name, Description: description, BuiltIn: true, Permissions: []Permission{p.filled()}, Scopes: []string{"/"}}
}

// vaultRolesOnly is the condition that an action on role assignments concerns the roles for a vault's data.
func vaultRolesOnly(action, source string) string {
	return "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/" + action + "'})) OR (" + source +
		"[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals{" +
		"00482a5a-887f-4fb3-b363-3b7fe8e74483, a4417e6f-fecd-4de8-b567-7b0420556985, 14b46e9e-c2b7-41b4-b07b-48a6ebf60603, " +
		"e147488a-f6f5-4113-8e2d-b22465e65bf6, 12338af0-0e69-4776-bea7-57ae8d297424, 21090545-7ca7-4776-b22c-e363652d74d2, " +
		"b86a8fe4-44ce-4948-aee5-eccb2c155cd7, 4633458b-17de-408a-b874-0445c86b69e6}))"
}

func concat(lists ...[]string) []string { return slices.Concat(lists...) }

// prefixed puts a prefix before each name.
func prefixed(prefix string, names ...string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// builtins are the roles of https://learn.microsoft.com/azure/role-based-access-control/built-in-roles that concern
// the resource types served here.
var builtins = []Definition{
	builtin("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner",
		"Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.", allow("*")),
	builtin("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor",
		"Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC.", Permission{
			Actions: []string{"*"},
			NotActions: []string{
				"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
				"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
				"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
				"Microsoft.Resources/deploymentStacks/manageDenySetting/action",
				"Microsoft.Subscription/cancel/action", "Microsoft.Subscription/enable/action",
			},
		}),
	builtin("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader",
		"View all resources, but does not allow you to make any changes.", allow("*/read")),
	builtin("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "User Access Administrator",
		"Lets you manage user access to Azure resources.", allow("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*")),
	builtin("f58310d9-a9f6-439a-9e8d-f62e7b41a168", "Role Based Access Control Administrator",
		"Manage access to Azure resources by assigning roles using Azure RBAC.",
		allow("Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "*/read", "Microsoft.Support/*")),

	builtin("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor",
		"Create, Read, Update, and Delete User Assigned Identity.", Permission{Actions: concat(prefixed(identity, "read", "write", "delete",
			"federatedIdentityCredentials/read", "federatedIdentityCredentials/write", "federatedIdentityCredentials/delete", "revokeTokens/action"), common)}),
	builtin("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator",
		"Read and Assign User Assigned Identity.", Permission{Actions: concat(prefixed(identity, "*/read", "*/assign/action"), common)}),

	builtin("17d1049b-9a84-46fb-8f53-869881c3d3ab", "Storage Account Contributor",
		"Lets you manage storage accounts, including accessing storage account keys which provide full access to storage account data.",
		Permission{Actions: concat([]string{
			account + "*", "Microsoft.Insights/diagnosticSettings/*",
			"Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action", "Microsoft.ResourceHealth/availabilityStatuses/read",
		}, common)}),
	builtin("81a9662b-bebf-436f-a333-f67b29880f12", "Storage Account Key Operator Service Role",
		"Storage Account Key Operators are allowed to list and regenerate keys on Storage Accounts.",
		Permission{Actions: prefixed(account, "listkeys/action", "regeneratekey/action")}),
	builtin("c12c1c16-33a1-487b-954d-41c89c60f349", "Reader and Data Access",
		"Lets you view everything but will not let you delete or create a storage account or contained resource. It will also allow read/write access to all data contained in a storage account via access to storage account keys.",
		Permission{Actions: prefixed(account, "listKeys/action", "ListAccountSas/action", "read")}),

	builtin("b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner",
		"Allows for full access to Azure Storage blob containers and data, including assigning POSIX access control.",
		Permission{Actions: []string{container + "*", blobKey}, DataActions: []string{container + "blobs/*"}}),
	builtin("ba92f5b4-2d11-453d-a403-e96b0029c9fe", "Storage Blob Data Contributor",
		"Allows for read, write and delete access to Azure Storage blob containers and data.",
		Permission{
			Actions:     append(prefixed(container, "delete", "read", "write"), blobKey),
			DataActions: prefixed(container+"blobs/", "delete", "read", "write", "move/action", "add/action"),
		}),
	builtin("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader",
		"Allows for read access to Azure Storage blob containers and data.",
		Permission{Actions: []string{container + "read", blobKey}, DataActions: []string{container + "blobs/read"}}),
	builtin("db58b8e5-c6ad-4a2a-8342-4190687cbf4a", "Storage Blob Delegator",
		"Allows for generation of a user delegation key which can be used to sign SAS tokens.", allow(blobKey)),

	builtin("974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor",
		"Allows for read, write, and delete access to Azure Storage queues and queue messages.",
		Permission{Actions: prefixed(queue, "delete", "read", "write"), DataActions: prefixed(queue+"messages/", "delete", "read", "write", "process/action")}),
	builtin("19e7f393-937e-4f77-808e-94535e297925", "Storage Queue Data Reader",
		"Allows for read access to Azure Storage queues and queue messages.",
		Permission{Actions: []string{queue + "read"}, DataActions: []string{queue + "messages/read"}}),
	builtin("8a0f0c08-91a1-4084-bc3d-661d67233fed", "Storage Queue Data Message Processor",
		"Allows for peek, receive, and delete access to Azure Storage queue messages.",
		Permission{DataActions: prefixed(queue+"messages/", "read", "process/action")}),
	builtin("c6a89b2d-59bc-44d0-9896-0f6e12d7b80a", "Storage Queue Data Message Sender",
		"Allows for sending of Azure Storage queue messages.", Permission{DataActions: []string{queue + "messages/add/action"}}),
	builtin("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor",
		"Allows for read, write and delete access to Azure Storage tables and entities.",
		Permission{Actions: prefixed(table, "read", "write", "delete"), DataActions: prefixed(table+"entities/", "read", "write", "delete", "add/action", "update/action")}),
	builtin("76199698-9eea-4c19-bc75-cec21354c6b6", "Storage Table Data Reader",
		"Allows for read access to Azure Storage tables and entities.",
		Permission{Actions: []string{table + "read"}, DataActions: []string{table + "entities/read"}}),
	builtin("965033a5-c8eb-4f35-b82f-fef460a3606d", "Storage Table Delegator",
		"Allows for generation of a user delegation key which can be used to sign SAS tokens for tables.",
		allow(account+"tableServices/generateUserDelegationKey/action")),
	builtin("69566ab7-960f-475b-8e7c-b3118f30c6bd", "Storage File Data Privileged Contributor",
		"Allows for read, write, delete, and modify ACLs on files/directories in Azure file shares by overriding existing ACLs/NTFS permissions.",
		Permission{DataActions: prefixed(file, "read", "write", "delete", "modifypermissions/action", "readFileBackupSemantics/action", "writeFileBackupSemantics/action")}),
	builtin("765a04e0-5de8-4bb2-9bf6-b2a30bc03e91", "Storage File Delegator",
		"Allows for generation of a user delegation key which can be used to sign SAS tokens for files.",
		allow(account+"fileServices/generateUserDelegationKey/action")),

	builtin("00482a5a-887f-4fb3-b363-3b7fe8e74483", "Key Vault Administrator",
		"Perform all data plane operations on a key vault and all objects in it, including certificates, keys, and secrets.",
		Permission{Actions: vaultCommon, DataActions: []string{vault + "*"}}),
	builtin("21090545-7ca7-4776-b22c-e363652d74d2", "Key Vault Reader",
		"Read metadata of key vaults and its certificates, keys, and secrets.",
		Permission{Actions: vaultCommon, DataActions: prefixed(vault, "*/read", "secrets/readMetadata/action")}),
	builtin("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User",
		"Read secret contents.", Permission{DataActions: prefixed(vault, "secrets/getSecret/action", "secrets/readMetadata/action")}),
	builtin("b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "Key Vault Secrets Officer",
		"Perform any action on the secrets of a key vault, except manage permissions.",
		Permission{Actions: vaultCommon, DataActions: []string{vault + "secrets/*"}}),
	builtin("12338af0-0e69-4776-bea7-57ae8d297424", "Key Vault Crypto User",
		"Perform cryptographic operations using keys.", Permission{DataActions: prefixed(vault+"keys/", "read", "update/action", "backup/action",
			"encrypt/action", "decrypt/action", "wrap/action", "unwrap/action", "sign/action", "verify/action")}),
	builtin("14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "Key Vault Crypto Officer",
		"Perform any action on the keys of a key vault, except manage permissions.",
		Permission{Actions: vaultCommon, DataActions: prefixed(vault, "keys/*", "keyrotationpolicies/*")}),
	builtin("e147488a-f6f5-4113-8e2d-b22465e65bf6", "Key Vault Crypto Service Encryption User",
		"Read metadata of keys and perform wrap/unwrap operations.",
		Permission{
			Actions:     prefixed("Microsoft.EventGrid/eventSubscriptions/", "read", "write", "delete"),
			DataActions: prefixed(vault+"keys/", "read", "wrap/action", "unwrap/action"),
		}),
	builtin("08bbd89e-9f13-488c-ac41-acfcb10c90ab", "Key Vault Crypto Service Release User",
		"Release keys.", Permission{DataActions: []string{vault + "keys/release/action"}}),
	builtin("db79e9a7-68ee-4b58-9aeb-b90e7c24fcba", "Key Vault Certificate User",
		"Read certificate contents.",
		Permission{DataActions: prefixed(vault, "certificates/read", "secrets/getSecret/action", "secrets/readMetadata/action", "keys/read")}),
	builtin("a4417e6f-fecd-4de8-b567-7b0420556985", "Key Vault Certificates Officer",
		"Perform any action on the certificates of a key vault, except manage permissions.",
		Permission{Actions: vaultCommon, DataActions: prefixed(vault, "certificatecas/*", "certificates/*", "certificatecontacts/write")}),
	builtin("8b54135c-b56d-4d72-a534-26097cfdc8d8", "Key Vault Data Access Administrator",
		"Manage access to Azure Key Vault by adding or removing role assignments for the Key Vault Administrator, Key Vault Certificates Officer, Key Vault Crypto Officer, Key Vault Crypto Service Encryption User, Key Vault Crypto User, Key Vault Reader, Key Vault Secrets Officer, or Key Vault Secrets User roles. Includes an ABAC condition to constrain role assignments.",
		Permission{
			Actions: []string{
				"Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "Microsoft.Authorization/*/read",
				"Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/subscriptions/read",
				"Microsoft.Management/managementGroups/read", "Microsoft.Support/*", "Microsoft.KeyVault/vaults/*/read",
			},
			Condition:        vaultRolesOnly("write", "@Request") + " AND " + vaultRolesOnly("delete", "@Resource"),
			ConditionVersion: ConditionVersion,
		}),
	builtin("f25e0fa2-a7c8-4377-a976-54943a77a395", "Key Vault Contributor",
		"Lets you manage key vaults, but not access to them.",
		Permission{
			Actions:    append(slices.Clone(common), "Microsoft.KeyVault/*"),
			NotActions: prefixed("Microsoft.KeyVault/", "locations/deletedVaults/purge/action", "hsmPools/*", "managedHsms/*"),
		}),

	builtin("054126f8-9a2b-4f1c-a9ad-eca461f08466", "Media Services Account Administrator",
		"Create, read, modify, and delete Media Services accounts; read-only access to other Media Services resources.",
		Permission{Actions: concat(prefixed(media, "*/read", "assets/listStreamingLocators/action", "streamingLocators/listPaths/action",
			"write", "delete", "privateEndpointConnectionsApproval/action", "privateEndpointConnections/*"), common)}),
	builtin("532bc159-b25e-42c0-969e-a1d439f60d77", "Media Services Live Events Administrator",
		"Create, read, modify, and delete Live Events, Assets, Asset Filters, and Streaming Locators; read-only access to other Media Services resources.",
		Permission{
			Actions:    concat(prefixed(media, "*/read", "assets/*", "assets/assetfilters/*", "streamingLocators/*", "liveEvents/*"), common),
			NotActions: prefixed(media, "assets/getEncryptionKey/action", "streamingLocators/listContentKeys/action"),
		}),
	builtin("e4395492-1534-4db2-bedf-88c14621589c", "Media Services Media Operator",
		"Create, read, modify, and delete Assets, Asset Filters, Streaming Locators, and Jobs; read-only access to other Media Services resources.",
		Permission{
			Actions:    concat(prefixed(media, "*/read", "assets/*", "assets/assetfilters/*", "streamingLocators/*", "transforms/jobs/*"), common),
			NotActions: prefixed(media, "assets/getEncryptionKey/action", "streamingLocators/listContentKeys/action"),
		}),
	builtin("c4bba371-dacd-4a26-b320-7250bca963ae", "Media Services Policy Administrator",
		"Create, read, modify, and delete Account Filters, Streaming Policies, Content Key Policies, and Transforms; read-only access to other Media Services resources.",
		Permission{
			Actions: concat(prefixed(media, "*/read", "assets/listStreamingLocators/action", "streamingLocators/listPaths/action",
				"accountFilters/*", "streamingPolicies/*", "contentKeyPolicies/*", "transforms/*"), common),
			NotActions: prefixed(media, "contentKeyPolicies/getPolicyPropertiesWithSecrets/action"),
		}),
	builtin("99dba123-b5fe-44d5-874c-ced7199a5804", "Media Services Streaming Endpoints Administrator",
		"Create, read, modify, and delete Streaming Endpoints; read-only access to other Media Services resources.",
		Permission{Actions: concat(prefixed(media, "*/read", "assets/listStreamingLocators/action", "streamingLocators/listPaths/action",
			"streamingEndpoints/*"), common)}),
}
