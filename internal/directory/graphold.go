package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// Azure AD Graph 1.6 is Microsoft Graph in other words: a request is translated, served by the rows of v1.0 with their
// authorization, and the answer is translated back.
// https://learn.microsoft.com/graph/migrate-azure-ad-graph-request-differences

const oldVersion = "1.6"

// oldKey says in a request's context that it is of Azure AD Graph.
type oldKey struct{}

// oldGraph reports whether a request is one of Azure AD Graph.
func oldGraph(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return r.URL.Query().Get("api-version") == oldVersion && first != "v1.0" && first != "beta"
}

// oldLink is a reference in a path, {set}/{id}/$links/{relation}[/{other}].
var oldLink = regexp.MustCompile(`^([^/]+/[^/]+)/\$links/([^/]+)(/[^/]+)?$`)

func (g *Graph) serveOld(w http.ResponseWriter, r *http.Request, entry http.Handler) {
	r = r.WithContext(context.WithValue(r.Context(), oldKey{}, true))
	tenant, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key(tenant) != key(g.Directory.TenantID) && key(tenant) != "myorganization" && key(tenant) != key(g.Hosts.Domain) && !(tenant == "me" && path == "") {
		renderGraph(w, r, errGraph("The tenant '%s' is not this directory's, '%s'.", tenant, g.Directory.TenantID))
		return
	}
	if tenant == "me" {
		path = "me"
	}
	inner, err := translateRequest(r, path)
	if err != nil {
		e, _ := azure.AsError(err)
		renderGraph(w, r, e)
		return
	}
	out := &recorder{header: http.Header{}, status: http.StatusOK}
	entry.ServeHTTP(out, inner)
	body := out.body.Bytes()
	if out.status < 300 && len(body) > 0 {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err == nil {
			if in, ok := answer["value"].([]any); ok && strings.EqualFold(path, "isMemberOf") {
				answer["value"] = len(in) > 0
			}
			set, _, _ := strings.Cut(strings.TrimPrefix(inner.URL.Path, "/v1.0/"), "/")
			body, _ = json.Marshal(g.oldAnswer(answer, set, tenant))
		}
	}
	for name, values := range out.header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	w.Header().Set("DataServiceVersion", "3.0;")
	w.WriteHeader(out.status)
	_, _ = w.Write(body) // a client that hung up is not an error of ours
}

// translateRequest returns the request of v1.0 that one of Azure AD Graph means.
func translateRequest(r *http.Request, path string) (*http.Request, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxObject))
	if err != nil {
		return nil, errGraph("Reading the request: %v.", err)
	}
	var sent map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &sent); err != nil {
			return nil, errGraph("Unable to read JSON request payload: %v.", err)
		}
	}
	path = strings.Trim(path, "/")
	switch m := oldLink.FindStringSubmatch(path); {
	case m != nil:
		path = m[1] + "/" + m[2] + m[3] + "/$ref"
		if reference, ok := sent["url"]; ok {
			sent = map[string]any{"@odata.id": reference}
		}
	case strings.EqualFold(path, "getObjectsByObjectIds"):
		path, sent = "directoryObjects/getByIds", map[string]any{"ids": sent["objectIds"], "types": oldTypes(sent["types"])}
	case strings.EqualFold(path, "tenantDetails"):
		path = "organization"
	case strings.EqualFold(path, "isMemberOf"):
		member, _ := sent["memberId"].(string)
		path, sent = "directoryObjects/"+url.PathEscape(member)+"/checkMemberGroups", map[string]any{"groupIds": []any{sent["groupId"]}}
	default:
		set, _, _ := strings.Cut(path, "/")
		if sent, err = newProperties(sent, key(set)); err != nil {
			return nil, err
		}
	}
	if len(body) > 0 {
		if body, err = json.Marshal(sent); err != nil {
			return nil, err
		}
	}
	inner := r.Clone(r.Context())
	inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	inner.URL.Path, inner.URL.RawPath = "/v1.0/"+path, ""
	options := r.URL.Query()
	options.Del("api-version")
	for _, name := range []string{"$filter", "$select", "$orderby"} {
		if text := options.Get(name); text != "" {
			options.Set(name, oldWord.ReplaceAllString(text, "id"))
		}
	}
	inner.URL.RawQuery = options.Encode()
	return inner, nil
}

// oldWord is the name of an object's id, outside of texts as far as clients write them.
var oldWord = regexp.MustCompile(`\bobjectId\b`)

func oldTypes(types any) any {
	list, _ := types.([]any)
	for i, t := range list {
		if text, _ := t.(string); strings.EqualFold(text, "ServicePrincipal") {
			list[i] = "servicePrincipal"
		}
	}
	return types
}

// oldAnswer translates an answer of the rows. Lists of mixed objects name the type of each.
func (g *Graph) oldAnswer(answer map[string]any, set, tenant string) map[string]any {
	list, isList := answer["value"].([]any)
	if !isList {
		shown := oldObject(answer, set)
		shown["odata.metadata"] = "https://graph.windows.net/" + tenant + "/$metadata#directoryObjects/@Element"
		return shown
	}
	old := map[string]any{"odata.metadata": "https://graph.windows.net/" + tenant + "/$metadata#directoryObjects"}
	values := []any{}
	for _, v := range list {
		if o, ok := v.(map[string]any); ok {
			v = oldObject(o, set)
		}
		values = append(values, v)
	}
	old["value"] = values
	if next, ok := answer["@odata.nextLink"].(string); ok {
		if u, err := url.Parse(next); err == nil {
			old["odata.nextLink"] = strings.TrimPrefix(u.Path, "/v1.0/") + "?" + u.RawQuery
		}
	}
	return old
}
