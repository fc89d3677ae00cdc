package directory

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

const (
	maxBatch     = 20
	maxBatchBody = 1 << 20 // bytes
)

type batchRequest struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`
}

type batchResponse struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    any               `json:"body,omitempty"`
}

// batch runs the requests of a JSON batch one after the other, each of them with the caller's token and a decision of
// its own. https://learn.microsoft.com/graph/json-batching
func (g *Graph) batch(serve http.Handler) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		var req struct {
			Requests []batchRequest `json:"requests"`
		}
		if err := r.DecodeJSON("BadRequest", &req); err != nil {
			return err
		}
		if len(req.Requests) == 0 || len(req.Requests) > maxBatch {
			return azure.Errorf(http.StatusBadRequest, "BadRequest", "A batch has 1 to %d requests; this one has %d.", maxBatch, len(req.Requests))
		}
		done := map[string]int{} // id -> status
		answers := []batchResponse{}
		for i, one := range req.Requests {
			if _, twice := done[one.ID]; one.ID == "" || twice {
				return azure.Errorf(http.StatusBadRequest, "BadRequest", "Request %d of the batch needs an 'id' of its own.", i)
			}
			if !slices.ContainsFunc([]string{"GET", "POST", "PATCH", "PUT", "DELETE"}, func(m string) bool { return strings.EqualFold(m, one.Method) }) {
				return azure.Errorf(http.StatusBadRequest, "BadRequest", "Request '%s' of the batch has no method that is known: '%s'.", one.ID, one.Method)
			}
			for _, before := range one.DependsOn {
				if _, ok := done[before]; !ok {
					return azure.Errorf(http.StatusBadRequest, "BadRequest", "Request '%s' of the batch depends on '%s', which does not come before it.", one.ID, before)
				}
			}
			answer := batchResponse{ID: one.ID, Status: http.StatusFailedDependency}
			if slices.ContainsFunc(one.DependsOn, func(before string) bool { return done[before] >= 400 }) {
				answer.Body = map[string]any{"error": map[string]any{"code": "FailedDependency", "message": "A request on which this one depends has failed."}}
			} else {
				answer = runBatched(serve, r.Request, one)
			}
			done[one.ID] = answer.Status
			answers = append(answers, answer)
		}
		w.Header().Set("Cache-Control", "no-store")
		return azure.WriteJSON(w, http.StatusOK, map[string]any{"responses": answers})
	}
}

func runBatched(serve http.Handler, outer *http.Request, one batchRequest) batchResponse {
	answer := batchResponse{ID: one.ID}
	version, _, _ := strings.Cut(strings.TrimPrefix(outer.URL.Path, "/"), "/")
	target, err := url.Parse("/" + version + "/" + strings.TrimPrefix(strings.ReplaceAll(one.URL, " ", "%20"), "/"))
	if err != nil || strings.Contains(strings.ToLower(target.Path), "$batch") {
		answer.Status = http.StatusBadRequest
		answer.Body = map[string]any{"error": map[string]any{"code": "BadRequest", "message": "The url of the request is not one that a batch can hold."}}
		return answer
	}
	inner, err := http.NewRequestWithContext(outer.Context(), strings.ToUpper(one.Method), "https://"+outer.Host, bytes.NewReader(one.Body))
	if err != nil {
		answer.Status = http.StatusBadRequest
		return answer
	}
	inner.URL.Path, inner.URL.RawPath, inner.URL.RawQuery = target.Path, target.RawPath, target.RawQuery
	inner.Host, inner.RemoteAddr, inner.TLS = outer.Host, outer.RemoteAddr, outer.TLS
	for name, value := range one.Headers {
		inner.Header.Set(name, value)
	}
	inner.Header.Set("Authorization", outer.Header.Get("Authorization")) // never another one's
	out := &recorder{header: http.Header{}, status: http.StatusOK}
	serve.ServeHTTP(out, inner)
	answer.Status, answer.Headers = out.status, map[string]string{}
	for name := range out.header {
		answer.Headers[name] = out.header.Get(name)
	}
	switch body := out.body.Bytes(); {
	case len(body) == 0:
	case json.Valid(body):
		answer.Body = json.RawMessage(body)
	case strings.HasPrefix(out.header.Get("Content-Type"), "text/plain"):
		answer.Body = string(body)
	default:
		answer.Body = base64.StdEncoding.EncodeToString(body)
	}
	return answer
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
