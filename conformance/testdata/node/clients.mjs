// Azure's SDKs for JavaScript, as an application uses them: DefaultAzureCredential, and nothing set but what the
// environment holds. The arguments are a resource group, a storage account, a vault and a media account; prints what
// it found as JSON.
import { AzureMediaServices } from "@azure/arm-mediaservices";
import { DefaultAzureCredential } from "@azure/identity";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { BlobServiceClient } from "@azure/storage-blob";
import { randomBytes } from "node:crypto";

const [group, storage, vault, media] = process.argv.slice(2);
const credential = new DefaultAzureCredential();
const found = {};

// The status and code with which call is refused.
async function refused(call) {
  try {
    await call();
  } catch (e) {
    return [e.statusCode, e.code ?? e.details?.errorCode ?? e.details?.error?.code];
  }
  return "not refused";
}

async function names(iterator) {
  const out = [];
  for await (const item of iterator) out.push(item.name);
  return out;
}

// @azure/storage-blob
const service = new BlobServiceClient(`https://${storage}.blob.core.windows.net`, credential);
const container = service.getContainerClient("node");
await container.create();
const large = randomBytes(9 << 20);
await container.getBlockBlobClient("small ü.txt").upload("keyreel", 7, { metadata: { a: "b" } });
const blob = container.getBlockBlobClient("large");
await blob.uploadData(large, { blockSize: 1 << 20, concurrency: 3, maxSingleShotSize: 1 << 20 });
found.same = (await blob.downloadToBuffer()).equals(large);
found.blocks = (await blob.getBlockList("committed")).committedBlocks.length;
found.range = (await container.getBlobClient("small ü.txt").downloadToBuffer(3, 2)).toString();
found.metadata = (await container.getBlobClient("small ü.txt").getProperties()).metadata;
found.blobs = await names(container.listBlobsFlat());
found.exists = await refused(() => blob.upload("x", 1, { conditions: { ifNoneMatch: "*" } }));
found["no blob"] = await refused(() => container.getBlobClient("none").getProperties());
found.etag = await refused(() => blob.download(0, 1, { conditions: { ifMatch: '"0x1"' } }));
await blob.delete();
await container.delete();
found.containers = await names(service.listContainers({ prefix: "node" }));

// @azure/keyvault-keys
const keys = new KeyClient(`https://${vault}.vault.azure.net`, credential);
const key = await keys.createRsaKey("node", { keySize: 2048 });
found.key = [key.keyType, key.name, key.id.startsWith(`https://${vault}.vault.azure.net/keys/node/`)];
const crypto = new CryptographyClient(key.id, credential);
const wrapped = await crypto.wrapKey("RSA-OAEP-256", Buffer.from("k".repeat(32)));
found.unwrapped = Buffer.from((await crypto.unwrapKey("RSA-OAEP-256", wrapped.result)).result).toString();
const signed = await crypto.sign("PS256", Buffer.from("d".repeat(32)));
found.verified = (await crypto.verify("PS256", Buffer.from("d".repeat(32)), signed.result)).result;
found.keys = await names(keys.listPropertiesOfKeys());
found.versions = (await names(keys.listPropertiesOfKeyVersions("node"))).length;
await keys.updateKeyProperties("node", key.properties.version, { enabled: false });
found.disabled = await refused(() => new CryptographyClient(key.id, credential).unwrapKey("RSA-OAEP-256", wrapped.result));
await (await keys.beginDeleteKey("node", { intervalInMs: 100 })).pollUntilDone();
found["no key"] = await refused(() => keys.getKey("node"));
found.deleted = await names(keys.listDeletedKeys());
await (await keys.beginRecoverDeletedKey("node", { intervalInMs: 100 })).pollUntilDone();
found.recovered = (await keys.getKey("node")).name;

// @azure/arm-mediaservices
const client = new AzureMediaServices(credential, process.env.AZURE_SUBSCRIPTION_ID);
const account = await client.mediaservices.get(group, media);
found.account = [account.name, account.storageAuthentication, account.encryption.type];
await client.assets.createOrUpdate(group, media, "node", { description: "films" });
found.assets = await names(client.assets.list(group, media, { filter: "name eq 'node'" }));
await client.streamingLocators.create(group, media, "node", { assetName: "node", streamingPolicyName: "Predefined_ClearStreamingOnly" });
found.locators = (await client.assets.listStreamingLocators(group, media, "node")).streamingLocators.map((l) => l.name);
await client.streamingLocators.delete(group, media, "node");
await client.assets.delete(group, media, "node");
found["no asset"] = await refused(() => client.assets.get(group, media, "node"));
await client.mediaservices.beginUpdateAndWait(group, media, { tags: { a: "b" } }, { updateIntervalInMs: 100 });
found.tags = (await client.mediaservices.get(group, media)).tags;

console.log(JSON.stringify(found));
