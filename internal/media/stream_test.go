package media

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// clip is four seconds of small video with sound.
var clip = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "clip")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "clip.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=10:duration=4",
		"-f", "lavfi", "-i", "sine=duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-c:a", "aac", file).CombinedOutput()
	if err != nil {
		return out, err
	}
	return os.ReadFile(file)
})

const copyPreset = `{"outputs":[{"preset":{"@odata.type":"#Microsoft.Media.BuiltInStandardEncoderPreset","presetName":"CopyAllBitrateNonInterleaved"}}]}`

// upload makes the asset "in" with the clip, the empty asset "out" and the transform "t".
func (w *world) upload() (out string) {
	w.t.Helper()
	data, err := clip()
	if err != nil {
		w.t.Fatalf("making the clip: %v: %s", err, data)
	}
	in := w.child("/assets/in", `{}`).want(201).at("properties.container").(string)
	w.out.put(in, "clip.mp4", data)
	out = w.child("/assets/out", `{}`).want(201).at("properties.container").(string)
	w.child("/transforms/t", copyPreset).want(201)
	return out
}

const jobDoc = `{"input":{"@odata.type":"#Microsoft.Media.JobInputAsset","assetName":"in","files":["clip.mp4"]},"outputs":[{"@odata.type":"#Microsoft.Media.JobOutputAsset","assetName":"out"}],"correlationData":{"a":"b"}}`

// run runs a new job to its end, without the queue, and returns it as clients see it.
func (w *world) run(name, doc string, meanwhile ...func()) answer {
	w.t.Helper()
	path := acct + "/transforms/t/jobs/" + name
	w.put(path, asyncV, `{"properties":`+doc+`}`).want(201).says(`"state":"Queued"`)
	for _, fn := range meanwhile {
		w.out.set(fn)
	}
	if err := w.runEncodeJob(w.t.Context(), w.attempt(path)); err != nil {
		w.t.Fatal(err)
	}
	return w.get(path).want(200)
}

