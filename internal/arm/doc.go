// Package arm is the resource manager: subscriptions, resource groups, and the resources that services register, kept and
// served by resource ID; role assignments and definitions over all of them; long-running operations.
//
// A service registers a [Provider] with its types. The manager parses the path, checks api-version, token and role,
// merges the envelope (location, tags, identity, kind, sku), keeps the row, pages lists and answers; the type's functions
// decide on "properties" and keep what else the service needs, in the same transaction.
//
// # Invariants
//
//   - Every operation is a row with an RBAC action ([Manager.Routes]); the decision falls at the resource's own scope, for
//     a list at the scope that encloses it, and before anything is looked up, so that who may not read does not learn
//     what exists. A list of groups or of top-level resources is thinned out for who may not read all of the scope: its
//     own role assignments say where to look, and each item is decided on.
//   - Every write, deletion, action and denial stands in the audit log before its answer: the decision before the
//     operation begins, its failure after it.
//   - A page of a list looks at no more than listScan resources, whatever its filter: it may be short or empty and have a
//     link to the next.
//   - A resource has at most one write or deletion on its way; a second gets 409.
//   - A resource's row exists exactly as long as what the service keeps of it: both change in one transaction.
//   - A system-assigned identity lives as long as its resource; role assignments at and below a resource, and those of
//     its identity, go with it.
//   - A lock holds against every row that does more than read, at its scope and below, and against deletions above it.
//   - A deployment does nothing that its caller could not: each of its requests takes the way of a client's, decision,
//     locks and gates included. Secure parameters stand sealed in its operation while it runs, and nowhere after it.
//   - A moved resource has its new ID at once, with what its service keeps of it; role assignments at the old one are gone.
//   - An identity block names a user-assigned identity only when the caller who wrote it might assign that identity.
//
// # Crashes
//
// A write without Prepare and a deletion without PrepareDelete are one transaction. Everything else is an operation
// (table arm_operations) whose first transaction marks the resource busy and enqueues a durable job. The job of an
// asynchronous write or deletion does the work; the job of a synchronous one starts [guardDelay] later, finds the
// operation ended, or else its node dead, and then fails the write (what it prepared may have been meant for an answer
// that nobody got) or finishes the deletion. The last transaction checks that the operation is still in progress, so
// neither the job nor the request can do it twice. An operation that is begun [maxAttempts] times without an end fails.
//
// A deployment is an asynchronous write whose job makes passes over the template's resources (deploymentRun). Each
// resource that was begun is a row of arm_deployment_steps; a pass that was cut off, or that waits for asynchronous
// writes, is followed by another, which writes again what has no outcome yet. Writes are idempotent by name.
//
// The record of a decision is committed before the operation that it allows is begun, and that of a failure after it. So
// a crash leaves a decision that nothing followed, or an operation that was done or failed and of which the decision alone
// tells; never a change without its decision.
//
// # Specification
//
// The Azure Resource Manager resource provider contract (github.com/cloud-and-ai-microsoft/resource-provider-contract),
// the Microsoft.Resources and Microsoft.Authorization REST references. Divergences: a move is answered when it is done, and
// only types with [Type.Move] and no system-assigned identity can be moved; a condition in a custom role is refused, not
// ignored; registering a provider succeeds and does nothing, as all are registered; lists of other than groups and
// top-level resources are read at their own scope and not thinned out, except the list of subscriptions.
package arm
