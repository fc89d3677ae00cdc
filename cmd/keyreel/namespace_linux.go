package main

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// metadataHost is where virtual machines find their instance metadata service.
const metadataHost = "169.254.169.254"

// enterNamespace makes a network with nothing in it but loopback, on which metadataHost answers too. It returns how to
// start a program there, and the listeners of its proxy and of its metadata service.
//
// A network namespace belongs to a thread. The one that has entered it opens the sockets and starts the program, and
// ends with the goroutine that is locked to it.
func enterNamespace() (start func(*exec.Cmd) error, proxy, metadata net.Listener, err error) {
	programs, started := make(chan *exec.Cmd), make(chan error)
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: no other goroutine may get this thread
		proxy, metadata, err = openNamespace()
		entered <- err
		if err == nil {
			started <- (<-programs).Start()
		}
	}()
	if err := <-entered; err != nil {
		return nil, nil, nil, err
	}
	return func(cmd *exec.Cmd) error { programs <- cmd; return <-started }, proxy, metadata, nil
}

func openNamespace() (proxy, metadata net.Listener, err error) {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); errors.Is(err, syscall.EPERM) {
		return nil, nil, errors.New("--imds makes a network namespace, which takes root: put sudo or unshare -r in front of keyreel run")
	} else if err != nil {
		return nil, nil, fmt.Errorf("making a network namespace: %w", err)
	}
	if err := raiseLoopback(); err != nil {
		return nil, nil, fmt.Errorf("setting up the loopback of the namespace: %w", err)
	}
	if proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, nil, err
	}
	metadata, err = net.Listen("tcp", metadataHost+":80")
	return proxy, metadata, err
}

// raiseLoopback switches the loopback interface on and gives it metadataHost as a second address.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		address net.IP
	}{{unix.SIOCSIFADDR, net.ParseIP(metadataHost)}, {unix.SIOCSIFNETMASK, net.IPv4bcast}} {
		alias, err := unix.NewIfreq("lo:1")
		if err != nil {
			return err
		}
		if err := alias.SetInet4Addr(set.address.To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.request, alias); err != nil {
			return err
		}
	}
	return nil
}
