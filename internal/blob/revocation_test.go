package blob

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// withinRevocation is how soon a loss and a return of access show.
const withinRevocation = 5 * time.Second

// TestRevocation makes every cause of inaccessibility happen and mends it, with the times that a server has.
func TestRevocation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		code       string
		lose, mend func(*vault)
	}{
		{"key disabled", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.disabled = true }, func(v *vault) { v.disabled = false }},
		{"key deleted", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.refuse = &refusal{404, "KeyNotFound", ""} }, func(v *vault) { v.refuse = nil }},
		{"key expired", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.expires = 1 }, func(v *vault) { v.expires = 0 }},
		{"role removed", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.refuse = &refusal{403, "Forbidden", "ForbiddenByRbac"} }, func(v *vault) { v.refuse = nil }},
		{"access policy removed", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.refuse = &refusal{403, "Forbidden", "ForbiddenByPolicy"} }, func(v *vault) { v.refuse = nil }},
		{"firewall closed", "KeyVaultEncryptionKeyNotFound", func(v *vault) { v.refuse = &refusal{403, "Forbidden", "ForbiddenByFirewall"} }, func(v *vault) { v.refuse = nil }},
		{"vault deleted", "KeyVaultVaultNotFound", func(v *vault) { v.refuse = &refusal{404, "VaultNotFound", ""} }, func(v *vault) { v.refuse = nil }},
		{"identity deleted", "KeyVaultAccessTokenCannotBeAcquired", func(v *vault) { v.noToken["system-of-films"] = true }, func(v *vault) { delete(v.noToken, "system-of-films") }},
		{"vault unreachable", "ServerBusy", func(v *vault) { v.unreachable = true }, func(v *vault) { v.unreachable = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := newConfig(t, storetest.SQLiteURL(t))
			config.ttl, config.scan = 0, 0
			s := open(t, config)
			s.makeFilms(t, underVault)
			s.fill(t)
			s.vault.set(func() { c.lose(s.vault) })
			refused := eventually(t, "reading is refused", func() bool { return s.films(t, "GET", "/con/small", "").status != 200 })
			a := s.films(t, "GET", "/con/small", "")
			if want := map[bool]int{true: 503, false: 403}[c.code == "ServerBusy"]; a.status != want || a.code() != c.code || !strings.Contains(a.body, "/keys/k") {
				t.Errorf("got %d %s", a.status, a.body)
			}
			s.vault.set(func() { c.mend(s.vault) })
			returned := eventually(t, "reading works again", func() bool { return s.films(t, "GET", "/con/small", "").status == 200 })
			s.whole(t, "mended")
			s.fill(t)
			t.Logf("refused after %v, returned after %v", refused.Round(time.Millisecond), returned.Round(time.Millisecond))
			slack := time.Second // for the test's own work on a busy machine
			if refused > withinRevocation+slack || returned > withinRevocation+slack {
				t.Errorf("refused after %v, returned after %v", refused, returned)
			}
		})
	}
}

// TestRefusedOperations: what Azure refuses while the key is away is refused with a shared key and with a token, and what
// it does goes on.
func TestRefusedOperations(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.makeFilms(t, underVault)
		s.fill(t)
		s.assign(t, "reader", readerRole, films)
		s.vault.set(func() { s.vault.disabled = true })
		if state, err := s.Keys.Check(t.Context(), films); err != nil || state.Accessible {
			t.Fatalf("%+v %v", state, err)
		}
		bearer := "Bearer " + token(azure.Caller{ObjectID: "reader"})
		list := `<?xml version="1.0"?><BlockList></BlockList>`
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"PUT", "/con/new", "x", 403},
			{"PUT", "/con/new", string(pattern(40 << 10)), 403},
			{"PUT", "/con/new?comp=block&blockid=YQ%3D%3D", "x", 403},
			{"PUT", "/con/new?comp=blocklist", list, 403},
			{"GET", "/con/small", "", 403},
			{"GET", "/con/large", "", 403},
			{"GET", "/con/missing", "", 403},
			{"HEAD", "/con/small", "", 403},
			{"GET", "/con/small?comp=metadata", "", 403},
			{"GET", "/con/small?comp=blocklist", "", 403},
			{"PUT", "/con/small?comp=metadata", "", 403},
			{"PUT", "/con/small?comp=properties", "", 403},
			{"GET", "/con?restype=container&comp=list&include=metadata", "", 403},
			{"GET", "/con?restype=container&comp=list", "", 200},
			{"GET", "/?comp=list", "", 200},
			{"PUT", "/other?restype=container", "", 201},
			{"DELETE", "/con/large", "", 202},
		} {
			a := s.films(t, c.method, c.path, c.body)
			if a.status != c.status || a.status == 403 && a.code() != "KeyVaultEncryptionKeyNotFound" {
				t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
			}
		}
		r := s.filmsRequest(t, "GET", "/con/small", nil)
		r.Header.Set("Authorization", bearer)
		resp, err := s.client.Do(r)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != 403 || resp.Header.Get("X-Ms-Error-Code") != "KeyVaultEncryptionKeyNotFound" {
			t.Errorf("with a token: %d %s", resp.StatusCode, resp.Header.Get("X-Ms-Error-Code"))
		}
		s.arm(t, "POST", films+"/listKeys?api-version=2023-01-01", "")
		s.arm(t, "PATCH", filmsV, `{"tags":{"a":"b"}}`)
		if a := s.armDo(t, "PATCH", filmsV, `{"properties":{`+underOwn+`}}`); a.status != 403 || !strings.Contains(a.body, "KeyVaultEncryptionKeyNotFound") {
			t.Errorf("away from a key that is not to be had: %d %s", a.status, a.body)
		}
		s.arm(t, "DELETE", filmsV, "")
	})
}

