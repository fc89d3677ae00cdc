package keyreel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/durable"
	"github.com/keyreel/keyreel/internal/front"
	"github.com/keyreel/keyreel/internal/store"
)

// listeners are the sockets that a server has open. Those that are switched off are nil.
type listeners struct {
	public   net.Listener // TLS: every service
	identity net.Listener // managed-identity endpoints of registered workloads
	imds     net.Listener // instance metadata of the one workload that reaches it
	fabric   net.Listener // TLS with a pinned certificate: Service Fabric
}

// pinnedNotice is how long before its end the operator is told of a pinned certificate.
const pinnedNotice = 60 * 24 * time.Hour

// listen opens the listeners and what vouches for them.
func (s *Server) listen(context.Context) (err error) {
	c := &s.config
	for _, l := range []struct {
		setting, addr string
		near          func(netip.Addr) bool // nil is any address
		to            *net.Listener
	}{
		{"identity-listen", c.IdentityListen, netip.Addr.IsLoopback, &s.listeners.identity},
		{"imds-listen", c.IMDSListen, func(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() }, &s.listeners.imds},
		{"fabric-listen", c.FabricListen, netip.Addr.IsLoopback, &s.listeners.fabric},
		{"listen", c.Listen, nil, &s.listeners.public},
	} {
		if l.addr == "" && l.setting != "identity-listen" && l.setting != "listen" {
			continue
		}
		if l.near != nil {
			if err := checkNear(l.addr, l.near); err != nil {
				return fmt.Errorf("%s: %w", l.setting, err)
			}
		}
		if *l.to, err = net.Listen("tcp", l.addr); err != nil {
			return fmt.Errorf("%s: %w", l.setting, err)
		}
		s.onClose(ignoreClosed((*l.to).Close))
	}
	port := c.PublicPort
	if port == "" {
		if _, port, err = net.SplitHostPort(s.listeners.public.Addr().String()); err != nil {
			return err
		}
	}
	s.hosts = azure.Hosts{Domain: c.Domain, Port: port}
	return s.openCertificates()
}

// checkNear refuses addresses that others than programs on this machine reach: identities are handed out there.
func checkNear(addr string, near func(netip.Addr) bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !near(ip.Unmap()) {
		return fmt.Errorf("%s is not a loopback address; identities are handed out there and must not leave the machine", host)
	}
	return nil
}

func (s *Server) openCertificates() (err error) {
	c := &s.config
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("tls-cert: %w", err)
		}
		s.own = &pair
	}
	if s.ca, err = front.OpenCA(c.path("ca.key"), s.hosts); err != nil {
		return err
	}
	if s.listeners.fabric != nil {
		path := c.path(fabricFile)
		if s.pinned, err = s.ca.OpenPinned(path); err != nil {
			return err
		}
		if end := s.pinned.Leaf.NotAfter; time.Until(end) < pinnedNotice {
			s.log.Warn("the certificate of Service Fabric's endpoint ends; for a new one remove its file, start again and give its clients the new thumbprint",
				"file", path, "end", end)
		}
	}
	return durable.WriteFile(c.path(caFile), s.ca.PEM(), 0o644)
}

// issuerRoots are the CAs that vouch for federated issuers; nil is the system's.
func (c *Config) issuerRoots() (*x509.CertPool, error) {
	if c.IssuerCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.IssuerCA)
	if err != nil {
		return nil, fmt.Errorf("issuer-ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without roots
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("issuer-ca: %s holds no certificate", c.IssuerCA)
	}
	return roots, nil
}

// arcFolder returns the absolute path of the folder of Azure Arc's keys, which proves something only as long as nobody
// else writes there. A folder that is made here hands its group on to the keys in it.
func (c *Config) arcFolder() (string, error) {
	if c.ArcTokens == "" {
		return "", nil
	}
	dir, err := filepath.Abs(c.ArcTokens)
	if err != nil {
		return "", fmt.Errorf("arc-tokens: %w", err)
	}
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return "", fmt.Errorf("arc-tokens: %w", err)
		}
		if err := os.Chmod(dir, 0o750|os.ModeSetgid); err != nil {
			return "", fmt.Errorf("arc-tokens: %w", err)
		}
		return dir, nil
	}
	if err != nil {
		return "", fmt.Errorf("arc-tokens: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return "", fmt.Errorf("arc-tokens: everybody may write to %s (mode %04o); chmod o-w it", dir, info.Mode().Perm())
	}
	return dir, nil
}

// metadataWorkload is who reaches the metadata listener: nobody who is registered, but the identities of the
// configuration that are there now.
func (s *Server) metadataWorkload(ctx context.Context) (directory.Workload, error) {
	w := directory.Workload{ID: "imds-listen", Name: "imds-listen " + s.config.IMDSListen}
	err := s.db.View(ctx, func(tx *store.Tx) error {
		w.Identities = nil
		for _, text := range split(s.config.IMDSIdentities) {
			id, err := azure.ParseResourceID(text)
			if err != nil {
				return err
			}
			principal, _, err := s.directory.UserAssigned(ctx, tx, id)
			var e *azure.Error
			if errors.As(err, &e) && e.Status == http.StatusNotFound {
				continue // not made yet, or deleted: a machine without this identity
			}
			if err != nil {
				return err
			}
			w.Identities = append(w.Identities, principal)
		}
		return nil
	})
	return w, err
}

// served is a listener with its server.
type served struct {
	*http.Server
	listener net.Listener
}

func (s *Server) served() []served {
	var list []served
	add := func(l net.Listener, h http.Handler, config *tls.Config) {
		if l == nil {
			return
		}
		server := front.NewServer(h, s.log)
		server.TLSConfig = config
		list = append(list, served{server, l})
	}
	observed := func(h http.Handler) http.Handler { return front.Observe(s.log, h) }
	add(s.listeners.public, s.front, front.TLSConfig(s.hosts, s.ca, s.own))
	add(s.listeners.identity, observed(s.authority.IdentityHandler()), nil)
	if l := s.listeners.imds; l != nil {
		add(&nearListener{l, "imds-listen", s.log}, observed(s.authority.ListenerHandler(s.metadataWorkload)), nil)
	}
	if s.pinned != nil {
		add(s.listeners.fabric, observed(s.authority.FabricHandler()),
			&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.pinned}})
	}
	return list
}

// Serve answers requests until ctx is done or a listener fails, then lets running requests end for some seconds.
func (s *Server) Serve(ctx context.Context) error {
	list := s.served()
	failed := make(chan error, len(list))
	for _, l := range list {
		go func() {
			if l.TLSConfig != nil {
				failed <- l.ServeTLS(l.listener, "", "")
			} else {
				failed <- l.Serve(l.listener)
			}
		}()
	}
	var err error
	running := len(list)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, l := range list {
		if l.Shutdown(grace) != nil {
			l.Close()
		}
	}
	for range running {
		<-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func ignoreClosed(fn func() error) func() error {
	return func() error {
		if err := fn(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
