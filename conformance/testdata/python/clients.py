"""Azure's SDKs for Python, as an application uses them: EnvironmentCredential or a managed identity, and nothing set
but what the environment holds. The arguments are a storage account, a vault and a media account; prints what it found
as JSON."""

import json
import os
import sys

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm, SignatureAlgorithm
from azure.mgmt.media import AzureMediaServices
from azure.mgmt.media.models import Asset, StreamingLocator
from azure.storage.blob import BlobBlock, BlobServiceClient

group, storage, vault, media = sys.argv[1:]
credential = DefaultAzureCredential()
found = {}


def refused(call):
    """The status and code with which call is refused."""
    try:
        call()
    except HttpResponseError as e:
        code = getattr(e, "error_code", None) or (e.error.code if e.error else None)
        return [e.status_code, str(getattr(code, "value", code))]
    return "not refused"


# azure-storage-blob
service = BlobServiceClient(f"https://{storage}.blob.core.windows.net", credential=credential)
container = service.create_container("python")
small, large = b"keyreel", os.urandom(9 << 20)
container.upload_blob("small ü.txt", small, metadata={"a": "b"})
blob = container.get_blob_client("large")
blob.upload_blob(large, max_concurrency=2)  # in blocks: above 4 MiB with this setting
blob.stage_block("MQ==", small)
blob.stage_block("Mg==", small)
blob.commit_block_list([BlobBlock("Mg=="), BlobBlock("MQ==")])
found["blocks"] = blob.download_blob().readall().decode()
container.upload_blob("large", large, overwrite=True, max_concurrency=2)
found["same"] = blob.download_blob(max_concurrency=2).readall() == large
found["range"] = container.download_blob("small ü.txt", offset=3, length=2).readall().decode()
found["metadata"] = container.get_blob_client("small ü.txt").get_blob_properties().metadata
found["blobs"] = [b.name for b in container.list_blobs()]
found["exists"] = refused(lambda: container.upload_blob("large", small))
found["no blob"] = refused(lambda: container.download_blob("none"))
etag = blob.get_blob_properties().etag
found["etag"] = refused(lambda: blob.download_blob(etag="\"0x1\"", match_condition=MatchConditions.IfNotModified))
blob.delete_blob()
service.delete_container("python")
found["containers"] = [c.name for c in service.list_containers(name_starts_with="python")]

# azure-keyvault-keys
keys = KeyClient(f"https://{vault}.vault.azure.net", credential)
key = keys.create_rsa_key("python", size=2048)
found["key"] = [str(key.key_type), key.name, key.id.startswith(f"https://{vault}.vault.azure.net/keys/python/")]
crypto = CryptographyClient(key.id, credential)
wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"k" * 32)
found["unwrapped"] = crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key.decode()
signed = crypto.sign(SignatureAlgorithm.ps256, b"d" * 32)
found["verified"] = crypto.verify(SignatureAlgorithm.ps256, b"d" * 32, signed.signature).is_valid
found["keys"] = [k.name for k in keys.list_properties_of_keys()]
found["versions"] = len(list(keys.list_properties_of_key_versions("python")))
keys.update_key_properties("python", enabled=False)
found["disabled"] = refused(lambda: CryptographyClient(key.id, credential).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key))
keys.begin_delete_key("python").wait()
found["no key"] = refused(lambda: keys.get_key("python"))
found["deleted"] = [k.name for k in keys.list_deleted_keys()]
keys.begin_recover_deleted_key("python").wait()
found["recovered"] = keys.get_key("python").name

# azure-mgmt-media
client = AzureMediaServices(credential, os.environ["AZURE_SUBSCRIPTION_ID"])
account = client.mediaservices.get(group, media)
found["account"] = [account.name, account.storage_authentication, account.encryption.type]
client.assets.create_or_update(group, media, "python", Asset(description="films"))
found["assets"] = [a.name for a in client.assets.list(group, media, filter="name eq 'python'")]
client.streaming_locators.create(group, media, "python", StreamingLocator(asset_name="python", streaming_policy_name="Predefined_ClearStreamingOnly"))
found["locators"] = [loc.name for loc in client.assets.list_streaming_locators(group, media, "python").streaming_locators]
client.streaming_locators.delete(group, media, "python")
client.assets.delete(group, media, "python")
found["no asset"] = refused(lambda: client.assets.get(group, media, "python"))

print(json.dumps(found))
