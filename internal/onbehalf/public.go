package onbehalf

import (
	"errors"
	"net/http"

	"github.com/keyreel/keyreel/internal/outbound"
)

// ErrPrivateAddress is why a URL that a customer named was not fetched.
var ErrPrivateAddress = outbound.ErrPrivateAddress

// maxRedirects bounds how often a fetch is sent elsewhere.
const maxRedirects = 5

// Public returns a client for URLs that customers name. It sends no token. Hosts of this server are served in-process,
// as anyone's requests are; of all others only those are reached that package outbound lets through, and so are the
// addresses that a redirect leads to.
func (c *Clients) Public(allowPrivate bool) *http.Client {
	var transport http.RoundTripper = outbound.NewTransport(outbound.Options{PrivateNetworks: allowPrivate})
	if own, ok := c.Transport.(*InProcess); ok {
		transport = &InProcess{Handler: own.Handler, Owns: own.Owns, Next: transport}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || r.URL.Scheme != "https" && r.URL.Scheme != "http" {
			return errors.New("it redirects too often, or to what is neither https nor http")
		}
		return nil
	}}
}
