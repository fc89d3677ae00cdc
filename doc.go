// Package keyreel is the server: an authority that gives every resource an identity, a resource manager with
// enforced role-based access, key vaults, Blob storage and media accounts, in one process.
//
// A program that embeds the server opens it with a [Config], serves, and closes it:
//
//	srv, err := keyreel.Open(ctx, keyreel.DefaultConfig(), log)
//	if err != nil { ... }
//	defer srv.Close()
//	err = srv.Serve(ctx)
//
// Several servers may run in one process, each on a data folder of its own. Package keyreeltest starts one for a test.
//
// This package is the only place that knows every service; it wires them and does nothing else.
package keyreel
