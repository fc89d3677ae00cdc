// Package keyreeltest runs a whole server for a test: real listeners on loopback, a database and objects in the test's
// temporary folder, everything gone when the test ends.
//
//	srv := keyreeltest.Start(t)
//	client, err := armresources.NewResourceGroupsClient(srv.Installation().SubscriptionID, srv.Admin, &arm.ClientOptions{ClientOptions: srv.ClientOptions()})
package keyreeltest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/keyreel/keyreel"
)

// Server is a running server.
type Server struct {
	*keyreel.Server
	Admin azcore.TokenCredential // the administrator, Owner of everything
	stop  func() error
}

// Start runs a server until the test ends. edit may change the configuration; the data folder and the listeners are set
// already. What the server logs appears with the test's output.
func Start(t testing.TB, edit ...func(*keyreel.Config)) *Server {
	t.Helper()
	c := keyreel.DefaultConfig()
	c.Data, c.Listen, c.IdentityListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	for _, fn := range edit {
		fn(&c)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		t.Fatalf("log-level: %v", err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
	open, err := keyreel.Open(t.Context(), c, log)
	if err != nil {
		t.Fatalf("starting keyreel: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- open.Serve(ctx) }()
	s := &Server{Server: open}
	s.stop = func() error {
		cancel()
		err := <-served
		if closed := open.Close(); err == nil {
			err = closed
		}
		return err
	}
	t.Cleanup(s.Stop(t))
	if s.Admin, err = open.Administrator(); err != nil {
		t.Fatalf("signing in as the administrator: %v", err)
	}
	return s
}

// Stop returns a function that stops the server, once; the end of the test does so too.
func (s *Server) Stop(t testing.TB) func() {
	return func() {
		if s.stop == nil {
			return
		}
		stop := s.stop
		s.stop = nil
		if err := stop(); err != nil {
			t.Errorf("stopping keyreel: %v", err)
		}
	}
}

// Within waits until check returns nil, for what the server promises to do within a time.
func Within(t testing.TB, d time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", d, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
