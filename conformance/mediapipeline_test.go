package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/keyreel/keyreel/keyreeltest"
)

// studio is a media account in use: storage and a vault key through its identity, an encoded asset, a clear and an
// encrypted locator.
type studio struct {
	*server
	name, storage, vault string
	principal            string
	keys                 *azkeys.Client
	vaultGrant           string // assignment name at the vault
	storageGrant         string // of the contributor role
	blobs                *azblob.Client
	assets               *armmediaservices.AssetsClient
	jobs                 *armmediaservices.JobsClient
	container            map[string]string // by asset

	clear, encrypted string // URLs of HLS playlists
	segment          string // URL of a segment of the clear stream
	download         string // URL of the encoded file
	keyURL           string // of the encrypted stream
}

// movie makes a test video, once for each length.
var movies sync.Map

func movie(t testing.TB, seconds int, size string) []byte {
	t.Helper()
	made, _ := movies.LoadOrStore(fmt.Sprint(seconds, size), sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "movie")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "m.mp4")
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=25:duration=%d", size, seconds),
			"-f", "lavfi", "-i", fmt.Sprintf("sine=duration=%d", seconds), "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac", file).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		return os.ReadFile(file)
	}))
	data, err := made.(func() ([]byte, error))()
	check(t, err)
	return data
}

// newStudio makes everything. The names of account, storage and vault begin with name.
func newStudio(t *testing.T, s *server, name string) *studio {
	t.Helper()
	st := &studio{server: s, name: name, container: map[string]string{}}
	st.storage = s.storage(t, name+"store", &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionAllow), Bypass: to.Ptr(armstorage.BypassAzureServices)})
	st.principal = *s.createAccount(t, name, st.storage).Identity.PrincipalID
	st.storageGrant = s.assign(t, st.storage, blobContributor, st.principal)
	s.assign(t, st.storage, reader, st.principal)
	s.assign(t, st.storage, blobContributor, s.adminID(t))
	check(t, s.updateAccount(t, name, managedIdentity()))
	st.vault = s.newVault(t, name+"-vault", nil)
	s.assign(t, st.vault, cryptoOfficer, s.adminID(t))
	st.keys = s.keys(t, name+"-vault", s.Admin)
	createRSA(t, st.keys, "k")
	st.vaultGrant = s.assign(t, st.vault, cryptoService, st.principal)
	check(t, st.encrypt(t, s.URLs().Vault(name+"-vault")+"/keys/k"))

	var err error
	st.blobs, err = azblob.NewClient(s.URLs().Blob(name+"store"), s.Admin, &azblob.ClientOptions{ClientOptions: s.ClientOptions()})
	check(t, err)
	st.assets, err = armmediaservices.NewAssetsClient(s.sub, s.Admin, s.options())
	check(t, err)
	st.jobs, err = armmediaservices.NewJobsClient(s.sub, s.Admin, s.options())
	check(t, err)
	for _, asset := range []string{"in", "out", "other"} {
		r, err := st.assets.CreateOrUpdate(t.Context(), s.group, name, asset, armmediaservices.Asset{Properties: &armmediaservices.AssetProperties{}}, nil)
		check(t, err)
		st.container[asset] = *r.Properties.Container
	}
	_, err = st.blobs.UploadBuffer(t.Context(), st.container["in"], "m.mp4", movie(t, 6, "320x180"), nil)
	check(t, err)
	transforms, err := armmediaservices.NewTransformsClient(s.sub, s.Admin, s.options())
	check(t, err)
	for transform, preset := range map[string]armmediaservices.EncoderNamedPreset{"copy": armmediaservices.EncoderNamedPresetCopyAllBitrateNonInterleaved, "encode": armmediaservices.EncoderNamedPresetH264SingleBitrateSD} {
		_, err = transforms.CreateOrUpdate(t.Context(), s.group, name, transform, armmediaservices.Transform{Properties: &armmediaservices.TransformProperties{
			Outputs: []*armmediaservices.TransformOutput{{Preset: &armmediaservices.BuiltInStandardEncoderPreset{
				ODataType: to.Ptr("#Microsoft.Media.BuiltInStandardEncoderPreset"), PresetName: &preset,
			}}},
		}}, nil)
		check(t, err)
	}
	check(t, st.submit(t, "copy", "first", "m.mp4", "out"))
	if j := st.await(t, "copy", "first", time.Minute); *j.State != armmediaservices.JobStateFinished {
		t.Fatalf("the first job: %s", describe(j))
	}
	st.locators(t)
	return st
}

