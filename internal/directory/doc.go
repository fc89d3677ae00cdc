// Package directory keeps the principals of the tenant: users, groups, applications with their service principals and
// credentials, the managed identities of resources, and the workloads (registered processes) that act with them. It
// serves Microsoft.ManagedIdentity to the resource manager, and Microsoft Graph ([Graph]).
//
// # Invariants
//
//   - A managed identity belongs to one ARM ID and is made once, however often it is asked for; a resource that is
//     deleted and made again gets a new identity.
//   - A principal that is deleted for good takes its credentials, its places in groups and workloads and its role
//     assignments with it, in one transaction. In this process the next token check knows; other nodes know within 5 s (package
//     rowcache). The same holds for memberships of groups, direct or through other groups.
//   - What is deleted through Microsoft Graph lies for 30 days in a table of its own, directory_deleted, and in no other
//     table but those of its secrets and certificates: nothing that looks for a principal has to know of deletion. Its role
//     assignments stay and mean nobody, as in Azure, until it is restored or gone.
//   - An application that has no service principal has credentials and cannot sign in. A secret or certificate of an
//     application is good for whatever service principal it has; one of a service principal goes with it.
//   - Who changes the directory through Microsoft Graph can act as any principal, so it takes the right to assign roles
//     at the root scope without a condition. A Contributor of the root scope does not have it. Who owns an application, a
//     service principal or a group manages that one, and every user may change the own password.
//   - The service principals of Microsoft's own applications are rows that the schema makes. They have no credentials and
//     can be given none.
//   - Of a certificate with which an application signs in only the public part is kept; it is good until it expires or is
//     removed.
//   - Client secrets and workload secrets are 32 random bytes, of which only SHA-256 is stored; passwords are stored as
//     argon2id. No secret can be read back.
//   - What an application may do as a user is in permission grants ([Delegation]), which the sign-in asks for consent to and
//     every check of a token reads. A change of them, of the application or of the resource is seen as a deletion is.
//   - Who revokes a user's sign-ins changes the stamp of the password ([Profile]) and takes the tokens back ([SignIns]), in one
//     transaction. A user who is restored has signed in nowhere.
//   - A page token of a list is good for the query that it was given for.
//
// Crash: everything is rows in the caller's transaction; memory holds copies only. A secret whose answer was lost is
// useless; the caller makes another.
//
// Specification: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview and the
// Microsoft.ManagedIdentity REST pages; https://learn.microsoft.com/graph/api/overview (v1.0); Azure AD Graph 1.6 as
// https://learn.microsoft.com/graph/migrate-azure-ad-graph-request-differences tells it.
//
// # Divergences
//
//   - isolationScope of user-assigned identities is not kept.
//   - Reading the directory takes no permission but a principal of the tenant. There are no directory roles and no
//     administrative units: their lists are empty.
//   - App role assignments are kept and served; no token speaks of them, and nothing asks for them.
//   - Of the scopes of a user's token, those of OpenID Connect read nothing, those with ReadWrite and Directory.AccessAsUser.All
//     change whatever the user may, and all others read everything.
//   - A property of a request that would not be kept is refused unless it is null or empty. What is asked of the beta
//     version is answered as v1.0.
//   - forceChangePasswordNextSignIn is kept ([Directory.MustChangePassword]), and no sign-in asks for another password yet.
//   - Every group is a security group with assigned members. The tenant has one domain, the server's; users may have names
//     in any, and identifier URIs need no verified domain.
//   - A restored object has its credentials, groups and owners again, but not its app role assignments and grants.
//   - Not built: addKey and removeKey (keyCredentials are changed with PATCH), delta, claims mapping policies, logos,
//     application templates.
//   - Azure AD Graph lets nobody choose a client secret: passwordCredentials with a value are refused.
package directory
