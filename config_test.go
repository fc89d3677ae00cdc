package keyreel

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadConfigPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keyreel.yaml")
	if err := os.WriteFile(file, []byte("data: from-file\ndomain: file.example\nlisten: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig("serve", []string{"--listen", "127.0.0.1:3"},
		[]string{"KEYREEL_CONFIG=" + file, "KEYREEL_LISTEN=127.0.0.1:2", "KEYREEL_DOMAIN=env.example", "KEYREEL_PRIVATE_NETWORKS=true", "PATH=/bin"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Data, want.Domain, want.Listen, want.PrivateNetworks = "from-file", "env.example", "127.0.0.1:3", true
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name          string
		args, environ []string
		want          string
	}{
		{"unknown key in the file", []string{"--config", write("a.yaml", "daat: x\n")}, nil, "daat"},
		{"wrong type in the file", []string{"--config", write("b.yaml", "data: [x]\n")}, nil, "b.yaml"},
		{"not YAML", []string{"--config", write("c.yaml", "\t:")}, nil, "c.yaml"},
		{"no such file", []string{"--config", filepath.Join(dir, "none.yaml")}, nil, "none.yaml"},
		{"unknown variable", nil, []string{"KEYREEL_DAAT=x"}, "KEYREEL_DAAT"},
		{"unknown flag", []string{"--daat", "x"}, nil, "daat"},
		{"argument", []string{"now"}, nil, "now"},
		{"certificate without key", []string{"--tls-cert", "x"}, nil, "tls-key"},
		{"no data folder", []string{"--data", ""}, nil, "data"},
		{"neither true nor false", nil, []string{"KEYREEL_PRIVATE_NETWORKS=maybe"}, "private-networks"},
		{"neither, in the file", []string{"--config", write("d.yaml", "private-networks: maybe\n")}, nil, "d.yaml"},
		{"metadata of nobody", []string{"--imds-listen", "169.254.169.254:80"}, nil, "imds-identities"},
		{"endpoint without bucket", []string{"--s3-endpoint", "http://x"}, nil, "s3-bucket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := LoadConfig("serve", tt.args, tt.environ, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not name %q", err, tt.want)
			}
		})
	}
	if _, err := LoadConfig("serve", []string{"--help"}, nil, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}
