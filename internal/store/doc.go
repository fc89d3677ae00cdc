// Package store is the SQL database that is Keyreel's only truth: SQLite for one process, or PostgreSQL for any number
// of nodes. It gives transactions and migrations and knows no words of any service; each service owns its tables and
// its SQL, written once in PostgreSQL's form. Only the DDL is written per dialect.
//
// # Guarantees, the same in both databases
//
//   - After [DB.Update] has returned nil, the change survives kill -9 and power loss (as far as the disk keeps what it
//     has acknowledged).
//   - Updates have the effect of running one after another. A closure may read, decide and write without locks.
//   - A closure that fails, panics, or ends its goroutine leaves nothing behind.
//   - A closure that returns an error was given it by a consistent state too: one that was committed when Update
//     returned.
//   - A [DB.View] sees one consistent committed state, and no later one.
//   - A statement that fails ends its transaction.
//
// A closure may run more than once: on PostgreSQL when transactions got in each other's way. It runs on its caller's
// goroutine and calls neither Update nor View, which could wait for itself.
//
// # Crashes
//
// A crash before a commit is durable undoes it; a crash after it does not. A commit whose answer was lost, because the
// process or the connection died in between, is reported as an error, or to nobody, although it was applied: whoever
// tries again must be able to find that it has been done already. Options.Fault plays both for tests.
//
// Migrations are applied all in one transaction, so a crash while opening leaves the old schemas or the new ones.
//
// # SQLite
//
// One goroutine owns the connection that writes. It begins with BEGIN IMMEDIATE, lets the Updates that wait run one
// after the other, each in a savepoint, and commits for all of them with one fsync (journal mode WAL, synchronous
// FULL). So no write meets SQLITE_BUSY, and many writers cost little more than one. Views run on connections of their
// own and do not wait for writers, nor writers for them.
//
// The file belongs to one process, which holds a lock on the file with ".lock" added to its name; that file stays. Others
// may read the file ([OpenReader]). On
// Linux the database's own locks are OFD locks, so that other code in the process that opens and closes the database
// file, as a backup does, does not drop them. A file system without shared memory (most network ones) does not open.
//
// # PostgreSQL
//
// Updates are SERIALIZABLE and are tried again after a serialization failure or a deadlock, and once after a violated
// key, which may be another's whom the closure could not see; Views are REPEATABLE READ, READ ONLY. Connections that
// died in the pool, as with a server that was started anew, are passed over. synchronous_commit is on unless the URL says otherwise. A node opens at most 20 connections. Nodes that
// start together migrate one after the other. Settings of the URL are those of libpq.
package store
