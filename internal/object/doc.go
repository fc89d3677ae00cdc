// Package object keeps immutable byte strings: in a directory ([Dir]) or in a bucket of an S3-compatible service
// ([S3]).
//
// The database is the only truth about which objects matter. Callers put an object under a random key, then commit a
// row that names it; they delete the row, then, after a grace period, the object. So a store needs no rename, no
// compare-and-swap and no listing that is up to date, and one crash argument holds for every backend: whatever a
// crash leaves without a row is garbage, which [Store.List] finds.
//
// # Invariants
//
//   - An object can be opened only when it is whole. A Put that returned nil survives power loss.
//   - An object's bytes never change: a Put under a key that holds an object is refused with [ErrExists].
//   - Keys are 8 to 128 characters of a-z A-Z 0-9 . _ -; others are refused. Callers that may meet file systems
//     without case (macOS, Windows) choose keys that differ in more than case.
//
// # Crash behaviour
//
// Dir writes to a file in tmp/, fsyncs it, renames it to its place and fsyncs the directories. A crash leaves a file in
// tmp/, which OpenDir removes, or the whole object. An object that was deleted may be there again after power loss: it
// has no row and is collected again.
//
// S3 puts less than 8 MiB in one request and more in parts; both appear whole or not at all. When a request's outcome is
// unknown, Put looks whether the object is there and is its own (it carries a random mark) and then succeeds. If that
// cannot be found out either, Put fails and the object may exist: garbage without a row. Parts of a Put that
// a crash cut off are invisible; [S3.AbortStale] removes them.
//
// Specification for S3: docs.aws.amazon.com/AmazonS3/latest/API, with ranged GET, multipart upload, ListObjectsV2 and
// If-None-Match on PutObject and CompleteMultipartUpload. On a service that ignores If-None-Match a second Put of a
// small object overwrites instead of being refused, which random keys make harmless.
package object
