package keyreel

import (
	"log/slog"
	"net"
	"net/netip"
)

// nearListener takes connections from this machine alone. Linux delivers a packet for one of the machine's addresses from
// whatever interface it comes, so a link-local address is no fence: a neighbour on the network with a route to it is
// turned away here. A program of the machine that connects to one of its addresses comes from that same address, or from
// a loopback one.
type nearListener struct {
	net.Listener
	setting string
	log     *slog.Logger
}

// Accept implements net.Listener.
func (l *nearListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || fromThisMachine(conn.RemoteAddr(), conn.LocalAddr()) {
			return conn, err
		}
		l.log.Warn("a connection from another machine was refused: identities are handed out here; a program in a container or network namespace needs a listener of its own in there",
			"setting", l.setting, "remote", conn.RemoteAddr().String(), "local", conn.LocalAddr().String())
		conn.Close()
	}
}

func fromThisMachine(remote, local net.Addr) bool {
	from, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return false
	}
	if from.Addr().Unmap().IsLoopback() {
		return true
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && from.Addr().Unmap() == at.Addr().Unmap()
}
