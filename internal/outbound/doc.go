// Package outbound makes connections to hosts that somebody else named: the issuer of a federated credential, a vault or
// storage account elsewhere, the URL of a job's input. Who may write such a name must not be able to look around in the
// server's network with it.
//
// # Invariants
//
//   - Only addresses on the public internet are connected to, unless Options.PrivateNetworks is set. That is checked when
//     the connection is made, after the name was resolved, so a name that changes its mind and a redirect gain nothing;
//     addresses that carry an IPv4 address within (mapped, NAT64, 6to4, Teredo) are taken for what is not public.
//   - No proxy of the environment is used: it would resolve the name itself, where nothing is checked.
//   - Connecting, the TLS handshake, and the wait for the answer's header have an end, and the header a size. A connection
//     on which nothing moves for a minute is cut. How much is read of a body is bounded by who reads it.
//
// Nothing is stored, so a crash leaves nothing behind. The networks that are not public are those of IANA's special-purpose
// address registries (RFC 6890 and its successors).
package outbound
