// Package authority signs users and applications in and issues and verifies the tenant's tokens: signing keys and their
// rotation, the login host with discovery, sign-in pages and token endpoints, the managed-identity endpoints on loopback,
// and [Authority.Verify] for every service.
//
// A user's sign-in becomes tokens on this way; each arrow is one transaction, and what stands in brackets is a row, of
// which the secret itself is never kept:
//
//	page: name and password -> [session] cookie -> [code] -> [grant] access token, ID token, [refresh token]
//	device: [device code], approved on the page           -> [grant] ...
//	name and password at the token endpoint               -> [grant] ...
//	on behalf of: a user's token for an application       -> [grant] under the same root ...
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
//     within 10 s and 1 MiB, and not at an address off the public internet unless Options.PrivateNetworks is set.
//   - An application acts as a user only where somebody has consented: the user, for all users who may change the directory,
//     or the resource (pre-authorized applications). Being signed in is not enough, for silent requests and on-behalf-of
//     neither. Microsoft's own clients, an application at itself, and what OpenID Connect tells of the user need no consent.
//     Consent is a permission grant of the directory and is asked of it on every use of a token: withdrawn, it takes access
//     tokens along at once here and within 5 s on other nodes, as does a client that is disabled or deleted.
//   - What a user consents to is what the page has shown: a form that names other permissions is answered with the question.
//   - A user's access token is good only while its user exists and is enabled and its grant stands. Sessions, codes, device
//     codes, refresh tokens and what is asked for on a user's behalf are good only while the user's password is the one with
//     which the user signed in.
//   - A code is good once, for 10 minutes, and for the client, the redirect address and the PKCE verifier that belong to
//     it; a second use revokes the grant. An answer goes to an address that the client has registered, or to nobody.
//   - A refresh token is exchanged for a new one and stays usable until the new one has been used, and a minute longer: an
//     answer that was lost costs nothing, nor do processes that share a cache. Later, when it is a public client's, there
//     is a copy of it somewhere, and the grant is revoked. One of a client that has to prove itself stays usable to its end.
//     Of a grant 50 are kept.
//   - A password that has to be changed gives neither a session nor a token; the sign-in page asks for another one.
//   - Who guesses passwords learns nothing but that they are wrong: a name that is nobody's is told from a user's neither by
//     text, status, time nor lockout. Wrong passwords lock the address that they come from out of the name, and many from
//     everywhere all addresses but those at which the user has signed in within 90 days (guess.go). So whoever attacks a
//     name locks its owner out at most where the owner never was, or shares an address with the attacker. 2 passwords are
//     checked at a time, and of those that wait 8 are from one address.
//   - The pages carry no script but the one that sends a form_post answer on, load nothing, and stand in no frame. A form is
//     good in the browser and session that it was given to alone.
//   - What strangers can make grow has an end: refusals are counted (see below), device codes that wait are limited for each
//     address and in all, and lockouts are forgotten a day after the last wrong password.
//   - Every token that is issued, and every refusal of credentials, is in the audit log before the answer is sent. A
//     managed identity's token that is handed out again is counted there, and so are refusals that are alike in a minute's
//     operation, address and application: callers without credentials cannot make the log, or a table in memory, grow.
//     Names that were typed in are not recorded: one may be a password in the wrong field.
//   - Answers of the token and managed-identity endpoints are never redirects, and those with tokens are not stored.
//
// Crash: keys are rows. Before the commit nobody has seen a key; after it every node loads it. Tokens are not stored: one
// whose answer was lost is issued anew. A client's assertion is used up with the row that says so; when the answer was lost
// the client signs another. A sign-in whose answer was lost has left rows that nobody can use and that expire; the user
// begins anew. A code whose answer was lost is used up: the client that comes with it again gets AADSTS54005 and begins anew. A consent is kept
// before anything comes of it, and is kept once however often it is given.
// What is remembered in memory (good signatures, tokens to hand out again, other issuers' keys,
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
//   - Users sign in by password alone. There are no second factors, passkeys, other identity providers, "keep me signed in"
//     or self-service.
//   - Every user may consent for the own person, to every scope. Consent to openid, profile and email is not asked for. One
//     page asks for one resource: there is no /adminconsent, and of an API's own needs (knownClientApplications) it says
//     nothing. A token has the scopes that were asked for, and not all that are granted. Refusals have no claims.
//   - Scopes narrow little: what a user may do at a resource is decided by the user's roles; at Microsoft Graph it takes a
//     scope with ReadWrite or Directory.AccessAsUser.All to change anything, and any other reads all. First-party resources
//     offer user_impersonation, Microsoft Graph takes every name, and applications offer those that they have registered.
//   - Entra's refresh tokens stay usable when they have been exchanged, whoever the client is; here a public client's do not.
//     Access tokens die with the second use of a code; in Entra they live on.
//   - Of response types there are code, id_token and "code id_token"; an ID token goes to redirect addresses of type web,
//     whatever implicitGrantSettings say. Access tokens are not issued by the authorization endpoint.
//   - A browser holds one session, of one user, for 24 h. It goes along with links alone (SameSite=Lax), so a page that asks
//     in a hidden frame is told login_required. redirect_uri is needed.
//   - Signing out ends the browser's session and no other; clients keep their tokens. It leads back to a registered address
//     of the client that client_id or id_token_hint names. There is no front-channel sign-out.
//   - userinfo_endpoint is {authority}/{tenant}/openid/userinfo. sub is pairwise by the audience, upn and unique_name are the
//     sign-in name, appidacr "2" stands for assertions of every kind.
//   - Not built: response_type=token, family refresh tokens, bound (DPoP, mTLS) tokens, SAML and WS-Federation, broker flows.
//   - A client's own assertion may live for an hour at most. For another resource, code, refresh token, device code or
//     user's token the same client address may use it again, and with a password always: msal-node signs one for ten minutes
//     and asks with it for everything. Entra does not look at jti.
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
