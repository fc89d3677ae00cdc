// Package conformance runs clients that others wrote against a running server. Its tests check our protocol; the tests
// beside each package check our rules. It is a module of its own so that what the clients drag in stays out of the
// server's.
package conformance
