package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/keyreeltest"
)

// TestAcknowledgedIsOnDisk runs the program under strace and looks, for each answer to a write, whether all that the
// request has written into the data folder was synced before: the database's log, objects, and the names of both.
func TestAcknowledgedIsOnDisk(t *testing.T) {
	t.Parallel()
	s := traced(t)
	put := func(path, body string) {
		t.Helper()
		s.send(t, "PUT", s.URLs().Blob("durable")+path, "https://storage.azure.com", body, "x-ms-blob-type", "BlockBlob")
	}
	large := strings.Repeat("x", 100<<10)
	// What else the server does may come in between two system calls of a request, so one of the rounds may go amiss.
	const rounds = 3
	for i := range rounds {
		put(fmt.Sprint("/con/inline", i), "small")
		put(fmt.Sprint("/con/object", i), large)
		put(fmt.Sprint("/con/blocks", i, "?comp=block&blockid=MDAwMQ=="), large)
		put(fmt.Sprint("/con/blocks", i, "?comp=blocklist"), "<BlockList><Latest>MDAwMQ==</Latest></BlockList>")
		s.send(t, "DELETE", fmt.Sprint(s.URLs().Blob("durable"), "/con/inline", i), "https://storage.azure.com", "")
		s.send(t, "POST", fmt.Sprint(s.URLs().Vault("durable"), "/keys/k", i, "/create?api-version=7.4"), "https://vault.azure.net", `{"kty":"RSA"}`)
		s.send(t, "POST", fmt.Sprint(s.URLs().Vault("durable"), "/keys/k", i, "/wrapkey?api-version=7.4"), "https://vault.azure.net",
			`{"alg":"RSA-OAEP-256","value":"AAAAAAAAAAAAAAAAAAAAAA"}`)
	}
	found := s.stop(t)
	for operation, objects := range map[string]bool{
		"Blobs.Put": true, "Blobs.PutBlock": true, "Blobs.PutBlockList": false, "Blobs.Delete": false, "KeyCreate": false, "KeyWrap": false,
	} {
		good, withObject := 0, 0
		var amiss []string
		for _, w := range found[operation] {
			if w.amiss != "" {
				amiss = append(amiss, w.amiss)
				continue
			}
			good++
			if w.object {
				withObject++
			}
		}
		if all := len(found[operation]); all < rounds || good < all-1 || objects && withObject < rounds-1 {
			t.Errorf("%s: %d of %d answers after all was synced, %d of them with an object; the others: %q", operation, good, all, withObject, amiss)
		}
	}
}

// written is what a request had written when it was answered.
type written struct {
	object bool   // an object, not the database alone
	amiss  string // what was not synced; "" when all was
}

// tracedServer is the program under strace.
type tracedServer struct {
	*keyreel.Client
	admin  azcore.TokenCredential
	cmd    *exec.Cmd
	data   string
	trace  string
	client *http.Client
}

func traced(t *testing.T) *tracedServer {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; run: tools/install.sh strace")
	}
	program, dir := buildKeyreel(t), t.TempDir()
	s := &tracedServer{data: filepath.Join(dir, "data"), trace: filepath.Join(dir, "trace")}
	s.cmd = exec.Command("strace", "-f", "-yy", "-s", "1000", "-o", s.trace,
		"-e", "trace=write,pwrite64,writev,sendto,fsync,fdatasync,mkdirat,renameat,renameat2",
		program, "serve", "--data", s.data, "--listen", "127.0.0.1:0", "--identity-listen", "127.0.0.1:0", "--log-level", "info")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	s.cmd.Stderr = &out
	check(t, s.cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it has ended, when all went well
		<-ended
	})
	keyreeltest.Within(t, time.Minute, func() (err error) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%v\n%s", err, &out)
		default:
		}
		if s.Client, err = keyreel.Connect(s.data); err != nil {
			return err
		}
		if s.admin, err = s.Administrator(); err != nil {
			return err
		}
		_, err = s.admin.GetToken(t.Context(), tokenFor("https://management.azure.com"))
		return err
	})
	s.client = s.HTTPClient()
	transport := s.client.Transport.(*http.Transport)
	transport.DisableKeepAlives, transport.ForceAttemptHTTP2 = true, false // a connection each tells whose answer it is
	s.setUp(t)
	return s
}

