package keyreel_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	onData := func(c *keyreel.Config) { c.Data = data }
	first := keyreeltest.Start(t, onData)
	in := first.Installation()
	var creds keyreel.Credentials
	readJSON(t, first.CredentialsPath(), &creds)
	first.Stop(t)()

	second := keyreeltest.Start(t, onData)
	if d := cmp.Diff(in, second.Installation()); d != "" {
		t.Errorf("the installation changed with a restart (-first +second):\n%s", d)
	}
	var again keyreel.Credentials
	readJSON(t, second.CredentialsPath(), &again)
	if creds != again || creds.ClientID != in.AdminAppID {
		t.Error("the administrator changed with a restart")
	}
	for _, name := range []string{"administrator.json", "root.key", "ca.key"} {
		info, err := os.Stat(data + "/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}
