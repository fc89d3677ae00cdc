package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // reads what a kill left

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/azure"
)

// TestServeSurvivesKill kills a server with SIGKILL, again and again, while clients write resource groups, keys,
// containers and blobs of each kind and delete them, and starts it on the same data: whatever was acknowledged is
// there, whatever was deleted is gone, no blob is half of one and half of another, the audit chain holds and tells of
// every acknowledged write. TEST_KEYREEL_KILLS sets how often.
func TestServeSurvivesKill(t *testing.T) {
	t.Parallel()
	kills := 5
	if v := os.Getenv("TEST_KEYREEL_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatalf("TEST_KEYREEL_KILLS: %v", err)
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	var first keyreel.Credentials
	clients := newWriters()
	var acknowledged, midway, starting int64
	for round := range kills {
		if round%10 == 4 {
			killWhileStarting(t, data)
			starting++
		}
		s := startRunning(t, data)
		if round == 0 {
			first = s.creds
			s.setUp(t)
		} else if s.creds != first {
			t.Fatal("the administrator changed with a restart")
		}
		for _, c := range clients {
			c.check(t, s, round)
		}
		if t.Failed() {
			return
		}
		var count atomic.Int64
		limit := int64(10 + rand.N(60))
		var running sync.WaitGroup
		for _, c := range clients {
			running.Go(func() {
				c.write(t, s, func() {
					if count.Add(1) == limit {
						s.cmd.Process.Kill()
					}
				})
			})
		}
		running.Wait()
		s.cmd.Process.Kill()
		s.cmd.Wait()
		acknowledged += count.Load()
		for _, c := range clients {
			midway += int64(len(c.attempted))
		}
		if records := verifyChain(t, data); records < acknowledged {
			t.Fatalf("round %d: %d audit records of %d acknowledged writes", round, records, acknowledged)
		}
	}
	s := startRunning(t, data)
	for _, c := range clients {
		c.check(t, s, kills)
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	t.Logf("%d kills and %d more while starting, %d acknowledged writes, %d cut off midway, %d audit records verified",
		kills, starting, acknowledged, midway, verifyChain(t, data))
}

// killWhileStarting kills a server at a random moment of its start.
func killWhileStarting(t *testing.T, data string) {
	t.Helper()
	cmd := keyreelCommand(context.Background(), "serve", "--data", data, "--listen", "127.0.0.1:0", "--identity-listen", "127.0.0.1:0", "--log-level", "warn")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(rand.N(500 * time.Millisecond))
	cmd.Process.Kill()
	cmd.Wait()
}

// running is a running server and tokens for it.
type running struct {
	*process
	tokens map[string]string // by resource
}

func startRunning(t *testing.T, data string) *running {
	t.Helper()
	s := &running{process: startProcess(t, data), tokens: map[string]string{}}
	for _, resource := range []string{"https://management.azure.com/", "https://vault.azure.net", "https://storage.azure.com/"} {
		s.tokens[resource] = s.token(t, resource)
	}
	return s
}

func (s *running) arm(method, path, api, body string) (int, []byte, error) {
	return s.do(method, s.url("management", "/subscriptions/"+s.creds.SubscriptionID+path+"?api-version="+api),
		s.tokens["https://management.azure.com/"], body, "Content-Type", "application/json")
}

func (s *running) vault(method, path, body string) (int, []byte, error) {
	return s.do(method, s.url("killvault.vault", path+"?api-version=7.4"), s.tokens["https://vault.azure.net"], body, "Content-Type", "application/json")
}

func (s *running) blob(method, path, body string) (int, []byte, error) {
	return s.do(method, s.url("killstore.blob", path), s.tokens["https://storage.azure.com/"], body, "X-Ms-Version", "2024-11-04", "X-Ms-Blob-Type", "BlockBlob")
}

// setUp makes a vault, a storage account and a container, and the roles to use them.
func (s *running) setUp(t *testing.T) {
	t.Helper()
	must := func(status int, body []byte, err error) {
		t.Helper()
		if err != nil || status > 202 {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	const group = "/resourceGroups/kill"
	must(s.arm("PUT", group, "2021-04-01", `{"location":"westeurope"}`))
	must(s.arm("PUT", group+"/providers/Microsoft.KeyVault/vaults/killvault", "2023-07-01",
		fmt.Sprintf(`{"location":"westeurope","properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, s.creds.TenantID)))
	must(s.arm("PUT", group+"/providers/Microsoft.Storage/storageAccounts/killstore", "2023-05-01",
		`{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`))
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(s.tokens["https://management.azure.com/"], ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var me struct{ OID string }
	if err := json.Unmarshal(claims, &me); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"} { // key officer, blob contributor
		must(s.arm("PUT", group+"/providers/Microsoft.Authorization/roleAssignments/"+azure.NewGUID(), "2022-04-01",
			fmt.Sprintf(`{"properties":{"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`,
				s.creds.SubscriptionID, role, me.OID)))
	}
	must(s.blob("PUT", "/con?restype=container", ""))
}

// writer is a client that gives a few things one state after the other. A state is a label; "" is for a thing that
// does not exist. What it has been told is certain; what it was not told because of a kill may be so or not.
type writer struct {
	name      string
	things    int
	deletes   bool
	gap       bool // between two states the thing does not exist
	apply     func(s *running, thing, state string) (status int, err error)
	read      func(s *running, thing string) (state string, err error)
	n         int
	certain   map[string]string
	attempted map[string]string
}

// write goes on until the server is killed.
func (w *writer) write(t *testing.T, s *running, acknowledged func()) {
	for {
		w.n++
		thing, state := fmt.Sprintf("%s-%d", w.name, w.n%w.things), fmt.Sprintf("v%d", w.n)
		if w.deletes && w.n%3 == 0 && w.certain[thing] != "" {
			state = ""
		}
		w.attempted[thing] = state
		status, err := w.apply(s, thing, state)
		if err != nil {
			return // killed
		}
		if status < 200 || status > 299 {
			t.Errorf("%s to %q: %d", thing, state, status)
			return
		}
		w.certain[thing] = state
		delete(w.attempted, thing)
		acknowledged()
	}
}

// check reads everything back, and takes what it finds for certain.
func (w *writer) check(t *testing.T, s *running, round int) {
	t.Helper()
	for i := range w.things {
		thing := fmt.Sprintf("%s-%d", w.name, i)
		got, err := w.read(s, thing)
		if err != nil {
			t.Errorf("round %d: %s: %v", round, thing, err)
			continue
		}
		attempted, cut := w.attempted[thing]
		if got != w.certain[thing] && !(cut && (got == attempted || w.gap && got == "")) {
			t.Errorf("round %d: %s is %q; %q was acknowledged, %q attempted", round, thing, got, w.certain[thing], attempted)
		}
		w.certain[thing] = got
		delete(w.attempted, thing)
	}
}

func newWriters() []*writer {
	const inline, whole, blocks = 4 << 10, 100 << 10, 60 << 10 // bytes
	all := []*writer{
		{name: "group", things: 6, apply: putGroup, read: groupState},
		{name: "key", things: 3, apply: createKey, read: keyState},
		{name: "inline", things: 8, deletes: true, apply: putBlob(inline), read: blobState(inline)},
		{name: "one", things: 1, apply: putBlob(inline), read: blobState(inline)}, // written again and again
		{name: "whole", things: 4, deletes: true, apply: putBlob(whole), read: blobState(whole)},
		{name: "blocks", things: 4, deletes: true, apply: putBlocks(blocks), read: blobState(blocks)},
		{name: "container", things: 3, gap: true, apply: makeContainer, read: containerState},
	}
	for _, w := range all {
		w.certain, w.attempted = map[string]string{}, map[string]string{}
	}
	return all
}

func putGroup(s *running, thing, state string) (int, error) {
	status, _, err := s.arm("PUT", "/resourceGroups/"+thing, "2021-04-01", fmt.Sprintf(`{"location":"westeurope","tags":{"v":%q}}`, state))
	return status, err
}

func groupState(s *running, thing string) (string, error) {
	return tag(s.arm("GET", "/resourceGroups/"+thing, "2021-04-01", ""))
}

func createKey(s *running, thing, state string) (int, error) {
	status, _, err := s.vault("POST", "/keys/"+thing+"/create", fmt.Sprintf(`{"kty":"RSA","key_size":2048,"tags":{"v":%q}}`, state))
	return status, err
}

func keyState(s *running, thing string) (string, error) {
	return tag(s.vault("GET", "/keys/"+thing, ""))
}

// tag reads the state from a resource's or key's tags.
func tag(status int, body []byte, err error) (string, error) {
	if err != nil || status == 404 {
		return "", err
	}
	var answer struct{ Tags map[string]string }
	if err := json.Unmarshal(body, &answer); err != nil || status != 200 {
		return "", fmt.Errorf("%d %s (%w)", status, body, err)
	}
	return answer.Tags["v"], nil
}

// contentOf is a blob's content in a state; a part of it is not the content of any state.
func contentOf(state string, size int) string {
	return strings.Repeat(state+";", size/(len(state)+1)+1)
}

func putBlob(size int) func(s *running, thing, state string) (int, error) {
	return func(s *running, thing, state string) (int, error) {
		method, body := "PUT", contentOf(state, size)
		if state == "" {
			method, body = "DELETE", ""
		}
		status, _, err := s.blob(method, "/con/"+thing, body)
		return status, err
	}
}

func putBlocks(size int) func(s *running, thing, state string) (int, error) {
	return func(s *running, thing, state string) (int, error) {
		if state == "" {
			return putBlob(size)(s, thing, state)
		}
		body := contentOf(state, size)
		var list strings.Builder
		for i, part := range []string{body[:len(body)/3], body[len(body)/3:]} {
			id := base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "b%05d", i))
			if status, _, err := s.blob("PUT", "/con/"+thing+"?comp=block&blockid="+id, part); err != nil || status != 201 {
				return status, err
			}
			list.WriteString("<Latest>" + id + "</Latest>")
		}
		status, _, err := s.blob("PUT", "/con/"+thing+"?comp=blocklist", "<BlockList>"+list.String()+"</BlockList>")
		return status, err
	}
}

func blobState(size int) func(s *running, thing string) (string, error) {
	return func(s *running, thing string) (string, error) {
		status, body, err := s.blob("GET", "/con/"+thing, "")
		if err != nil || status == 404 {
			return "", err
		}
		state, _, _ := strings.Cut(string(body), ";")
		if status != 200 || string(body) != contentOf(state, size) {
			return "", fmt.Errorf("%d, %d bytes that begin with %q and are not whole", status, len(body), state)
		}
		return state, nil
	}
}

// makeContainer deletes a container with the blob in it, makes it again and puts the blob again.
func makeContainer(s *running, thing, state string) (int, error) {
	if status, _, err := s.blob("DELETE", "/"+thing+"?restype=container", ""); err != nil || status != 202 && status != 404 {
		return status, err
	}
	if status, _, err := s.blob("PUT", "/"+thing+"?restype=container", ""); err != nil || status != 201 {
		return status, err
	}
	status, _, err := s.blob("PUT", "/"+thing+"/state", state)
	return status, err
}

func containerState(s *running, thing string) (string, error) {
	status, body, err := s.blob("GET", "/"+thing+"/state", "")
	if err != nil || status == 404 {
		return "", err
	}
	if status != 200 {
		return "", fmt.Errorf("%d %s", status, body)
	}
	return string(body), nil
}

// verifyChain recomputes the audit chain from a copy of what lies on the disk, as SQLite recovers it, and returns how
// many records it has.
func verifyChain(t *testing.T, data string) int64 {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(filepath.Join(data, "keyreel.db"+suffix))
		if os.IsNotExist(err) && suffix != "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "keyreel.db"+suffix), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "keyreel.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var health string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&health); err != nil || health != "ok" {
		t.Fatalf("integrity_check: %s %v", health, err)
	}
	var end int64
	var head []byte
	if err := db.QueryRow(`SELECT seq, hash FROM audit_head`).Scan(&end, &head); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(`SELECT seq, body, hash FROM audit_records ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var n int64
	link := make([]byte, sha256.Size)
	for rows.Next() {
		var seq int64
		var body, hash []byte
		if err := rows.Scan(&seq, &body, &hash); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(append(link, body...))
		if n++; seq != n || !bytes.Equal(hash, sum[:]) {
			t.Fatalf("audit record %d stands at %d, or its hash is wrong", seq, n)
		}
		link = sum[:]
	}
	if err := rows.Err(); err != nil || n != end || !bytes.Equal(link, head) {
		t.Fatalf("the chain ends at %d, its head says %d: %v", n, end, err)
	}
	return n
}
