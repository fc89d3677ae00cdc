package keyvault

import (
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	p := newPrivateKeys(2)
	key := &rsa.PrivateKey{}
	add := func(vault, name string) {
		id := keyID{vault, name, "v"}
		p.put(id, key, p.dropped())
	}
	has := func(vault, name string) bool { return p.get(keyID{vault, name, "v"}) != nil }
	add("1", "a")
	add("1", "b")
	has("1", "a") // b is now the one used longest ago
	add("2", "a")
	if !has("1", "a") || has("1", "b") || !has("2", "a") || len(p.byID) != 2 {
		t.Error("the least recently used key is not the one that went")
	}
	p.dropKey("1", "a")
	if has("1", "a") || !has("2", "a") {
		t.Error("dropKey")
	}
	p.dropVault("2")
	if has("2", "a") || p.order.Len() != 0 {
		t.Error("dropVault")
	}
	// A key that was read before a drop and put after it must not come back.
	drops := p.dropped()
	p.dropKey("1", "a")
	p.put(keyID{"1", "a", "v"}, key, drops)
	if has("1", "a") {
		t.Error("a dropped key came back")
	}
}

// Whatever comes and goes, the cache has at most its size, and the list and the map agree.
func TestPrivateKeysStayBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPrivateKeys(3)
		id := rapid.Custom(func(t *rapid.T) keyID {
			return keyID{rapid.SampledFrom([]string{"1", "2"}).Draw(t, "vault"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), "v"}
		})
		t.Repeat(map[string]func(*rapid.T){
			"put":  func(t *rapid.T) { i := id.Draw(t, "id"); p.get(i); p.put(i, &rsa.PrivateKey{}, p.dropped()) },
			"drop": func(t *rapid.T) { i := id.Draw(t, "id"); p.dropKey(i.vault, i.name) },
			"": func(t *rapid.T) {
				if len(p.byID) > 3 || len(p.byID) != p.order.Len() {
					t.Fatalf("%d in the map, %d in the list", len(p.byID), p.order.Len())
				}
			},
		})
	})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	policy := func(object string, keys ...string) accessPolicy {
		return accessPolicy{ObjectID: object, Permissions: permissions{Keys: keys}}
	}
	have := []accessPolicy{policy("A", "get", "list"), policy("B", "get")}
	for name, tt := range map[string]struct {
		operation string
		change    []accessPolicy
		want      []accessPolicy
	}{
		"add":             {"add", []accessPolicy{policy("a", "Get", "sign"), policy("C", "get")}, []accessPolicy{policy("A", "get", "list", "sign"), policy("B", "get"), policy("C", "get")}},
		"replace":         {"replace", []accessPolicy{policy("A", "sign")}, []accessPolicy{policy("A", "sign"), policy("B", "get")}},
		"remove":          {"remove", []accessPolicy{policy("a", "LIST"), policy("C", "get")}, []accessPolicy{policy("A", "get"), policy("B", "get")}},
		"remove the last": {"remove", []accessPolicy{policy("B", "get")}, []accessPolicy{policy("A", "get", "list")}},
	} {
		if diff := cmp.Diff(tt.want, merge(have, tt.change, tt.operation)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff([]accessPolicy{policy("A", "get", "list"), policy("B", "get")}, have); diff != "" {
		t.Errorf("merge changed its argument: %s", diff)
	}
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"": false,
		"/subscriptions/s/resourceGroups/g/providers/microsoft.media/MediaServices/a":             true,
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a":         true,
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobs/b": false,
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/a":         false,
		"Microsoft.Media/mediaservices": false,
	} {
		if got := trusted(&azure.Caller{ResourceID: id}); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[fe80::1%eth0]:80": "fe80::1",
		"192.0.2.1": "192.0.2.1", "": "", "@": "", "pipe": "",
	} {
		if got := clientIP(remote); got != want {
			t.Errorf("%q: %q, want %q", remote, got, want)
		}
	}
}

