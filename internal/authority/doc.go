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
//   - A managed identity's token goes to a workload that proved itself: with a secret (a header, or an id in the path that
//     cannot be guessed), with Azure Arc's file that only some may read, or by the listener that is the workload's alone. The
//     caller's address proves nothing. No workload acts as a resource that runs within this server, which firewalls trust.
//   - The managed-identity endpoints answer to addresses and to the server's own names, so no page that has rebound its
//     name gets through; nor does what came through a proxy.
//   - A client's own assertion (RS256 or PS256, by the key of a certificate that the directory keeps) is good once, on all
//     nodes and across restarts. That of another issuer is good while it lives, if issuer, subject and audience are exactly
//     those of a federated credential. Only an issuer that one names is asked for its keys: over https, without redirects,
//     within 10 s and 1 MiB, and not at an address off the public internet unless Options.PrivateIssuers is set.
//   - Every token that is issued, and every refusal of credentials, is in the audit log before the answer is sent. A
//     managed identity's token that is handed out again is counted there, and so are refusals that are alike in a minute's
//     operation, address and application: callers without credentials cannot make the log, or a table in memory, grow.
//   - Answers are never redirects, and those with tokens are not stored.
//
// Crash: keys are rows. Before the commit nobody has seen a key; after it every node loads it. Tokens are not stored: one
// whose answer was lost is issued anew. A client's assertion is used up with the row that says so; when the answer was lost
// the client signs another. What is remembered in memory (good signatures, tokens to hand out again, other issuers' keys,
// Azure Arc's keys) is rebuilt, and key files that a crash has left are removed at the next start.
//
// Specification: https://learn.microsoft.com/entra/identity-platform (client credentials, access token claims, error
// codes), RFC 6749, RFC 7515, OpenID Connect Discovery 1.0, and for managed identities
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token and
// https://learn.microsoft.com/azure/app-service/overview-managed-identity,
// https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication and
// https://learn.microsoft.com/azure/service-fabric/how-to-managed-identity-service-fabric-app-code.
//
// # Divergences
//
//   - All access tokens are version 1.0, whichever endpoint issued them; iss is https://sts.windows.net/{tenant}/.
//   - There is one tenant, so "common", "organizations" and "adfs" mean it.
//   - Grants other than client_credentials are refused with AADSTS70003. Discovery names the authorize and devicecode
//     endpoints, because MSAL wants them, but they are not there.
//   - A client's own assertion may live for an hour at most. For another resource the same client address may use it again:
//     msal-node signs one for ten minutes and asks with it for everything. Entra does not look at jti.
//   - A certificate's chain is not looked at, so sign-in by subject name and issuer (x5c) is not possible.
//   - Tokens of other issuers are RS256 alone, as in Entra, and name one audience.
//   - IMDS serves identity only; its version 2 (certificates bound to the machine) is 404.
//   - Machine Learning's endpoint is apart from App Service's of 2017-09-01: the same request, but its clients read
//     expires_on as a number and not as a date.
//   - IMDS's limits (20 requests a second, 5 at once) hold for each workload and every protocol. A request waits for its turn
//     for up to a second before it gets 429.
//   - xms_cc is accepted and not echoed: tokens are checked against the living directory, so no continuous access
//     evaluation is needed.
package authority
