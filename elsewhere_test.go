package keyreel

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/outbound"
)

// The URL of a customer's key used to lead the server to any host in its own network, and through the proxy of its
// environment.
func TestCustomersVaultIsNotAPrivateHost(t *testing.T) {
	t.Parallel()
	private := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a private host was asked") }))
	private.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that the server breaks off
	private.StartTLS()
	t.Cleanup(private.Close)
	for _, tt := range []struct {
		name    string
		allowed bool
		url     string
		want    func(error) bool
	}{
		{"by address", false, private.URL, func(err error) bool { return errors.Is(err, outbound.ErrPrivateAddress) }},
		{"by name", false, strings.Replace(private.URL, "127.0.0.1", "localhost", 1), func(err error) bool { return errors.Is(err, outbound.ErrPrivateAddress) }},
		{"allowed", true, private.URL, func(err error) bool { return err != nil && strings.Contains(err.Error(), "certificate") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &Server{hosts: azure.Hosts{Domain: "keyreel.test"}, config: Config{PrivateNetworks: tt.allowed}}
			clients := s.clients()
			clients.Token = func(context.Context, string, string, string) (string, time.Time, error) {
				return "tok", time.Now().Add(time.Hour), nil
			}
			keys, err := clients.Keys(onbehalf.Identity{PrincipalID: "p", ResourceID: "/r", IdentityID: "/r"}, tt.url)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.GetKey(t.Context(), "k", "", nil); !tt.want(err) {
				t.Errorf("GetKey: %v", err)
			}
			account, err := clients.BlobWithKey("a", "a2V5", strings.Replace(private.URL, "https", "http", 1))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := account.GetProperties(t.Context(), nil); !errors.Is(err, outbound.ErrPlain) {
				t.Errorf("over plain HTTP: %v", err)
			}
		})
	}
}
