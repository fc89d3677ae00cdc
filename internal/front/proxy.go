package front

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// Proxy is an HTTP proxy that knows CONNECT alone. It takes connections for the server's hosts, Azure's public names
// for them among these, to the server, so that a program behind it needs no DNS and nothing meant for the server goes
// elsewhere. All others it refuses, unless Others is set. It belongs on a loopback address: whoever reaches it reaches the server.
type Proxy struct {
	Hosts azure.Hosts
	Addr  string // the server's TLS listener
	// Others passes connections for all other hosts through to the network.
	Others bool
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this proxy knows CONNECT alone", http.StatusMethodNotAllowed)
		return
	}
	addr := p.Addr
	if _, ok := p.Hosts.Parse(r.Host); !ok && p.Others {
		addr = r.Host
	} else if !ok {
		http.Error(w, r.Host+" is not a host of this server", http.StatusForbidden)
		return
	}
	server, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(r.Context(), "tcp", addr)
	if err != nil {
		http.Error(w, addr+" does not answer: "+err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { relay(server, buffered, server) })
	both.Go(func() { relay(client, server, client) })
	both.Wait()
}

// relay copies until its source ends, then ends its destination, so that the other direction ends too.
func relay(dst io.Writer, src io.Reader, end io.Closer) {
	io.Copy(dst, src)
	end.Close()
}
