//go:build azcopy || terraform

package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

// runner starts programs through `keyreel run`, as somebody would who has never configured them for anything but Azure:
// nothing of the tests' own environment but PATH reaches them.
type runner struct {
	*server
	home     string // HOME and working folder
	identity string // name of the identity that acts
}

// keyreelRun makes a runner for a new identity with roles at the subscription. keyreel itself is found in PATH.
func (s *server) keyreelRun(t testing.TB, identity string, roles ...string) *runner {
	t.Helper()
	id := s.identity(t, identity)
	for _, role := range roles {
		s.assign(t, "/subscriptions/"+s.sub, role, *id.Properties.PrincipalID)
	}
	return &runner{server: s, home: t.TempDir(), identity: identity}
}

// try runs a program with more variables and returns its output and its error output.
func (r *runner) try(env []string, name string, args ...string) (out, errOut string, err error) {
	f := &foreign{dir: r.home, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.home, "LANG=C.UTF-8"}}
	run := []string{"run", "--data", filepath.Dir(r.CAPath()), "--identity", r.identity, "--others", "refuse", "--", "env"}
	return f.try(nil, "keyreel", append(append(append(run, env...), name), args...)...)
}

// run is try for what must succeed.
func (r *runner) run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	out, errOut, err := r.try(env, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s\n%s", name, args, err, out, errOut)
	}
	return out
}

func write(t testing.TB, path, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(t, os.WriteFile(path, []byte(content), 0o600))
}
