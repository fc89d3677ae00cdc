package customerkey

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// KeyID is a key identifier in parts.
type KeyID struct {
	Vault   string // "https://v.vault.keyreel.localhost:8443"
	Name    string
	Version string // "" is the current version
}

var (
	keyName    = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	keyVersion = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)
)

// ParseKeyID parses https://{vault}/keys/{name}[/{version}]. Anything else is azure.Error 400.
func ParseKeyID(s string) (KeyID, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return KeyID{}, badKeyID(s)
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/"), "/"), "/")
	id := KeyID{Vault: "https://" + u.Host}
	switch {
	case len(parts) == 3 && keyVersion.MatchString(parts[2]):
		id.Version = parts[2]
	case len(parts) != 2:
		return KeyID{}, badKeyID(s)
	}
	if !strings.EqualFold(parts[0], "keys") || !keyName.MatchString(parts[1]) {
		return KeyID{}, badKeyID(s)
	}
	id.Name = parts[1]
	return id, nil
}

func badKeyID(s string) *azure.Error {
	return azure.Errorf(400, "BadRequest",
		"'%s' is not a key identifier. It has the form https://{vault}/keys/{name} or https://{vault}/keys/{name}/{version}.", s)
}

// String is the inverse of ParseKeyID.
func (id KeyID) String() string {
	s := id.Vault + "/keys/" + id.Name
	if id.Version != "" {
		s += "/" + id.Version
	}
	return s
}