func (st *studio) encrypt(t testing.TB, keyID string) error {
	t.Helper()
	return st.updateAccount(t, st.name, armmediaservices.MediaServiceUpdate{Properties: &armmediaservices.MediaServiceProperties{Encryption: &armmediaservices.AccountEncryption{
		Type: to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey), KeyVaultProperties: &armmediaservices.KeyVaultProperties{KeyIdentifier: &keyID},
	}}})
}

func (st *studio) submit(t testing.TB, transform, name, file, out string) error {
	t.Helper()
	_, err := st.jobs.Create(context.Background(), st.group, st.name, transform, name, armmediaservices.Job{Properties: &armmediaservices.JobProperties{
		Input:   &armmediaservices.JobInputAsset{ODataType: to.Ptr("#Microsoft.Media.JobInputAsset"), AssetName: to.Ptr("in"), Files: []*string{&file}},
		Outputs: []armmediaservices.JobOutputClassification{&armmediaservices.JobOutputAsset{ODataType: to.Ptr("#Microsoft.Media.JobOutputAsset"), AssetName: &out}},
	}}, nil)
	return err
}

func (st *studio) job(t testing.TB, transform, name string) (*armmediaservices.JobProperties, error) {
	t.Helper()
	r, err := st.jobs.Get(context.Background(), st.group, st.name, transform, name, nil)
	return r.Properties, err
}

// until waits until a job is in one of the states.
func (st *studio) until(t testing.TB, transform, name string, limit time.Duration, states ...armmediaservices.JobState) *armmediaservices.JobProperties {
	t.Helper()
	var last *armmediaservices.JobProperties
	keyreeltest.Within(t, limit, func() error {
		p, err := st.job(t, transform, name)
		if err != nil {
			return err
		}
		last = p
		for _, s := range states {
			if *p.State == s {
				return nil
			}
		}
		return errors.New(describe(p))
	})
	return last
}

func (st *studio) await(t testing.TB, transform, name string, limit time.Duration) *armmediaservices.JobProperties {
	t.Helper()
	return st.until(t, transform, name, limit, armmediaservices.JobStateFinished, armmediaservices.JobStateError, armmediaservices.JobStateCanceled)
}

func describe(p *armmediaservices.JobProperties) string {
	text := "state " + string(*p.State)
	for _, o := range p.Outputs {
		if o := o.GetJobOutput(); o.Error != nil {
			text += fmt.Sprintf("; %s (%s, %s): %s", *o.Error.Code, *o.Error.Category, *o.Error.Retry, *o.Error.Message)
		}
	}
	return text
}

