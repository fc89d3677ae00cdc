// Azure's management SDKs for JavaScript, as a program that sets up its own resources uses them. The argument is a
// subscription; prints what it found as JSON.
import { AuthorizationManagementClient } from "@azure/arm-authorization";
import { KeyVaultManagementClient } from "@azure/arm-keyvault";
import { ManagedServiceIdentityClient } from "@azure/arm-msi";
import { ResourceManagementClient } from "@azure/arm-resources";
import { StorageManagementClient } from "@azure/arm-storage";
import { DefaultAzureCredential } from "@azure/identity";
import { randomUUID } from "node:crypto";

const [subscription] = process.argv.slice(2);
const credential = new DefaultAzureCredential();
const found = {};
const group = "node", location = "westeurope";

async function refused(call) {
  try {
    await call();
  } catch (e) {
    return [e.statusCode, e.code];
  }
  return "not refused";
}

async function all(iterator) {
  const out = [];
  for await (const item of iterator) out.push(item);
  return out;
}

// @azure/arm-resources
const resources = new ResourceManagementClient(credential, subscription);
await resources.resourceGroups.createOrUpdate(group, { location, tags: { a: "b" } });
found.groups = (await all(resources.resourceGroups.list())).filter((g) => g.name === group).length;
found.exists = [(await resources.resourceGroups.checkExistence(group)).body, (await resources.resourceGroups.checkExistence("none")).body];

// @azure/arm-msi
const identities = new ManagedServiceIdentityClient(credential, subscription);
const identity = await identities.userAssignedIdentities.createOrUpdate(group, "worker", { location });
found.federated = (await identities.federatedIdentityCredentials.createOrUpdate(group, "worker", "hub", {
  issuer: "https://i.example", subject: "s", audiences: ["a"],
})).subject;

// @azure/arm-storage
const storage = new StorageManagementClient(credential, subscription);
const account = await storage.storageAccounts.beginCreateAndWait(group, "nodearm", { location, kind: "StorageV2", sku: { name: "Standard_LRS" } });
found.endpoint = account.primaryEndpoints.blob;
found.keys = (await storage.storageAccounts.listKeys(group, "nodearm")).keys.length;
await storage.blobContainers.create(group, "nodearm", "things", { metadata: { e: "f" } });
found.containers = (await all(storage.blobContainers.list(group, "nodearm"))).map((c) => c.name);

// @azure/arm-authorization
const authorization = new AuthorizationManagementClient(credential, subscription);
const [role] = await all(authorization.roleDefinitions.list(account.id, { filter: "roleName eq 'Storage Blob Data Reader'" }));
const grant = { roleDefinitionId: role.id, principalId: identity.principalId, principalType: "ServicePrincipal" };
const name = randomUUID();
await authorization.roleAssignments.create(account.id, name, grant);
found.twice = await refused(() => authorization.roleAssignments.create(account.id, randomUUID(), grant));
found.assignments = (await all(authorization.roleAssignments.listForScope(account.id, { filter: `principalId eq '${identity.principalId}'` }))).length;
await authorization.roleAssignments.delete(account.id, name);

// @azure/arm-keyvault
const vaults = new KeyVaultManagementClient(credential, subscription);
const vault = await vaults.vaults.beginCreateOrUpdateAndWait(group, "nodearm", {
  location, properties: { tenantId: identity.tenantId, sku: { family: "A", name: "standard" }, enableRbacAuthorization: true },
});
found.vault = vault.properties.vaultUri;
await vaults.vaults.delete(group, "nodearm");
found.deleted = (await all(vaults.vaults.listDeleted())).map((v) => v.name);
await vaults.vaults.beginPurgeDeletedAndWait("nodearm", location);
await resources.resourceGroups.beginDeleteAndWait(group);
found.left = (await all(resources.resourceGroups.list())).filter((g) => g.name === group).length;
console.log(JSON.stringify(found));
