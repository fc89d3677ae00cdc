package customerkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/onbehalf"
)

// vaultKey is a customer's key, used as an identity.
type vaultKey struct {
	clients  *onbehalf.Clients
	identity onbehalf.Identity
	id       KeyID
}

// current returns the key with the version that is to wrap: the one named, or else the newest enabled one. It checks
// that the version can serve.
func (v vaultKey) current(ctx context.Context) (vaultKey, error) {
	client, err := v.clients.Keys(v.identity, v.id.Vault)
	if err != nil {
		return v, v.problem("get", err)
	}
	got, err := client.GetKey(ctx, v.id.Name, v.id.Version, nil)
	if err != nil {
		return v, v.problem("get", err)
	}
	version := v.id.Version
	if version == "" {
		if got.Attributes != nil && got.Attributes.Enabled != nil && !*got.Attributes.Enabled {
			if version = v.newestEnabled(ctx, client); version != "" {
				v.id.Version = version
				return v.current(ctx)
			}
		}
		if got.Key == nil || got.Key.KID == nil {
			return v, v.unusable("InvalidAnswer", "the vault's answer names no key version")
		}
		version = versionOf(string(*got.Key.KID))
	}
	v.id.Version = version
	return v, v.usable(got.KeyBundle, time.Now())
}

// newestEnabled looks for an enabled version, which needs the list permission; "" when there is none to be seen.
func (v vaultKey) newestEnabled(ctx context.Context, client *azkeys.Client) string {
	var version string
	var newest time.Time
	for pager := client.NewListKeyPropertiesVersionsPager(v.id.Name, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return ""
		}
		for _, p := range page.Value {
			if p.KID == nil || p.Attributes == nil || p.Attributes.Enabled == nil || !*p.Attributes.Enabled || p.Attributes.Created == nil {
				continue
			}
			if version == "" || p.Attributes.Created.After(newest) {
				version, newest = versionOf(string(*p.KID)), *p.Attributes.Created
			}
		}
	}
	return version
}

// versionOf is the version in a key identifier, or "".
func versionOf(kid string) string {
	id, err := ParseKeyID(kid)
	if err != nil {
		return ""
	}
	return id.Version
}

// usable says what keeps a key from wrapping an account key.
func (v vaultKey) usable(b azkeys.KeyBundle, now time.Time) error {
	if b.Key == nil || b.Attributes == nil || v.id.Version == "" {
		return v.unusable("InvalidAnswer", "the vault's answer is not a key")
	}
	if b.Key.Kty == nil || *b.Key.Kty != azkeys.KeyTypeRSA && *b.Key.Kty != azkeys.KeyTypeRSAHSM {
		return v.unusable("KeyTypeNotSupported", "it is no RSA key. Choose an RSA key of 2048, 3072 or 4096 bits")
	}
	if size := new(big.Int).SetBytes(b.Key.N).BitLen(); size != 2048 && size != 3072 && size != 4096 {
		return v.unusable("KeySizeNotSupported", fmt.Sprintf("it has %d bits. Choose an RSA key of 2048, 3072 or 4096 bits", size))
	}
	a := b.Attributes
	if a.Enabled == nil || !*a.Enabled {
		return v.unusable("KeyDisabled", "it is disabled. Enable it, or make a new version")
	}
	if err := v.within(a, now); err != nil {
		return err
	}
	if b.Key.KeyOps != nil {
		for _, op := range []azkeys.KeyOperation{azkeys.KeyOperationWrapKey, azkeys.KeyOperationUnwrapKey} {
			if !slices.ContainsFunc(b.Key.KeyOps, func(o *azkeys.KeyOperation) bool { return o != nil && *o == op }) {
				return v.unusable("KeyOperationNotPermitted", "its key_ops do not hold "+string(op)+". Add it to the key's permitted operations")
			}
		}
	}
	if a.RecoveryLevel != nil && strings.Contains(*a.RecoveryLevel, "Purgeable") {
		return v.unusable("PurgeProtectionRequired", "its vault has recovery level "+*a.RecoveryLevel+
			", so the key could be destroyed for good. Turn on soft delete and purge protection of the vault")
	}
	return nil
}

