package authority

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func arcRequest(workload, key, more string) *http.Request {
	r := imdsRequest("/msi/" + workload + "/arc/token?api-version=2020-06-01&resource=" + storageAud + more)
	r.Host = "127.0.0.1:40342"
	if key != "" {
		r.Header.Set("Authorization", "Basic "+key)
	}
	return r
}

// arcKeyFile returns the file that a challenge names, read as the clients read it.
func arcKeyFile(t *testing.T, res *http.Response, dir string) (path, key string) {
	t.Helper()
	path, ok := strings.CutPrefix(res.Header.Get("WWW-Authenticate"), "Basic realm=")
	if res.StatusCode != 401 || !ok || filepath.Dir(path) != dir || filepath.Ext(path) != ".key" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 || info.Size() > 4096 {
		t.Fatalf("%v %v", info, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, string(data)
}

func TestArc(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keyreel-old.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	wl, _, system, user := n.workload(t, "one")
	two, _, _, _ := n.workload(t, "two")
	if res, _ := do(t, n.IdentityHandler(), arcRequest(wl.ID, "", "")); res.StatusCode != 404 {
		t.Errorf("not configured: %d", res.StatusCode)
	}
	a, err := Open(t.Context(), Options{
		DB: n.o.DB, Keyring: n.o.Keyring, Directory: n.d, Audit: n.log, Hosts: hosts, TenantID: tenant, ArcTokenDir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := a.IdentityHandler()
	for _, c := range []struct {
		selector string
		want     map[string]any
	}{
		{"", map[string]any{"client_id": system.AppID}},
		{"&client_id=" + user.AppID, map[string]any{"client_id": user.AppID}},
		{"&object_id=" + user.ID, map[string]any{"object_id": user.ID}},
		{"&msi_res_id=" + user.IdentityID, map[string]any{"msi_res_id": user.IdentityID}},
	} {
		res, _ := do(t, h, arcRequest(wl.ID, "", c.selector))
		path, key := arcKeyFile(t, res, dir)
		if res, body := do(t, h, arcRequest(two.ID, key, "")); res.StatusCode != 401 {
			t.Errorf("another workload's key: %d %v", res.StatusCode, body)
		}
		res, body := do(t, h, arcRequest(wl.ID, key, c.selector))
		for name, want := range c.want {
			if res.StatusCode != 200 || body[name] != want {
				t.Errorf("%s: %d %v", c.selector, res.StatusCode, body)
			}
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the file is still there: %v", err)
		}
		if res, body := do(t, h, arcRequest(wl.ID, key, c.selector)); res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("again: %d %v", res.StatusCode, body)
		}
	}
	noMetadata := arcRequest(wl.ID, "", "")
	noMetadata.Header.Del("Metadata")
	for name, c := range map[string]struct {
		r      *http.Request
		status int
	}{
		"no Metadata":      {noMetadata, 400},
		"unknown workload": {arcRequest(tenant, "", ""), 400},
		"a guess":          {arcRequest(wl.ID, "guess", ""), 401},
	} {
		if res, body := do(t, h, c.r); res.StatusCode != c.status || res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v", name, res.StatusCode, body)
		}
	}
	res, _ := do(t, h, arcRequest(wl.ID, "", ""))
	arcKeyFile(t, res, dir)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
	if _, err := Open(t.Context(), Options{DB: n.o.DB, Keyring: n.o.Keyring, Directory: n.d, Audit: n.log, ArcTokenDir: filepath.Join(dir, "none")}); err == nil {
		t.Error("opened with a folder that is not there")
	}
}

func TestArcKeysEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		keys, err := openArc(dir)
		if err != nil {
			t.Fatal(err)
		}
		files := func() int {
			t.Helper()
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		for i := range maxArcKeys + 1 {
			if err := keys.check(arcRequest("w", "", ""), "w"); strings.Contains(err.Error(), "too_many_requests") != (i == maxArcKeys) {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if n := files(); n != maxArcKeys {
			t.Errorf("%d files", n)
		}
		entries, err := filepath.Glob(filepath.Join(dir, "*.key"))
		if err != nil || len(entries) == 0 {
			t.Fatal(err)
		}
		key, err := os.ReadFile(entries[0])
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(arcFor + time.Second)
		if err := keys.check(arcRequest("w", string(key), ""), "w"); err == nil {
			t.Error("an expired key was taken")
		}
		keys.purge(time.Now())
		if n := files(); n != 0 {
			t.Errorf("%d files are left", n)
		}
	})
}