// locators makes the locators and finds the URLs behind them.
func (st *studio) locators(t *testing.T) {
	t.Helper()
	policies, err := armmediaservices.NewContentKeyPoliciesClient(st.sub, st.Admin, st.options())
	check(t, err)
	_, err = policies.CreateOrUpdate(t.Context(), st.group, st.name, "open", armmediaservices.ContentKeyPolicy{Properties: &armmediaservices.ContentKeyPolicyProperties{
		Options: []*armmediaservices.ContentKeyPolicyOption{{
			Configuration: &armmediaservices.ContentKeyPolicyClearKeyConfiguration{ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration")},
			Restriction:   &armmediaservices.ContentKeyPolicyOpenRestriction{ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyOpenRestriction")},
		}},
	}}, nil)
	check(t, err)
	st.clear, st.download = st.locator(t, "clear", armmediaservices.StreamingLocatorProperties{AssetName: to.Ptr("out"), StreamingPolicyName: to.Ptr("Predefined_DownloadAndClearStreaming")})
	st.encrypted, _ = st.locator(t, "enc", armmediaservices.StreamingLocatorProperties{
		AssetName: to.Ptr("out"), StreamingPolicyName: to.Ptr("Predefined_ClearKey"), DefaultContentKeyPolicyName: to.Ptr("open"),
	})
	playlist, text := st.firstOf(t, st.clear)
	st.segment = playlist[:strings.LastIndex(playlist, "/")+1] + uris.FindString(text)
	_, text = st.firstOf(t, st.encrypted)
	st.keyURL = regexp.MustCompile(`METHOD=AES-128,URI="([^"]+)"`).FindStringSubmatch(text)[1]
}

var uris = regexp.MustCompile(`(?m)^[^#\s]\S+`)

// firstOf returns the first media playlist of a master playlist, and what it says.
func (st *studio) firstOf(t testing.TB, master string) (playlist, text string) {
	t.Helper()
	resp, text := st.raw(t, "GET", master, "", "")
	if resp.StatusCode != 200 {
		t.Fatalf("GET %s: %d %s", master, resp.StatusCode, text)
	}
	playlist = master[:strings.LastIndex(master, "/")+1] + uris.FindString(text)
	resp, text = st.raw(t, "GET", playlist, "", "")
	if resp.StatusCode != 200 {
		t.Fatalf("GET %s: %d %s", playlist, resp.StatusCode, text)
	}
	return playlist, text
}

func (st *studio) origin() string { return st.URLs().Streaming("default", st.name) }

// locator makes a streaming locator and returns the URL of its HLS playlist and of its first download.
func (st *studio) locator(t testing.TB, name string, p armmediaservices.StreamingLocatorProperties) (hls, download string) {
	t.Helper()
	c, err := armmediaservices.NewStreamingLocatorsClient(st.sub, st.Admin, st.options())
	check(t, err)
	_, err = c.Create(context.Background(), st.group, st.name, name, armmediaservices.StreamingLocator{Properties: &p}, nil)
	check(t, err)
	paths, err := c.ListPaths(context.Background(), st.group, st.name, name, nil)
	check(t, err)
	for _, g := range paths.StreamingPaths {
		if *g.StreamingProtocol == armmediaservices.StreamingPolicyStreamingProtocolHls {
			hls = st.origin() + *g.Paths[0]
		}
	}
	for _, d := range paths.DownloadPaths {
		if strings.HasSuffix(*d, ".mp4") {
			download = st.origin() + *d
		}
	}
	return hls, download
}

// errCut is an answer that ended before its end, as one does whose account loses access meanwhile.
var errCut = errors.New("the answer was cut off")

func (st *studio) fetch(t testing.TB, u string) error {
	t.Helper()
	resp, err := st.HTTPClient().Get(u)
	if err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR") { // cut before its first bytes left the server's buffer
		return errors.Join(errCut, err)
	} else if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return errors.Join(errCut, err)
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return nil
}

// TestStorageGrant: what a media account does with its storage ends with the grant, and goes on when it returns.
func TestStorageGrant(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "grantaccount")
	fails := func(what string, limit time.Duration, wants string, op func() error) {
		t.Helper()
		keyreeltest.Within(t, limit, func() error {
			if err := op(); err == nil || !strings.Contains(err.Error(), wants) {
				return fmt.Errorf("%s: %v", what, err)
			}
			return nil
		})
	}
	stream := func() error { return st.fetch(t, st.segment) }
	download := func() error { return st.fetch(t, st.download) }
	check(t, stream())
	check(t, download())

	check(t, st.submit(t, "encode", "through", "m.mp4", "other")) // the grant goes and returns while it runs
	st.unassign(t, st.storage, st.storageGrant)
	fails("a cached segment", 5*time.Second, "MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", stream)
	fails("a cached file", time.Second, "403", download)
	fails("a job", time.Second, "MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", func() error { return st.submit(t, "copy", "refused", "m.mp4", "out") })
	st.storageGrant = st.assign(t, st.storage, blobContributor, st.principal)
	keyreeltest.Within(t, 5*time.Second, stream)
	keyreeltest.Within(t, 5*time.Second, download)
	if j := st.await(t, "encode", "through", time.Minute); *j.State != armmediaservices.JobStateFinished && !strings.Contains(describe(j), "Account") {
		t.Errorf("a job under which the grant went and returned: %s", describe(j))
	}

	// The firewall without bypass.
	c, err := armstorage.NewAccountsClient(st.sub, st.Admin, st.options())
	check(t, err)
	rules := func(action armstorage.DefaultAction, bypass armstorage.Bypass) {
		t.Helper()
		_, err := c.Update(t.Context(), st.group, st.name+"store", armstorage.AccountUpdateParameters{Properties: &armstorage.AccountPropertiesUpdateParameters{
			NetworkRuleSet: &armstorage.NetworkRuleSet{DefaultAction: &action, Bypass: &bypass},
		}}, nil)
		check(t, err)
	}
	rules(armstorage.DefaultActionDeny, armstorage.BypassNone)
	fails("behind a firewall", 5*time.Second, "MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", stream)
	rules(armstorage.DefaultActionDeny, armstorage.BypassAzureServices)
	keyreeltest.Within(t, 5*time.Second, stream)
	rules(armstorage.DefaultActionAllow, armstorage.BypassAzureServices)

	// Another file under the stream's name, and then no container at all.
	pager := st.blobs.NewListBlobsFlatPager(st.container["out"], nil)
	page, err := pager.NextPage(t.Context())
	check(t, err)
	for _, b := range page.Segment.BlobItems {
		if strings.HasSuffix(*b.Name, ".mp4") {
			_, err := st.blobs.UploadBuffer(t.Context(), st.container["out"], *b.Name, []byte("no movie at all"), nil)
			check(t, err)
		}
	}
	fails("a file that is no movie", 5*time.Second, "400", stream)
	_, err = st.blobs.DeleteContainer(t.Context(), st.container["out"], nil)
	check(t, err)
	fails("a container that is gone", 5*time.Second, "404", stream)
	fails("a file of a container that is gone", 5*time.Second, "404", download)
	fails("a job into a container that is gone", 5*time.Second, "MPE_STORAGE_RESOURCE_NOT_FOUND", func() error { return st.submit(t, "copy", "nowhere", "m.mp4", "out") })
}

