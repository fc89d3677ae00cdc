// Package customerkey keeps account keys. An owner (a media account, a storage account, named by its ARM ID) has one
// random 256-bit account key, under which its secrets are sealed. The account key is wrapped by the system key alone,
// or by an RSA key in a customer's key vault with the system key over that. The vault is asked over the wire, by the
// official client, as the managed identity that the customer granted get, wrapKey and unwrapKey.
//
// # Invariants
//
//   - An account key that a customer's key wraps is in no store in any other form. In memory it stays for at most
//     Options.TTL after the last successful unwrap.
//   - Denied (any answer of the vault that a retry would not mend, a deleted identity, a vault that has no address any
//     more) stops at once. Unreachable (network, 5xx, 429) serves until the TTL is over and then stops too.
//   - Every change of the wrapping is a compare-and-swap on the row's generation. The generation is in the associated
//     data of the sealed bytes, so an old row put back in place of a new one does not open.
//   - A key that has expired or is not valid yet does not serve, though its vault unwraps with it; it can be switched
//     away from.
//   - A vault that unwraps to another key than the one that was wrapped is found out by a check value under the system
//     layer; such a key is never used.
//   - A key that was wrapped is unwrapped and compared before the wrapping is stored.
//
// # Rotation
//
// Every Options.Scan, less often when that takes long, each owner's customer key is looked at: when the customer named
// a key without version and the vault's current version is another one than the one that wraps, and it is usable, the
// account key is wrapped anew. When the newest version is not usable (disabled, expired) the version in use stays. Then
// access is tried, which finds both loss and return of access.
//
// # Another identity
//
// An owner whose identity has lost the key, or is deleted, can be switched to another identity of its own that may
// unwrap with the key in use; Prepare tries that one when the first is refused. Without such an identity nobody has the
// account key, and the owner can but wait or be deleted.
//
// # Another ID
//
// Rename keeps an owner's account key under its new ARM ID, in the transaction that moves the owner. The ID is in the
// associated data of the sealed bytes, so they are sealed anew. An owner under a customer's key is not renamed.
//
// # Crashes
//
// Prepare stores nothing: after a crash it is run again. A switch is stored in one row by one statement in the
// caller's transaction: before it the old wrapping holds, after it the new one, and both open while the vault allows.
// A re-wrap by the scan is the same; when the process dies between it and its audit record, the vault's own record of
// wrapKey is what remains. The state columns say what was last seen and decide nothing: after a start the first use
// asks the vault.
//
// With several nodes each looks after all owners. They agree on the wrapping through the row's generation; a node that
// alone cannot reach a vault reports the owner as unreachable until another node's success says otherwise.
//
// Specification: Media Services "Customer-managed keys"; the Key Vault REST API, keys: get, wrapKey, unwrapKey
// (RSA-OAEP-256).
package customerkey
