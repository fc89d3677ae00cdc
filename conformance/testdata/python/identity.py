"""Signs in with one credential of azure-identity and prints whose token it got, or the error. The arguments are the
credential and, for credentials that take one, a client id."""

import base64
import json
import os
import sys

from azure.identity import (
    CertificateCredential, ClientAssertionCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential,
)

kind, client_id = (sys.argv[1:] + [None])[:2]
tenant, app = os.environ.get("AZURE_TENANT_ID"), os.environ.get("AZURE_CLIENT_ID")


def assertion():
    with open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]) as f:
        return f.read()


kinds = {
    "default": DefaultAzureCredential,
    "environment": EnvironmentCredential,
    "managed": lambda: ManagedIdentityCredential(client_id=client_id) if client_id else ManagedIdentityCredential(),
    "workload": ManagedIdentityCredential,  # in this version the only one that reads AZURE_FEDERATED_TOKEN_FILE
    "secret": lambda: ClientSecretCredential(tenant, app, os.environ["AZURE_CLIENT_SECRET"]),
    "certificate": lambda: CertificateCredential(tenant, app, os.environ["TEST_CERTIFICATE"]),
    "assertion": lambda: ClientAssertionCredential(tenant, app, assertion),
}

try:
    token = kinds[kind]().get_token("https://vault.azure.net/.default").token
    body = token.split(".")[1]
    print(json.dumps({"claims": json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))}))
except Exception as e:
    print(json.dumps({"error": "%s: %s" % (type(e).__name__, e)}))