// within checks a key's time.
func (v vaultKey) within(a *azkeys.KeyAttributes, now time.Time) error {
	switch {
	case a.NotBefore != nil && now.Before(*a.NotBefore):
		return v.unusable("KeyNotYetValid", "it may not be used before "+a.NotBefore.UTC().Format(time.RFC3339))
	case a.Expires != nil && !now.Before(*a.Expires):
		return v.unusable("KeyExpired", "it expired at "+a.Expires.UTC().Format(time.RFC3339)+". Make a new version, or set its exp later")
	}
	return nil
}

// inTime asks the vault whether the version is within its time.
func (v vaultKey) inTime(ctx context.Context, now time.Time) error {
	client, err := v.clients.Keys(v.identity, v.id.Vault)
	if err != nil {
		return v.problem("get", err)
	}
	got, err := client.GetKey(ctx, v.id.Name, v.id.Version, nil)
	if err != nil {
		return v.problem("get", err)
	}
	if got.Attributes == nil {
		return nil
	}
	return v.within(got.Attributes, now)
}

func (v vaultKey) unusable(code, why string) *Problem {
	return &Problem{Denied: true, Unusable: true, Code: code, Detail: fmt.Sprintf("The key '%s' cannot protect the account: %s.", v.id, why)}
}

func (v vaultKey) wrap(ctx context.Context, plain []byte) ([]byte, error) {
	client, err := v.clients.Keys(v.identity, v.id.Vault)
	if err != nil {
		return nil, v.problem("wrapKey", err)
	}
	alg := azkeys.EncryptionAlgorithmRSAOAEP256
	r, err := client.WrapKey(ctx, v.id.Name, v.id.Version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: plain}, nil)
	if err != nil {
		return nil, v.problem("wrapKey", err)
	}
	return r.Result, nil
}

func (v vaultKey) unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	client, err := v.clients.Keys(v.identity, v.id.Vault)
	if err != nil {
		return nil, v.problem("unwrapKey", err)
	}
	alg := azkeys.EncryptionAlgorithmRSAOAEP256
	r, err := client.UnwrapKey(ctx, v.id.Name, v.id.Version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: wrapped}, nil)
	if err != nil {
		return nil, v.problem("unwrapKey", err)
	}
	return r.Result, nil
}

// role is the built-in role that holds exactly what is needed.
const role = "Key Vault Crypto Service Encryption User"

// problem says what an error of a vault call means: denied or unreachable, and what would mend it.
func (v vaultKey) problem(operation string, err error) *Problem {
	who := fmt.Sprintf("the identity '%s' (object id '%s')", v.identity.IdentityID, v.identity.PrincipalID)
	var answer *azcore.ResponseError
	var refused *azure.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &answer) && denies(answer.StatusCode):
		code, inner, text := errorText(answer)
		p := &Problem{Denied: true, Code: code}
		if inner == "KeyDisabled" {
			p.Code = inner
		}
		p.Detail = fmt.Sprintf("Key Vault refused %s on '%s' to %s: %s %s", operation, v.id, who, text, v.mend(answer.StatusCode, code, inner))
		return p
	case errors.As(err, &refused) && denies(refused.Status):
		return &Problem{Denied: true, Code: "IdentityNotFound", Detail: fmt.Sprintf(
			"%s of '%s' was not tried, because %s gets no token: %s An identity that was deleted does not return, though another be made under its name. Grant another identity '%s' on the key and name it in encryption.identity.", operation, v.id, who, refused.Message, role)}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Problem{Denied: true, Code: "VaultNotFound", Detail: fmt.Sprintf(
			"%s of '%s' failed, because there is no host '%s'. Recover the vault when it was deleted, or name another key.", operation, v.id, dns.Name)}
	}
	return &Problem{Code: "Unreachable", Detail: fmt.Sprintf(
		"%s of '%s' by %s failed: %s. It is tried again until the vault answers.", operation, v.id, who, oneLine(err))}
}

