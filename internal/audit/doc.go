// Package audit is the record of every decision and every use of a key: a chain in the database, in which each record
// carries the hash of all that came before.
//
// Each record's hash is SHA-256(previous hash || body). The body is the record's JSON as encoding/json writes it,
// without "hash"; it is stored as it was hashed. The first record's previous hash is 32 zero bytes. The head, in a row
// of its own, holds the last record's number and hash.
//
// # Invariants
//
//   - A record is durable when Append returns nil, or when the transaction is that [Log.In] extends. Whoever cannot
//     record an operation refuses it.
//   - Numbers run from 1 without a gap, over all nodes that share the database: whoever extends the chain takes the
//     head's row first, and takes it only from the end that it goes on from. The end that a node keeps in memory is a
//     guess, which spares it reading the head.
//   - [Log.Verify] finds every change, gap, swap and insertion, and what was cut off while the head stands. Whoever can
//     write the database can also write a whole new chain, or cut off its end and set the head back: against that,
//     keep the [Head] that Verify returns somewhere else and give it to the next Verify.
//   - No record holds a secret: callers put none in, and the hash would keep it for ever.
//
// # Crash behaviour
//
// Records are appended in transactions. An Append whose answer was lost, to a crash, a failing database or the end of
// its context, may have appended its record: the chain may tell of an operation that was then refused, never the other
// way round. After [Log.Update] it tells of it once or, when a commit's answer was lost, twice. A crash loses what [Log.Observe] has counted since the minute began, never the first record of its kind.
package audit
