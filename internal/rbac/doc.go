// Package rbac decides who may do what where: role definitions, assignments, and [RBAC.Decide].
//
// # Invariants
//
//   - Nothing is allowed but by an assignment at the scope or above it whose role holds the action. Data actions and
//     actions are apart: Owner holds no data action.
//   - A scope is above another when it is a prefix of it that ends at a segment; case does not count.
//   - notActions subtract from the permission block they stand in; another block or assignment may still grant.
//   - A grant that is removed is gone for the next decision in this process, and within 5 s on every other node (see
//     package rowcache); a node that cannot ask the database for changes gives errors, not grants.
//   - A decision costs the same however many assignments others have.
//
// Crash: assignments are rows written in the caller's transaction; memory holds copies only.
//
// Specification: https://learn.microsoft.com/azure/role-based-access-control/overview and the built-in role pages.
//
// # Divergences
//
//   - "/*/" in a pattern also stands for "/"; that is how Azure's own roles are written and read (see ready).
//   - Deny assignments and ABAC conditions do not exist. "Key Vault Data Access Administrator", which is harmless only
//     with its condition, is therefore missing.
package rbac
