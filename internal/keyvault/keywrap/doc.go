// Package keywrap is AES Key Wrap (RFC 3394) and AES Key Wrap with Padding (RFC 5649), the KW and KWP of NIST SP 800-38F,
// with the initial values that the RFCs give.
//
// # Invariants
//
//   - What does not unwrap gives [ErrIntegrity], whichever check failed: the initial value, the length, and the padding are
//     compared together and in constant time. Nothing of what was decrypted is returned then; it is overwritten.
//   - Wrap takes 16 bytes or more, in whole blocks of 8, as RFC 3394 does: 8 bytes alone are for WrapPad. Unwrap refuses
//     what Wrap cannot have made.
//   - Both are deterministic, and made for keys: neither hides that the same key was wrapped twice.
//
// The package has no state.
package keywrap