// TestTransfersEndWithTheKey: a download and an upload that are under way when the key goes do not come to their end.
func TestTransfersEndWithTheKey(t *testing.T) {
	t.Parallel()
	config := newConfig(t, storetest.SQLiteURL(t))
	s := open(t, config)
	s.makeFilms(t, underVault)
	s.fill(t)
	const size = 48 << 20
	if a := s.films(t, "PUT", "/con/film", string(pattern(size))); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	before := objectCount(t, config.objects)
	down, err := s.client.Do(s.filmsRequest(t, "GET", "/con/film", nil))
	check(t, err)
	defer down.Body.Close()
	_, err = io.ReadFull(down.Body, make([]byte, 1024))
	check(t, err)
	from, to := io.Pipe()
	r := s.filmsRequest(t, "PUT", "/con/up", bytes.NewReader(pattern(40<<10)))
	r.Body, r.GetBody = from, nil
	up := make(chan *answer, 1)
	go func() {
		resp, err := s.client.Do(r)
		if err != nil {
			up <- nil
			return
		}
		resp.Body.Close()
		up <- &answer{status: resp.StatusCode, header: resp.Header}
	}()
	_, err = to.Write(pattern(20 << 10))
	check(t, err)
	s.vault.set(func() { s.vault.disabled = true })
	_, err = s.Keys.Check(t.Context(), films)
	check(t, err)
	if n, err := io.Copy(io.Discard, down.Body); err == nil {
		t.Errorf("the download ended well after %d bytes", n)
	}
	_, err = to.Write(pattern(40 << 10)[20<<10:])
	check(t, err)
	check(t, to.Close())
	if a := <-up; a == nil || a.status != 403 || a.code() != "KeyVaultEncryptionKeyNotFound" {
		t.Errorf("the upload: %+v", a)
	}
	if n := objectCount(t, config.objects); n != before {
		t.Errorf("%d objects, before %d", n, before)
	}
}

// TestSecretsNeedTheVault: who has the database, the objects and the system root key reads an account's blobs under the
// system key, and not those under a customer's key without its vault.
func TestSecretsNeedTheVault(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.makeFilms(t, "")
		s.fill(t)
		if !s.thiefReads(t) {
			t.Error("under the system key the thief found nothing: this test looks in the wrong place")
		}
		s.arm(t, "PATCH", filmsV, `{"properties":{`+underVault+`}}`)
		if s.thiefReads(t) {
			t.Error("under the customer's key the thief opened the data key")
		}
		s.arm(t, "PATCH", filmsV, `{"properties":{`+underOwn+`}}`)
		if !s.thiefReads(t) {
			t.Error("back under the system key the thief found nothing")
		}
	})
}

// thiefReads tries every 256-bit window of what the system layer of films' account key hides as the key to its data key.
func (s *server) thiefReads(t *testing.T) bool {
	t.Helper()
	owner := strings.ToLower(films)
	var generation string
	var wrapped, data []byte
	check(t, s.db.View(t.Context(), func(tx *store.Tx) error {
		if err := tx.QueryRow(t.Context(), `SELECT CAST(generation AS TEXT), sealed FROM customerkey_keys WHERE owner = $1`, owner).Scan(&generation, &wrapped); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `SELECT data_key FROM blob_accounts WHERE name = 'films'`).Scan(&data)
	}))
	if _, err := s.Keyring.Open(data, dataKeyAAD("films")...); err == nil {
		return true
	}
	plain, err := s.Keyring.Open(wrapped, "customerkey_keys", owner, generation, "sealed")
	check(t, err)
	for i := range len(plain) - len(seal.Key{}) + 1 {
		var key seal.Key
		copy(key[:], plain[i:])
		if _, err := key.Open(data, dataKeyAAD("films")...); err == nil {
			return true
		}
	}
	return false
}
