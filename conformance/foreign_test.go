package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel"
)

// foreign runs programs that others wrote, in an environment in which Azure's public names lead to the server: the
// programs are configured for Azure as it is, and find their way through HTTPS_PROXY and the CA variables of each
// runtime alone.
type foreign struct {
	*server
	dir   string // HOME and working folder
	env   []string
	proxy string // URL of the CONNECT proxy
	admin keyreel.Credentials
}

// foreign makes the environment. Its programs are signed in as nobody: what is needed for that is given to run.
func (s *server) foreign(t testing.TB) *foreign {
	t.Helper()
	proxy := httptest.NewServer(s.Proxy(false))
	t.Cleanup(proxy.Close)
	f := &foreign{server: s, dir: t.TempDir(), proxy: proxy.URL}
	data, err := os.ReadFile(s.CredentialsPath())
	check(t, err)
	check(t, json.Unmarshal(data, &f.admin))
	ca := s.CAPath()
	f.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "LANG=C.UTF-8",
		"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=127.0.0.1", "NODE_USE_ENV_PROXY=1", "REQUESTS_CA_BUNDLE=" + ca, "NODE_EXTRA_CA_CERTS=" + ca, "SSL_CERT_FILE=" + ca,
		"AZURE_CONFIG_DIR=" + filepath.Join(f.dir, ".azure"), "AZURE_CORE_COLLECT_TELEMETRY=false", "AZURE_CORE_ONLY_SHOW_ERRORS=true",
		"AZURE_SUBSCRIPTION_ID=" + s.sub,
	}
	return f
}

// try runs a program and returns what it wrote to its output and to its error output.
func (f *foreign) try(env []string, name string, args ...string) (out, errOut string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = f.dir, append(f.env, env...), &stdout, &stderr
	err = cmd.Run()
	return strings.TrimSpace(stdout.String()), stderr.String(), err
}

// run is try for what must succeed.
func (f *foreign) run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	out, errOut, err := f.try(env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errOut)
	}
	return out
}
