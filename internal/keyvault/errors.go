package keyvault

import (
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

func badParameter(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "BadParameter", format, args...)
}

func forbidden(inner, format string, args ...any) *azure.Error {
	e := azure.Errorf(http.StatusForbidden, "Forbidden", format, args...)
	e.Inner = inner
	return e
}

func vaultNotFound(name string) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "VaultNotFound", "There is no vault '%s' here, or it was deleted. "+
		"Check the host name; a deleted vault is recovered by creating it with createMode 'recover'.", name)
}

// keyNotFound names the key as the client did: the name, or name/version.
func keyNotFound(name, version string) *azure.Error {
	if version != "" {
		name += "/" + version
	}
	return azure.Errorf(http.StatusNotFound, "KeyNotFound", "A key with (name/id) %s was not found in this key vault. "+
		"If you recently deleted this key you may be able to recover it using the correct recovery command. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", name)
}

func deletedKeyNotFound(name string) *azure.Error {
	return azure.Errorf(http.StatusNotFound, "KeyNotFound", "Deleted Key not found: %s", name)
}

func keyIsDeleted(name string) *azure.Error {
	e := azure.Errorf(http.StatusConflict, "Conflict", "Key %s is currently in a deleted but recoverable state, and its name cannot be reused; "+
		"in this state, the key can only be recovered or purged.", name)
	e.Inner = "ObjectIsDeletedButRecoverable"
	return e
}

// unknownPath is the error for what no row serves. It tells a service that is not built from a path that does not exist.
func unknownPath(r *http.Request, allowed []string) *azure.Error {
	if e := notBuilt(r.URL.Path); e != nil {
		return e
	}
	if len(allowed) > 0 {
		return azure.Errorf(http.StatusMethodNotAllowed, "BadParameter", "The method %s is not allowed on this path. Allowed: %s.",
			r.Method, strings.Join(allowed, ", ")).WithHeader("Allow", strings.Join(allowed, ", "))
	}
	return azure.Errorf(http.StatusNotFound, "NotFound", "The path '%s' is not one of a key vault's.", r.URL.Path)
}

// notBuilt is the error for an operation that Azure has and this server has not; nil for any other path.
func notBuilt(path string) *azure.Error {
	parts := strings.Split(strings.ToLower(strings.Trim(path, "/")), "/")
	missing := ""
	switch last := parts[len(parts)-1]; parts[0] {
	case "secrets", "deletedsecrets", "certificates", "deletedcertificates", "storage", "deletedstorage", "rng":
		missing = parts[0]
	case "keys":
		switch {
		case oneOf(last, "backup", "restore", "rotate", "rotationpolicy", "release", "attestation", "securewrapkey", "secureunwrapkey") && len(parts) > 1:
			missing = last + " of keys"
		case len(parts) == 2:
			missing = "import of keys"
		}
	}
	if missing == "" {
		return nil
	}
	return azure.Errorf(http.StatusNotFound, "NotImplemented", "This server does not serve %s. It serves RSA keys: create, get, list, update, delete, recover, purge, "+
		"encrypt, decrypt, wrapKey, unwrapKey, sign and verify.", missing)
}

// describe names a caller as Key Vault's refusals do.
func describe(c *azure.Caller) string {
	s := "appid=" + c.AppID + ";oid=" + c.ObjectID + ";iss=" + c.Issuer
	if c.IdentityID != "" {
		s += ";xms_mirid=" + c.IdentityID
	}
	if c.ResourceID != "" && c.ResourceID != c.IdentityID {
		s += ";xms_az_rid=" + c.ResourceID
	}
	return s
}
