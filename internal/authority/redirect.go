package authority

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreel/keyreel/internal/directory"
)

// redirectOf returns the registered address to which an answer may go; false when the one that was sent is none. Addresses
// are compared exactly, but that of a program on the user's own machine may name any port (RFC 8252 section 7.3).
// https://learn.microsoft.com/entra/identity-platform/reply-url
func redirectOf(reg directory.Registration, sent string) (directory.RedirectURI, bool) {
	for _, r := range reg.RedirectURIs {
		if r.URI == sent || sameLoopback(r.URI, sent) {
			return directory.RedirectURI{URI: sent, Type: r.Type}, true
		}
	}
	return directory.RedirectURI{}, false
}

func sameLoopback(registered, sent string) bool {
	a, err := url.Parse(registered)
	if err != nil || !loopback(a) {
		return false
	}
	b, err := url.Parse(sent)
	if err != nil || !loopback(b) || b.User != nil || strings.Contains(sent, "#") {
		return false
	}
	path := func(u *url.URL) string {
		if u.Path == "" {
			return "/"
		}
		return u.EscapedPath()
	}
	return strings.EqualFold(a.Hostname(), b.Hostname()) && path(a) == path(b) && a.RawQuery == b.RawQuery
}

func loopback(u *url.URL) bool {
	return u.Scheme == "http" && (strings.EqualFold(u.Hostname(), "localhost") || u.Hostname() == "127.0.0.1")
}

// respond sends the parameters of an answer to a redirect address in one of OAuth 2.0's response modes. A 303 does not
// take the body of the sign-in form, with the password in it, along.
func respond(w http.ResponseWriter, to, mode string, params url.Values) error {
	if mode == "form_post" {
		return writePage(w, http.StatusOK, page{Title: "Signing in", Kind: "post", Action: to, Params: params, targets: []string{to}, script: true})
	}
	u, err := url.Parse(to)
	if err != nil {
		return err // it is registered, so it was parsed before
	}
	if mode == "fragment" {
		to = strings.TrimSuffix(to, "#") + "#" + params.Encode()
	} else {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += params.Encode()
		to = u.String()
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// formTarget is an address as the form-action of a Content-Security-Policy names it: browsers hold the redirect after a
// form against it too.
func formTarget(to string) string {
	u, err := url.Parse(to)
	switch {
	case err != nil || u.Scheme == "":
		return ""
	case u.Host == "" || strings.HasPrefix(u.Host, "[") || strings.ContainsAny(u.Host, " ;,'\"") || u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme + ":" // a program's own scheme, or an address that the policy's grammar does not have
	}
	if host, port, err := net.SplitHostPort(u.Host); err == nil {
		return u.Scheme + "://" + host + ":" + port
	}
	return u.Scheme + "://" + u.Host
}