// attempt is a run of the media job as the queue would make it.
func (w *world) attempt(path string) *job.Run {
	w.t.Helper()
	payload, _ := json.Marshal(encodePayload{Job: path})
	run := &job.Run{Payload: payload, Attempt: 1}
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		err := tx.QueryRow(w.t.Context(), `SELECT queue_id FROM media_jobs WHERE job = $1`, strings.ToLower(path)).Scan(&run.ID)
		if err != nil && !isNoRows(err) {
			return err
		}
		_, err = tx.Exec(w.t.Context(), `UPDATE job SET state = 'running', due = $2 WHERE id = $1`, run.ID, store.Micros(time.Now().Add(time.Hour)))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

func TestEncodeAndStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	out := w.upload()
	a := w.run("j", jobDoc)
	if a.at("properties.state") != jobFinished || a.at("properties.outputs.0.progress") != 100.0 || a.at("properties.correlationData.a") != "b" {
		t.Fatalf("%s", a.raw)
	}
	if left, err := os.ReadDir(w.o.WorkDir); err != nil || len(left) != 0 {
		t.Errorf("scratch left behind: %v %v", left, err)
	}
	if w.out.containers[out]["clip.ism"] == nil {
		t.Fatalf("no server manifest among %d files", len(w.out.containers[out]))
	}
	w.child("/contentKeyPolicies/p", openPolicy).want(201)
	w.child("/streamingLocators/clear", `{"assetName":"out","streamingPolicyName":"Predefined_DownloadAndClearStreaming"}`).want(201)
	w.child("/streamingLocators/enc", `{"assetName":"out","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p"}`).want(201)

	paths := w.post(acct + "/streamingLocators/clear/listPaths").want(200)
	hls := paths.at("streamingPaths.0.paths.0").(string)
	paths.says(`"Hls"`, `"Dash"`, "NoEncryption", "clip_")
	master := w.stream("GET", hls+"?token=abc").want(200).says("#EXTM3U", "token=abc")
	if master.header.Get("Access-Control-Allow-Origin") != "*" || master.header.Get("Content-Length") == "" {
		t.Errorf("%v", master.header)
	}
	base := hls[:strings.LastIndex(hls, "/")+1]
	lines := regexp.MustCompile(`(?m)^[^#\n].+$`)
	playlist := w.stream("GET", base+lines.FindString(string(master.raw))).want(200).says("#EXTINF", "#EXT-X-ENDLIST")
	segment := base + uriBase(lines.FindString(string(master.raw))) + lines.FindString(string(playlist.raw))
	first := w.stream("GET", segment).want(200)
	if !bytes.Contains(first.raw[:64], []byte("moof")) && !bytes.Contains(first.raw[:64], []byte("styp")) {
		t.Errorf("%q", first.raw[:64])
	}
	if head := w.stream("HEAD", segment).want(200); len(head.raw) != 0 || head.header.Get("Content-Length") != first.header.Get("Content-Length") {
		t.Errorf("HEAD: %v", head.header)
	}
	w.stream("GET", paths.at("downloadPaths.0").(string)).want(200)
	w.stream("OPTIONS", hls).want(204)
	w.stream("DELETE", hls).want(405)
	w.stream("GET", base+"none.ism/manifest(format=m3u8-cmaf)").want(404)
	w.stream("GET", "/dddddddd-0000-0000-0000-000000000000/clip.ism/manifest(format=m3u8-cmaf)").want(404)

	// Encrypted: only so, with the address of key delivery.
	encrypted := w.post(acct + "/streamingLocators/enc/listPaths").want(200).at("streamingPaths.0.paths.0").(string)
	encMaster := w.stream("GET", encrypted+"?token=abc").want(200)
	encBase := encrypted[:strings.LastIndex(encrypted, "/")+1]
	encList := w.stream("GET", encBase+lines.FindString(string(encMaster.raw))).want(200)
	encList.says("METHOD=AES-128", "https://acct1.keydelivery.keyreel.test/?kid=", "token=abc")
	encSegment := encBase + uriBase(lines.FindString(string(encMaster.raw))) + lines.FindString(string(encList.raw))
	if got := w.stream("GET", encSegment).want(200); bytes.Contains(got.raw, []byte("moof")) {
		t.Error("the segment is clear")
	}
	w.stream("GET", strings.Replace(encrypted, ",encryption=cbc", "", 1)).want(403).says("encryption=cbc")
	w.stream("GET", strings.Replace(hls, ")", ",encryption=cbc)", 1)).want(403)

	t.Run("a stopped endpoint", func(t *testing.T) {
		w.post(acct + "/streamingEndpoints/default/stop").want(200)
		w.stream("GET", hls).want(403).says("stopped")
		w.post(acct + "/streamingEndpoints/default/start").want(200)
		w.stream("GET", hls).want(200)
	})
	t.Run("the grant goes", func(t *testing.T) {
		w.out.set(func() { w.out.allowed[system] = false })
		w.age(askEvery)
		if a := w.stream("GET", segment).want(403).says("MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS"); bytes.Contains(a.raw, []byte(system)) {
			t.Errorf("viewers are told of the account's identity: %s", a.raw)
		}
		w.stream("GET", hls).want(403) // other files are not trusted either
		w.get(acct).want(200).says("Disconnected")
		w.out.set(func() { w.out.allowed[system] = true })
		w.stream("GET", segment).want(200)
		w.get(acct).want(200).says(`"status":"Connected"`)
	})
	t.Run("storage is away", func(t *testing.T) {
		w.out.set(func() { w.out.unreachable = true })
		w.age(askEvery)
		if got := w.stream("GET", segment).want(200); !bytes.Equal(got.raw, first.raw) {
			t.Error("other bytes")
		}
		w.age(trustFor)
		w.stream("GET", segment).want(503)
		w.out.set(func() { w.out.unreachable = false })
		w.stream("GET", segment).want(200)
	})
	t.Run("a file is replaced", func(t *testing.T) {
		for name, b := range w.out.containers[out] {
			if !strings.HasSuffix(name, ".ism") {
				w.out.put(out, name, b.data)
			}
		}
		w.age(askEvery)
		if got := w.stream("GET", segment).want(200); !bytes.Equal(got.raw, first.raw) {
			t.Error("other bytes")
		}
	})
	t.Run("the locator's times", func(t *testing.T) {
		now := time.Now()
		w.child("/streamingLocators/late", `{"assetName":"out","streamingPolicyName":"Predefined_ClearStreamingOnly","streamingLocatorId":"cccccccc-0000-0000-0000-000000000001","endTime":"`+now.Add(-time.Hour).UTC().Format(time.RFC3339)+`"}`).want(201)
		w.stream("GET", "/cccccccc-0000-0000-0000-000000000001/clip.ism/manifest(format=m3u8-cmaf)").want(403)
		w.child("/streamingLocators/early", `{"assetName":"out","streamingPolicyName":"Predefined_ClearStreamingOnly","streamingLocatorId":"cccccccc-0000-0000-0000-000000000002","startTime":"`+now.Add(time.Hour).UTC().Format(time.RFC3339)+`"}`).want(201)
		w.stream("GET", "/cccccccc-0000-0000-0000-000000000002/clip.ism/manifest(format=m3u8-cmaf)").want(403)
	})
	t.Run("the customer key goes", func(t *testing.T) {
		w.put(acct, syncV, strings.Replace(accountDoc, "%s", customer, 1)).want(200)
		w.stream("GET", segment).want(200)
		w.out.set(func() { w.out.vaultRefuses = true })
		w.o.Keys.Check(t.Context(), acct)
		if a := w.stream("GET", segment).want(403).says("CustomerKeyInaccessible"); bytes.Contains(a.raw, []byte(system)) || bytes.Contains(a.raw, []byte("/keys/k")) {
			t.Errorf("viewers are told of the account's identity and key: %s", a.raw)
		}
		w.key("?kid=dddddddd-0000-0000-0000-000000000000", "").want(403)
		w.out.set(func() { w.out.vaultRefuses = false })
		w.o.Keys.Check(t.Context(), acct)
		w.stream("GET", segment).want(200)
	})
	t.Run("the locator is deleted", func(t *testing.T) {
		w.do("DELETE", acct+"/streamingLocators/clear", asyncV, "").want(200)
		w.stream("GET", segment).want(404)
	})
}

