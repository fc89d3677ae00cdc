package front

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestPinnedCertificateIsKept(t *testing.T) {
	t.Parallel()
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca.key"), hosts)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fabric.pem")
	first, err := ca.OpenPinned(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v %v", info.Mode(), err)
	}
	if !regexp.MustCompile(`^[0-9A-F]{40}$`).MatchString(Thumbprint(first)) {
		t.Errorf("the thumbprint is %s", Thumbprint(first))
	}
	second, err := ca.OpenPinned(path)
	if err != nil {
		t.Fatal(err)
	}
	if Thumbprint(first) != Thumbprint(second) {
		t.Error("the certificate changed with a restart")
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool()}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	renewed, err := ca.OpenPinned(path)
	if err != nil || Thumbprint(renewed) == Thumbprint(first) {
		t.Errorf("after its removal: %v", err)
	}
	if err := os.WriteFile(path, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.OpenPinned(path); err == nil {
		t.Error("a broken file was taken")
	}
}
