package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
)

// token serves the token endpoints: version 1 takes a resource, version 2 a scope.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (a *Authority) token(w http.ResponseWriter, r *azure.Request, v2 bool) error {
	tenant, err := a.tenant(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	record := audit.Record{Operation: "Token.ClientCredentials", ClientIP: clientIP(r.Request), Details: map[string]string{}}
	t, err := a.clientCredentials(r.Context(), r.Request, body, v2, &record)
	if err != nil {
		return a.auditRefusal(r.Context(), record, err)
	}
	if err := a.auditIssue(r.Context(), record, t); err != nil {
		return err
	}
	azure.EventOf(r.Context()).Principal = t.ObjectID
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	lifetime := int(time.Until(t.expires()).Seconds())
	if v2 || tenant == "adfs" { // AD FS, too, answers in numbers; Entra's version 1 in strings
		return azure.WriteJSON(w, http.StatusOK, struct {
			Type      string `json:"token_type"`
			ExpiresIn int    `json:"expires_in"`
			Extended  int    `json:"ext_expires_in"`
			Token     string `json:"access_token"`
		}{"Bearer", lifetime, lifetime, t.raw})
	}
	return azure.WriteJSON(w, http.StatusOK, struct {
		Type      string `json:"token_type"`
		ExpiresIn string `json:"expires_in"`
		Extended  string `json:"ext_expires_in"`
		ExpiresOn string `json:"expires_on"`
		NotBefore string `json:"not_before"`
		Resource  string `json:"resource"`
		Token     string `json:"access_token"`
	}{"Bearer", strconv.Itoa(lifetime), strconv.Itoa(lifetime), strconv.FormatInt(t.Expires, 10), strconv.FormatInt(t.NotBefore, 10), t.Audience, t.raw})
}

// clientCredentials is the grant in which an application signs in as itself (RFC 6749 section 4.4). It notes in the
// record who asked for what.
func (a *Authority) clientCredentials(ctx context.Context, r *http.Request, body []byte, v2 bool, record *audit.Record) (*token, error) {
	form, err := parseForm(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read: %v.", err)
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, aadsts(http.StatusBadRequest, "invalid_request", 90100, "The parameter '%s' is in the request more than once.", shown(name))
		}
	}
	switch grant := form.Get("grant_type"); grant {
	case "client_credentials":
	case "":
		return nil, missing("grant_type")
	default:
		return nil, aadsts(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", shown(grant))
	}
	client, err := clientOf(r, form)
	if err != nil {
		return nil, err
	}
	record.Details["clientId"] = shown(client.id)
	audience, err := resourceOf(form, v2)
	if err != nil {
		return nil, err
	}
	record.Details["audience"] = shown(audience)
	p, proof, err := a.authenticate(ctx, client, record)
	if err != nil {
		return nil, err
	}
	record.Principal = p.ID
	if err := a.checkAudience(ctx, audience); err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, proof, audience, record.ClientIP); err != nil { // last, so that a request that is mended may use it again
		return nil, err
	}
	return a.sign(p, audience, appLifetime(), claims{AppIDACR: proof.method(), IdentityID: p.IdentityID})
}

func missing(parameter string) error {
	return aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// resourceOf returns the audience that is asked for. The version 1 endpoint takes a scope too: MSAL sends one to
// "adfs".
func resourceOf(form url.Values, v2 bool) (string, error) {
	if resource := form.Get("resource"); !v2 && resource != "" {
		return resource, nil
	}
	var audience string
	for _, scope := range strings.Fields(form.Get("scope")) {
		switch scope {
		case "openid", "profile", "offline_access", "email":
			continue // MSAL adds them to every request
		}
		resource, ok := strings.CutSuffix(scope, "/.default")
		if !ok || resource == "" {
			return "", aadsts(http.StatusBadRequest, "invalid_scope", 1002012,
				"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", shown(scope))
		}
		if audience != "" {
			return "", aadsts(http.StatusBadRequest, "invalid_scope", 70011,
				"The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope names more than one resource.")
		}
		audience = resource
	}
	if audience == "" {
		if v2 {
			return "", missing("scope")
		}
		return "", missing("resource")
	}
	return audience, nil
}

const maxParts = 64 // of a multipart form

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