// uriBase is the folder of a relative URI.
func uriBase(uri string) string {
	return uri[:strings.LastIndex(strings.SplitN(uri, "?", 2)[0], "/")+1]
}

// age makes all that storage authorized d older.
func (w *world) age(d time.Duration) {
	w.access.mu.Lock()
	defer w.access.mu.Unlock()
	for f, s := range w.access.seen {
		s.at = s.at.Add(-d)
		w.access.seen[f] = s
	}
}

func TestJobErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	out := w.upload()
	for _, tt := range []struct {
		name, doc   string
		before      func()
		code, after string
	}{
		{"missing-file", strings.Replace(jobDoc, "clip.mp4", "none.mp4", 1), func() {}, "DownloadNotAccessible", "Download"},
		{"no-read", jobDoc, func() { w.out.allowed[system] = false }, "DownloadNotAccessible", "Account"},
		{"no-write", jobDoc, func() { w.out.noWrites = true }, "UploadNotAccessible", "Account"},
		{"no-media", strings.Replace(jobDoc, "clip.mp4", "text.mp4", 1), func() {}, "ContentMalformed", "Content"},
	} {
		for name := range w.out.containers {
			if name != out && w.out.containers[name]["text.mp4"] == nil {
				w.out.put(name, "text.mp4", []byte("no media at all"))
			}
		}
		a := w.run(tt.name, tt.doc, tt.before)
		w.out.set(func() { w.out.allowed[system], w.out.noWrites = true, false })
		if a.at("properties.state") != jobError || a.at("properties.outputs.0.error.code") != tt.code || a.at("properties.outputs.0.error.category") != tt.after {
			t.Errorf("%s: %s", tt.name, a.raw)
		}
	}
	w.out.set(func() { w.out.allowed[system] = false })
	w.put(acct+"/transforms/t/jobs/x", asyncV, `{"properties":`+jobDoc+`}`).want(403).says("MPE_STORAGE_INSUFFICIENT_ACCOUNT_PERMISSIONS", system)
	w.get(acct + "/transforms/t/jobs/x").want(404)
	w.out.set(func() { w.out.allowed[system] = true })
	w.put(acct+"/transforms/t/jobs/x", asyncV, `{"properties":`+strings.Replace(jobDoc, `"in"`, `"none"`, 1)+`}`).want(400).says("Asset 'none' is not found under account 'acct1'")
	w.put(acct+"/transforms/t/jobs/x", asyncV, `{"properties":`+strings.Replace(jobDoc, "JobInputAsset", "JobInputHttp", 1)+`}`).want(400)
	w.put(acct+"/transforms/t/jobs/x", asyncV, `{"properties":`+strings.Replace(jobDoc, `"outputs":[`, `"outputs":[],"o":[`, 1)+`}`).want(400)
	w.put(acct+"/transforms/t/jobs/x", asyncV, `{"properties":`+strings.Replace(jobDoc, "clip.mp4", "../clip.mp4", 1)+`}`).want(400)
	w.child("/transforms/bad", `{"outputs":[]}`).want(400)
	w.child("/transforms/bad", `{"outputs":[{"preset":{"@odata.type":"#Microsoft.Media.FaceDetectorPreset"}}]}`).want(400)
}

