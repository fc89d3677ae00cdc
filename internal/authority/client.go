package authority

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client is who a request to the token endpoint says it comes from, and with what it wants to prove that: a secret or an
// assertion.
type client struct {
	id        string
	secret    seal.Secret
	assertion string
}

// clientOf reads the client from the form or from Basic authentication, in which RFC 6749 section 2.3.1 wants id and
// secret form-encoded. More than one way at a time is refused, as section 2.3 has it.
func clientOf(r *http.Request, form url.Values) (client, error) {
	c := client{id: form.Get("client_id"), secret: seal.Secret(form.Get("client_secret")), assertion: strings.TrimSpace(form.Get("client_assertion"))}
	user, password, basic := r.BasicAuth()
	ways := 0
	for _, used := range []bool{basic, c.secret != "", c.assertion != ""} {
		if used {
			ways++
		}
	}
	switch kind := form.Get("client_assertion_type"); {
	case ways > 1:
		return c, aadsts(http.StatusBadRequest, "invalid_request", 90100, "The request authenticates the client in more than one way: give one of the Authorization header, client_secret and client_assertion.")
	case basic:
		c.id, c.secret = formDecoded(user), seal.Secret(formDecoded(password))
		if named := form.Get("client_id"); named != "" && !strings.EqualFold(named, c.id) {
			return c, aadsts(http.StatusBadRequest, "invalid_request", 90100, "The parameter 'client_id' names another client than the Authorization header.")
		}
		return c, nil
	case c.id == "":
		return c, missing("client_id")
	case c.assertion != "" && kind == "":
		return c, missing("client_assertion_type")
	case c.assertion != "" && kind != jwtBearer:
		return c, aadsts(http.StatusBadRequest, "invalid_request", 90100, "The parameter 'client_assertion_type' is '%s' and not '%s'.", shown(kind), jwtBearer)
	}
	return c, nil
}

// errNoCredential refuses a client that would have to prove itself and does not try.
func errNoCredential() error {
	return aadsts(http.StatusUnauthorized, "invalid_client", 7000218,
		"The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

// anonymous reports whether the client does not even try to prove itself.
func (c client) anonymous() bool { return c.secret == "" && c.assertion == "" }

func formDecoded(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// proof is what proved who a client is. The zero value stands for a secret.
type proof struct {
	assertion bool
	// Of an assertion that is good once:
	clientID string
	id       string // jti
	expires  time.Time
}

// method is how the client authenticated, as the claim appidacr says it.
func (p proof) method() string {
	if p.assertion {
		return "2"
	}
	return "1"
}

// authenticate returns the living application that the client has proved to be. When the proof was not good, the record
// names the application all the same.
func (a *Authority) authenticate(ctx context.Context, c client, record *audit.Record) (directory.Principal, proof, error) {
	var p directory.Principal
	var used proof
	var err error
	if c.assertion != "" {
		p, used, err = a.checkAssertion(ctx, c, record)
	} else {
		p, err = a.o.Directory.VerifySecret(ctx, c.id, c.secret)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = a.errNoApplication(c.id)
	case errors.Is(err, directory.ErrWrongSecret):
		err = aadsts(http.StatusUnauthorized, "invalid_client", 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", shown(c.id))
		a.nameApplication(ctx, c, record)
	case errors.Is(err, directory.ErrExpiredSecret):
		err = aadsts(http.StatusUnauthorized, "invalid_client", 7000222,
			"The provided client secret keys for app '%s' are expired. Add a new client secret to the application.", shown(c.id))
		a.nameApplication(ctx, c, record)
	case errors.Is(err, directory.ErrDisabled):
		err = errDisabledApplication(c.id)
	}
	return p, used, err
}

// nameApplication puts the application whose credentials were tried into a record.
func (a *Authority) nameApplication(ctx context.Context, c client, record *audit.Record) {
	if known, err := a.o.Directory.ByAppID(ctx, c.id); err == nil {
		record.Principal = known.ID
	}
}

func (a *Authority) errNoApplication(id string) error {
	return aadsts(http.StatusBadRequest, "unauthorized_client", 700016,
		"Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
		shown(id), a.o.TenantID)
}

func errDisabledApplication(id string) error {
	return aadsts(http.StatusBadRequest, "unauthorized_client", 7000112, "Application '%s' is disabled.", shown(id))
}

// registration returns what a client has registered for users' sign-in: a living one's with a service principal, or one of
// Microsoft's public clients.
func (a *Authority) registration(ctx context.Context, id string) (directory.Registration, error) {
	r, err := a.o.Directory.ClientRegistration(ctx, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, a.errNoApplication(id)
	case err != nil:
		return r, err
	case r.ObjectID != "" && r.ServicePrincipalID == "":
		return r, a.errNoApplication(id)
	case !r.Enabled:
		return r, errDisabledApplication(id)
	}
	return r, nil
}