func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "192.0.2.0/24", "192.0.2.7/24", "::ffff:192.0.2.1", "2001:db8::/32", "fe80::1%eth0", "0.0.0.0/0", "/", "1.2.3.4/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		prefix, err := parsePrefix(s)
		if err != nil {
			return
		}
		again, err := parsePrefix(prefix.String())
		if err != nil || again != prefix {
			t.Errorf("%q is stored as %q, which reads as %v, %v", s, prefix, again, err)
		}
		if addr, err := netip.ParseAddr(s); err == nil && !prefix.Contains(addr.Unmap().WithZone("")) {
			t.Errorf("%q does not contain itself", s)
		}
	})
}

func FuzzKeyRequest(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"key_ops":["wrapKey","WRAPKEY"],"attributes":{"enabled":false,"nbf":1,"exp":2},"tags":{"a":"b"}}`, `{"attributes":{"exp":1e300}}`,
		`{"tags":null,"key_ops":null}`, `{"attributes":null}`, `[]`, `{"attributes":{"nbf":5,"exp":5}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body keyRequest
		if json.Unmarshal(data, &body) != nil {
			return
		}
		k := key{ops: keyOps}
		if body.applyTo(&k) != nil {
			return
		}
		if len(k.ops) > len(keyOps) || len(k.tags) > maxTags || !k.nbf.IsZero() && !k.exp.IsZero() && !k.nbf.Before(k.exp) || k.exp.After(time.Unix(lastSecond, 0)) {
			t.Errorf("%s made %+v", data, k)
		}
		if _, _, err := k.lists(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "AA", "AA==", "AB", "-_-_", "+/", "A", "====", "A A"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := decode("value", s); err == nil && len(b) == 0 {
			t.Errorf("%q decodes to nothing", s)
		}
	})
}

func FuzzNotBuilt(f *testing.F) {
	for _, s := range []string{"/", "", "/keys", "/keys/a/backup", "//", "/secrets", "/KEYS/a/b/release/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if e := notBuilt(path); e != nil && e.Status != 404 {
			t.Errorf("%q: %v", path, e)
		}
	})
}

// What is past its retention period is erased when a server starts and within the hour after.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, Schema)
		exec := func(query string, args ...any) {
			err := db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), query, args...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		at := func(d time.Duration) int64 { return store.Micros(time.Now().Add(d)) }
		vault := func(id string, deleted, purge int64) {
			exec(`INSERT INTO keyvault_vaults (name, id, deleted, purge, resource, subscription, location, tags, properties)
				VALUES ($1, $1, $2, $3, '', '', '', '', '')`, id, deleted, purge)
		}
		key := func(vault, name string, deleted, purge int64) {
			k := key{vault: vault, name: name, version: "v", public: rsa.PublicKey{N: big.NewInt(1)}}
			err := db.Update(t.Context(), func(tx *store.Tx) error { return k.insert(t.Context(), tx, []byte("sealed"), time.Now()) })
			if err != nil {
				t.Fatal(err)
			}
			exec(`UPDATE keyvault_keys SET deleted = $1, purge = $2 WHERE vault = $3 AND name = $4`, deleted, purge, vault, name)
		}
		vault("lives", 0, 0)
		vault("gone", at(-time.Hour), at(-time.Minute))
		key("lives", "live", 0, 0)
		key("lives", "expired", at(-time.Hour), at(-time.Minute))
		key("lives", "expires", at(-time.Hour), at(30*time.Minute))
		key("lives", "deleted", at(-time.Hour), at(24*time.Hour))
		key("gone", "live", 0, 0)
		left := func() (names string) {
			err := db.View(t.Context(), func(tx *store.Tx) error {
				rows, err := tx.Query(t.Context(), `SELECT k.name FROM keyvault_keys k JOIN keyvault_versions v ON v.vault = k.vault AND v.name = k.name ORDER BY k.name`)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					var name string
					if err := rows.Scan(&name); err != nil {
						return err
					}
					names += name + " "
				}
				return rows.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			return names
		}
		v := New(Options{DB: db})
		defer v.Close()
		synctest.Wait()
		if got := left(); got != "deleted expires live " {
			t.Errorf("after the start: %s", got)
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if got := left(); got != "deleted live " {
			t.Errorf("after an hour: %s", got)
		}
	})
}