// TestJobPauses: a job of an account that cannot use its customer key goes back to the queue, and runs when access is
// back.
func TestJobPauses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	w.upload()
	w.put(acct, syncV, strings.Replace(accountDoc, "%s", customer, 1)).want(200)
	path := acct + "/transforms/t/jobs/j"
	w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
	w.out.set(func() { w.out.vaultRefuses = true })
	w.o.Keys.Check(t.Context(), acct)
	if err := w.runEncodeJob(t.Context(), w.attempt(path)); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("without the key: %v", err)
	}
	w.out.set(func() { w.out.vaultRefuses = false })
	w.o.Keys.Check(t.Context(), acct)
	w.get(path).want(200).says(`"state":"Queued"`)
	if err := w.runEncodeJob(t.Context(), w.attempt(path)); err != nil {
		t.Fatal(err)
	}
	w.get(path).want(200).says(`"state":"Finished"`)
}

func TestCancelJob(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.upload()
		path := acct + "/transforms/t/jobs/j"
		w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
		w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(409)
		w.do("PATCH", path, asyncV, `{"properties":{"priority":"High"}}`).want(200).says(`"priority":"High"`)
		w.post(path + "/cancelJob").want(200)
		w.get(path).want(200).says(`"state":"Canceled"`)
		w.post(path + "/cancelJob").want(200)
		w.do("DELETE", path, asyncV, "").want(200)
		w.get(path).want(404)
		if err := w.runEncodeJob(t.Context(), w.attempt(path)); err != nil {
			t.Errorf("a deleted job: %v", err)
		}
	})
}

// TestCrashedJob: what an attempt that died has left is done over, and what it finished is not.
func TestCrashedJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	out := w.upload()
	path := acct + "/transforms/t/jobs/j"
	w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
	ctx, crash := context.WithCancel(t.Context())
	crash()
	if err := w.runEncodeJob(ctx, w.attempt(path)); err == nil {
		t.Error("ran under a dead context")
	}
	id, _ := azure.ParseResourceID(path)
	err := w.db.Update(t.Context(), func(tx *store.Tx) error {
		return w.o.Manager.Update(t.Context(), tx, id, func(res *arm.Resource) error {
			var p jobProperties
			if err := decodeStored(res, &p); err != nil {
				return err
			}
			p.State, p.Outputs[0].State, p.Outputs[0].Progress = jobProcessing, jobProcessing, 40
			return encodeProperties(res, p)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	w.out.put(out, "clip.ism", []byte("half"))
	if err := w.runEncodeJob(t.Context(), w.attempt(path)); err != nil {
		t.Fatal(err)
	}
	w.get(path).want(200).says(`"state":"Finished"`)
	before := w.out.containers[out]["clip.ism"].etag
	if err := w.runEncodeJob(t.Context(), w.attempt(path)); err != nil {
		t.Fatal(err)
	}
	if w.out.containers[out]["clip.ism"].etag != before {
		t.Error("a finished output was made again")
	}
}

// TestQueueRunsJobs: the real queue, and an asynchronous account.
func TestQueueRunsJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.jobs.Start()
	w.letIn()
	a := w.put(acct, asyncV, strings.Replace(accountDoc, "%s", `,"storageAuthentication":"ManagedIdentity"`+customer, 1)).want(201)
	status := a.header.Get("Azure-AsyncOperation")
	if status == "" || !strings.Contains(status, "mediaServicesOperationStatuses") {
		t.Fatalf("%v", a.header)
	}
	w.until(func() bool { return w.get(acct).at("properties.provisioningState") == "Succeeded" })
	w.get(acct).says("currentKeyIdentifier", "00000000000000000000000000000001")
	w.upload()
	path := acct + "/transforms/t/jobs/j"
	w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
	w.until(func() bool { return w.get(path).at("properties.state") == jobFinished })
}

// until asks every few milliseconds, for the work of other goroutines has no end to wait for but what is shown.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatal("it did not come about within a minute")
		}
	}
}

func TestRoutesArePublicForAReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	for _, r := range w.Routes() {
		if r.Public == "" || r.Action != "" {
			t.Errorf("%s is not public", r.Name)
		}
	}
	if err := (&azure.Router{Render: azure.RenderARM, NotFound: func(*http.Request, []string) *azure.Error { return nil }, Routes: w.Routes()}).Check(); err != nil {
		t.Error(err)
	}
}
