package front

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

func TestCAIsKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.key")
	first, err := OpenCA(path, hosts)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the CA's file: %v %v", info.Mode(), err)
	}
	second, err := OpenCA(path, hosts)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.PEM(), second.PEM()) {
		t.Error("the CA changed with a restart")
	}
	if _, err := OpenCA(path, azure.Hosts{Domain: "keyreel.example.org"}); err == nil || !strings.Contains(err.Error(), "keyreel.example.org") {
		t.Errorf("the CA of another domain: %v", err)
	}
	if err := os.WriteFile(path, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(path, hosts); err == nil {
		t.Error("a broken CA file was taken")
	}
}

// Whoever steals the CA's key can be this server, and nobody else.
func TestCAVouchesForOwnNamesAlone(t *testing.T) {
	t.Parallel()
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca.key"), hosts)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 60) + ".streaming.media.azure.net"
	for host, want := range map[string]bool{
		"login.keyreel.localhost": true, "a.vault.keyreel.localhost": true, "localhost": true, "127.0.0.1": true, "::1": true,
		"login.microsoftonline.com": true, "any.vault.azure.net": true, "any.blob.core.windows.net": true, long: true,
		"example.org": false, "www.microsoft.com": false, "evilvault.azure.net": false, "10.0.0.1": false, "2001:db8::1": false,
	} {
		c, err := ca.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool()})
		if (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
		if n := len(c.Leaf.Subject.CommonName); n > maxCommonName {
			t.Errorf("%s: a common name of %d characters", host, n)
		}
	}
}
