package authority

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
)

// IdentityHandler serves the managed-identity endpoints, plain HTTP on loopback, to every workload. A workload proves
// itself with its secret (App Service) or with its id in the path (IMDS, Cloud Shell), never with its address:
//
//	GET  /msi/token, /msi/{workload}/token                        App Service 2019-08-01, 2017-09-01
//	GET  /msi/{workload}/machinelearning/token                    Azure Machine Learning
//	GET  /msi/{workload}/metadata/identity/oauth2/token           IMDS
//	GET  /msi/{workload}/arc/token                                Azure Arc, with Options.ArcTokenDir
//	POST /msi/{workload}/oauth2/token                             Cloud Shell
//	GET  /metadata/identity/oauth2/token                          IMDS, for probes; it has no workload to give tokens to
func (a *Authority) IdentityHandler() http.Handler { return &identityHandler{authority: a} }

// FabricHandler serves the managed-identity endpoint of Service Fabric, for a TLS listener on loopback. A client proves
// itself with its workload's secret and trusts the one certificate whose SHA-1 thumbprint it was given
// (IDENTITY_SERVER_THUMBPRINT).
//
//	GET  /msi/fabric/token, /msi/{workload}/fabric/token
func (a *Authority) FabricHandler() http.Handler { return &identityHandler{authority: a, fabric: true} }

// WorkloadHandler serves the managed-identity endpoints of one workload, for a listener that nobody else can reach
// (a network namespace with 169.254.169.254). There IMDS's own path is the workload's.
func (a *Authority) WorkloadHandler(workloadID string) http.Handler {
	return &identityHandler{authority: a, workload: strings.ToLower(workloadID)}
}

// ListenerHandler serves IMDS alone, for a listener that stands for a workload by itself, as 169.254.169.254 does on a
// virtual machine: whoever reaches it is the workload that find returns, which need not be registered.
func (a *Authority) ListenerHandler(find func(context.Context) (directory.Workload, error)) http.Handler {
	return &identityHandler{authority: a, own: find}
}

type identityHandler struct {
	authority *Authority
	workload  string // empty on the shared listener
	fabric    bool   // Service Fabric and nothing else
	own       func(context.Context) (directory.Workload, error)
}

const identityTimeout = 30 * time.Second

// source is one of the protocols for getting a token.
type source int

const (
	appService source = iota
	imds
	cloudShell
	machineLearning
	arc
	serviceFabric
)

func (s source) String() string {
	return [...]string{"Identity.AppService", "Identity.IMDS", "Identity.CloudShell", "Identity.MachineLearning", "Identity.Arc", "Identity.ServiceFabric"}[s]
}

// bySecret reports whether a workload proves itself with its secret in a header, and not by its path.
func (s source) bySecret() bool { return s == appService || s == machineLearning || s == serviceFabric }

// locate finds the protocol and the workload that a path stands for. Slashes too many are forgiven (JavaScript's client
// adds one at the end, Java's one at the front) and nothing is ever redirected: a redirect would drop headers.
func (h *identityHandler) locate(path string) (s source, workload string, ok bool) {
	seg := strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return r == '/' })
	at := strings.Join(seg, "/")
	switch {
	case h.fabric && at == "msi/fabric/token":
		return serviceFabric, "", true
	case h.fabric:
		if len(seg) == 4 && seg[0] == "msi" && seg[2] == "fabric" && seg[3] == "token" {
			return serviceFabric, seg[1], true
		}
		return serviceFabric, "", false
	case at == "metadata/identity/oauth2/token":
		return imds, h.workload, true
	case h.own != nil:
		return 0, "", false
	case at == "msi/token":
		return appService, h.workload, true
	case len(seg) < 3 || seg[0] != "msi" || h.workload != "" && seg[1] != h.workload:
		return 0, "", false
	}
	switch strings.Join(seg[2:], "/") {
	case "token":
		return appService, seg[1], true
	case "metadata/identity/oauth2/token":
		return imds, seg[1], true
	case "oauth2/token":
		return cloudShell, seg[1], true
	case "machinelearning/token":
		return machineLearning, seg[1], true
	case "arc/token":
		return arc, seg[1], h.authority.arc != nil
	}
	return 0, "", false
}

