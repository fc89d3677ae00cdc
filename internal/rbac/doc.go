// Package rbac decides who may do what where: role definitions, role assignments with conditions, deny assignments, and
// [RBAC.Decide]. [RBAC.Explain] tells how it came to a decision.
//
// # Invariants
//
//   - Nothing is allowed but by an assignment at the scope or above it whose role holds the action. Data actions and
//     actions are apart: Owner holds no data action.
//   - What a deny assignment forbids no role allows. It spares those whom it excludes, by any of a caller's ids.
//   - A condition lets an assignment allow when it is true. What rests on an attribute of which nothing is known, or on a
//     value that cannot be read, is not true, nor is its negation. A condition that cannot be read is not stored.
//   - A scope is above another when it is a prefix of it that ends at a segment; case does not count.
//   - notActions subtract from the permission block they stand in; another block or assignment may still grant.
//   - A grant that is removed is gone for the next decision in this process, and within 5 s on every other node (see
//     package rowcache); a node that cannot ask the database for changes gives errors, not grants.
//   - A decision costs the same however many assignments others have, and the principal itself elsewhere.
//   - A role is assigned nowhere but in its assignable scopes: a change that would leave an assignment outside of them is
//     refused, so whoever may write a role everywhere in its scopes decides on all that it gives.
//
// Crash: assignments are rows written in the caller's transaction; memory holds copies only.
//
// Specification: https://learn.microsoft.com/azure/role-based-access-control/overview, the built-in role pages,
// .../deny-assignments and .../conditions-format.
//
// # Divergences
//
//   - "/*/" in a pattern also stands for "/"; that is how Azure's own roles are written and read (see ready).
//   - Conditions may stand on assignments of any role. AND beside OR without parentheses is refused, as the documentation
//     asks for. There are no custom security attributes: of @Principal nothing is known but what a caller of Decide gives.
//   - Deny assignments have no conditions.
package rbac
