package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

var hosts = azure.Hosts{Domain: "keyreel.localhost", Port: "8443"}

// serve runs a Front over TLS with a CA of its own and returns a client that reaches it under every name.
func serve(t *testing.T, f *Front) *http.Client {
	t.Helper()
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca.key"), hosts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(f, slog.New(slog.DiscardHandler))
	srv.TLSConfig = TLSConfig(f.Hosts, ca, nil)
	go srv.ServeTLS(l, "", "")
	t.Cleanup(func() { srv.Close() })
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
		},
	}}
}

func TestFrontChoosesByHost(t *testing.T) {
	t.Parallel()
	answer := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
	}
	var log bytes.Buffer
	f := &Front{Hosts: hosts, Log: slog.New(slog.NewJSONHandler(&log, nil)), Services: map[string]http.Handler{
		azure.Login: answer("login"), azure.Vault: answer("vault"),
	}}
	client := serve(t, f)
	for _, tt := range []struct {
		url, want string
		status    int
	}{
		{"https://login.keyreel.localhost:8443/x?client_secret=hunter2", "login", 200},
		{"https://login.microsoftonline.com/", "login", 200},
		{"https://v1.vault.keyreel.localhost:8443/keys//x", "vault", 200},
		{"https://graph.keyreel.localhost:8443/", "HostNotFound", 404},
	} {
		resp, err := client.Get(tt.url)
		if err != nil {
			t.Fatalf("%s: %v", tt.url, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("%s: %d %s %v", tt.url, resp.StatusCode, body, err)
		}
		if resp.Header.Get("X-Ms-Request-Id") == "" {
			t.Errorf("%s: no request id", tt.url)
		}
	}
	if _, err := client.Get("https://elsewhere.example/"); err == nil {
		t.Error("a certificate was given for a name that is not the server's")
	}
}

func TestObserveLogsWithoutQueries(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := Observe(slog.New(slog.NewJSONHandler(&log, nil)), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		azure.EventOf(r.Context()).Operation = "Test.Op"
		w.WriteHeader(http.StatusTeapot)
	}))
	r := httptest.NewRequest("GET", "/path?sig=hunter2", nil)
	r.Header.Set("X-Ms-Client-Request-Id", "mine\nforged")
	h.ServeHTTP(httptest.NewRecorder(), r)
	line := log.String()
	for _, want := range []string{`"status":418`, `"operation":"Test.Op"`, `"path":"/path"`} {
		if !strings.Contains(line, want) {
			t.Errorf("the log line lacks %s: %s", want, line)
		}
	}
	if strings.Contains(line, "hunter2") || strings.Contains(line, "forged") {
		t.Errorf("the log line holds what it must not: %s", line)
	}
}

func TestObserveSurvivesPanics(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	srv := httptest.NewServer(Observe(slog.New(slog.NewJSONHandler(&log, nil)), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("the password is hunter2")
	})))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err == nil {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "hunter2") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	srv.Close()
	if !strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("the log does not tell: %s", log.String())
	}
}

// A client that asks and then reads nothing must not hold the handler, whatever the size of the answer.
func TestSlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ended := make(chan error, 1)
		srv := NewServer(Observe(slog.New(slog.DiscardHandler), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(3 * writePatience) // a slow handler is not a slow client
			_, err := w.Write(make([]byte, 10*writePiece))
			ended <- err
		})), slog.New(slog.DiscardHandler))
		client, server := net.Pipe()
		go srv.Serve(&single{conn: server, done: make(chan struct{})})
		defer srv.Close()
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the handler's write ended with %v", err)
		}
		if took := time.Since(begun); took != 4*writePatience {
			t.Errorf("after %v", took)
		}
		client.Close()
	})
}

// A body that nobody asked for is not waited for: any 404 would do to hold a connection.
func TestTrickledBodyIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &Front{Hosts: hosts, Log: slog.New(slog.DiscardHandler)}
		srv := NewServer(f, slog.New(slog.DiscardHandler))
		client, server := net.Pipe()
		go srv.Serve(&single{conn: server, done: make(chan struct{})})
		defer srv.Close()
		begun := time.Now()
		go io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\na")
		answer, err := io.ReadAll(client)
		if err != nil || !strings.Contains(string(answer), " 404 ") {
			t.Errorf("%s, %v", answer, err)
		}
		if took := time.Since(begun); took > drainPatience+time.Second {
			t.Errorf("the connection was held for %v", took)
		}
	})
}

// single is a listener with one connection.
type single struct {
	conn net.Conn
	done chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *single) Close() error   { close(l.done); return nil }
func (l *single) Addr() net.Addr { return &net.TCPAddr{} }

func TestLogLinesAreBounded(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := Observe(slog.New(slog.NewJSONHandler(&log, nil)), http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/"+strings.Repeat("x", 60_000), nil))
	if log.Len() > 2*maxLogged {
		t.Errorf("one request wrote %d bytes of log", log.Len())
	}
}

// Neither case, nor a port, nor the root's dot, nor HTTP/2's :authority leads to another service than the name says, and
// the name in the handshake (SNI) decides on nothing.
func TestHostCannotBeConfused(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := &Front{Hosts: hosts, Log: slog.New(slog.NewJSONHandler(&log, nil)), Services: map[string]http.Handler{
		azure.Login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "login") }),
		azure.Blob:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "blob") }),
	}}
	client := serve(t, f)
	for _, tt := range []struct{ host, want string }{
		{"LOGIN.KeyReel.LocalHost", "login"},
		{"login.keyreel.localhost.:1", "login"},
		{"acct.blob.keyreel.localhost", "blob"},
		{"login.keyreel.localhost.blob.core.windows.net", "HostNotFound"},
		{"login.keyreel.localhost..", "HostNotFound"},
		{"login.keyreel.localhost:1:2", "HostNotFound"},
		{"x.login.keyreel.localhost", "HostNotFound"},
		{"127.0.0.1:8443", "HostNotFound"},
	} {
		r, err := http.NewRequest("GET", "https://login.keyreel.localhost:8443/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tt.host // the handshake still says login
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", tt.host, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), tt.want) || tt.want == "HostNotFound" && resp.StatusCode != 404 {
			t.Errorf("%s: %d %s %v", tt.host, resp.StatusCode, body, err)
		}
	}
}

func TestProxyLeadsToTheServerAlone(t *testing.T) {
	t.Parallel()
	f := &Front{Hosts: hosts, Log: slog.New(slog.DiscardHandler), Services: map[string]http.Handler{
		azure.Login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "login") }),
	}}
	direct := serve(t, f)
	tr := direct.Transport.(*http.Transport)
	conn, err := tr.DialContext(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.RemoteAddr().String()
	conn.Close()
	proxy := httptest.NewServer(&Proxy{Hosts: hosts, Addr: addr})
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: tr.TLSClientConfig}}
	resp, err := client.Get("https://login.microsoftonline.com/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "login" {
		t.Errorf("%s %v", body, err)
	}
	var refused *url.Error
	if _, err := client.Get("https://elsewhere.example/"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("another host: %v", err)
	}
}

func TestObserveHidesWorkloads(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := Observe(slog.New(slog.NewJSONHandler(&log, nil)), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		azure.EventOf(r.Context()).Service = "identity"
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/msi/secret-id/token", nil))
	if strings.Contains(log.String(), "secret-id") {
		t.Errorf("the log holds a workload's id: %s", log.String())
	}
}
