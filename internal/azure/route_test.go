package azure

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testRouter(t *testing.T, rows ...Route) *Router {
	t.Helper()
	rt := &Router{
		Service: "test", Routes: rows, Render: RenderARM,
		Authenticate: func(r *Request) error {
			switch r.Header.Get("Authorization") {
			case "":
				return Errorf(401, "NoToken", "a token is needed")
			case "other":
				r.Caller = &Caller{ObjectID: "other"}
			default:
				r.Caller = &Caller{ObjectID: "me"}
			}
			return nil
		},
		Authorize: func(r *Request) error {
			r.Scope = "/scope"
			if r.Caller.ObjectID != "me" {
				return Errorf(403, "Denied", "not you")
			}
			return nil
		},
		NotFound: func(r *http.Request, allowed []string) *Error {
			if len(allowed) > 0 {
				return Errorf(405, "MethodNotAllowed", "%s", strings.Join(allowed, ","))
			}
			return Errorf(404, "NotFound", "no such path")
		},
	}
	if err := rt.Check(); err != nil {
		t.Fatal(err)
	}
	return rt
}

// echo answers with the row's name and variables.
func echo(w http.ResponseWriter, r *Request) error {
	return WriteJSON(w, 200, map[string]any{"name": r.Route.Name, "vars": r.Vars})
}

func TestRouterMatches(t *testing.T) {
	t.Parallel()
	row := func(name, method, pattern string, query map[string]string) Route {
		return Route{Name: name, Method: method, Pattern: pattern, Query: query, Action: "a", Handle: echo}
	}
	rt := testRouter(t,
		row("restore", "POST", "/keys/restore", nil),
		row("restoreEmpty", "POST", "/keys//restore", nil),
		row("decrypt", "POST", "/keys/{name}/{version}/decrypt", nil),
		row("wrapNoVersion", "POST", "/keys/{name}/wrapkey", nil),
		row("key", "GET", "/keys/{name}", nil),
		row("version", "GET", "/keys/{name}/{version}", nil),
		row("list", "GET", "/keys", nil),
		row("putBlock", "PUT", "/{container}/{blob...}", map[string]string{"comp": "block"}),
		row("putBlob", "PUT", "/{container}/{blob...}", map[string]string{"comp": ""}),
	)
	tests := []struct{ name, method, target, want string }{
		{"literal before variable", "POST", "/keys/restore", `{"name":"restore","vars":{}}`},
		{"empty segment as literal", "POST", "/keys//restore", `{"name":"restoreEmpty","vars":{}}`},
		{"empty version", "POST", "/keys/k//decrypt", `{"name":"decrypt","vars":{"name":"k","version":""}}`},
		{"trailing empty version", "GET", "/keys/k/", `{"name":"version","vars":{"name":"k","version":""}}`},
		{"literals have no case", "POST", "/Keys/My-Key/WrapKey", `{"name":"wrapNoVersion","vars":{"name":"My-Key"}}`},
		{"no trailing slash", "GET", "/keys", `{"name":"list","vars":{}}`},
		{"discriminator", "PUT", "/c/b?comp=Block&blockid=x", `{"name":"putBlock","vars":{"blob":"b","container":"c"}}`},
		{"slashes in a blob's name", "PUT", "/c/a//b", `{"name":"putBlob","vars":{"blob":"a//b","container":"c"}}`},
		{"dots in a blob's name", "PUT", "/c/a/../b/.", `{"name":"putBlob","vars":{"blob":"a/../b/.","container":"c"}}`},
		{"escapes in a blob's name", "PUT", "/c/a%2Fb%20%C3%A9", `{"name":"putBlob","vars":{"blob":"a/b é","container":"c"}}`},
		{"unknown path", "GET", "/nothing", `{"error":{"code":"NotFound","message":"no such path"}}`},
		{"unknown method", "DELETE", "/keys", `{"error":{"code":"MethodNotAllowed","message":"GET"}}`},
		{"discriminator of no row", "PUT", "/c/b?comp=tier", `{"error":{"code":"NotFound","message":"no such path"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, tt.target, nil)
			r.Header.Set("Authorization", "me")
			w := httptest.NewRecorder()
			rt.ServeHTTP(w, r)
			if d := cmp.Diff(tt.want, strings.TrimSpace(w.Body.String())); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestRouterDecides(t *testing.T) {
	t.Parallel()
	secret := errors.New("the password is hunter2")
	rt := testRouter(t,
		Route{Name: "private", Method: "GET", Pattern: "/private", Action: "a/read", Handle: echo},
		Route{Name: "public", Method: "GET", Pattern: "/public", Public: "a test", Handle: echo},
		Route{Name: "broken", Method: "GET", Pattern: "/broken", Public: "a test", Handle: func(http.ResponseWriter, *Request) error { return secret }},
		Route{Name: "body", Method: "POST", Pattern: "/body", Public: "a test", MaxBody: 10, Handle: func(w http.ResponseWriter, r *Request) error {
			var v map[string]any
			if err := r.DecodeJSON("BadJSON", &v); err != nil {
				return err
			}
			return WriteJSON(w, 200, v)
		}},
	)
	tests := []struct {
		name, method, target, auth, body string
		status                           int
		code                             string
	}{
		{"no token", "GET", "/private", "", "", 401, "NoToken"},
		{"not allowed", "GET", "/private", "other", "", 403, "Denied"},
		{"allowed", "GET", "/private", "me", "", 200, ""},
		{"public", "GET", "/public", "", "", 200, ""},
		{"unexpected error", "GET", "/broken", "", "", 500, "InternalError"},
		{"malformed JSON", "POST", "/body", "", "{", 400, "BadJSON"},
		{"body over the limit", "POST", "/body", "", `{"a":"0123456789"}`, 413, "RequestBodyTooLarge"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ev := &Event{RequestID: "id-1"}
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			r.Header.Set("Authorization", tt.auth)
			w := httptest.NewRecorder()
			rt.ServeHTTP(w, r.WithContext(WithEvent(r.Context(), ev)))
			if w.Code != tt.status || ev.ErrorCode != tt.code {
				t.Errorf("status %d code %q, want %d %q: %s", w.Code, ev.ErrorCode, tt.status, tt.code, w.Body)
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Error("an unexpected error's text reached the client")
			}
			if (ev.Err != nil) != (tt.status == 500) {
				t.Errorf("event error %v", ev.Err)
			}
		})
	}
}

func TestRouterCutsHalfAnswers(t *testing.T) {
	t.Parallel()
	rt := testRouter(t, Route{Name: "half", Method: "GET", Pattern: "/half", Public: "a test", Handle: func(w http.ResponseWriter, r *Request) error {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		return errors.New("the rest is lost")
	}})
	srv := httptest.NewServer(rt)
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/half")
	if err != nil {
		return // cut before the headers left, which is as good
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client read %q without an error", body)
	}
}

func TestRouterRefusesRows(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]Route{
		"neither action nor public": {Name: "x", Method: "GET", Pattern: "/", Handle: echo},
		"both":                      {Name: "x", Method: "GET", Pattern: "/", Action: "a", Public: "b", Handle: echo},
		"no handler":                {Name: "x", Method: "GET", Pattern: "/", Public: "b"},
	} {
		rt := &Router{Routes: []Route{row}, Render: RenderARM, NotFound: func(*http.Request, []string) *Error { return nil }}
		if rt.Check() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
