package front_test

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/front"
)

// FuzzConnect: whatever stands in a CONNECT request, a proxy without Others opens no connection but to the server, and to
// that for its own hosts alone.
func FuzzConnect(f *testing.F) {
	for _, line := range []string{
		"CONNECT login.microsoftonline.com:443 HTTP/1.1\r\nHost: login.microsoftonline.com:443", "CONNECT example.org:443 HTTP/1.1\r\nHost: login.microsoftonline.com",
		"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x", "CONNECT a.vault.azure.net HTTP/1.0", "CONNECT /path HTTP/1.1\r\nHost: management.azure.com",
		"GET http://management.azure.com/ HTTP/1.1\r\nHost: management.azure.com", "CONNECT [::1]:443 HTTP/1.1", "CONNECT login.windows.net@example.org:443 HTTP/1.1",
	} {
		f.Add(line)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	hosts := azure.Hosts{Domain: "keyreel.localhost"}
	proxy := &front.Proxy{Hosts: hosts, Addr: nobody}
	f.Fuzz(func(t *testing.T, head string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n")))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		_, own := hosts.Parse(r.Host)
		want := http.StatusForbidden
		switch {
		case r.Method != http.MethodConnect:
			want = http.StatusMethodNotAllowed
		case own:
			want = http.StatusBadGateway // nobody listens there
		}
		if w.Code != want {
			t.Errorf("%q: %d, want %d: %s", head, w.Code, want, w.Body)
		}
		if want == http.StatusBadGateway && !strings.HasPrefix(w.Body.String(), nobody+" ") {
			t.Errorf("%q leads elsewhere: %s", head, w.Body)
		}
	})
}
