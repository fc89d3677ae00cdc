package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Route is one operation of a service, as data. The same rows serve requests, print docs/compat and drive the
// authorization-matrix test.
type Route struct {
	Name   string // the operation's name, e.g. "Keys.WrapKey"
	Method string
	// Pattern has literal segments, compared without case; {name}, which takes one segment and may be empty; and,
	// at the end only, {name...}, which takes all that is left, slashes and all.
	Pattern string
	// Query names what the query string must hold: {"comp": "block"} a value, {"comp": ""} the absence of comp.
	// Values are compared without case.
	Query    map[string]string
	Action   string        // RBAC action that the caller needs; empty only with Public
	Data     bool          // Action is a data action
	Public   string        // why the row needs no authorization
	MaxBody  int64         // bytes; 0 is 1 MiB, negative no limit
	Timeout  time.Duration // 0 is one minute, negative none
	Handle   func(w http.ResponseWriter, r *Request) error
	segments []string
}

// Request is a request on its way through a Router.
type Request struct {
	*http.Request
	Route  *Route
	Vars   map[string]string // the pattern's variables, percent-decoded
	Caller *Caller           // nil on public rows, and for credentials that are not a principal's
	Scope  string            // the resource ID that authorization was decided on; set by Authorize
	Extra  any               // what the service's Authenticate or Authorize keeps for its handlers
}

// Router serves rows. It is used as a value in a struct literal and is safe for concurrent use after Check.
type Router struct {
	Service string
	Routes  []Route
	// Lookup, when set, replaces the scan over Routes. It returns a nil row for an unknown path.
	Lookup func(r *http.Request) (*Route, map[string]string, error)
	// Before runs first, on every matched request: api-version and header checks that come before authentication.
	Before func(r *Request) error
	// Authenticate finds out who calls and sets r.Caller or r.Extra. It is not called on public rows.
	Authenticate func(r *Request) error
	// Authorize decides on r.Route.Action and sets r.Scope. It is not called on public rows.
	Authorize func(r *Request) error
	Render    Render
	// NotFound makes the error for an unknown path (allowed is empty) or an unknown method on a known path.
	NotFound func(r *http.Request, allowed []string) *Error
}

// Check validates the rows. Serving an unchecked Router is a mistake of the program; keyreel.Open checks them all.
func (rt *Router) Check() error {
	if rt.Render == nil || rt.NotFound == nil {
		return fmt.Errorf("router %s: Render and NotFound are needed", rt.Service)
	}
	for i := range rt.Routes {
		row := &rt.Routes[i]
		if err := row.check(); err != nil {
			return fmt.Errorf("router %s: %w", rt.Service, err)
		}
		if row.Public == "" && (rt.Authenticate == nil || rt.Authorize == nil) {
			return fmt.Errorf("router %s: %s needs Authenticate and Authorize", rt.Service, row.Name)
		}
		row.segments = strings.Split(strings.TrimPrefix(row.Pattern, "/"), "/")
	}
	return nil
}

func (row *Route) check() error {
	switch {
	case row.Name == "" || row.Handle == nil:
		return fmt.Errorf("route %q %s has no name or handler", row.Name, row.Pattern)
	case row.Action == "" && row.Public == "":
		return fmt.Errorf("route %s names neither an action nor why it is public", row.Name)
	case row.Action != "" && row.Public != "":
		return fmt.Errorf("route %s is public and names an action", row.Name)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	EventOf(r.Context()).Service = rt.Service
	row, vars, err := rt.lookup(r)
	if err == nil && row == nil {
		err = rt.NotFound(r, rt.allowed(r))
	}
	if err != nil {
		rt.fail(w, r, err)
		return
	}
	rt.serve(w, &Request{Request: r, Route: row, Vars: vars})
}

func (rt *Router) serve(w http.ResponseWriter, r *Request) {
	row := r.Route
	EventOf(r.Context()).Operation = row.Name
	timeout := row.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	if timeout > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Request = r.Request.WithContext(ctx)
		// A body that trickles in must not hold a handler for longer either; a test recorder has no deadlines.
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
	}
	limit := row.MaxBody
	if limit == 0 {
		limit = 1 << 20
	}
	if limit > 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	out := &response{ResponseWriter: w}
	if err := rt.run(out, r); err != nil {
		if out.started { // too late for an error: cut the connection so that nobody takes half for whole
			EventOf(r.Context()).Err = err
			panic(http.ErrAbortHandler)
		}
		rt.fail(w, r.Request, err)
	}
}

