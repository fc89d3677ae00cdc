// Package azure is the wire that every Azure client expects: errors and their renderings, route rows and the
// matcher that serves them, resource IDs, paging and host names.
//
// It holds no state, opens nothing and knows no SQL. A service builds a [Router] from rows, gives it the three
// functions that only the service knows (who calls, whether the caller may, how an error looks) and serves it.
//
// # Invariants
//
//   - A row either names the RBAC action that its caller needs or says why it is public; a row with neither does
//     not register ([Router.Check]).
//   - An error that is not an [Error] reaches the client as 500 with the request id and nothing else.
//   - Paths are never cleaned or redirected: "/c/a//b" and "/c/../b" are blob names, "/keys/k//decrypt" is what
//     the official clients send.
//
// Specification: the Azure REST API guidelines (github.com/microsoft/api-guidelines), the ARM resource provider
// contract, and the error pages of Key Vault, Blob storage and the Microsoft identity platform.
package azure
