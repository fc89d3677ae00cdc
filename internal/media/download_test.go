package media

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// viewer is a slow download: after the first bytes something happens.
type viewer struct {
	*httptest.ResponseRecorder
	once func()
}

func (v *viewer) Write(p []byte) (int, error) {
	n, err := v.ResponseRecorder.Write(p)
	if v.once != nil && v.Body.Len() > 0 {
		v.once()
		v.once = nil
	}
	return n, err
}

// TestDownloadUnderWayIsCut: a download that began before access was withdrawn does not go on from memory.
func TestDownloadUnderWayIsCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	data := make([]byte, 4*blockSize)
	rand.Read(data)
	container := w.child("/assets/a", `{}`).want(201).at("properties.container").(string)
	w.out.put(container, "f.mp4", data)
	w.child("/streamingLocators/l", `{"assetName":"a","streamingPolicyName":"Predefined_DownloadOnly","streamingLocatorId":"cccccccc-0000-0000-0000-000000000009"}`).want(201)
	const path = "/cccccccc-0000-0000-0000-000000000009/f.mp4"
	w.put(acct, syncV, `{"location":"westeurope","properties":{`+customer[1:]+`}}`).want(200)
	full := func() []byte { return w.stream("GET", path).want(200).raw }
	if !bytes.Equal(full(), data) {
		t.Fatal("other bytes")
	}
	for _, tt := range []struct {
		name       string
		take, give func()
	}{
		{"the grant goes", func() {
			w.out.set(func() { w.out.allowed[system] = false })
			w.age(askEvery)
		}, func() { w.out.set(func() { w.out.allowed[system] = true }) }},
		{"the customer key goes", func() {
			w.out.set(func() { w.out.vaultRefuses = true })
			w.o.Keys.Check(t.Context(), acct)
		}, func() {
			w.out.set(func() { w.out.vaultRefuses = false })
			w.o.Keys.Check(t.Context(), acct)
		}},
		{"the blob is replaced", func() {
			w.out.put(container, "f.mp4", make([]byte, len(data)))
			w.age(askEvery)
		}, func() { w.out.put(container, "f.mp4", data); w.age(askEvery) }},
	} {
		v := &viewer{httptest.NewRecorder(), tt.take}
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler {
					panic(p)
				}
			}()
			w.StreamingHandler().ServeHTTP(v, httptest.NewRequestWithContext(t.Context(), "GET", "https://default-acct1.streaming.keyreel.test"+path, nil))
		}()
		if n := v.Body.Len(); n >= len(data) || n == 0 || !bytes.Equal(v.Body.Bytes(), data[:n]) {
			t.Errorf("%s: %d of %d bytes were sent", tt.name, n, len(data))
		}
		tt.give()
		if !bytes.Equal(full(), data) {
			t.Errorf("%s: other bytes when access is back", tt.name)
		}
	}
}

// hasty is a viewer whose access ends when its answer is about to begin.
type hasty struct {
	*httptest.ResponseRecorder
	take func()
}

func (v *hasty) Header() http.Header {
	v.take()
	return v.ResponseRecorder.Header()
}

// TestSegmentNotBegunIsRefused: what was allowed but has sent nothing yet is refused with its reason, not cut.
func TestSegmentNotBegunIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	w.upload()
	if state := w.run("j", jobDoc).at("properties.state"); state != "Finished" {
		t.Fatal(state)
	}
	w.child("/streamingLocators/l", `{"assetName":"out","streamingPolicyName":"Predefined_ClearStreamingOnly","streamingLocatorId":"cccccccc-0000-0000-0000-000000000010"}`).want(201)
	w.put(acct, syncV, `{"location":"westeurope","properties":{`+customer[1:]+`}}`).want(200)
	const base = "/cccccccc-0000-0000-0000-000000000010/clip.ism/"
	lines := regexp.MustCompile(`(?m)^[^#\n].+$`)
	rendition := lines.FindString(string(w.stream("GET", base+"manifest(format=m3u8-cmaf)").want(200).raw))
	path := base + uriBase(rendition) + lines.FindString(string(w.stream("GET", base+rendition).want(200).raw))
	w.stream("GET", path).want(200)
	v := &hasty{httptest.NewRecorder(), func() {
		w.out.set(func() { w.out.vaultRefuses = true })
		w.o.Keys.Check(t.Context(), acct)
	}}
	w.StreamingHandler().ServeHTTP(v, httptest.NewRequestWithContext(t.Context(), "GET", "https://default-acct1.streaming.keyreel.test"+path, nil))
	if v.Code != http.StatusForbidden || !strings.Contains(v.Body.String(), "CustomerKeyInaccessible") {
		t.Errorf("answered %d %s", v.Code, v.Body)
	}
	if h := v.Result().Header; h.Get("Content-Length") != "" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("the refusal has the headers of the segment: %v", h)
	}
}