// TestJobsAtTheirEdges: jobs end as they should when what they need is missing or they are not wanted any more.
func TestJobsAtTheirEdges(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "edgeaccount")
	_, err := st.blobs.UploadBuffer(t.Context(), st.container["in"], "text.mp4", bytes.Repeat([]byte("no video "), 1000), nil)
	check(t, err)
	_, err = st.blobs.UploadBuffer(t.Context(), st.container["in"], "empty.mp4", nil, nil)
	check(t, err)
	_, err = st.blobs.UploadBuffer(t.Context(), st.container["in"], "long.mp4", movie(t, 60, "640x360"), nil)
	check(t, err)
	for file, wants := range map[string]string{"none.mp4": "DownloadNotAccessible (Download, DoNotRetry)", "text.mp4": "ContentMalformed", "empty.mp4": "Content"} {
		check(t, st.submit(t, "copy", file[:4], file, "out"))
		if j := st.await(t, "copy", file[:4], 30*time.Second); *j.State != armmediaservices.JobStateError || !strings.Contains(describe(j), wants) {
			t.Errorf("%s: %s", file, describe(j))
		}
	}
	refused(t, st.submit(t, "copy", "none", "m.mp4", "out"), http.StatusConflict, "")

	cancel := func(name string) error {
		_, err := st.jobs.CancelJob(t.Context(), st.group, st.name, "encode", name, nil)
		return err
	}
	check(t, st.submit(t, "encode", "running", "long.mp4", "out"))
	check(t, st.submit(t, "encode", "waiting", "long.mp4", "out"))
	check(t, st.submit(t, "encode", "deleted", "long.mp4", "out"))
	st.until(t, "encode", "running", 20*time.Second, armmediaservices.JobStateProcessing)
	check(t, cancel("waiting"))
	check(t, cancel("waiting"))
	check(t, cancel("running"))
	check(t, cancel("running"))
	for _, name := range []string{"running", "waiting"} {
		if j := st.await(t, "encode", name, 10*time.Second); *j.State != armmediaservices.JobStateCanceled {
			t.Errorf("%s: %s", name, describe(j))
		}
		check(t, cancel(name))
	}
	st.until(t, "encode", "deleted", 20*time.Second, armmediaservices.JobStateProcessing)
	_, err = st.jobs.Delete(t.Context(), st.group, st.name, "encode", "deleted", nil)
	check(t, err)
	_, err = st.job(t, "encode", "deleted")
	refused(t, err, http.StatusNotFound, "")
	// The name is free again at once, and the new job is not the old one.
	check(t, st.submit(t, "encode", "deleted", "m.mp4", "out"))
	if j := st.await(t, "encode", "deleted", time.Minute); *j.State != armmediaservices.JobStateFinished {
		t.Errorf("a job with a deleted one's name: %s", describe(j))
	}
	check(t, st.submit(t, "encode", "orphan", "long.mp4", "out"))
	st.until(t, "encode", "orphan", 20*time.Second, armmediaservices.JobStateProcessing)
	transforms, err := armmediaservices.NewTransformsClient(st.sub, st.Admin, st.options())
	check(t, err)
	_, err = transforms.Delete(t.Context(), st.group, st.name, "encode", nil)
	check(t, err)
	_, err = st.job(t, "encode", "orphan")
	refused(t, err, http.StatusNotFound, "")
	check(t, st.submit(t, "copy", "after", "m.mp4", "out"))
	if j := st.await(t, "copy", "after", time.Minute); *j.State != armmediaservices.JobStateFinished {
		t.Errorf("the job after a deleted one: %s", describe(j))
	}
}