func denies(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// mend says what the customer can do about a refusal.
func (v vaultKey) mend(status int, code, inner string) string {
	switch {
	case inner == "KeyDisabled" || code == "KeyDisabled":
		return "Enable the key."
	case inner == "KeyOperationForbidden":
		return "Add wrapKey and unwrapKey to the key's permitted operations (key_ops)."
	case inner == "KeyNotYetValid" || inner == "KeyExpired":
		return "Change the key's nbf or exp, or make a new version."
	case inner == "ForbiddenByFirewall" || inner == "ForbiddenByConnection":
		return "Allow trusted services in the vault's firewall (networkAcls.bypass AzureServices)."
	case inner == "ForbiddenByPolicy":
		return fmt.Sprintf("Give object '%s' get, wrapKey and unwrapKey in the vault's access policies.", v.identity.PrincipalID)
	case inner == "ForbiddenByRbac":
		return fmt.Sprintf("Grant the identity get, wrapKey and unwrapKey: the role '%s' on the key or its vault.", role)
	case status == http.StatusNotFound:
		return "Recover the key or the vault when it was deleted, or name another key."
	case status == http.StatusForbidden:
		return fmt.Sprintf("Grant the identity the role '%s' on the key or its vault, or get, wrapKey and unwrapKey in the vault's access policies.", role)
	case status == http.StatusUnauthorized:
		return "The vault has to accept tokens of this server's tenant."
	}
	return "The version has to hold the key material that wrapped the account key."
}

// errorText reads a Key Vault error's code, inner code and message, of which it keeps what the reader does not know:
// a denial by role goes on for ten lines about the caller.
func errorText(e *azcore.ResponseError) (code, inner, text string) {
	var body struct {
		Error struct {
			Code       string
			Message    string
			InnerError struct{ Code string }
		}
	}
	if e.RawResponse != nil {
		if payload, err := runtime.Payload(e.RawResponse); err == nil && len(payload) < 64<<10 {
			_ = json.Unmarshal(payload, &body) // foreign answers may be anything
		}
	}
	code, text = body.Error.Code, body.Error.Message
	if code == "" {
		code = e.ErrorCode
	}
	if code == "" {
		code = http.StatusText(e.StatusCode)
	}
	if text == "" {
		text = fmt.Sprintf("status %d.", e.StatusCode)
	}
	return code, body.Error.InnerError.Code, shorten(text)
}

var (
	deniedAction = regexp.MustCompile(`(?m)^Action: '([^']*)'`)
	deniedScope  = regexp.MustCompile(`(?m)^Resource: '([^']*)'`)
	deniedPolicy = regexp.MustCompile(`does not have keys (\w+) permission on key vault '([^';]*)`)
)

// shorten is what was missing and where, of a denial, and of any other message the first line.
func shorten(text string) string {
	action, scope := deniedAction.FindStringSubmatch(text), deniedScope.FindStringSubmatch(text)
	if action != nil && scope != nil {
		return fmt.Sprintf("It has no role with '%s' at '%s'.", action[1], scope[1])
	}
	if policy := deniedPolicy.FindStringSubmatch(text); policy != nil {
		return fmt.Sprintf("It has no access policy with keys %s in the vault '%s'.", policy[1], policy[2])
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line, _, _ = strings.Cut(line, " If you recently deleted")
	return strings.Join(strings.Fields(line), " ")
}

// oneLine is an error's first line: the official clients' errors print the whole exchange.
func oneLine(err error) string {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return fmt.Sprintf("status %d %s", answer.StatusCode, answer.ErrorCode)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