// ServeHTTP implements http.Handler.
func (h *identityHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), identityTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(identityTimeout)) // a test recorder has none
	ev := azure.EventOf(ctx)
	ev.Service = "identity"
	w.Header().Set("Cache-Control", "no-store")
	s, workload, ok := h.locate(r.URL.Path)
	if !ok {
		// 404 is also what tells clients that IMDS's version 2 (getplatformmetadata, issuecredential) is not there.
		if !h.fabric {
			s = imds
		}
		fail(w, r, s, azure.Errorf(http.StatusNotFound, "not_found", "There is no endpoint at this path."))
		return
	}
	ev.Operation = s.String()
	t, q, err := h.serve(r, s, workload)
	if err != nil {
		fail(w, r, s, err)
		return
	}
	ev.Principal = t.ObjectID
	if err := azure.WriteJSON(w, http.StatusOK, answer(t, s, q)); err != nil {
		fail(w, r, s, err)
	}
}

// answer is the token as all clients can read it: text throughout, and expires_on after expires_in, because .NET takes
// the last of the two for the first.
func answer(t *token, s source, q map[string]string) any {
	expiresIn := strconv.Itoa(int(time.Until(t.expires()).Seconds()))
	expiresOn := strconv.FormatInt(t.Expires, 10)
	if s == appService && q["api-version"] == version2017 {
		expiresOn = t.expires().Format("01/02/2006 15:04:05 -07:00")
	}
	body := struct {
		Token      string `json:"access_token"`
		ClientID   string `json:"client_id"`
		ExpiresIn  string `json:"expires_in"`
		ExpiresOn  string `json:"expires_on"`
		Extended   string `json:"ext_expires_in"`
		NotBefore  string `json:"not_before"`
		ObjectID   string `json:"object_id,omitempty"`
		Resource   string `json:"resource"`
		ResourceID string `json:"msi_res_id,omitempty"`
		Type       string `json:"token_type"`
	}{
		Token: t.raw, ClientID: t.AppID, ExpiresIn: expiresIn, ExpiresOn: expiresOn, Extended: expiresIn,
		NotBefore: strconv.FormatInt(t.NotBefore, 10), Resource: t.Audience, Type: "Bearer",
	}
	if s == arc { // its clients do not believe in a user-assigned identity that is not confirmed
		body.ObjectID, body.ResourceID = t.ObjectID, t.IdentityID
	}
	return body
}

func badRequest(format string, args ...any) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "invalid_request", format, args...)
}

func (h *identityHandler) serve(r *http.Request, s source, workloadID string) (t *token, q map[string]string, err error) {
	if err := h.checkRequest(r, s); err != nil {
		return nil, nil, err
	}
	if q, err = parameters(r, s); err != nil {
		return nil, nil, err
	}
	wl, err := h.find(r, s, workloadID)
	if err != nil {
		return nil, nil, h.authority.auditRefusal(r.Context(), audit.Record{Operation: s.String(), ClientIP: clientIP(r)}, err)
	}
	if err := checkVersion(s, q["api-version"]); err != nil {
		return nil, nil, err
	}
	if q["resource"] == "" {
		return nil, nil, badRequest("Required query variable 'resource' is missing")
	}
	t, err = h.authority.workloadToken(r, s, wl, q)
	return t, q, err
}

// checkRequest refuses what no client on the workload's own machine sends: requests that came through a proxy or, for
// IMDS, from a page in a browser or a fetch that somebody talked a server into.
func (h *identityHandler) checkRequest(r *http.Request, s source) error {
	method := http.MethodGet
	if s == cloudShell {
		method = http.MethodPost
	}
	if r.Method != method {
		return azure.Errorf(http.StatusMethodNotAllowed, "invalid_request", "The method %s is not allowed.", r.Method).WithHeader("Allow", method)
	}
	if !s.bySecret() {
		if m := r.Header.Values("Metadata"); len(m) != 1 || !strings.EqualFold(m[0], "true") {
			return badRequest("Required metadata header not specified")
		}
	}
	for _, name := range []string{"X-Forwarded-For", "Forwarded"} {
		if _, ok := r.Header[name]; ok {
			return badRequest("Requests with the header %s are not accepted: they came through a proxy", name)
		}
	}
	if r.URL.IsAbs() {
		return badRequest("Requests to a proxy are not accepted")
	}
	// A page that has rebound its own name to our address would send that.
	if !h.authority.ownHost(r.Host) {
		return badRequest("The host '%s' is not the metadata service", shown(r.Host))
	}
	return nil
}

