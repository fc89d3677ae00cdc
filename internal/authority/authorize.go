package authority

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
)

// authorization is a request to an authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core 1.0 section 3).
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
type authorization struct {
	v2       bool
	query    url.Values // as it was sent
	client   directory.Registration
	redirect directory.RedirectURI // URI is empty until it is known to be the client's
	mode     string                // query, fragment or form_post
	code     bool                  // a code is wanted
	idToken  bool                  // an ID token is wanted
	state    string
	nonce    string
	prompt   string // empty, none, login, select_account, consent or admin_consent
	hint     string // sign-in name
	maxAge   time.Duration
	limited  bool // maxAge was sent

	challenge, method string
	wanted            wanted
}

var codeChallenge = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// authorization reads a request. With an error the authorization tells whether the answer may go to the client: its
// redirect has a URI.
func (a *Authority) authorization(ctx context.Context, query url.Values, v2 bool) (*authorization, error) {
	z := &authorization{v2: v2, query: query, mode: "query"}
	if err := checkOnce(query); err != nil {
		return z, err
	}
	id, redirect := query.Get("client_id"), query.Get("redirect_uri")
	if id == "" {
		return z, missing("client_id")
	}
	var err error
	if z.client, err = a.registration(ctx, id); err != nil {
		return z, err
	}
	if redirect == "" {
		return z, missing("redirect_uri")
	}
	to, ok := redirectOf(z.client, redirect)
	if !ok {
		return z, aadsts(http.StatusBadRequest, "invalid_request", 50011,
			"The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application.",
			shown(redirect), z.client.AppID)
	}
	z.redirect, z.state = to, query.Get("state")
	return z, z.read(ctx, a)
}

// read reads what stands in the request of a client that is known, and whose redirect is its own.
func (z *authorization) read(ctx context.Context, a *Authority) error {
	types := strings.Fields(z.query.Get("response_type"))
	if len(types) == 0 {
		return missing("response_type")
	}
	z.code, z.idToken = slices.Contains(types, "code"), slices.Contains(types, "id_token")
	wrongMode := z.readMode() // first, because other errors go back in that mode
	for i, t := range types {
		switch {
		case t == "token":
			return aadsts(http.StatusBadRequest, "unsupported_response_type", 700051, "response_type 'token' is not enabled for the application.")
		case t != "code" && t != "id_token" || slices.Contains(types[:i], t):
			return aadsts(http.StatusBadRequest, "unsupported_response_type", 70005, "The app returned an unsupported response type: '%s' is none of 'code', 'id_token' and 'code id_token'.", shown(strings.Join(types, " ")))
		}
	}
	if wrongMode != nil {
		return wrongMode
	}
	var err error
	if z.wanted, err = wantedOf(z.query, z.v2); err != nil {
		return err
	}
	z.nonce, z.hint, z.prompt = z.query.Get("nonce"), z.query.Get("login_hint"), z.query.Get("prompt")
	switch {
	case z.idToken && z.nonce == "":
		return missing("nonce")
	case z.idToken && z.v2 && !z.wanted.OpenID:
		return aadsts(http.StatusBadRequest, "invalid_request", 70011, "The scope 'openid' is needed for the response type 'id_token'.")
	case z.idToken && z.redirect.Type != "web":
		return aadsts(http.StatusBadRequest, "unsupported_response_type", 700054, "response_type 'id_token' is not enabled for the application: its redirect URI is not of the type 'web'.")
	}
	if prompts := []string{"", "none", "login", "select_account", "consent", adminConsent}; !slices.Contains(prompts, z.prompt) {
		return aadsts(http.StatusBadRequest, "invalid_request", 90023, "Unsupported 'prompt' value '%s'.", shown(z.prompt))
	}
	if age := z.query.Get("max_age"); age != "" {
		seconds, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return aadsts(http.StatusBadRequest, "invalid_request", 90100, "The parameter 'max_age' is not a number of seconds.")
		}
		z.maxAge, z.limited = time.Duration(seconds)*time.Second, true
	}
	if err := z.readChallenge(); err != nil {
		return err
	}
	_, err = a.delegation(ctx, z.client.AppID, "", z.wanted)
	return err
}

