package outbound

import (
	"net"
	"time"
)

// stallTimeout is how long nothing may move on a connection.
const stallTimeout = time.Minute

// movingConn is a connection that is cut when nothing was read or written for some time: a host that sends its answer
// by the byte, or not to the end, keeps whoever asked for no longer.
type movingConn struct {
	net.Conn
	stall time.Duration
}

// Read implements net.Conn.
func (c *movingConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. It moves the end of a Read that waits meanwhile, too.
func (c *movingConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
