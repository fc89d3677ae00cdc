// Package seal is encryption at rest: root keys that live outside the database, the data keys that they wrap, small
// sealed values, and sealed streams that open at random.
//
//	Root (file, passphrase) wraps Keyring's data keys (table seal_keys), which seal columns and objects' keys;
//	an object's own Key seals its bytes as a stream.
//
// # Values
//
// [Keyring.Seal] and [Key.Seal] are XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM under a key derived from half of
// a random 192-bit nonce. Any number of values that a program can make may be sealed under one key: after 2^80 of
// them the odds of one nonce coming twice are 2^-32. Plain AES-GCM with its 96-bit nonces reaches that after 2^32.
//
//	Key.Seal:      24 bytes nonce | ciphertext | 16 bytes tag
//	Keyring.Seal:  4 bytes data key id, big endian | Key.Seal
//
// The associated data names the value's place: table, row, field. Each part goes in with its length before it, so
// ("a", "bc") and ("ab", "c") differ. A value that was copied to another place does not open there. An older value
// put back in its own place does: against that stands the audit chain, not this package.
//
// # Streams
//
//	store.Put(ctx, key, seal.NewReader(plaintext, dataKey, "blob", key))
//
// [NewWriter], [NewReader] and [NewReaderAt] use Tink's AES256_GCM_HKDF streaming format
// (developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming) with a 32-byte derived key, HKDF-SHA256 and
// ciphertext segments of 64 KiB, of which the first begins with the header:
//
//	1 byte header length (40) | 32 bytes salt | 7 bytes nonce prefix
//
// The stream's key is HKDF-SHA256(key, salt, info = associated data); a segment's nonce is the prefix, its number in
// 4 bytes and a byte that is 1 in the last segment. So segments can be neither swapped nor left out, and the end
// cannot be moved: whoever reads the last segment knows that it is the last. The place of a segment is arithmetic.
//
// # Invariants
//
//   - No two seals share a key and a nonce.
//   - Nothing is handed out before its tag was checked; what is handed out is a whole segment's part at most.
//   - Key and Secret print as "redacted" through fmt, encoding/json and log/slog. (fmt does not call methods of
//     unexported struct fields: never print a struct that holds a key in one.)
//
// # Crash behaviour
//
// A root key file appears whole or not at all, and never replaces another. A data key is durable before the first
// value is sealed under it. A Writer that was not closed leaves a stream that does not open to its end.
package seal
