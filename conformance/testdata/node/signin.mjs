// Signs a user in with msal-node, as a program, as a device, and as an API on the user's behalf. Arguments: tenant, client id
// of a public client, client id of the API, whose secret is in SECRET. What the user has to do is asked for in lines that
// begin with LINK or CODE; the last line is what was found.
import { createServer } from "node:http";
import { ConfidentialClientApplication, CryptoProvider, PublicClientApplication } from "@azure/msal-node";

const [tenant, clientId, api] = process.argv.slice(2);
const authority = `https://login.microsoftonline.com/${tenant}`;
const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
const arm = ["https://management.azure.com/.default"];
const found = {};

// code sends the user to sign in and returns what comes back to a listener of its own.
async function code(client, request) {
  let back;
  const arrived = new Promise((done) => (back = done));
  const server = createServer((req, res) => {
    back(new URL(req.url, "http://localhost").searchParams);
    res.setHeader("Connection", "close");
    res.end("done");
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const redirectUri = `http://localhost:${server.address().port}`;
  console.log("LINK " + (await client.getAuthCodeUrl({ ...request, redirectUri, responseMode: "query" })));
  const params = await arrived;
  server.close();
  return { code: params.get("code"), redirectUri };
}

const client = new PublicClientApplication({ auth: { clientId, authority } });
const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
const request = { scopes: arm, codeChallenge: challenge, codeChallengeMethod: "S256", nonce: "n", state: "s" };
let got = await code(client, request);
const signedIn = await client.acquireTokenByCode({ ...got, scopes: arm, codeVerifier: verifier });
found.interactive = [signedIn.account.username, signedIn.account.localAccountId, claims(signedIn.accessToken).aud];
found.twice = await client.acquireTokenByCode({ ...got, scopes: arm, codeVerifier: verifier }).then(() => false, (e) => e.message.includes("AADSTS54005"));

// The second use has revoked the refresh token too, so the user signs in again; the session needs no password.
got = await code(client, request);
found["wrong verifier"] = await client.acquireTokenByCode({ ...got, scopes: arm, codeVerifier: "x".repeat(43) }).then(() => "", (e) => e.errorCode);
const again = await client.acquireTokenByCode({ ...got, scopes: arm, codeVerifier: verifier });
const silent = await client.acquireTokenSilent({ account: again.account, scopes: ["https://vault.azure.net/.default"], forceRefresh: true });
found.silent = claims(silent.accessToken).aud;

const device = new PublicClientApplication({ auth: { clientId, authority } });
const onDevice = await device.acquireTokenByDeviceCode({ scopes: arm, deviceCodeCallback: (answer) => console.log("CODE " + answer.userCode) });
found.device = onDevice.uniqueId;

const forAPI = await client.acquireTokenSilent({ account: again.account, scopes: ["api://orders/read"] });
const { aud, scp } = claims(forAPI.accessToken);
found.api = [aud, scp];
const server = new ConfidentialClientApplication({ auth: { clientId: api, authority, clientSecret: process.env.SECRET } });
const behalf = claims((await server.acquireTokenOnBehalfOf({ oboAssertion: forAPI.accessToken, scopes: arm })).accessToken);
found["on behalf of"] = [behalf.oid, behalf.appid, behalf.aud];
console.log(JSON.stringify(found));
process.exit(0);
