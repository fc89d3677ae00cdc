// Package directory keeps the principals of the tenant: users, applications with client secrets, the managed
// identities of resources, and the workloads (registered processes) that act with them. It serves
// Microsoft.ManagedIdentity to the resource manager.
//
// # Invariants
//
//   - A managed identity belongs to one ARM ID and is made once, however often it is asked for; a resource that is
//     deleted and made again gets a new identity.
//   - A principal that is deleted takes its secrets, its places in workloads and its role assignments with it, in one
//     transaction. In this process the next token check knows; other nodes know within 5 s (package rowcache).
//   - Client secrets and workload secrets are 32 random bytes, of which only SHA-256 is stored; passwords are stored as
//     argon2id. No secret can be read back.
//
// Crash: everything is rows in the caller's transaction; memory holds copies only. A secret whose answer was lost is
// useless; the caller makes another.
//
// Specification: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview and the
// Microsoft.ManagedIdentity REST pages.
//
// # Divergences
//
//   - There are no groups and no federated credentials.
//   - isolationScope of user-assigned identities is not kept.
package directory
