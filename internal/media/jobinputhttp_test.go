package media

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const plantedURL = "PLANTED-IN-A-URL"

func httpJob(base, file string) string {
	if base != "" {
		base = `"baseUri":"` + base + `",`
	}
	return strings.Replace(jobDoc, `{"@odata.type":"#Microsoft.Media.JobInputAsset","assetName":"in","files":["clip.mp4"]}`,
		`{"@odata.type":"#Microsoft.Media.JobInputHttp",`+base+`"files":["`+file+`"]}`, 1)
}

func TestJobInputHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	w.upload()
	data, err := clip()
	if err != nil {
		t.Fatal(err)
	}
	source := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("sig") != plantedURL:
			rw.WriteHeader(http.StatusForbidden)
		case strings.HasSuffix(r.URL.Path, "clip.mp4"):
			rw.Write(data)
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(source.Close)
	signed := "clip.mp4?sig=" + plantedURL
	for _, tt := range []struct {
		name, base, file    string
		private             bool
		state, code, detail string
	}{
		{"a base and a file", source.URL + "/films", signed, true, jobFinished, "", ""},
		{"a whole URL", "", source.URL + "/" + signed, true, jobFinished, "", ""},
		{"a private address", "", source.URL + "/" + signed, false, jobError, "DownloadNotAccessible", "private network"},
		{"no right", "", source.URL + "/clip.mp4?sig=x", true, jobError, "DownloadNotAccessible", "403"},
		{"no file", source.URL, "none.mp4?sig=" + plantedURL, true, jobError, "DownloadNotAccessible", "404"},
	} {
		w.Service.public = w.o.Clients.Public(tt.private)
		a := w.run(strings.ReplaceAll(tt.name, " ", "-"), httpJob(tt.base, tt.file))
		if a.at("properties.state") != tt.state || tt.code != "" && a.at("properties.outputs.0.error.code") != tt.code {
			t.Errorf("%s: %s", tt.name, a.raw)
		}
		a.says(tt.detail, source.URL)
		if strings.Contains(string(a.raw), plantedURL) {
			t.Errorf("%s: GET shows what entitles: %s", tt.name, a.raw)
		}
	}
	for _, doc := range map[string]string{
		"no file":          strings.Replace(httpJob("", "x"), `["x"]`, `[]`, 1),
		"two files":        strings.Replace(httpJob("", "https://h/x"), `["https://h/x"]`, `["https://h/x","https://h/y"]`, 1),
		"no host":          httpJob("", "clip.mp4"),
		"another scheme":   httpJob("", "file:///etc/passwd"),
		"user information": httpJob("", "https://u:p@h/x"),
		"a long base":      httpJob("https://h/"+strings.Repeat("x", maxBaseURI), "y"),
		"an asset too":     strings.Replace(httpJob("", "https://h/x"), `"files"`, `"assetName":"in","files"`, 1),
	} {
		w.put(acct+"/transforms/t/jobs/bad", asyncV, `{"properties":`+doc+`}`).want(400)
		w.get(acct + "/transforms/t/jobs/bad").want(404)
	}
}

// TestJobURLsAtRest: the URLs lie sealed under the account key, bound to their job, and go with it.
func TestJobURLsAtRest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/assets/out", `{}`).want(201)
		w.child("/transforms/t", copyPreset).want(201)
		jobs := acct + "/transforms/t/jobs/"
		for _, name := range []string{"one", "two"} {
			w.put(jobs+name, asyncV, `{"properties":`+httpJob("https://h/"+plantedURL+"/", name+".mp4?"+plantedURL)+`}`).want(201).says(plantedURL + "/")
		}
		count := func() (n int) {
			t.Helper()
			err := w.db.View(t.Context(), func(tx *store.Tx) error {
				n = 0
				rows, err := tx.Query(t.Context(), `SELECT sealed FROM media_job_inputs`)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					var sealed []byte
					if err := rows.Scan(&sealed); err != nil {
						return err
					}
					if n++; strings.Contains(string(sealed), "PLANTED") {
						t.Error("a URL lies open")
					}
				}
				var open int
				if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM arm_resources WHERE properties LIKE '%PLANTED%'`).Scan(&open); err != nil {
					return err
				}
				if open > 0 {
					t.Error("a URL lies open among the properties")
				}
				return rows.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count(); n != 2 {
			t.Errorf("%d inputs", n)
		}
		// Moved to another row it does not open.
		err := w.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE media_job_inputs SET sealed = (SELECT sealed FROM media_job_inputs WHERE job = $1) WHERE job = $2`,
				resourceID(t, jobs+"one").Key(), resourceID(t, jobs+"two").Key())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		w.get(jobs + "one").want(200).says("one.mp4")
		w.get(jobs + "two").want(500)
		w.do("DELETE", jobs+"one", asyncV, "").want(200)
		w.do("DELETE", jobs+"two", asyncV, "").want(200)
		if n := count(); n != 0 {
			t.Errorf("%d inputs are left", n)
		}
	})
}

func FuzzHTTPInputLocation(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://h/films/", "a.mp4"},
		{"https://h", "a.mp4?sig=x"},
		{"", "http://h:8080/a"},
		{"", "file:///etc/passwd"},
		{"https://u:p@h/", "a"},
		{"https://h/", "//evil/a"},
		{"https://h", "@evil/a"},
		{"https:", "//h/a"},
		{"\x00", "\xff"},
		{"https://[::1]/", "#x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, base, file string) {
		in := &httpInput{BaseURI: base, Files: []string{file}}
		u, err := in.location()
		if err != nil {
			if file != "" && strings.Contains(err.Error(), "sig=") {
				t.Errorf("the refusal repeats the URL: %v", err)
			}
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			t.Errorf("%q %q: %s", base, file, u)
		}
		if in.shown().BaseURI == "" && base != "" && !strings.HasPrefix(base, "?") {
			t.Errorf("%q is not shown", base)
		}
	})
}