func (a *Authority) ownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || host == strings.ToLower(a.o.Hosts.Domain) || strings.HasSuffix(host, "."+strings.ToLower(a.o.Hosts.Domain))
}

// parameters returns the query, and of Cloud Shell the form too, by lower-case name.
func parameters(r *http.Request, s source) (map[string]string, error) {
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("The query string cannot be read: %v", err)
	}
	sets := []url.Values{all}
	if s == cloudShell {
		body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxForm))
		if err != nil {
			return nil, err
		}
		form, err := parseForm(r.Header.Get("Content-Type"), body)
		if err != nil {
			return nil, badRequest("The request body cannot be read: %v", err)
		}
		sets = append(sets, form)
	}
	q := map[string]string{}
	for _, set := range sets {
		for name, values := range set {
			name = strings.ToLower(name)
			if _, twice := q[name]; twice || len(values) > 1 {
				return nil, badRequest("The parameter '%s' is in the request more than once", shown(name))
			}
			q[name] = values[0]
		}
	}
	return q, nil
}

const (
	version2017 = "2017-09-01"
	version2019 = "2019-08-01"
	versionIMDS = "2018-02-01" // and later
	versionArc  = "2019-08-15" // and later
)

var versionsFabric = []string{"2019-07-01-preview", "2020-05-01"}

// errNoVersion is in IMDS's words, which fail puts into its shape.
var errNoVersion = badRequest("Bad request. api-version was not specified in the request. For more information refer to aka.ms/azureimds")

var date = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

func checkVersion(s source, version string) error {
	switch {
	case s == cloudShell:
		return nil // its clients send none
	case version == "":
		return errNoVersion
	case s == appService && version != version2017 && version != version2019:
		return badRequest("The api-version '%s' is not one of %s and %s", shown(version), version2017, version2019)
	case s == machineLearning && version != version2017:
		return badRequest("The api-version '%s' is not %s", shown(version), version2017)
	case s == serviceFabric && !slices.Contains(versionsFabric, version):
		return badRequest("The api-version '%s' is not one of %s", shown(version), strings.Join(versionsFabric, " and "))
	case s == arc && (!date.MatchString(version) || version < versionArc):
		return badRequest("The api-version '%s' is not a date from %s on", shown(version), versionArc)
	case s == imds && (!date.MatchString(version) || version < versionIMDS):
		return badRequest("The api-version '%s' is not a date from %s on", shown(version), versionIMDS)
	}
	return nil
}

var errNoWorkload = azure.Errorf(http.StatusUnauthorized, "unauthorized", "The identity header is missing or wrong.")

// find returns the workload that calls. A wrong secret and the secret of another workload are not told apart.
func (h *identityHandler) find(r *http.Request, s source, id string) (directory.Workload, error) {
	d := h.authority.o.Directory
	if h.own != nil {
		return h.own(r.Context())
	}
	if !s.bySecret() {
		wl, ok, err := d.Workload(r.Context(), id)
		if err == nil && !ok {
			err = errIdentityNotFound
		}
		return wl, err
	}
	secrets := append(r.Header.Values("X-Identity-Header"), r.Header.Values("Secret")...)
	if len(secrets) != 1 || secrets[0] == "" {
		return directory.Workload{}, errNoWorkload
	}
	wl, ok, err := d.WorkloadBySecret(r.Context(), seal.Secret(secrets[0]))
	if err == nil && (!ok || id != "" && wl.ID != id) {
		err = errNoWorkload
	}
	return wl, err
}

