package media

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
)

// outside is what lies beyond the media service: one storage account and one key vault, as much of each as is used.
// A token is "{principal}|{audience}"; whether a principal may, is a switch.
type outside struct {
	mu           sync.Mutex
	containers   map[string]map[string]*fakeBlob
	allowed      map[string]bool // principals that storage lets in
	vaultRefuses bool
	vaultDenied  map[string]bool // principals that the vault refuses
	unreachable  bool            // storage
	noWrites     bool
	requests     map[string]int
	etags        int
	carry        func(http.RoundTripper) http.RoundTripper // stands before the way to it; nil is nothing
}

type fakeBlob struct {
	data []byte
	etag string
}

var vaultKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, _ := rsa.GenerateKey(rand.Reader, 2048)
	return k
})

func newOutside() *outside {
	return &outside{containers: map[string]map[string]*fakeBlob{}, allowed: map[string]bool{}, requests: map[string]int{}}
}

// withKey stands for requests that are signed with an account key, among the principals that storage lets in.
const withKey = "SharedKey"

// plantedStorageKey is the key that listKeys gives.
var plantedStorageKey = base64.StdEncoding.EncodeToString([]byte("PLANTED-STORAGE-KEY-0123456789ab"))

func (o *outside) listKeys(w http.ResponseWriter, _ *azure.Request, _ *arm.Resource) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests["listKeys"]++
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"keys": []map[string]string{{"keyName": "key1", "value": plantedStorageKey}}})
}

func (o *outside) set(fn func()) { o.mu.Lock(); defer o.mu.Unlock(); fn() }

func (o *outside) token(_ context.Context, principal, _, audience string) (string, time.Time, error) {
	return principal + "|" + audience, time.Now().Add(time.Hour), nil
}

func (o *outside) put(container, name string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.containers[container] == nil {
		o.containers[container] = map[string]*fakeBlob{}
	}
	o.etags++
	o.containers[container][name] = &fakeBlob{bytes.Clone(data), fmt.Sprintf(`"0x%X"`, o.etags)}
}

func (o *outside) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, errors.New("no such host: " + r.URL.Host)
}

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if strings.HasPrefix(token, withKey+" ") { // any signature will do; conformance tests the real one
		token = withKey + "|https://storage.azure.com"
	}
	if strings.Contains(r.Host, ".vault.") {
		o.vault(w, r, token)
		return
	}
	o.requests[r.Method]++
	fail := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
	}
	principal, audience, _ := strings.Cut(token, "|")
	switch {
	case o.unreachable:
		fail(503, "ServerBusy")
		return
	case !o.allowed[principal] || audience != "https://storage.azure.com":
		fail(403, "AuthorizationPermissionMismatch")
		return
	case o.noWrites && r.Method == "PUT":
		fail(403, "AuthorizationPermissionMismatch")
		return
	}
	container, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	files, exists := o.containers[container]
	switch {
	case container == "" && q.Get("comp") == "list":
		o.xml(w, `<EnumerationResults ServiceEndpoint="x"><Containers></Containers><NextMarker/></EnumerationResults>`)
	case r.Method == "PUT" && q.Get("restype") == "container":
		if exists {
			fail(409, "ContainerAlreadyExists")
			return
		}
		o.containers[container] = map[string]*fakeBlob{}
		w.WriteHeader(201)
	case !exists:
		fail(404, "ContainerNotFound")
	case q.Get("comp") == "list":
		var b strings.Builder
		names := []string{}
		for n := range files {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			b.WriteString("<Blob><Name>")
			xml.EscapeText(&b, []byte(n))
			b.WriteString("</Name><Properties></Properties></Blob>")
		}
		o.xml(w, `<EnumerationResults ServiceEndpoint="x" ContainerName="c"><Blobs>`+b.String()+`</Blobs><NextMarker/></EnumerationResults>`)
	case q.Get("restype") == "container":
		w.WriteHeader(200)
	case r.Method == "PUT" && q.Get("comp") == "":
		data, err := io.ReadAll(r.Body)
		if err != nil {
			fail(400, "InvalidInput")
			return
		}
		o.etags++
		files[name] = &fakeBlob{data, fmt.Sprintf(`"0x%X"`, o.etags)}
		w.WriteHeader(201)
	case r.Method == "GET" || r.Method == "HEAD":
		o.read(w, r, files[name], fail)
	default:
		fail(400, "UnsupportedHttpVerb")
	}
}

func (o *outside) read(w http.ResponseWriter, r *http.Request, b *fakeBlob, fail func(int, string)) {
	if b == nil {
		fail(404, "BlobNotFound")
		return
	}
	if match := r.Header.Get("If-Match"); match != "" && match != b.etag {
		fail(412, "ConditionNotMet")
		return
	}
	data, status := b.data, 200
	header := r.Header.Get("x-ms-range")
	if header == "" {
		header = r.Header.Get("Range")
	}
	if first, last, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-"); ok && header != "" {
		i, _ := strconv.Atoi(first)
		j := len(data) - 1
		if n, err := strconv.Atoi(last); err == nil {
			j = min(j, n)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", i, j, len(b.data)))
		data, status = data[i:j+1], 206
	}
	w.Header().Set("ETag", b.etag)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("x-ms-blob-type", "BlockBlob")
	w.WriteHeader(status)
	w.Write(data)
}

func (o *outside) xml(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/xml")
	io.WriteString(w, xml.Header+body)
}

// vault knows one RSA key, "k", with one version.
func (o *outside) vault(w http.ResponseWriter, r *http.Request, token string) {
	if token == "" {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.keyreel.test/t", resource="https://vault.keyreel.test"`)
		w.WriteHeader(401)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if principal, _, _ := strings.Cut(token, "|"); o.vaultRefuses || o.vaultDenied[principal] {
		w.WriteHeader(403)
		io.WriteString(w, `{"error":{"code":"Forbidden","message":"Caller is not authorized to perform action on resource.","innererror":{"code":"ForbiddenByRbac"}}}`)
		return
	}
	const kid = "https://v.vault.keyreel.test/keys/k/00000000000000000000000000000001"
	key := vaultKey()
	if r.Method == "GET" {
		fmt.Fprintf(w, `{"key":{"kid":%q,"kty":"RSA","key_ops":["wrapKey","unwrapKey"],"e":"AQAB","n":%q},"attributes":{"enabled":true,"recoveryLevel":"Recoverable"}}`,
			kid, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
		return
	}
	var body struct{ Value string }
	json.NewDecoder(r.Body).Decode(&body)
	value, _ := base64.RawURLEncoding.DecodeString(body.Value)
	if strings.HasSuffix(strings.ToLower(r.URL.Path), "/unwrapkey") {
		value, _ = key.Decrypt(nil, value, &rsa.OAEPOptions{Hash: crypto.SHA256})
	} else {
		value, _ = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
	}
	fmt.Fprintf(w, `{"kid":%q,"value":%q}`, kid, base64.RawURLEncoding.EncodeToString(value))
}

func verify(_ context.Context, raw string, _ func(string) bool) (*azure.Caller, error) {
	return &azure.Caller{ObjectID: raw, TenantID: tenant, Type: azure.TypeUser, Name: raw}, nil
}
