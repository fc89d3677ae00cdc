// Package objecttest is the contract of object.Store as a test suite ([Run]), and a store that fails on command
// ([Faulty]) for the tests of those who use one.
package objecttest
