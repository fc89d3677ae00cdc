// Package job is a durable queue on the database: work that outlives the request, and the process, that asked for it.
//
// A job is added in the transaction that needs it done, so it exists exactly when that transaction does. Any number of
// nodes run the same queue. Each claims due jobs of the kinds that it has handlers for, under a lease that it renews
// while the handler runs, and writes the outcome down when the handler returns.
//
// # Invariants
//
//   - A job whose handler may still be running on a live node is claimed by no other. A claim draws a new lease, and
//     everything that a run writes to its job asks for that lease, so a run that has lost its job changes nothing.
//     What a run writes elsewhere is fenced in the same way by [Run.SaveIn].
//   - At most one unfinished job of a kind has a given key.
//   - Every claim counts an attempt, unless the handler postpones the job or the queue closes. Done, Failed and
//     Canceled are final.
//
// # Crashes
//
// A job runs at least once, not exactly once. When a node dies, or cannot reach the database for the length of a
// lease, its running jobs are claimed by others, or by itself after a restart, once their leases end; the attempt that
// was cut off counts, so a job that kills its node ends as Failed after its last attempt. Until then its handler may
// run again after any of its steps, or after all of them when it finished and the outcome was not written down: its
// steps are idempotent. A node that is cut off from the database cancels its handlers' contexts ([ErrLost]) when their
// leases end. The clocks of all nodes agree within a small part of a lease.
//
// A claim whose answer was lost leaves a job that looks as if its node had died. An outcome whose answer was lost is
// written again, in vain, if it was durable.
package job
