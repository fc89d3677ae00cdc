package blob

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// Limits of the service.
const (
	maxBlock    = 4000 << 20 // bytes of a block
	maxPut      = 5000 << 20 // bytes of a blob written at once
	maxBlocks   = 50_000     // of a blob
	maxInline   = 16 << 10   // bytes of a blob that lives in the database
	maxMetadata = 8 << 10    // bytes of metadata names and values
	maxPage     = 5000       // entries of a listing

	// transferTimeout bounds every request that moves a blob's bytes. The collector's patience rests on it.
	transferTimeout = 2 * time.Hour
)

const (
	actionPrefix    = "Microsoft.Storage/storageAccounts/blobServices/"
	getInfo         = actionPrefix + "getInfo/action"
	containersRead  = actionPrefix + "containers/read"
	containersWrite = actionPrefix + "containers/write"
	containersDel   = actionPrefix + "containers/delete"
	blobsRead       = actionPrefix + "containers/blobs/read"
	blobsWrite      = actionPrefix + "containers/blobs/write"
	blobsAdd        = actionPrefix + "containers/blobs/add/action"
	blobsDel        = actionPrefix + "containers/blobs/delete"
)

const (
	atAccount   = "/"
	atContainer = "/{container}"
	atBlob      = "/{container}/{blob...}"
)

// Routes returns the data plane's operations.
func (s *Storage) Routes() []azure.Route {
	container := func(comp string) map[string]string { return map[string]string{"restype": "container", "comp": comp} }
	blob := func(comp string) map[string]string { return map[string]string{"restype": "", "comp": comp} }
	account := map[string]string{"restype": "account", "comp": "properties"}
	routes := []azure.Route{
		{Name: "Service.ListContainers", Method: "GET", Pattern: atAccount, Query: map[string]string{"restype": "", "comp": "list"}, Action: containersRead, Handle: s.listContainers},
		{Name: "Service.GetAccountInformation", Method: "GET", Pattern: atAccount, Query: account, Action: getInfo, Handle: s.accountInformation},
		{Name: "Service.GetAccountInformation", Method: "HEAD", Pattern: atAccount, Query: account, Action: getInfo, Handle: s.accountInformation},

		{Name: "Containers.GetAccountInformation", Method: "GET", Pattern: atContainer, Query: account, Action: getInfo, Handle: s.accountInformation},
		{Name: "Containers.GetAccountInformation", Method: "HEAD", Pattern: atContainer, Query: account, Action: getInfo, Handle: s.accountInformation},
		{Name: "Containers.Create", Method: "PUT", Pattern: atContainer, Query: container(""), Action: containersWrite, Handle: s.createContainer},
		{Name: "Containers.GetProperties", Method: "GET", Pattern: atContainer, Query: container(""), Action: containersRead, Handle: s.getContainer},
		{Name: "Containers.GetProperties", Method: "HEAD", Pattern: atContainer, Query: container(""), Action: containersRead, Handle: s.getContainer},
		{Name: "Containers.GetMetadata", Method: "GET", Pattern: atContainer, Query: container("metadata"), Action: containersRead, Handle: s.getContainer},
		{Name: "Containers.GetMetadata", Method: "HEAD", Pattern: atContainer, Query: container("metadata"), Action: containersRead, Handle: s.getContainer},
		{Name: "Containers.SetMetadata", Method: "PUT", Pattern: atContainer, Query: container("metadata"), Action: containersWrite, Handle: s.setContainerMetadata},
		{Name: "Containers.Delete", Method: "DELETE", Pattern: atContainer, Query: container(""), Action: containersDel, Handle: s.deleteContainer},
		{Name: "Containers.ListBlobs", Method: "GET", Pattern: atContainer, Query: container("list"), Action: blobsRead, Data: true, Handle: s.listBlobs},

		{Name: "Blobs.GetAccountInformation", Method: "GET", Pattern: atBlob, Query: account, Action: getInfo, Handle: s.accountInformation},
		{Name: "Blobs.GetAccountInformation", Method: "HEAD", Pattern: atBlob, Query: account, Action: getInfo, Handle: s.accountInformation},
		{Name: "Blobs.Put", Method: "PUT", Pattern: atBlob, Query: blob(""), Action: blobsWrite, Data: true, MaxBody: maxPut, Timeout: transferTimeout, Handle: s.putBlob},
		{Name: "Blobs.Get", Method: "GET", Pattern: atBlob, Query: blob(""), Action: blobsRead, Data: true, Timeout: transferTimeout, Handle: s.getBlob},
		{Name: "Blobs.GetProperties", Method: "HEAD", Pattern: atBlob, Query: blob(""), Action: blobsRead, Data: true, Handle: s.headBlob},
		{Name: "Blobs.GetMetadata", Method: "GET", Pattern: atBlob, Query: blob("metadata"), Action: blobsRead, Data: true, Handle: s.headBlob},
		{Name: "Blobs.GetMetadata", Method: "HEAD", Pattern: atBlob, Query: blob("metadata"), Action: blobsRead, Data: true, Handle: s.headBlob},
		{Name: "Blobs.SetMetadata", Method: "PUT", Pattern: atBlob, Query: blob("metadata"), Action: blobsWrite, Data: true, Handle: s.setMetadata},
		{Name: "Blobs.SetProperties", Method: "PUT", Pattern: atBlob, Query: blob("properties"), Action: blobsWrite, Data: true, Handle: s.setProperties},
		{Name: "Blobs.SetTier", Method: "PUT", Pattern: atBlob, Query: blob("tier"), Action: blobsWrite, Data: true, Handle: s.setTier},
		{Name: "Blobs.Delete", Method: "DELETE", Pattern: atBlob, Query: blob(""), Action: blobsDel, Data: true, Handle: s.deleteBlob},
		{Name: "Blobs.PutBlock", Method: "PUT", Pattern: atBlob, Query: blob("block"), Action: blobsWrite, Data: true, MaxBody: maxBlock, Timeout: transferTimeout, Handle: s.putBlock},
		{Name: "Blobs.PutBlockList", Method: "PUT", Pattern: atBlob, Query: blob("blocklist"), Action: blobsWrite, Data: true, MaxBody: 8 << 20, Handle: s.putBlockList},
		{Name: "Blobs.GetBlockList", Method: "GET", Pattern: atBlob, Query: blob("blocklist"), Action: blobsRead, Data: true, Handle: s.getBlockList},
	}
	for i, row := range routes {
		if row.Method == "PUT" || row.Method == "DELETE" {
			routes[i].Handle = s.recorded(row.Handle)
		}
	}
	return routes
}

