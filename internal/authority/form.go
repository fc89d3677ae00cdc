package authority

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/keyreel/keyreel/internal/azure"
)

const maxParts = 64 // of a multipart form

// readForm reads a request's form, in which no parameter may stand twice.
func readForm(r *azure.Request) (url.Values, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := parseForm(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read: %v.", err)
	}
	return form, checkOnce(form)
}

// checkOnce refuses a parameter that stands twice: what reads the first and what reads the last would not agree.
func checkOnce(form url.Values) error {
	for name, values := range form {
		if len(values) > 1 {
			return aadsts(http.StatusBadRequest, "invalid_request", 90100, "The parameter '%s' is in the request more than once.", shown(name))
		}
	}
	return nil
}

func missing(parameter string) error {
	return aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// parseForm reads a form in either of HTML's encodings; without a content type it is the urlencoded one.
func parseForm(contentType string, body []byte) (url.Values, error) {
	if contentType == "" {
		contentType = "application/x-www-form-urlencoded"
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("its content type %q: %w", shown(contentType), err)
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		return url.ParseQuery(string(body))
	case "multipart/form-data":
		form := url.Values{}
		parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for n := 0; ; n++ {
			part, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return form, nil
			}
			if err != nil {
				return nil, err
			}
			if n == maxParts {
				return nil, fmt.Errorf("it has more than %d parts", maxParts)
			}
			value, err := io.ReadAll(part)
			if err != nil {
				return nil, err
			}
			form.Add(part.FormName(), string(value))
		}
	}
	return nil, fmt.Errorf("its content type %q is not a form's", shown(kind))
}
