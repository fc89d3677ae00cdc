// Package media serves Microsoft.Media: media accounts with their assets, transforms, jobs, content key policies,
// streaming policies, locators and endpoints (through the resource manager), the origin that streams
// ({endpoint}-{account}.streaming.) and key delivery ({account}.keydelivery.).
//
// # On behalf
//
// An account reaches storage with the official client: with a token of its managed identity, or, where its
// storageAuthentication is System, with the storage account's key, which the caller who tied them together had the
// right to list and which is held as content keys are. An identity without both roles (Reader, Storage Blob Data
// Contributor) is not used. Nothing here opens storage in another way. What may be remembered of storage is bounded:
// bytes are served from memory for at most [trustFor] after the storage account last authorized a request for that blob
// by that identity. A refusal stops at once and is shown in the status of the storage mapping. Streams and downloads
// under way are no exception: before each block it is asked again whether the account may use its key and storage still
// gives that version. Viewers are told that access is lost and not whose: identities, vaults and accounts are named to
// the owner alone.
//
// # The account key
//
// Content keys, the secrets of content key policies, the URLs of JobInputHttp and keys of storage accounts are sealed
// under the account's key (package customerkey) with associated data that names account, row and field, and under the
// system key over that. They are in no resource's properties, so no GET, list, log or audit record can show them. While
// the account key is not to be had the account refuses everything but GET, LIST and DELETE of itself with 403
// CustomerKeyInaccessible; jobs wait. A write of its encryption may name an identity that still can unwrap it.
//
// # Crashes
//
// The database is the truth: a resource and its secrets are written in one transaction. An asset's container is made
// before its asset is; a crash between leaves an empty container whose name no asset bears. A job is enqueued in the
// transaction that makes it and runs again from the start after a crash: it reads its input, encodes into a scratch
// folder, and writes the outputs over what an earlier attempt has written, the server manifest last, so that an asset
// is streamable exactly when it is whole. A run writes only while the queue's job is its own and the media job is the
// one that it was made for. A media job that the queue gave up without a word (its node died while it was canceled, or
// during its last attempt) is ended within [settleEvery].
//
// Specification: the Media Services v3 REST API (2018-07-01 to 2023-01-01) as reference and recorded behaviour describe
// it. Divergences: error codes of refused calls and texts of status are our own (Azure documents none); private
// endpoint connections carry no traffic; minimumTlsVersion is checked after the handshake; live events, filters, tracks
// and DRM configurations are not built and refused by name.
package media