// rowKey finds a route in one step: nothing but these four tells the operations apart.
type rowKey struct{ method, level, restype, comp string }

func keyOf(row *azure.Route) rowKey {
	return rowKey{row.Method, row.Pattern, row.Query["restype"], row.Query["comp"]}
}

// lookup splits the request into account, container and blob without cleaning the path, and finds its row.
func (s *Storage) lookup(r *http.Request) (*azure.Route, map[string]string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, azure.Errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "The query string cannot be parsed: %v.", err)
	}
	if lowered := lowerNames(query); lowered != nil {
		query = lowered
		r.URL.RawQuery = query.Encode()
	}
	level, vars, err := s.split(r, query)
	if err != nil {
		return nil, nil, err
	}
	key := rowKey{r.Method, level, strings.ToLower(query.Get("restype")), strings.ToLower(query.Get("comp"))}
	row := s.rows[key]
	if row == nil {
		return nil, nil, unknownOperation(key)
	}
	return row, vars, nil
}

// lowerNames gives a query's parameters their names in lower case, in which they are known: what is not recognized would
// be another operation (Put Blob for Set Blob Metadata). It returns nil when all are.
func lowerNames(query url.Values) url.Values {
	odd := false
	for name := range query {
		odd = odd || name != strings.ToLower(name)
	}
	if !odd {
		return nil
	}
	lowered := make(url.Values, len(query))
	for name, values := range query {
		name = strings.ToLower(name)
		lowered[name] = append(lowered[name], values...)
	}
	return lowered
}

func (s *Storage) split(r *http.Request, query url.Values) (level string, vars map[string]string, err error) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	var name string
	if t, ok := s.Hosts.Parse(r.Host); ok && t.Service == azure.Blob {
		name = t.Name
	} else {
		name, path, _ = strings.Cut(path, "/")
	}
	vars = map[string]string{"account": strings.ToLower(name)}
	if path == "" {
		return atAccount, vars, nil
	}
	first, rest, _ := strings.Cut(path, "/")
	if rest == "" && query.Get("restype") == "" { // a blob of the root container
		first, rest = rootContainer, first
	}
	container, err := url.PathUnescape(first)
	if err == nil {
		rest, err = url.PathUnescape(rest)
	}
	if err != nil {
		return "", nil, azure.Errorf(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server: %v.", err)
	}
	if err := checkContainerName(container); err != nil {
		return "", nil, err
	}
	vars["container"] = container
	if rest == "" {
		return atContainer, vars, nil
	}
	if err := checkBlobName(rest); err != nil {
		return "", nil, err
	}
	vars["blob"] = rest
	return atBlob, vars, nil
}

