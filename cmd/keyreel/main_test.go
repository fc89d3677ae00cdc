package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

// TestMain lets the test binary stand in for keyreel, with TEST_KEYREEL_MAIN set, and for a program that `keyreel run`
// starts, with TEST_KEYREEL_CHILD set.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("TEST_KEYREEL_MAIN") != "":
		os.Exit(run())
	case os.Getenv("TEST_KEYREEL_CHILD") != "":
		os.Exit(child())
	}
	os.Exit(m.Run())
}

func keyreelCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TEST_KEYREEL_MAIN=1")
	return cmd
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing", nil, 2, "usage: keyreel COMMAND"},
		{"help", []string{"help"}, 0, "serve"},
		{"unknown command", []string{"sreve"}, 2, `"sreve"`},
		{"version", []string{"version"}, 0, "keyreel"},
		{"help of serve", []string{"serve", "--help"}, 0, "-identity-listen"},
		{"help of run", []string{"run", "--help"}, 0, "--imds"},
		{"help of explain", []string{"explain", "--help"}, 0, "Exit status"},
		{"help of audit", []string{"audit", "help"}, 0, "audit verify"},
		{"explain nothing", []string{"explain"}, 2, "--principal"},
		{"verify nothing", []string{"audit", "verify", "--data", filepath.Join(t.TempDir(), "none")}, 2, "keyreel.db"},
		{"unknown flag", []string{"serve", "--daat", "x"}, 1, "daat"},
		{"bad log level", []string{"serve", "--log-level", "loud"}, 1, "loud"},
		{"identity endpoints off loopback", []string{"serve", "--data", filepath.Join(t.TempDir(), "d"), "--identity-listen", "0.0.0.0:0"}, 1, "loopback"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := keyreelCommand(t.Context(), tt.args...)
			text, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(text), tt.want) {
				t.Errorf("exit %d, output:\n%s", cmd.ProcessState.ExitCode(), text)
			}
		})
	}
}

// TestDemo runs the main job from end to end, as `make demo` does.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := demo(t.Context(), []string{"--seconds", "6"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	if strings.Contains(out.String(), "FAILED") {
		t.Error("a step failed")
	}
}

// TestGreeting: whoever starts the server is told how to sign in, and no secret.
func TestGreeting(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	var out bytes.Buffer
	greet(&out, srv.Server)
	var creds keyreel.Credentials
	text, err := os.ReadFile(srv.CredentialsPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &creds); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"serves on " + srv.Addr(), "az login -u admin@keyreel.localhost", "az login --service-principal --tenant " + creds.TenantID + " -u " + creds.ClientID,
		"keyreel run --data " + filepath.Dir(srv.CAPath()), srv.CredentialsPath(), srv.CAPath(),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the greeting lacks %q:\n%s", want, out.String())
		}
	}
	for _, secret := range []string{creds.ClientSecret, creds.Password} {
		if secret == "" || strings.Contains(out.String(), secret) {
			t.Errorf("a secret is missing or shown:\n%s", out.String())
		}
	}
}

// process is a running `keyreel serve`.
type process struct {
	cmd    *exec.Cmd
	creds  keyreel.Credentials
	client *http.Client
	domain string
	port   string
}

// startProcess starts `keyreel serve` on a data folder and waits until it says that it serves.
func startProcess(t *testing.T, data string) *process {
	t.Helper()
	p := &process{cmd: keyreelCommand(context.Background(), "serve", "--data", data, "--listen", "127.0.0.1:0", "--identity-listen", "127.0.0.1:0", "--log-level", "warn"), domain: "keyreel.localhost"}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	p.cmd.Stderr = &stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	scan := bufio.NewScanner(stdout)
	var addr string
	for scan.Scan() {
		if m := regexp.MustCompile(`serves on (\S+)`).FindStringSubmatch(scan.Text()); m != nil {
			addr = m[1]
		}
		if strings.Contains(scan.Text(), "instance discovery off") || strings.HasPrefix(scan.Text(), "above") {
			break
		}
	}
	if addr == "" {
		p.cmd.Wait()
		t.Fatalf("the server did not start: %s", stderr.String())
	}
	go io.Copy(io.Discard, stdout)
	if _, p.port, err = net.SplitHostPort(addr); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(data, "administrator.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &p.creds); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(data, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	p.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}}
	return p
}

func (p *process) url(host, path string) string {
	return "https://" + host + "." + p.domain + ":" + p.port + path
}

func (p *process) do(method, u, token, body string, header ...string) (int, []byte, error) {
	req, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (p *process) token(t *testing.T, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.creds.ClientID}, "client_secret": {p.creds.ClientSecret}, "resource": {resource}}
	status, body, err := p.do("POST", p.url("login", "/"+p.creds.TenantID+"/oauth2/token"), "", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if err != nil || status != 200 {
		t.Fatalf("token: %d %s %v", status, body, err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken
}
