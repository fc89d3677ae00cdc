//go:build !unix

package main

// inForeground reports whether a terminal sends what is typed there to this process and those that it started. Consoles
// do.
func inForeground() bool { return true }
