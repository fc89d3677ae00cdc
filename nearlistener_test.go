package keyreel

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestFromThisMachine(t *testing.T) {
	t.Parallel()
	addr := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tt := range []struct {
		name, remote, local string
		want                bool
	}{
		{"loopback", "127.0.0.1:5000", "127.0.0.1:80", true},
		{"loopback, IPv6", "[::1]:5000", "[::1]:80", true},
		{"loopback, mapped", "[::ffff:127.0.0.1]:5000", "127.0.0.1:80", true},
		{"the address itself", "169.254.169.254:5000", "169.254.169.254:80", true},
		{"the address itself, mapped", "[::ffff:169.254.169.254]:5000", "169.254.169.254:80", true},
		{"the address itself, with its zone", "[fe80::1%eth0]:5000", "[fe80::1%eth0]:80", true},
		{"a neighbour on the link", "169.254.7.7:5000", "169.254.169.254:80", false},
		{"a neighbour on the link, IPv6", "[fe80::2%eth0]:5000", "[fe80::1%eth0]:80", false},
		{"a neighbour with a route", "192.168.1.20:5000", "169.254.169.254:80", false},
		{"a stranger", "198.51.100.1:5000", "169.254.169.254:80", false},
	} {
		if got := fromThisMachine(addr(tt.remote), addr(tt.local)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if fromThisMachine(&net.UnixAddr{Name: "@"}, addr("127.0.0.1:80")) {
		t.Error("an address without an IP is taken")
	}
}

// comesFrom is a connection that seems to come from somewhere.
type comesFrom struct {
	net.Conn
	remote, local net.Addr
}

func (c comesFrom) RemoteAddr() net.Addr { return c.remote }
func (c comesFrom) LocalAddr() net.Addr  { return c.local }

// waiting is a listener with connections that wait.
type waiting struct {
	net.Listener
	conns chan net.Conn
}

func (w waiting) Accept() (net.Conn, error) {
	if c, ok := <-w.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// A neighbour with a route to the metadata address used to be given the machine's identity.
func TestNeighboursGetNoIdentity(t *testing.T) {
	t.Parallel()
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("169.254.169.254:80"))
	w := waiting{conns: make(chan net.Conn, 2)}
	neighbour, hung := net.Pipe()
	own, end := net.Pipe()
	t.Cleanup(func() { own.Close(); end.Close() })
	w.conns <- comesFrom{neighbour, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.168.1.20:5000")), local}
	w.conns <- comesFrom{own, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("169.254.169.254:5000")), local}
	close(w.conns)
	var log bytes.Buffer
	l := &nearListener{w, "imds-listen", slog.New(slog.NewTextHandler(&log, nil))}
	got, err := l.Accept()
	if err != nil || got.(comesFrom).Conn != own {
		t.Errorf("the machine's own program: %v", err)
	}
	if _, err := hung.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the neighbour's connection: %v", err)
	}
	if text := log.String(); !strings.Contains(text, "setting=imds-listen") || !strings.Contains(text, "remote=192.168.1.20:5000") {
		t.Errorf("logged: %s", text)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}
