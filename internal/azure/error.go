package azure

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an error that a client is meant to see. Azure's codes are the domain's vocabulary, so services return
// it directly; each wire dialect renders it in its own shape ([RenderARM], [RenderKeyVault], [RenderStorage],
// [RenderOAuth2]). Its JSON is ARM's error object, in which it can be kept and shown later.
type Error struct {
	Status  int         `json:"-"`                 // HTTP status
	Code    string      `json:"code"`              // Azure's code, e.g. "AuthorizationFailed"
	Message string      `json:"message"`           // for people: which check failed, and what would mend it
	Target  string      `json:"target,omitempty"`  // the property or resource that the error is about
	Inner   string      `json:"-"`                 // Key Vault's innererror code, e.g. "KeyDisabled", or OAuth's suberror; may be empty
	Details []Error     `json:"details,omitempty"` // Status is not used there
	Header  http.Header `json:"-"`                 // extra response headers, e.g. WWW-Authenticate, Retry-After
	Err     error       `json:"-"`                 // the cause, for the log only
}

// Errorf makes an Error with a formatted message.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := e.Code + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same status and code, so that errors.Is works with a model error.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Status == e.Status && t.Code == e.Code
}

// Because returns a copy of e with its cause set.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// WithHeader returns a copy of e that also sends the header.
func (e *Error) WithHeader(key, value string) *Error {
	c := *e
	c.Header = e.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Add(key, value)
	return &c
}

// AsError returns err as a client is to see it: the *Error in its chain, 413 for a body over its limit, or 500
// with no detail. The second result says whether err was unexpected and belongs in the log.
func AsError(err error) (e *Error, unexpected bool) {
	if errors.As(err, &e) {
		return e, e.Status >= 500 && e.Err != nil
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return Errorf(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge",
			"The request body is too large and exceeds the maximum permissible limit of %d bytes.", tooLarge.Limit), false
	}
	return &Error{
		Status: http.StatusInternalServerError, Code: "InternalError",
		Message: "The server met an unexpected condition. The request id names it in the server's log.", Err: err,
	}, true
}