// readMode reads how the answer goes back: a form to servers alone, and what holds a token not in the query, which is
// logged on its way.
func (z *authorization) readMode() error {
	if z.idToken {
		z.mode = "fragment"
	}
	server := strings.HasPrefix(z.redirect.URI, "https://") || strings.HasPrefix(z.redirect.URI, "http://")
	switch mode := z.query.Get("response_mode"); {
	case mode == "":
	case mode == "fragment", mode == "query" && !z.idToken, mode == "form_post" && server:
		z.mode = mode
	default:
		return aadsts(http.StatusBadRequest, "invalid_request", 70007, "'%s' is not a supported value of 'response_mode' when requesting a token.", shown(mode))
	}
	return nil
}

// readChallenge reads PKCE's parameters. As in Entra, S256 and plain are taken, plain is the default, and only a page in a
// browser has to use it; a page's is S256.
func (z *authorization) readChallenge() error {
	z.challenge, z.method = z.query.Get("code_challenge"), z.query.Get("code_challenge_method")
	spa := z.redirect.Type == "spa"
	switch {
	case z.challenge == "" && z.method != "":
		return aadsts(http.StatusBadRequest, "invalid_request", 501491, "Invalid size of Code_Challenge parameter: it is missing.")
	case z.challenge == "" && spa:
		return aadsts(http.StatusBadRequest, "invalid_request", 9002325, "Proof Key for Code Exchange is required for cross-origin authorization code redemption.")
	case z.challenge == "":
		return nil
	case z.method == "":
		z.method = "plain"
	}
	switch {
	case z.method != "S256" && z.method != "plain" || spa && z.method != "S256":
		return aadsts(http.StatusBadRequest, "invalid_request", 50149, "Invalid Code_Challenge_method parameter '%s'.", shown(z.method))
	case !codeChallenge.MatchString(z.challenge) || z.method == "S256" && len(z.challenge) != 43:
		return aadsts(http.StatusBadRequest, "invalid_request", 501491, "Invalid size of Code_Challenge parameter.")
	}
	return nil
}

// suits reports whether a session answers the request without a question to the user.
func (z *authorization) suits(s *session) bool {
	switch {
	case s == nil || z.prompt == "login" || z.prompt == "select_account":
		return false
	case z.hint != "" && !strings.EqualFold(z.hint, s.user.Name):
		return false
	}
	return !z.limited || time.Since(s.signIn.Time) <= z.maxAge
}

// authorize serves the authorization endpoints.
func (a *Authority) authorize(v2 bool) func(http.ResponseWriter, *azure.Request) error {
	return a.pages(func(w http.ResponseWriter, r *azure.Request) error {
		if _, err := a.tenant(r); err != nil {
			return err
		}
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return aadsts(http.StatusBadRequest, "invalid_request", 900144, "The request cannot be read: %v.", err)
		}
		if r.Method == http.MethodPost { // from another site it comes without the session's cookie, so it comes again as a GET
			if query, err = readForm(r); err != nil {
				return err
			}
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Location", r.URL.EscapedPath()+"?"+query.Encode())
			w.WriteHeader(http.StatusSeeOther)
			return nil
		}
		z, err := a.authorization(r.Context(), query, v2)
		if err != nil {
			return a.refuseAuthorization(w, r, z, err)
		}
		s, err := a.session(r)
		if err != nil {
			return err
		}
		switch {
		case z.suits(s):
			return a.finishAuthorization(w, r, z, s)
		case z.prompt == "none" && s == nil:
			return a.refuseAuthorization(w, r, z, aadsts(http.StatusBadRequest, "login_required", 50058,
				"A silent sign-in request was sent but no user is signed in."))
		case z.prompt == "none":
			return a.refuseAuthorization(w, r, z, aadsts(http.StatusBadRequest, "login_required", 16000,
				"Either multiple user identities are available for the current request or selected account is not supported for the scenario: the user who is signed in is not the one who was asked for, or signed in too long ago."))
		}
		return a.showSignIn(w, r, http.StatusOK, z, s, "", false)
	})
}

