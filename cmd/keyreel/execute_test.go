//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreel/keyreel/keyreeltest"
)

// started is a `keyreel run` in a process of its own.
type started struct {
	cmd              *exec.Cmd
	endpoint, header string
	child            int // the program's process
}

// startRun runs a shell script as an identity and waits until it is under way.
func startRun(t *testing.T, data, script string) *started {
	t.Helper()
	s := &started{cmd: keyreelCommand(t.Context(), "run", "--data", data, "--lease", "3s", "--", "sh", "-c",
		script+`; echo "ready $IDENTITY_ENDPOINT $IDENTITY_HEADER $$"; while [ ! -e `+filepath.Join(data, "enough")+` ]; do sleep 0.05; done; exit 9`)}
	s.cmd.Stderr = t.Output()
	s.cmd.WaitDelay = 100 * time.Millisecond // the program may outlive it, and hold its error output open
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := fmt.Sscanf(line, "ready %s %s %d", &s.endpoint, &s.header, &s.child); err != nil {
		t.Fatalf("%q %v", line, err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		syscall.Kill(s.child, syscall.SIGKILL)
	})
	return s
}

// A signal is the program's to answer. While it goes on, so does its identity.
func TestRunPassesSignalsOn(t *testing.T) {
	t.Parallel()
	data := filepath.Dir(keyreeltest.Start(t).CAPath())
	s := startRun(t, data, `trap 'touch `+filepath.Join(data, "told")+`' TERM`)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	keyreeltest.Within(t, 5*time.Second, func() error { _, err := os.Stat(filepath.Join(data, "told")); return err })
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if status := msi(t, s.endpoint, s.header); status != http.StatusOK {
			t.Fatalf("a program that goes on lost its identity: %d", status)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit status %d, want the program's", code)
	}
	if status := msi(t, s.endpoint, s.header); status != http.StatusUnauthorized {
		t.Errorf("the secret of a program that has ended answers %d", status)
	}
}

// Nothing can pass on the end of a `keyreel run` that is killed: its program's secret ends with the lease.
func TestRunThatIsKilled(t *testing.T) {
	t.Parallel()
	data := filepath.Dir(keyreeltest.Start(t).CAPath())
	s := startRun(t, data, "true")
	if status := msi(t, s.endpoint, s.header); status != http.StatusOK {
		t.Fatalf("the secret answers %d", status)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.cmd.Wait()
	keyreeltest.Within(t, 6*time.Second, func() error {
		if status := msi(t, s.endpoint, s.header); status != http.StatusUnauthorized {
			return fmt.Errorf("the secret still answers %d", status)
		}
		return nil
	})
	if err := syscall.Kill(s.child, 0); err != nil {
		t.Errorf("the program is gone, so the test shows nothing: %v", err)
	}
}

// A program that a signal has ended is told as shells tell it.
func TestRunOfAProgramThatASignalEnds(t *testing.T) {
	t.Parallel()
	data := filepath.Dir(keyreeltest.Start(t).CAPath())
	cmd := keyreelCommand(t.Context(), "run", "--data", data, "--", "sh", "-c", "kill -KILL $$")
	cmd.Stderr = t.Output()
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit status %d", code)
	}
}

// namespaced returns the words before a command that makes a network namespace: none for root, which is allowed to.
func namespaced(t *testing.T) []string {
	t.Helper()
	var words []string
	if os.Geteuid() != 0 {
		words = []string{"unshare", "-r"}
	}
	probe := append(words[:len(words):len(words)], "unshare", "-n", "true")
	if err := exec.Command(probe[0], probe[1:]...).Run(); err != nil {
		t.Skipf("this machine gives no network namespaces: %v", err)
	}
	return words
}

// TestRunWithMetadataService: a stock program, with no variable that says where its identity is, finds it at
// 169.254.169.254 as on a virtual machine, and has no way into the network but the proxy.
func TestRunWithMetadataService(t *testing.T) {
	t.Parallel()
	words := namespaced(t)
	srv := keyreeltest.Start(t)
	words = append(words, os.Args[0], "run", "--data", filepath.Dir(srv.CAPath()), "--imds", "--others", "refuse", "--",
		"env", "-u", "TEST_KEYREEL_MAIN", "TEST_KEYREEL_CHILD=1", "TEST_KEYREEL_CLOSED="+strings.TrimPrefix(srv.IdentityURL(), "http://"), os.Args[0])
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "TEST_KEYREEL_MAIN=1", "IDENTITY_ENDPOINT=http://stray")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, t.Output()
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"group " + runGroup, "elsewhere:", "endpoint  header"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the program's output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "the network is open") {
		t.Error("the program reaches the network past the proxy")
	}
}

// What came through a proxy is refused although keyreel run stands in between.
func TestMetadataServiceRefusesProxies(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	r, err := newRunner(runOptions{data: filepath.Dir(srv.CAPath()), lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(r.dir)
	if r.identity, err = r.resolve(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := r.lease(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	handler, err := srv.Metadata(r.workload.ID)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for name, tt := range map[string]struct {
		path   string
		header []string
		status int
	}{
		"a token":          {"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net", []string{"Metadata", "true"}, 200},
		"a slash too many": {"/metadata/identity/oauth2/token/?api-version=2018-02-01&resource=https://vault.azure.net", []string{"Metadata", "true"}, 200},
		"a probe":          {"/metadata/identity/oauth2/token", nil, 400},
		"a proxy":          {"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net", []string{"Metadata", "true", "X-Forwarded-For", "192.0.2.1"}, 400},
		"version 2":        {"/metadata/identity/getplatformmetadata?cred-api-version=2.0", []string{"Metadata", "true"}, 404},
	} {
		req, err := http.NewRequest(http.MethodGet, server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(tt.header); i += 2 {
			req.Header.Set(tt.header[i], tt.header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status {
			t.Errorf("%s: %d %s %v", name, resp.StatusCode, body, err)
		}
	}
}
