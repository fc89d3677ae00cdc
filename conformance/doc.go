// Package conformance runs clients that others wrote against a running server. Its tests check our protocol; the tests
// beside each package check our rules. It is a module of its own so that what the clients drag in stays out of the
// server's.
//
// Each test starts a server of its own (server_test.go) and drives it with
//
//   - the Go SDKs, as its administrator or as a managed identity: the tests of a service or of a rule;
//   - programs in an environment in which Azure's public names lead to the server (foreign_test.go): Debian's az
//     (azurecli_test.go), Python's and Node's SDKs (sdks_test.go, resources_test.go), a program a credential
//     (signer_test.go), Chromium (player_test.go, signin_test.go);
//   - programs under `keyreel run`: TestKeyreelRun, and what takes long to compile and so has a build tag and a target of
//     the Makefile: AzCopy, OpenTofu (runner_test.go), rclone.
//
// What stands in for others: a cluster that vouches for its workloads (cluster_test.go), a person with a browser
// (signin_test.go). Programs come from Debian and from npm, pinned in testdata/node; tools/install.sh installs them.
//
// az takes a second to start, so its command lines run in one process a test, by the entry point that /usr/bin/az has
// (testdata/python/azsession.py). TestKeyreelRun and TestAzureCLIUser start az itself.
package conformance
