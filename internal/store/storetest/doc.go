// Package storetest gives tests a database of each kind.
//
// SQLite databases lie in the test's temporary folder. The PostgreSQL server is started by the first test that needs
// it and serves the whole test binary; every test gets a database of its own on it. The server listens on a Unix
// socket only, in a temporary folder that also holds its data, with fsync off. It cannot outlive the binary: its
// parent is a small shell that waits for the end of a pipe whose other end the binary holds, however the binary ends,
// and then stops the server and removes the folder. PostgreSQL refuses to run as root, so root runs it as the user
// postgres, or nobody.
//
// With TEST_KEYREEL_POSTGRES set to the URL of a superuser's connection, that server is used instead, so that the
// tests of all packages can share one.
package storetest
