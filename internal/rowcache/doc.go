// Package rowcache keeps in memory what rows of the database say, for reads on the path of every request: principals
// for each token, role assignments for each decision.
//
// # Invariants
//
//   - A change made in this process is seen by every Get that begins after the Update that made it has returned.
//   - A change made by another node is seen within 5 s. A Get compares the generation row of the service's table when
//     the last comparison is older than a second; when comparing fails and the last success is 4 s old, Get fails too:
//     a node that has lost the database does not go on granting. An Update whose outcome is unknown counts as another
//     node's, unless its caller says so with [Cache.Doubt].
//   - A value that was loaded while a change was committed is handed to its caller and not kept.
//
// The cache starts no goroutine and its zero value is ready. It holds nothing that a restart would have to recover.
package rowcache