// TestHostileViewers: what the origin and key delivery, which anyone may ask, give to those who try.
func TestHostileViewers(t *testing.T) {
	t.Parallel()
	s := start(t)
	st, other := newStudio(t, s, "vieweraccount"), newStudio(t, s, "otheraccount")
	get := func(u string, header ...string) (*http.Response, string) {
		t.Helper()
		return s.raw(t, "GET", u, "", "", header...)
	}
	path := func(u string) string { return u[strings.Index(u[8:], "/")+8:] }
	file := st.download[strings.LastIndex(st.download, "/")+1:]
	root := st.origin() + "/" + strings.Split(path(st.download), "/")[1] + "/"
	for name, u := range map[string]string{
		"locator of another account": other.origin() + path(st.segment),
		"stopped endpoint of none":   strings.Replace(st.segment, "default-", "none-", 1),
		"parent":                     root + "../" + st.container["in"] + "/m.mp4",
		"encoded parent":             root + "..%2f" + st.container["in"] + "%2fm.mp4",
		"encoded dots":               root + "%2e%2e/" + st.container["in"] + "/m.mp4",
		"twice encoded":              root + "%252e%252e%252f" + st.container["in"] + "%252fm.mp4",
		"backslash":                  root + "..%5c" + st.container["in"] + "%5cm.mp4",
		"inner parent":               root + "x/../" + file,
		"double slash":               root + "/" + file,
		"null":                       root + file + "%00",
		"query in the name":          root + file + "%3frestype=container&comp=list",
		"container":                  root + "%3frestype=container&comp=list",
		"nothing":                    root,
		"no locator":                 st.origin() + "//" + file,
		"the other's key":            strings.Replace(other.keyURL, "otheraccount", "vieweraccount", 1),
		"no key":                     strings.Split(st.keyURL, "?")[0] + "?kid=00000000-0000-0000-0000-000000000000",
		"no kid":                     strings.Split(st.keyURL, "?")[0] + "?kid=%27%20or%201=1",
	} {
		if resp, text := get(u); resp.StatusCode != 404 && resp.StatusCode != 400 {
			t.Errorf("%s: %s: %d %.200s", name, u, resp.StatusCode, text)
		} else if strings.Contains(text, st.principal) || strings.Contains(strings.ToLower(text), "/subscriptions/") {
			t.Errorf("%s tells of what is behind the account: %s", name, text)
		}
	}
	for _, u := range []string{st.segment, st.download, st.clear} {
		resp, whole := get(u)
		if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%s: %d %v", u, resp.StatusCode, resp.Header)
		}
		head, body := s.raw(t, "HEAD", u, "", "")
		if head.StatusCode != 200 || body != "" || head.ContentLength != int64(len(whole)) {
			t.Errorf("HEAD %s: %d, %d of %d bytes", u, head.StatusCode, head.ContentLength, len(whole))
		}
		preflight, _ := s.raw(t, "OPTIONS", u, "", "", "Origin", "https://player.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range")
		if preflight.StatusCode != 204 || !strings.Contains(strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers")), "range") {
			t.Errorf("OPTIONS %s: %d %v", u, preflight.StatusCode, preflight.Header)
		}
		for _, method := range []string{"PUT", "DELETE", "POST", "PATCH", "TRACE"} {
			if resp, _ := s.raw(t, method, u, "", ""); resp.StatusCode != 405 {
				t.Errorf("%s %s: %d", method, u, resp.StatusCode)
			}
		}
	}
	_, whole := get(st.download)
	for ranges, want := range map[string]struct {
		status int
		body   string
	}{
		"bytes=0-9": {206, whole[:10]}, "bytes=-5": {206, whole[len(whole)-5:]}, fmt.Sprintf("bytes=%d-", len(whole)-3): {206, whole[len(whole)-3:]},
		"bytes=99999999999-": {416, ""}, "bytes=5-2": {416, ""}, "items=0-1": {416, ""},
	} {
		if resp, body := get(st.download, "Range", ranges); resp.StatusCode != want.status || want.body != "" && body != want.body {
			t.Errorf("Range: %s: %d, %d bytes", ranges, resp.StatusCode, len(body))
		}
	}
	// An address list cannot be got round by what a client says of itself.
	err := s.updateAccount(t, st.name, armmediaservices.MediaServiceUpdate{Properties: &armmediaservices.MediaServiceProperties{KeyDelivery: &armmediaservices.KeyDelivery{
		AccessControl: &armmediaservices.AccessControl{DefaultAction: to.Ptr(armmediaservices.DefaultActionDeny), IPAllowList: []*string{to.Ptr("192.0.2.7")}},
	}}})
	check(t, err)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Azure-Clientip", "Client-Ip", "True-Client-Ip"} {
		value := "192.0.2.7"
		if header == "Forwarded" {
			value = "for=192.0.2.7"
		}
		if resp, text := get(st.keyURL, header, value); resp.StatusCode != 403 {
			t.Errorf("%s: %d %x", header, resp.StatusCode, text)
		}
	}
	if resp, _ := get(st.keyURL, "Authorization", "Bearer "+strings.Repeat("a.", 30_000)); resp.StatusCode != 403 && resp.StatusCode != 431 {
		t.Errorf("a token of 60 kB: %d", resp.StatusCode)
	}
}
