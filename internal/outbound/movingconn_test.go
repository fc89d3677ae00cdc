package outbound

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestStalledConnectionIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &movingConn{near, stallTimeout}
		defer c.Close()
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		// A long upload keeps the wait for its answer alive.
		go func() {
			b := make([]byte, 1)
			for {
				if _, err := far.Read(b); err != nil {
					return
				}
			}
		}()
		for range 5 {
			time.Sleep(stallTimeout - time.Second)
			if _, err := c.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != stallTimeout {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		if _, err := c.Write(nil); err != nil {
			t.Errorf("writing after it: %v", err)
		}
	})
}
