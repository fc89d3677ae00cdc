package conformance

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// TestMain lets the test binary stand in for a program that knows Azure and nothing of Keyreel, with TEST_KEYREEL_SIGNIN
// set to the credential with which it signs in: azidentity keeps tokens for a whole process, so each has its own.
func TestMain(m *testing.M) {
	if kind := os.Getenv("TEST_KEYREEL_SIGNIN"); kind != "" {
		var answer signedIn
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		token, err := goToken(ctx, kind, os.Args[1:])
		if err == nil {
			answer.Claims, err = bodyOf(token)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		json.NewEncoder(os.Stdout).Encode(answer)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// signedIn is what a program says of the token that it got.
type signedIn struct {
	Claims map[string]any `json:"claims"`
	Error  string         `json:"error"`
}

func bodyOf(token string) (claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("the token has %d parts", len(parts))
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	return claims, json.Unmarshal(body, &claims)
}

// goToken signs in with one credential of azidentity, as a program does that takes everything from its environment.
func goToken(ctx context.Context, kind string, args []string) (string, error) {
	tenant, app := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	var cred azcore.TokenCredential
	var err error
	switch kind {
	case "default":
		cred, err = azidentity.NewDefaultAzureCredential(nil)
	case "environment":
		cred, err = azidentity.NewEnvironmentCredential(nil)
	case "managed":
		o := &azidentity.ManagedIdentityCredentialOptions{}
		if len(args) > 0 {
			o.ID = azidentity.ClientID(args[0])
		}
		cred, err = azidentity.NewManagedIdentityCredential(o)
	case "workload":
		cred, err = azidentity.NewWorkloadIdentityCredential(nil)
	case "secret":
		cred, err = azidentity.NewClientSecretCredential(tenant, app, os.Getenv("AZURE_CLIENT_SECRET"), nil)
	case "certificate":
		var data []byte
		if data, err = os.ReadFile(os.Getenv("TEST_CERTIFICATE")); err != nil {
			return "", err
		}
		var certs []*x509.Certificate
		var key crypto.PrivateKey
		if certs, key, err = azidentity.ParseCertificates(data, nil); err != nil {
			return "", err
		}
		cred, err = azidentity.NewClientCertificateCredential(tenant, app, certs, key, nil)
	case "assertion":
		cred, err = azidentity.NewClientAssertionCredential(tenant, app, func(context.Context) (string, error) {
			data, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
			return string(data), err
		}, nil)
	default:
		err = fmt.Errorf("no credential %q", kind)
	}
	if err != nil {
		return "", err
	}
	token, err := cred.GetToken(ctx, tokenFor("https://vault.azure.net"))
	return token.Token, err
}

// signer is a runtime with the SDK of its language.
type signer struct {
	language string
	command  func(t testing.TB, kind string, args ...string) (env []string, name string, words []string)
}

var signers = []signer{
	{"Go", func(_ testing.TB, kind string, args ...string) ([]string, string, []string) {
		return []string{"TEST_KEYREEL_SIGNIN=" + kind}, os.Args[0], args
	}},
	{"Python", func(t testing.TB, kind string, args ...string) ([]string, string, []string) {
		script, err := filepath.Abs("testdata/python/identity.py")
		check(t, err)
		return nil, "/usr/bin/python3", append([]string{script, kind}, args...)
	}},
	{"Node", func(t testing.TB, kind string, args ...string) ([]string, string, []string) {
		name, words := node(t, "identity.mjs", append([]string{kind}, args...)...)
		return nil, name, words
	}},
}

// signIn runs a program of the language that signs in with one credential, in an environment that holds env and what a
// program behind the proxy needs.
func (f *foreign) signIn(t testing.TB, s signer, env []string, kind string, args ...string) signedIn {
	t.Helper()
	more, name, words := s.command(t, kind, args...)
	out := f.run(t, append(append([]string{}, env...), more...), name, words...)
	var answer signedIn
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%s, %s: %v\n%s", s.language, kind, err, out)
	}
	return answer
}

// is checks whose token it is.
func (a signedIn) is(t testing.TB, what, principal string) {
	t.Helper()
	if a.Error != "" || a.Claims["oid"] != principal || a.Claims["aud"] != "https://vault.azure.net" {
		t.Errorf("%s: signed in as %v for %v, want %s: %s", what, a.Claims["oid"], a.Claims["aud"], principal, a.Error)
	}
}
