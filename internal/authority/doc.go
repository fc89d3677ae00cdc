// Package authority issues and verifies the tenant's tokens: signing keys and their rotation, discovery and token
// endpoints of the login host, the managed-identity endpoints on loopback, and [Authority.Verify] for every service.
//
// # Invariants
//
//   - A token is good only if RS256 and one of the published keys made its signature, and only while its principal
//     exists and is enabled: that is asked of the directory on every call, so a deleted identity's token is refused at
//     once here and within 5 s on other nodes.
//   - A key is published at least 24 h before it signs, and after it has signed for the last time until the last of its
//     tokens has expired. Its private part is sealed while it may sign, and dropped when it is done. A server that was
//     down when the next key was due signs on with the old one until the new one has been published for long enough.
//   - A key's number is its primary key: of several nodes that make the next key, one does and the others take that one.
//   - A managed identity's token goes to a workload that proved itself with a secret (a header, or an id in the path that
//     cannot be guessed), or to the listener that is the workload's alone. The caller's address proves nothing.
//   - Every token that is issued, and every refusal of credentials, is in the audit log before the answer is sent. A
//     managed identity's token that is handed out again is counted there.
//   - Answers are never redirects, and those with tokens are not stored.
//
// Crash: keys are rows. Before the commit nobody has seen a key; after it every node loads it. Tokens are not stored: one
// whose answer was lost is issued anew. What is remembered in memory (good signatures, tokens to hand out again) is
// rebuilt.
//
// Specification: https://learn.microsoft.com/entra/identity-platform (client credentials, access token claims, error
// codes), RFC 6749, RFC 7515, OpenID Connect Discovery 1.0, and for managed identities
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token and
// https://learn.microsoft.com/azure/app-service/overview-managed-identity.
//
// # Divergences
//
//   - All access tokens are version 1.0, whichever endpoint issued them; iss is https://sts.windows.net/{tenant}/.
//   - There is one tenant, so "common", "organizations" and "adfs" mean it.
//   - Grants other than client_credentials with a client secret are refused with AADSTS70003 or AADSTS70021. Discovery names
//     the authorize and devicecode endpoints, because MSAL wants them, but they are not there.
//   - IMDS serves identity only; its version 2 (certificates bound to the machine) is 404. Azure Arc and Service Fabric are
//     not served. There is no rate limit.
//   - xms_cc is accepted and not echoed: tokens are checked against the living directory, so no continuous access
//     evaluation is needed.
package authority
