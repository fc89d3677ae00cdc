// Package onbehalf makes the clients with which a service acts as a resource's managed identity: a media account that
// reads its storage, a storage account that unwraps its encryption key. They are the official azblob and azkeys
// clients. Nothing is decided here: the other side sees a token of the identity and authorizes it as it would any
// caller's, so there is no way round its roles, access policies or firewall.
//
// [InProcess] carries requests to hosts of this server straight to their handler, without a socket, and all others
// over the network. What arrives at the handler is what would arrive over TLS: nothing of the sender's context but its
// end is passed on.
//
// [Clients.BlobWithKey] is for storage accounts whose owner hands out keys in the place of roles, and [Clients.Public]
// for URLs that customers name: it sends no token and reaches no private address unless told to. The transport of all
// others is the server's to guard, as package outbound does it: their endpoints are what customers named, too.
//
// # Invariants
//
//   - A client is kept for each identity and endpoint, but not for a key, so that tokens and a vault's challenge are
//     asked for once and not with each request. Tokens are checked against the living identity by whoever receives
//     them, so a kept token outlives no identity.
//   - What the clients read into memory is bounded (boundedAnswers). A blob's content is streamed.
//   - A refusal (any 4xx but 408 and 429) is returned at once; failures are retried twice within about a second.
//
// Nothing is stored, so a crash leaves nothing behind.
package onbehalf