// unbuiltComp names the operations of the service that are not built, by comp.
var unbuiltComp = map[string]string{
	"acl": "container access policies", "lease": "leases", "snapshot": "snapshots", "copy": "copying", "incrementalcopy": "copying",
	"page": "page blobs", "pagelist": "page blobs", "appendblock": "append blobs", "seal": "append blobs", "tags": "blob index tags",
	"blobs": "blob index tags", "undelete": "soft delete", "query": "queries", "expiry": "blob expiry", "legalhold": "immutability",
	"immutabilitypolicies": "immutability", "batch": "batches", "stats": "service statistics", "properties": "service properties",
	"userdelegationkey": "user delegation keys", "rename": "renaming containers", "filestatus": "blob expiry",
}

func unknownOperation(key rowKey) *azure.Error {
	if feature, ok := unbuiltComp[key.comp]; ok {
		return notBuilt(feature + " (" + key.method + " comp=" + key.comp + ")")
	}
	if key.comp != "" || key.restype != "" {
		return azure.Errorf(http.StatusBadRequest, "InvalidQueryParameterValue",
			"Value for one of the query parameters specified in the request URI is invalid: there is no %s operation with restype='%s' and comp='%s' here.",
			key.method, key.restype, key.comp)
	}
	return notFound(nil, nil)
}

func notFound(*http.Request, []string) *azure.Error {
	return azure.Errorf(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
}

func notBuilt(feature string) *azure.Error {
	return azure.Errorf(http.StatusNotImplemented, "NotImplemented", "The requested operation is not implemented on the specified resource: %s.", feature)
}

// unbuiltQuery and unbuiltHeaders change the meaning of an operation. A request that carries one is refused, because
// ignoring it would do something else than was asked.
var unbuiltQuery = map[string]string{
	"sig": "shared access signatures (sig)", "snapshot": "snapshots (snapshot)", "versionid": "blob versions (versionid)",
	"showonly": "listing deleted blobs (showonly)", "startfrom": "listing from a name (startFrom)", "endbefore": "listing up to a name (endBefore)",
	"deletetype": "permanent deletion (deletetype)", "where": "blob index tags (where)",
}

var unbuiltHeaders = map[string]string{
	"X-Ms-Copy-Source": "copying", "X-Ms-Encryption-Key": "customer-provided keys", "X-Ms-Encryption-Key-Sha256": "customer-provided keys",
	"X-Ms-Encryption-Algorithm": "customer-provided keys", "X-Ms-Encryption-Scope": "encryption scopes",
	"X-Ms-Default-Encryption-Scope": "encryption scopes", "X-Ms-Deny-Encryption-Scope-Override": "encryption scopes",
	"X-Ms-Tags": "blob index tags", "X-Ms-If-Tags": "blob index tags", "X-Ms-Legal-Hold": "immutability",
	"X-Ms-Immutability-Policy-Until-Date": "immutability", "X-Ms-Immutability-Policy-Mode": "immutability",
	"X-Ms-Structured-Body": "structured messages", "X-Ms-Expiry-Option": "blob expiry", "X-Ms-Expiry-Time": "blob expiry",
	"X-Ms-Proposed-Lease-Id": "leases", "X-Ms-Lease-Action": "leases",
}

// before refuses what is not understood, before anyone is asked who they are.
func before(r *azure.Request) error {
	if v := r.Header.Get("X-Ms-Version"); v != "" {
		if _, err := time.Parse(time.DateOnly, v); err != nil {
			return badHeader("x-ms-version", v, "it is not a date such as "+serviceVersion)
		}
	}
	for name := range r.URL.Query() {
		if feature, ok := unbuiltQuery[strings.ToLower(name)]; ok {
			return notBuilt(feature)
		}
	}
	for name := range r.Header {
		if feature, ok := unbuiltHeaders[name]; ok && r.Header.Get(name) != "" {
			return notBuilt(feature + " (" + strings.ToLower(name) + ")")
		}
	}
	if r.Header.Get("X-Ms-Lease-Id") != "" { // nothing is ever leased
		if r.Route.Pattern == atBlob {
			return azure.Errorf(http.StatusPreconditionFailed, "LeaseNotPresentWithBlobOperation", "There is currently no lease on the blob.")
		}
		return azure.Errorf(http.StatusPreconditionFailed, "LeaseNotPresentWithContainerOperation", "There is currently no lease on the container.")
	}
	return nil
}

func badHeader(name, value, why string) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidHeaderValue",
		"The value for one of the HTTP headers is not in the correct format: %s: '%s': %s.", name, value, why)
}

func badQuery(name, value, why string) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "InvalidQueryParameterValue",
		"Value for one of the query parameters specified in the request URI is invalid: %s='%s': %s.", name, value, why)
}
