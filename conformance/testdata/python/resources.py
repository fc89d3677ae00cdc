"""Azure's management SDKs for Python, as a program that sets up its own resources uses them. The argument is a
subscription; prints what it found as JSON."""

import json
import sys
import uuid

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource import ResourceManagementClient, SubscriptionClient
from azure.mgmt.storage import StorageManagementClient

subscription = sys.argv[1]
credential = DefaultAzureCredential()
found = {}
group, where = "python", {"location": "westeurope"}


def refused(call):
    """The status and code with which call is refused."""
    try:
        call()
    except HttpResponseError as e:
        return [e.status_code, e.error.code if e.error else None]
    return "not refused"


# azure-mgmt-resource
resources = ResourceManagementClient(credential, subscription)
found["subscriptions"] = [s.subscription_id == subscription for s in SubscriptionClient(credential).subscriptions.list()]
resources.resource_groups.create_or_update(group, where)
found["group"] = resources.resource_groups.update(group, {"tags": {"a": "b"}}).tags
found["exists"] = [resources.resource_groups.check_existence(g) for g in (group, "none")]
found["provider"] = resources.providers.get("Microsoft.Storage").registration_state

# azure-mgmt-msi
identities = ManagedServiceIdentityClient(credential, subscription)
identity = identities.user_assigned_identities.create_or_update(group, "worker", where)
found["identities"] = [i.name for i in identities.user_assigned_identities.list_by_resource_group(group)]

# azure-mgmt-storage
storage = StorageManagementClient(credential, subscription)
found["name"] = storage.storage_accounts.check_name_availability({"name": "pythonarm"}).name_available
account = storage.storage_accounts.begin_create(group, "pythonarm", {**where, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}).result()
found["taken"] = storage.storage_accounts.check_name_availability({"name": "pythonarm"}).reason
found["keys"] = [k.key_name for k in storage.storage_accounts.list_keys(group, "pythonarm").keys]
found["updated"] = storage.storage_accounts.update(group, "pythonarm", {"tags": {"c": "d"}, "minimum_tls_version": "TLS1_2"}).tags
storage.blob_containers.create(group, "pythonarm", "things", {"metadata": {"e": "f"}})
found["containers"] = [c.name for c in storage.blob_containers.list(group, "pythonarm")]

# azure-mgmt-authorization
authorization = AuthorizationManagementClient(credential, subscription)
role = next(iter(authorization.role_definitions.list(account.id, filter="roleName eq 'Storage Blob Data Reader'")))
grant = {"role_definition_id": role.id, "principal_id": identity.principal_id, "principal_type": "ServicePrincipal"}
assignment = authorization.role_assignments.create(account.id, str(uuid.uuid4()), grant)
found["twice"] = refused(lambda: authorization.role_assignments.create(account.id, str(uuid.uuid4()), grant))
found["assignments"] = [
    a.id == assignment.id for a in authorization.role_assignments.list_for_scope(account.id, filter=f"principalId eq '{identity.principal_id}'")
]
custom = authorization.role_definitions.create_or_update(
    account.id,
    str(uuid.uuid4()),
    {"role_name": "Python's", "role_type": "CustomRole", "permissions": [{"actions": ["Microsoft.Storage/*/read"]}], "assignable_scopes": [f"/subscriptions/{subscription}"]},
)
found["role"] = custom.role_name
found["permissions"] = len(list(authorization.permissions.list_for_resource_group(group))) > 0
authorization.role_definitions.delete(account.id, custom.name)
authorization.role_assignments.delete_by_id(assignment.id)

# azure-mgmt-keyvault
vaults = KeyVaultManagementClient(credential, subscription)
properties = {"tenant_id": identity.tenant_id, "sku": {"family": "A", "name": "standard"}, "access_policies": []}
vault = vaults.vaults.begin_create_or_update(group, "pythonarm", {**where, "properties": properties}).result()
policy = {"tenant_id": identity.tenant_id, "object_id": identity.principal_id, "permissions": {"keys": ["get", "wrapKey"]}}
found["policies"] = len(vaults.vaults.update_access_policy(group, "pythonarm", "add", {"properties": {"access_policies": [policy]}}).properties.access_policies)
found["vault"] = vaults.vaults.update(group, "pythonarm", {"properties": {"enable_rbac_authorization": True}}).properties.enable_rbac_authorization
vaults.vaults.delete(group, "pythonarm")
found["deleted"] = [v.name for v in vaults.vaults.list_deleted()]
vaults.vaults.begin_purge_deleted("pythonarm", "westeurope").result()
resources.resource_groups.begin_delete(group).result()
found["left"] = [g.name for g in resources.resource_groups.list() if g.name == group]
print(json.dumps(found))