// setUp makes a vault, an account and a container, all named durable, and the administrator's roles for them.
func (s *tracedServer) setUp(t *testing.T) {
	t.Helper()
	group := s.URLs().Management() + "/subscriptions/" + s.SubscriptionID() + "/resourceGroups/rg"
	put := func(path, version, body string) {
		t.Helper()
		s.send(t, "PUT", group+path+"?api-version="+version, "https://management.azure.com", body, "Content-Type", "application/json")
	}
	put("", "2021-04-01", `{"location":"westeurope"}`)
	put("/providers/Microsoft.KeyVault/vaults/durable", "2023-07-01",
		`{"location":"westeurope","properties":{"tenantId":"`+s.TenantID()+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`)
	put("/providers/Microsoft.Storage/storageAccounts/durable", "2023-05-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	token, err := s.admin.GetToken(t.Context(), tokenFor("https://management.azure.com"))
	check(t, err)
	for name, role := range map[string]string{"11111111-1111-4111-8111-111111111111": cryptoOfficer, "22222222-2222-4222-8222-222222222222": blobContributor} {
		put("/providers/Microsoft.Authorization/roleAssignments/"+name, "2022-04-01", fmt.Sprintf(
			`{"properties":{"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`,
			s.SubscriptionID(), role, claims(t, token.Token)["oid"]))
	}
	s.send(t, "PUT", s.URLs().Blob("durable")+"/con?restype=container", "https://storage.azure.com", "")
}