// workloadToken hands a token of one of the workload's identities to it.
func (a *Authority) workloadToken(r *http.Request, s source, wl directory.Workload, q map[string]string) (*token, error) {
	ctx := r.Context()
	done, err := a.limits.enter(ctx, wl.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	if s == arc {
		if err := a.arc.check(r, wl.ID); err != nil {
			return nil, err
		}
	}
	details := map[string]string{"workload": wl.Name, "source": s.String()}
	p, err := a.choose(ctx, wl, q)
	if err != nil {
		record := audit.Record{Operation: s.String(), Resource: wl.ResourceID, ClientIP: clientIP(r), Details: details}
		return nil, a.auditRefusal(ctx, record, err)
	}
	resourceID := wl.ResourceID
	if p.Kind == directory.SystemAssigned {
		resourceID = p.IdentityID
	}
	if actsWithin(resourceID) {
		record := audit.Record{Operation: s.String(), Resource: resourceID, ClientIP: clientIP(r), Details: details}
		return nil, a.auditRefusal(ctx, record, badRequest("The identity of a resource that runs within this server is not for a process outside it"))
	}
	t, cached, err := a.identityToken(ctx, p.ID, resourceID, q["resource"], q["token_sha256_to_refresh"], details)
	if err != nil || !cached {
		return t, err
	}
	err = a.o.Audit.Observe(ctx, audit.Record{
		Category: "SignIn", Operation: s.String(), RequestID: azure.RequestID(ctx), Principal: p.ID, Identity: p.IdentityID,
		Resource: resourceID, ClientIP: clientIP(r), Result: "Success", Status: http.StatusOK,
		Details: map[string]string{"workload": wl.Name, "audience": t.Audience, "tokenId": t.TokenID, "keyId": t.keyID},
	})
	return t, err
}

// actsWithin reports whether a resource is of a type that this server runs itself. The firewalls of vaults and storage
// accounts let tokens pass that name one as the resource that acts, because nobody but the server gets them.
func actsWithin(resourceID string) bool {
	id, err := azure.ParseResourceID(resourceID)
	if err != nil {
		return false
	}
	typ := strings.ToLower(id.Type())
	return typ == "microsoft.media/mediaservices" || typ == "microsoft.storage/storageaccounts"
}

// selectors are the parameters that name an identity, and how an identity is known by them.
var selectors = map[string]func(p directory.Principal, value string) bool{
	"client_id":    byClientID,
	"clientid":     byClientID,
	"object_id":    byObjectID,
	"principal_id": byObjectID,
	"msi_res_id":   byResourceID,
	"mi_res_id":    byResourceID,
	"msi-res-id":   byResourceID,
}

func byClientID(p directory.Principal, value string) bool { return strings.EqualFold(p.AppID, value) }
func byObjectID(p directory.Principal, value string) bool { return strings.EqualFold(p.ID, value) }
func byResourceID(p directory.Principal, value string) bool {
	return strings.EqualFold(p.IdentityID, strings.TrimSuffix(value, "/"))
}

// choose returns the identity that the parameters name, or the workload's first.
func (a *Authority) choose(ctx context.Context, wl directory.Workload, q map[string]string) (directory.Principal, error) {
	matches := func(directory.Principal, string) bool { return true }
	var value string
	n := 0
	for name, by := range selectors {
		if v := q[name]; v != "" { // clients that were given no identity send an empty one: azidentity, Machine Learning's
			matches, value = by, v
			n++
		}
	}
	if n > 1 {
		return directory.Principal{}, badRequest("More than one parameter names the identity: give one of client_id, object_id and msi_res_id")
	}
	for _, id := range wl.Identities {
		p, err := a.o.Directory.Principal(ctx, id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return p, err
		}
		if matches(p, value) {
			return p, nil
		}
	}
	return directory.Principal{}, errIdentityNotFound
}

// fail writes an error in the shape of the protocol.
func fail(w http.ResponseWriter, r *http.Request, s source, err error) {
	ev := azure.EventOf(r.Context())
	e, unexpected := azure.AsError(azure.Ended(r.Context(), err))
	ev.ErrorCode = e.Code
	if unexpected {
		ev.Err = err
	}
	for name, values := range e.Header {
		w.Header()[name] = values
	}
	id := azure.RequestID(r.Context())
	var body any = map[string]any{"error": e.Code, "error_description": e.Message}
	switch {
	case s == serviceFabric:
		body = map[string]any{"error": map[string]any{"correlationId": id, "code": e.Code, "message": e.Message}}
	case s == appService:
		body = map[string]any{"statusCode": e.Status, "message": e.Message, "correlationId": id}
	case e == errNoVersion:
		body = map[string]any{"error": e.Message, "newest-versions": []string{"2021-02-01", "2020-06-01", versionIMDS}}
	case e.Status >= 500:
		body = map[string]any{"error": "unknown", "error_description": e.Message, "correlation_id": id}
	}
	if err := azure.WriteJSON(w, e.Status, body); err != nil {
		ev.Err = err
	}
}
