package azure

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
)

// Render writes an error in one wire dialect. It is called before anything else was written.
type Render func(w http.ResponseWriter, r *http.Request, e *Error)

// RenderARM writes {"error":{"code","message","target","details"}}, the resource manager's shape.
func RenderARM(w http.ResponseWriter, r *http.Request, e *Error) {
	writeError(w, r, e, "application/json; charset=utf-8", map[string]any{"error": e})
}

// RenderDecision writes {"statusCode","message"}, the policy decision point's shape.
func RenderDecision(w http.ResponseWriter, r *http.Request, e *Error) {
	writeError(w, r, e, "application/json; charset=utf-8", map[string]any{"statusCode": e.Status, "message": e.Code + ": " + e.Message})
}

// RenderKeyVault writes {"error":{"code","message","innererror":{"code"}}}.
func RenderKeyVault(w http.ResponseWriter, r *http.Request, e *Error) {
	body := map[string]any{"code": e.Code, "message": e.Message}
	if e.Inner != "" {
		body["innererror"] = map[string]any{"code": e.Inner}
	}
	writeError(w, r, e, "application/json; charset=utf-8", map[string]any{"error": body})
}

// RenderOAuth2 writes RFC 6749 section 5.2's error with Entra's additions. Message holds the whole
// error_description; Target, when set, is the numeric AADSTS code.
func RenderOAuth2(w http.ResponseWriter, r *http.Request, e *Error) {
	body := map[string]any{
		"error": e.Code, "error_description": e.Message,
		"timestamp": time.Now().UTC().Format("2006-01-02 15:04:05Z"),
		"trace_id":  RequestID(r.Context()), "correlation_id": RequestID(r.Context()),
	}
	if n, err := strconv.Atoi(e.Target); err == nil {
		body["error_codes"] = []int{n}
	}
	if e.Inner != "" {
		body["suberror"] = e.Inner
	}
	w.Header().Set("Cache-Control", "no-store")
	writeError(w, r, e, "application/json; charset=utf-8", body)
}

// RenderStorage writes Blob storage's XML error and the x-ms-error-code header; a HEAD gets the header alone.
func RenderStorage(w http.ResponseWriter, r *http.Request, e *Error) {
	setHeaders(w, e)
	w.Header().Set("X-Ms-Error-Code", e.Code)
	message := e.Message + "\nRequestId:" + RequestID(r.Context()) + "\nTime:" + time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z")
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: e.Code, Message: message})
	if err != nil || r.Method == http.MethodHead || e.Status == http.StatusNotModified {
		w.WriteHeader(e.Status)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.Status)
	w.Write([]byte("\ufeff" + xml.Header))
	w.Write(body)
}

func setHeaders(w http.ResponseWriter, e *Error) {
	for k, vs := range e.Header {
		w.Header()[http.CanonicalHeaderKey(k)] = vs
	}
}

func writeError(w http.ResponseWriter, r *http.Request, e *Error, contentType string, body any) {
	setHeaders(w, e)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(body)
	}
}

// WriteJSON writes v with the status. Encoding fails only for values that no caller makes, and is returned.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	w.Write(body) // a client that hung up is not an error of ours
	return nil
}
