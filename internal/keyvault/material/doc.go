// Package material is what keys are made of and what can be done with it: RSA, elliptic curve and symmetric keys, their JWK
// and stored forms, and the algorithms that Azure Key Vault names for them. It knows nothing of vaults, versions or rights.
//
//	k, err := material.Generate(material.Spec{Type: material.RSA, Bits: 3072})
//	sealed, err := k.Decrypt("RSA-OAEP-256", material.Ciphertext{Value: wrapped})
//
// # Invariants
//
//   - A [Key] is whole: what [ParseJWK], [New] and [Parse] return has been checked against its own public half. A point off
//     its curve, an exponent that is not the inverse of the other, factors that do not make the modulus, a length that
//     the type does not have, make an error.
//   - What does not decrypt gives [ErrDecrypt] and nothing more, whatever was wrong with it: padding, tag, integrity or
//     length. The checks whose outcome depends on what was decrypted take the same time either way. Errors about what the
//     caller sent, which depend on nothing secret, are [InputError] and say what would do.
//   - AES-GCM chooses its nonces itself; two of one key's come twice with a chance of 2^-32 after 2^32 encryptions. A nonce
//     of the caller's is refused: it could be one that was used.
//   - Secret numbers are overwritten when their Key is no longer referred to, or at once by [Key.Zero]. Copies that
//     crypto/rsa and crypto/ecdsa keep for their own arithmetic are freed with it and not overwritten.
//
// The package keeps no state and starts nothing.
//
// # Specification
//
// RFC 7517 and 7518 (JWK, and the algorithms' names), RFC 8017 (RSA), FIPS 186-5 (ECDSA) and SEC 2 for P-256K, RFC 8812
// (ES256K), RFC 3394 and 5649 (package keywrap), SP 800-38A and 38D (CBC, GCM), RFC 2104 (HMAC), PKCS #11 3.0 for
// CKM_RSA_AES_KEY_WRAP. All of them run the vectors of Project Wycheproof.
//
// # Divergences
//
//   - RSA keys have public exponents from 65537 to 2^31-1; the service's own limits are not documented.
//   - Signatures with P-256K are not made in constant time: github.com/decred/dcrd/dcrec/secp256k1 says so of itself, and
//     crypto/ecdsa has no such curve. Where others share the machine, prefer P-256.
//   - RSA1_5 has no implicit rejection: a padding that is wrong is an error, as in Azure. It should decrypt for callers
//     alone who may know that.
package material
