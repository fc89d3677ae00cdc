// Signs in with one credential of @azure/identity or @azure/msal-node and prints whose token it got, or the error. The
// arguments are the credential and, for credentials that take one, a client id.
import {
  ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential,
  WorkloadIdentityCredential,
} from "@azure/identity";
import { ConfidentialClientApplication, ManagedIdentityApplication } from "@azure/msal-node";
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";

const [kind, clientId] = process.argv.slice(2);
const resource = "https://vault.azure.net";
const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: app, AZURE_CLIENT_SECRET: secret, TEST_CERTIFICATE: pem, AZURE_FEDERATED_TOKEN_FILE: file } = process.env;
const authority = `https://login.microsoftonline.com/${tenant}`;

const sdk = (credential) => async () => (await credential().getToken(`${resource}/.default`)).token;
const confidential = (auth) => async () => {
  const client = new ConfidentialClientApplication({ auth: { clientId: app, authority, ...auth() } });
  return (await client.acquireTokenByClientCredential({ scopes: [`${resource}/.default`] })).accessToken;
};

const kinds = {
  default: sdk(() => new DefaultAzureCredential()),
  environment: sdk(() => new EnvironmentCredential()),
  managed: sdk(() => (clientId ? new ManagedIdentityCredential({ clientId }) : new ManagedIdentityCredential())),
  workload: sdk(() => new WorkloadIdentityCredential()),
  secret: sdk(() => new ClientSecretCredential(tenant, app, secret)),
  certificate: sdk(() => new ClientCertificateCredential(tenant, app, pem)),
  assertion: sdk(() => new ClientAssertionCredential(tenant, app, async () => readFileSync(file, "utf8"))),
  "msal managed": async () => {
    const client = new ManagedIdentityApplication(clientId ? { managedIdentityIdParams: { userAssignedClientId: clientId } } : {});
    return (await client.acquireToken({ resource })).accessToken;
  },
  "msal secret": confidential(() => ({ clientSecret: secret })),
  "msal certificate": confidential(() => {
    const text = readFileSync(pem, "utf8");
    const thumbprintSha256 = new X509Certificate(text).fingerprint256.replaceAll(":", "");
    return { clientCertificate: { thumbprintSha256, privateKey: createPrivateKey(text).export({ type: "pkcs8", format: "pem" }) } };
  }),
};

try {
  const token = await kinds[kind]();
  console.log(JSON.stringify({ claims: JSON.parse(Buffer.from(token.split(".")[1], "base64url")) }));
} catch (e) {
  console.log(JSON.stringify({ error: `${e.name}: ${e.message}` }));
}