// refuseAuthorization sends an error to the client if the redirect is its own, else to the user, and never elsewhere.
func (a *Authority) refuseAuthorization(w http.ResponseWriter, r *azure.Request, z *authorization, why error) error {
	record := audit.Record{Operation: "SignIn.Authorize", ClientIP: clientIP(r.Request), Details: map[string]string{"clientId": shown(z.query.Get("client_id"))}}
	why = a.auditRefusal(r.Context(), record, why)
	var e *azure.Error
	if !errors.As(why, &e) || e.Status >= http.StatusInternalServerError || z.redirect.URI == "" {
		return why
	}
	azure.EventOf(r.Context()).ErrorCode = e.Code
	id := azure.RequestID(r.Context())
	params := url.Values{
		"error": {e.Code}, "error_description": {e.Message + "\r\nTrace ID: " + id + "\r\nCorrelation ID: " + id + "\r\nTimestamp: " + time.Now().UTC().Format("2006-01-02 15:04:05Z")},
	}
	if z.state != "" {
		params.Set("state", z.state)
	}
	return respond(w, z.redirect.URI, z.mode, params)
}

// finishAuthorization sends the client what it asked for, once somebody has consented to it.
func (a *Authority) finishAuthorization(w http.ResponseWriter, r *azure.Request, z *authorization, s *session) error {
	d, err := a.delegation(r.Context(), z.client.AppID, s.user.ID, z.wanted)
	switch asked := z.prompt == "consent" || z.prompt == adminConsent; {
	case err != nil:
		return a.refuseAuthorization(w, r, z, err)
	case len(d.missing) == 0 && !asked:
		return a.answerAuthorization(w, r, z, s)
	case z.prompt == "none":
		e := d.errConsent()
		e.Code = e.Inner
		return a.refuseAuthorization(w, r, z, e)
	}
	return a.askConsent(w, r, z, s, d)
}

func (a *Authority) answerAuthorization(w http.ResponseWriter, r *azure.Request, z *authorization, s *session) error {
	ctx := r.Context()
	params := url.Values{}
	if z.state != "" {
		params.Set("state", z.state)
	}
	if z.code {
		secret, err := a.newCode(ctx, code{
			ClientID: z.client.AppID, Redirect: z.redirect.URI, RedirectType: z.redirect.Type, Challenge: z.challenge, Method: z.method,
			Nonce: z.nonce, SignIn: s.signIn, Wanted: z.wanted,
		})
		if err != nil {
			return err
		}
		params.Set("code", secret)
	}
	if z.idToken {
		g := &userGrant{ClientID: z.client.AppID, SignIn: s.signIn}
		raw, err := a.idToken(g, s.user, z.wanted, idTokenFor{version2: z.v2, urls: a.o.Hosts.For(r.Request), nonce: z.nonce, code: params.Get("code")})
		if err != nil {
			return err
		}
		params.Set("id_token", raw)
	}
	if z.query.Get("client_info") == "1" {
		params.Set("client_info", a.clientInfo(s.user.ID))
	}
	azure.EventOf(ctx).Principal = s.user.ID
	err := a.audit(ctx, audit.Record{
		Operation: "SignIn.Authorize", Principal: s.user.ID, ClientIP: clientIP(r.Request), Result: "Success", Status: http.StatusOK,
		Details: map[string]string{"clientId": z.client.AppID, "audience": shown(z.wanted.Resource), "redirectUri": shown(z.redirect.URI), "responseType": shown(z.query.Get("response_type"))},
	})
	if err != nil {
		return err
	}
	return respond(w, z.redirect.URI, z.mode, params)
}
