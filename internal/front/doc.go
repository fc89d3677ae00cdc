// Package front is the server's edge: the TLS listener and its certificates, the plain listener of the
// managed-identity endpoints, the choice of a service by host name, and one log line a request.
//
// # Invariants
//
//   - Every response carries x-ms-request-id, and every request is logged once, with that id, when it has ended.
//   - Answers in JSON, of every host but those of blobs and streams, are kept from caches and from browsers that guess at
//     content types, and say that the host is to be reached over TLS alone.
//   - Query strings are never logged: they may hold tokens and signatures.
//   - A client that takes nothing of an answer for a minute, or trickles a body that nobody reads, is cut off.
//   - A panic in a handler ends its request with 500 and not the process.
//   - The private key of the local CA is written once, with mode 0600, and is durable before the CA is used. The CA's
//     certificate names the DNS names and addresses that it can vouch for: the server's own, and no others.
//   - A certificate whose thumbprint clients hold ([CA.OpenPinned]) is kept, with its key, until its file is removed.
//
// # Crash behaviour
//
// The CA and the pinned certificate are the only state. Each is made as one file that appears whole or not at all; leaf
// certificates are made in memory and anew after each start.
package front
