// Package blob serves storage accounts: Microsoft.Storage/storageAccounts in the resource manager, and the Blob data
// plane at {account}.blob.{domain}.
//
// # Truth and bytes
//
// The database is the only truth. A blob is a row of blob_blobs that names its content: up to 16 KiB sealed in
// blob_inline, otherwise a list of pieces, each one whole immutable object of the object store. Put Block and a large
// Put Blob stream their body through the seal into a new object under a random key and then insert a row; Put Block
// List is one transaction that turns block rows into pieces. No object is ever written twice or read before a row
// names it.
//
// # Invariants
//
//   - An object is named by blob_pieces or blob_blocks rows of one blob, or by blob_garbage; never by both kinds.
//     A transaction that takes the last name away adds the object to blob_garbage.
//   - A small blob that replaces a small one keeps its content's number: only there does a content change.
//   - A blob's row, its content and its conditions (If-Match, If-None-Match: *) change in one transaction, so a write is seen
//     whole by every request that begins after it was answered, and not at all when it was refused.
//   - A blob's bytes are verified before the transaction: the announced length, Content-MD5, x-ms-content-crc64. A
//     client that hangs up midway leaves nothing but an object that nobody names.
//   - Every ETag is random and new with each change.
//
// # Crash behaviour
//
// A crash before the transaction leaves at most an object without a name. The collector finds it by listing the object store,
// when it is older than a day, and has the store drop what crashed uploads left of objects; no request lives longer than two hours, so it never takes an object whose row is on its
// way. A write that its transaction refuses deletes its object at once; after any other error the transaction may stand
// although its answer was lost, so the object stays for the collector to decide on. A crash after the transaction loses nothing: objects are durable before their row is. When the answer is lost the
// client sees an error though the write stands, as with any server.
//
// Bytes that were replaced or deleted stay for three hours. A download reads the list of its pieces once at its start and
// lasts two hours at most, so it ends with the version that it began with, whatever is written meanwhile.
// A deleted container vanishes with its row; its blobs are removed afterwards, a few hundred a transaction.
//
// # Encryption
//
// Each account has an account key, which package customerkey keeps: wrapped by the system key or by a customer's key
// (encryption.keySource Microsoft.Keyvault), which is asked for as the account's identity. Under it the account's 256-bit data
// key is sealed, and in no other form stored. Inline content is sealed under the data key with the container and the blob's name
// as associated data, objects under keys of their own that derive from it, with the account and the object's key, so
// recommitting a block moves no bytes. The account key is the same from creation to deletion: a switch between the system key
// and a customer's, and every rotation, wraps it anew and rewrites no blob, so all that was ever stored is under the key that
// the account names now. The first wrapping is not destroyed where the database keeps what it overwrites (SQLite's free pages,
// PostgreSQL's dead rows and its log, backups); an account that begins under a customer's key has one, too, for the moment of
// its creation.
//
// A switch is tried over the wire, and then stored in the transaction that stores the resource: a crash leaves both old or both
// new. While the account key is inaccessible whatever reads or writes a blob's content, properties or metadata answers 403 with
// KeyVaultEncryptionKeyNotFound, KeyVaultVaultNotFound or KeyVaultAccessTokenCannotBeAcquired, or 503 ServerBusy when the vault
// does not answer; transfers under way are cut. Names can be listed, blobs deleted and containers made, and the resource manager
// serves the account, as in Azure. The data key is opened with each request and in no cache.
//
// # Authorization
//
// Bearer tokens go by the actions and data actions of Microsoft's table, decided at the container (or the account); shared
// keys may do everything that the firewall lets through. Every write, delete and denial is in the audit chain before the
// answer, a write never later than its change; allowed reads are counted there. Requests without valid credentials are not
// recorded, so that they do not fill the chain. The firewall lets requests of the same server's media accounts pass when
// bypass holds AzureServices: only the server itself can get a token that names such a resource as its actor.
//
// Conditions of role assignments may ask for the account's and the container's name, the blob's path, a listing's prefix, and
// tell listings (Blob.List) and tiers (Blob.Write.Tier) apart. A condition on tags is not met.
//
// # Specification and divergences
//
// Blob service REST API (learn.microsoft.com/rest/api/storageservices) as of x-ms-version 2026-12-06; older and newer versions are
// served alike. Not built, and refused by name: leases, snapshots, versions, append and page blobs, copy, shared access
// signatures, anonymous access, tags, encryption scopes and customer-provided keys, immutability, uncommitted blobs in listings.
// Divergences:
//
//   - Metadata names are kept in lower case.
//   - Blob names are kept as sent: no conversion of backslashes, no removal of trailing dots. They may have at most 2560 bytes of UTF-8.
//   - ipRules may name any address or prefix, loopback and private ones included.
//   - Azure has no place on the account for why its key is inaccessible: the refused requests and the audit say it.
//     currentVersionedKeyExpirationTimestamp, requireInfrastructureEncryption and keys of another tenant's vault are not built.
//   - Set Blob Properties, Put Block List and Get Block List are refused too while the key is inaccessible.
//   - Access tiers are stored and shown and change nothing; Archive is refused.
//   - A blob's uncommitted blocks expire seven days after the newest of them.
package blob
