package onbehalf

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

var account = Identity{PrincipalID: "p1", ResourceID: "/subscriptions/s/x", IdentityID: "/subscriptions/s/x"}

// TestBlobClient: the identity's token for storage, asked for once, goes with each request.
func TestBlobClient(t *testing.T) {
	t.Parallel()
	var tokens, requests atomic.Int32
	c := &Clients{
		Token: func(_ context.Context, principal, resource, audience string) (string, time.Time, error) {
			tokens.Add(1)
			if principal != "p1" || resource != account.ResourceID || audience != "https://storage.azure.com" {
				t.Errorf("token of %s for %s, audience %s", principal, resource, audience)
			}
			return "tok", time.Now().Add(time.Hour), nil
		},
		Transport: inProcess(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.Header.Get("Authorization") != "Bearer tok" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}).Transport,
	}
	for range 3 {
		client, err := c.Blob(account, own)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.NewContainerClient("c").GetProperties(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if tokens.Load() != 1 || requests.Load() != 3 {
		t.Errorf("%d tokens for %d requests", tokens.Load(), requests.Load())
	}
}

// TestKeysClient: the challenge is met once, and its resource becomes the token's audience.
func TestKeysClient(t *testing.T) {
	t.Parallel()
	var challenges atomic.Int32
	c := &Clients{
		Token: func(_ context.Context, _, _, audience string) (string, time.Time, error) {
			if audience != "https://vault.keyreel.test:8443" {
				t.Errorf("audience %s", audience)
			}
			return "tok", time.Now().Add(time.Hour), nil
		},
		Transport: inProcess(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				challenges.Add(1)
				w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.keyreel.test:8443/t1", resource="https://vault.keyreel.test:8443"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"key":{"kid":"https://v.vault.keyreel.test:8443/keys/k/1","kty":"RSA"}}`))
		}).Transport,
	}
	for range 2 {
		client, err := c.Keys(account, "https://v.vault.keyreel.test:8443")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.GetKey(t.Context(), "k", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if challenges.Load() != 1 {
		t.Errorf("%d challenges", challenges.Load())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	gone := errors.New("identity not found")
	tests := []struct {
		name     string
		handler  http.HandlerFunc
		tokenErr error
		requests int32
		check    func(error) bool
	}{
		{"403 is not retried", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, nil, 1, func(err error) bool {
			var e *azcore.ResponseError
			return errors.As(err, &e) && e.StatusCode == 403
		}},
		{"503 is retried twice", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, nil, 3, func(err error) bool {
			var e *azcore.ResponseError
			return errors.As(err, &e) && e.StatusCode == 503
		}},
		{"no token, no request", nil, gone, 0, func(err error) bool { return errors.Is(err, gone) }},
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://evil.test/")
			w.WriteHeader(307)
		}, nil, 1, func(err error) bool { return err != nil && !strings.Contains(err.Error(), "network") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			c := &Clients{
				Token: func(context.Context, string, string, string) (string, time.Time, error) {
					return "tok", time.Now().Add(time.Hour), tt.tokenErr
				},
				Transport: inProcess(func(w http.ResponseWriter, r *http.Request) { requests.Add(1); tt.handler(w, r) }).Transport,
			}
			client, err := c.Blob(account, own)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.NewContainerClient("c").GetProperties(t.Context(), nil)
			if !tt.check(err) || requests.Load() != tt.requests {
				t.Errorf("%d requests, %v", requests.Load(), err)
			}
		})
	}
}

// TestHostileChallenge: azkeys takes the fourth part of the challenge's authority without looking whether there is one.
func TestHostileChallenge(t *testing.T) {
	t.Parallel()
	c := &Clients{
		Token: func(context.Context, string, string, string) (string, time.Time, error) {
			return "tok", time.Now().Add(time.Hour), nil
		},
		Transport: inProcess(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer authorization="x", resource="https://vault.keyreel.test:8443"`)
			w.WriteHeader(http.StatusUnauthorized)
		}).Transport,
	}
	client, err := c.Keys(account, "https://v.vault.keyreel.test:8443")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetKey(t.Context(), "k", "", nil); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("GetKey: %v", err)
	}
}
