package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// performed is the answer to a request that the manager made itself.
type performed struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (p *performed) Header() http.Header { return p.header }

func (p *performed) WriteHeader(status int) {
	if p.status == 0 && status >= http.StatusOK {
		p.status = status
	}
}

func (p *performed) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

// failure returns the error that an answer holds, or nil.
func (p *performed) failure() *azure.Error {
	if p.status < http.StatusBadRequest {
		return nil
	}
	var body struct{ Error azure.Error }
	if err := json.Unmarshal(p.body.Bytes(), &body); err != nil || body.Error.Code == "" {
		body.Error = azure.Error{Code: "UnexpectedResponse", Message: fmt.Sprintf("The answer has the status %d and no error.", p.status)}
	}
	body.Error.Status = p.status
	return &body.Error
}

// Perform serves a request as its caller would make it, for what a service does by the right of the caller of a write
// (a media account takes the keys of its storage accounts). It returns the answer's body, or its azure.Error. path begins
// with "/" and has its query.
func (m *Manager) Perform(ctx context.Context, caller *azure.Caller, method, path string, body any) ([]byte, error) {
	host := strings.TrimPrefix(azure.URLs{Hosts: m.o.Hosts}.Management(), "https://")
	answer, err := m.perform(ctx, caller, host, method, path, body)
	if err != nil {
		return nil, err
	}
	if e := answer.failure(); e != nil {
		return nil, e
	}
	return answer.body.Bytes(), nil
}

// perform serves a request as a caller would make it: the same rows, decision, locks, gates, validation and audit. path
// begins with "/" and has its query; host is the name under which URLs in the answer are made. A body that is nil is
// none.
func (m *Manager) perform(ctx context.Context, caller *azure.Caller, host, method, path string, body any) (*performed, error) {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, content)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	router := azure.Router{
		Service: azure.Management, Lookup: m.lookup, Authorize: m.authorize, Render: azure.RenderARM, NotFound: notFound,
		Authenticate: func(r *azure.Request) error {
			r.Caller = caller
			return nil
		},
	}
	event := azure.Event{RequestID: azure.RequestID(ctx)}
	answer := &performed{header: http.Header{}}
	router.ServeHTTP(answer, r.WithContext(azure.WithEvent(ctx, &event)))
	answer.WriteHeader(http.StatusOK)
	if event.Err != nil { // the client is to see no more than that; the queue logs it
		return nil, event.Err
	}
	return answer, nil
}