func (rt *Router) run(w http.ResponseWriter, r *Request) error {
	if rt.Before != nil {
		if err := rt.Before(r); err != nil {
			return err
		}
	}
	if r.Route.Public == "" {
		if err := rt.Authenticate(r); err != nil {
			return err
		}
		ev := EventOf(r.Context())
		if r.Caller != nil {
			ev.Principal = r.Caller.ObjectID
		}
		err := rt.Authorize(r)
		ev.Action, ev.Scope = r.Route.Action, r.Scope
		if err != nil {
			return err
		}
	}
	return r.Route.Handle(w, r)
}

// statusClientClosed is what servers log, by nginx's custom, for a request whose client is gone.
const statusClientClosed = 499

// Ended returns err, or what to say of it when it is the end of the request's own context: that the client hung up, or
// that the time is over.
func Ended(ctx context.Context, err error) error {
	switch cause := ctx.Err(); {
	case cause == nil || !errors.Is(err, cause):
		return err
	case errors.Is(cause, context.Canceled): // nobody reads the answer, and nothing is wrong here
		return &Error{Status: statusClientClosed, Code: "ClientClosedRequest", Message: "The client closed the connection before the answer."}
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "OperationTimedOut",
		Message: "The operation was not finished within the permitted time.", Err: err,
	}
}

func (rt *Router) fail(w http.ResponseWriter, r *http.Request, err error) {
	ev := EventOf(r.Context())
	err = Ended(r.Context(), err)
	e, unexpected := AsError(err)
	ev.ErrorCode = e.Code
	if unexpected {
		ev.Err = err
	}
	rt.Render(w, r, e)
}

func (rt *Router) lookup(r *http.Request) (*Route, map[string]string, error) {
	if rt.Lookup != nil {
		return rt.Lookup(r)
	}
	path := r.URL.EscapedPath()
	query := r.URL.Query()
	for i := range rt.Routes {
		row := &rt.Routes[i]
		if row.Method != r.Method || !row.wants(query) {
			continue
		}
		if raw, ok := row.match(path); ok {
			vars := make(map[string]string, len(raw)/2)
			for j := 0; j < len(raw); j += 2 {
				v, err := url.PathUnescape(raw[j+1])
				if err != nil {
					return nil, nil, Errorf(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server: %v.", err)
				}
				vars[raw[j]] = v
			}
			return row, vars, nil
		}
	}
	return nil, nil, nil
}

// allowed lists the methods with which the path is known.
func (rt *Router) allowed(r *http.Request) []string {
	var methods []string
	path := r.URL.EscapedPath()
	for i := range rt.Routes {
		row := &rt.Routes[i]
		if _, ok := row.match(path); ok && row.Method != r.Method && !slices.Contains(methods, row.Method) {
			methods = append(methods, row.Method)
		}
	}
	return methods
}

func (row *Route) wants(q url.Values) bool {
	for k, v := range row.Query {
		if !strings.EqualFold(q.Get(k), v) {
			return false
		}
	}
	return true
}

// match returns the variables as name, still escaped value, name, value, ...
func (row *Route) match(path string) ([]string, bool) {
	path = strings.TrimPrefix(path, "/")
	var vars []string
	for i, seg := range row.segments {
		if name, ok := strings.CutSuffix(seg, "...}"); ok {
			return append(vars, name[1:], path), true
		}
		part, rest, more := strings.Cut(path, "/")
		last := i == len(row.segments)-1
		if last == more { // too many parts, or too few
			return nil, false
		}
		if strings.HasPrefix(seg, "{") {
			vars = append(vars, seg[1:len(seg)-1], part)
		} else if !strings.EqualFold(seg, part) {
			return nil, false
		}
		path = rest
	}
	return vars, true
}

// DecodeJSON reads the body into v. Unknown properties are ignored, as Azure does; anything that is not one JSON
// value of the right shape is 400 with the code.
func (r *Request) DecodeJSON(code string, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return Errorf(http.StatusBadRequest, code, "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	return nil
}

// response remembers whether an answer was begun.
type response struct {
	http.ResponseWriter
	started bool
}

func (w *response) WriteHeader(status int) {
	w.started = w.started || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