func (s *tracedServer) send(t *testing.T, method, url, resource, body string, header ...string) {
	t.Helper()
	token, err := s.admin.GetToken(t.Context(), tokenFor(resource))
	check(t, err)
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	check(t, err)
	r.Header.Set("Authorization", "Bearer "+token.Token)
	r.Header.Set("x-ms-version", "2024-11-04")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(r)
	check(t, err)
	defer resp.Body.Close()
	if resp.StatusCode > 202 {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

// stop ends the server and returns, for each operation, what its requests had written when they were answered.
func (s *tracedServer) stop(t *testing.T) map[string][]written {
	t.Helper()
	check(t, syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM))
	keyreeltest.Within(t, time.Minute, func() error {
		text, err := os.ReadFile(s.trace)
		if err == nil && !bytes.Contains(text[max(0, len(text)-200):], []byte("+++ exited")) {
			err = fmt.Errorf("the server is still running")
		}
		return err
	})
	f, err := os.Open(s.trace)
	check(t, err)
	defer f.Close()
	h := history{data: s.data, dirty: map[string]bool{}, unfinished: map[string]string{}, found: map[string][]written{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		h.line(lines.Text())
	}
	check(t, lines.Err())
	return h.found
}

// history follows a trace. What is written is dirty from the call's beginning, and clean when a sync that began after it has
// ended.
type history struct {
	data       string
	dirty      map[string]bool
	unfinished map[string]string // calls under way, by thread
	log        bool              // since the last answer: the database's log was written
	object     bool              // an object was
	last       string            // the line that the server logs when a request is over, before its answer goes out
	found      map[string][]written
}

var (
	call    = regexp.MustCompile(`^(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>)?`)
	renamed = regexp.MustCompile(`^renameat2?\([^,]*, "([^"]*)", [^,]*, "([^"]*)"`)
	made    = regexp.MustCompile(`^mkdirat\([^,]*, "([^"]*)"`)
	over    = regexp.MustCompile(`\\"msg\\":\\"request\\".*\\"operation\\":\\"([^\\]+)\\".*\\"status\\":2\d\d.*\\"from\\":\\"([^\\]+)\\"`) // as strace quotes it
	socket  = regexp.MustCompile(`TCP:\[.*->(\S+)\]`)
)

func (h *history) line(text string) {
	thread, text, _ := strings.Cut(text, " ")
	text = strings.TrimSpace(text)
	if rest, resumed := strings.CutPrefix(text, "<... "); resumed {
		name, _, _ := strings.Cut(rest, " ")
		if begun := h.unfinished[thread]; strings.HasPrefix(begun, name+"(") {
			h.end(begun, rest)
		}
		delete(h.unfinished, thread)
		return
	}
	if begun, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
		h.unfinished[thread] = begun
		h.begin(begun)
		return
	}
	h.begin(text)
	h.end(text, text)
}

// begin is called with each call as it begins.
func (h *history) begin(text string) {
	m := call.FindStringSubmatch(text)
	if m == nil {
		return
	}
	name, path := m[1], m[2]
	switch {
	case strings.HasPrefix(name, "rename"):
		if m := renamed.FindStringSubmatch(text); m != nil && strings.HasPrefix(m[2], h.data) {
			h.dirty[filepath.Dir(m[2])] = true
			if h.dirty[m[1]] {
				h.dirty[m[2]] = true
				delete(h.dirty, m[1])
			}
		}
	case name == "mkdirat":
		if m := made.FindStringSubmatch(text); m != nil && strings.HasPrefix(m[1], h.data) {
			h.dirty[filepath.Dir(m[1])] = true
		}
	case strings.Contains(name, "sync"):
	case strings.HasSuffix(path, ".db-wal"):
		h.dirty[path], h.log = true, true
	case strings.HasPrefix(path, filepath.Join(h.data, "objects")):
		h.dirty[path], h.object = true, true
	case strings.HasPrefix(path, "TCP:"):
		h.answer(text)
	default:
		if over.MatchString(text) {
			h.last = text
		}
	}
}

// end is called with each call when it has ended.
func (h *history) end(begun, result string) {
	m := call.FindStringSubmatch(begun)
	if m != nil && strings.Contains(m[1], "sync") && strings.HasSuffix(strings.TrimSpace(result), "= 0") {
		delete(h.dirty, m[2])
	}
}

// answer is called when something is sent to a client. What is sent after its request's log line is the answer.
func (h *history) answer(text string) {
	m, request := socket.FindStringSubmatch(text), over.FindStringSubmatch(h.last)
	if m == nil || request == nil || m[1] != request[2] {
		return
	}
	w := written{object: h.object}
	switch {
	case len(h.dirty) > 0:
		w.amiss = "not synced: " + strings.Join(slices.Sorted(maps.Keys(h.dirty)), ", ")
	case !h.log:
		w.amiss = "nothing was written to the database"
	}
	h.found[request[1]] = append(h.found[request[1]], w)
	h.last, h.log, h.object = "", false, false
}

// TestHistory: the judge of traces finds what is not synced.
func TestHistory(t *testing.T) {
	t.Parallel()
	const (
		wal     = `1 pwrite64(7</d/keyreel.db-wal>, "x", 1, 0) = 1`
		sync    = `1 fdatasync(7</d/keyreel.db-wal>) = 0`
		log     = `1 write(2</dev/null>, "{\"msg\":\"request\",\"id\":\"1\",\"operation\":\"Op\",\"status\":201,\"bytes\":0,\"from\":\"127.0.0.1:9\"}\n", 80) = 80`
		answer  = `1 write(9<TCP:[127.0.0.1:1->127.0.0.1:9]>, "x", 1) = 1`
		object  = `2 write(8</d/objects/tmp/a>, "x", 1) = 1`
		fsync   = `2 fsync(8</d/objects/tmp/a>) = 0`
		rename  = `2 renameat(AT_FDCWD</d>, "/d/objects/tmp/a", AT_FDCWD</d>, "/d/objects/ab/c/a") = 0`
		fsyncIn = `2 fsync(8</d/objects/ab/c>) = 0`
	)
	for name, tt := range map[string]struct {
		lines []string
		want  written
	}{
		"synced":                 {[]string{wal, sync, log, answer}, written{}},
		"nothing written":        {[]string{log, answer}, written{amiss: "nothing was written to the database"}},
		"not synced":             {[]string{wal, log, answer}, written{amiss: "not synced: /d/keyreel.db-wal"}},
		"synced too late":        {[]string{wal, log, answer, sync}, written{amiss: "not synced: /d/keyreel.db-wal"}},
		"written after the sync": {[]string{wal, sync, wal, log, answer}, written{amiss: "not synced: /d/keyreel.db-wal"}},
		"a sync that has not ended": {
			[]string{wal, `1 fdatasync(7</d/keyreel.db-wal> <unfinished ...>`, `2 ` + log[2:], `2 ` + answer[2:], `1 <... fdatasync resumed>) = 0`},
			written{amiss: "not synced: /d/keyreel.db-wal"},
		},
		"a sync that has ended": {
			[]string{wal, `1 fdatasync(7</d/keyreel.db-wal> <unfinished ...>`, `1 <... fdatasync resumed>) = 0`, log, answer}, written{},
		},
		"a sync that failed":  {[]string{wal, `1 fdatasync(7</d/keyreel.db-wal>) = -1 EIO (Input/output error)`, log, answer}, written{amiss: "not synced: /d/keyreel.db-wal"}},
		"an object":           {[]string{object, fsync, rename, fsyncIn, wal, sync, log, answer}, written{object: true}},
		"its bytes":           {[]string{object, rename, fsyncIn, wal, sync, log, answer}, written{object: true, amiss: "not synced: /d/objects/ab/c/a"}},
		"its name":            {[]string{object, fsync, rename, wal, sync, log, answer}, written{object: true, amiss: "not synced: /d/objects/ab/c"}},
		"its directory's":     {[]string{`2 mkdirat(AT_FDCWD</d>, "/d/objects/ab", 0700) = 0`, wal, sync, log, answer}, written{amiss: "not synced: /d/objects"}},
		"another's handshake": {[]string{wal, `1 write(9<TCP:[127.0.0.1:1->127.0.0.1:8]>, "x", 1) = 1`, sync, log, answer}, written{}},
	} {
		h := history{data: "/d", dirty: map[string]bool{}, unfinished: map[string]string{}, found: map[string][]written{}}
		for _, l := range tt.lines {
			h.line(l)
		}
		if got := h.found["Op"]; len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
