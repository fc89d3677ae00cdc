// Package directory keeps the principals of the tenant: users, groups, applications with their credentials, the managed
// identities of resources, and the workloads (registered processes) that act with them. It serves
// Microsoft.ManagedIdentity to the resource manager, and Microsoft Graph ([Graph]).
//
// # Invariants
//
//   - A managed identity belongs to one ARM ID and is made once, however often it is asked for; a resource that is
//     deleted and made again gets a new identity.
//   - A principal that is deleted takes its credentials, its places in groups and workloads and its role assignments
//     with it, in one transaction. In this process the next token check knows; other nodes know within 5 s (package
//     rowcache). The same holds for memberships of groups, direct or through other groups.
//   - An application that has no service principal yet is a disabled principal: it has credentials and cannot sign in.
//   - Who changes the directory through Microsoft Graph can act as any principal, so it takes the right to assign roles
//     at the root scope without a condition. A Contributor of the root scope does not have it.
//   - Of a certificate with which an application signs in only the public part is kept; it is good until it expires or is
//     removed.
//   - Client secrets and workload secrets are 32 random bytes, of which only SHA-256 is stored; passwords are stored as
//     argon2id. No secret can be read back.
//
// Crash: everything is rows in the caller's transaction; memory holds copies only. A secret whose answer was lost is
// useless; the caller makes another.
//
// Specification: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview and the
// Microsoft.ManagedIdentity REST pages; https://learn.microsoft.com/graph/api/overview (v1.0).
//
// # Divergences
//
//   - isolationScope of user-assigned identities is not kept.
//   - An application and its service principal share their name and credentials; a service principal that is deleted
//     takes the credentials with it. Nothing is kept for a month after its deletion.
//   - Reading the directory takes no permission but a principal of the tenant. There are no directory roles, no consent,
//     no owners, and no passwords that must be changed at the next sign-in.
//   - A property of a request that would not be kept is refused, as are $expand, $orderby and $search.
//   - The id of an application's federated credential is its name.
package directory
