package blob

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// listing is a request for a page of names.
type listing struct {
	prefix, marker, delimiter string
	from                      string // the name that the marker stands for
	max                       int
	given                     bool // maxresults was
	metadata                  bool
}

// emptyIncludes can be asked for and are never there.
var emptyIncludes = []string{"snapshots", "copy", "deleted", "versions", "deletedwithversions", "tags", "immutabilitypolicy", "legalhold", "permissions", "system"}

func listingOf(r *azure.Request) (*listing, error) {
	q := r.URL.Query()
	l := &listing{prefix: q.Get("prefix"), marker: q.Get("marker"), delimiter: q.Get("delimiter"), max: maxPage}
	if v := q.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, badQuery("maxresults", v, "it is not a number")
		}
		if n < 1 {
			return nil, azure.Errorf(http.StatusBadRequest, "OutOfRangeQueryParameterValue",
				"One of the query parameters specified in the request URI is outside the permissible range: maxresults='%s' is less than 1.", v)
		}
		l.max, l.given = min(n, maxPage), true
	}
	for _, v := range q["include"] {
		for include := range strings.SplitSeq(strings.ToLower(v), ",") {
			switch {
			case include == "metadata":
				l.metadata = true
			case include == "uncommittedblobs":
				return nil, notBuilt("listing uncommitted blobs (include=uncommittedblobs)")
			case include != "" && !slices.Contains(emptyIncludes, include):
				return nil, badQuery("include", v, "'"+include+"' is not known")
			}
		}
	}
	from, err := base64.RawURLEncoding.DecodeString(l.marker)
	if err != nil {
		return nil, badQuery("marker", l.marker, "it is not a NextMarker of an earlier page")
	}
	l.from = string(from)
	for name, value := range map[string]string{"prefix": l.prefix, "delimiter": l.delimiter, "marker": l.from} {
		if value != "" {
			if err := checkBlobName(value); err != nil {
				return nil, badQuery(name, value, "it cannot be part of a blob's name")
			}
		}
	}
	return l, nil
}

func (l *listing) next(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// bounds returns the half-open range of names that have the prefix and are not before the marker; no upper bound is "".
func (l *listing) bounds() (from, to string) {
	return max(l.prefix, l.from), after(l.prefix)
}

// after returns the least name that is greater than every name with the prefix; "" when there is none. It works on
// characters, not bytes, so that it is UTF-8 and compares in the same order.
func after(prefix string) string {
	runes := []rune(prefix)
	for len(runes) > 0 {
		last := runes[len(runes)-1]
		switch {
		case last == 0xD7FF: // the surrogates are no characters
			last = 0xE000
		case last == 0x10FFFF:
			runes = runes[:len(runes)-1]
			continue
		default:
			last++
		}
		runes[len(runes)-1] = last
		return string(runes)
	}
	return ""
}

// nameXML is a blob's name. One that XML cannot hold is percent-encoded and says so.
type nameXML string

// MarshalXML implements xml.Marshaler.
func (n nameXML) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	s := string(n)
	if strings.ContainsFunc(s, notXML) {
		start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "Encoded"}, Value: "true"})
		s = url.PathEscape(s)
	}
	return e.EncodeElement(s, start)
}

// notXML reports characters that XML 1.0 cannot hold or that its readers change.
func notXML(r rune) bool {
	return r < ' ' || r == 0xFFFE || r == 0xFFFF
}

// MarshalXML implements xml.Marshaler: an element for each name, in order.
func (m metadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := e.EncodeElement(m[name], xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

type blobXML struct {
	XMLName    xml.Name `xml:"Blob"`
	Name       nameXML
	Properties blobPropertiesXML
	Metadata   *metadata  `xml:",omitempty"`
	OrMetadata *emptyNode `xml:",omitempty"`
}

type emptyNode struct{}

type blobPropertiesXML struct {
	Created      string `xml:"Creation-Time"`
	LastModified string `xml:"Last-Modified"`
	ETag         string `xml:"Etag"`
	Length       int64  `xml:"Content-Length"`
	ContentType  string `xml:"Content-Type"`
	Encoding     string `xml:"Content-Encoding"`
	Language     string `xml:"Content-Language"`
	CRC64        string `xml:"Content-CRC64"`
	MD5          string `xml:"Content-MD5"`
	CacheControl string `xml:"Cache-Control"`
	Disposition  string `xml:"Content-Disposition"`
	BlobType     string
	AccessTier   string
	Inferred     bool `xml:"AccessTierInferred,omitempty"`
	LeaseStatus  string
	LeaseState   string
	Encrypted    bool `xml:"ServerEncrypted"`
}

type prefixXML struct {
	XMLName xml.Name `xml:"BlobPrefix"`
	Name    nameXML
}

type blobPageXML struct {
	XMLName    xml.Name `xml:"EnumerationResults"`
	Endpoint   string   `xml:"ServiceEndpoint,attr"`
	Container  string   `xml:"ContainerName,attr"`
	Prefix     string   `xml:"Prefix,omitempty"`
	Marker     string   `xml:"Marker,omitempty"`
	MaxResults int      `xml:"MaxResults,omitempty"`
	Delimiter  string   `xml:"Delimiter,omitempty"`
	Blobs      struct {
		Entries []any // blobXML and prefixXML, in order of their names
	}
	NextMarker string
}

func (s *Storage) listBlobs(w http.ResponseWriter, r *azure.Request) error {
	l, err := listingOf(r)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	var entries []any
	var next string
	err = s.DB.View(r.Context(), func(tx *store.Tx) error {
		c, err := readContainer(r.Context(), tx, acct.id, r.Vars["container"])
		if err != nil {
			return err
		}
		entries, next, err = l.page(r.Context(), tx, acct, c.id)
		return err
	})
	if err != nil {
		return err
	}
	page := blobPageXML{
		Endpoint: s.Hosts.For(r.Request).Blob(acct.name) + "/", Container: r.Vars["container"],
		Prefix: l.prefix, Marker: l.marker, Delimiter: l.delimiter,
	}
	if l.given {
		page.MaxResults = l.max
	}
	page.Blobs.Entries = entries
	if next != "" {
		page.NextMarker = l.next(next)
	}
	return writeXML(w, page)
}

// page reads a page of blobs and common prefixes, and the name with which the next page begins ("" is the end).
func (l *listing) page(ctx context.Context, tx *store.Tx, account *account, container int64) (entries []any, next string, err error) {
	from, to := l.bounds()
	for {
		limit := l.max - len(entries) + 1
		if l.delimiter != "" {
			limit = min(limit, delimitedBatch)
		}
		batch, err := readBlobs(ctx, tx, container, from, to, limit)
		if err != nil {
			return nil, "", err
		}
		common := ""
		for _, b := range batch {
			if common != "" && strings.HasPrefix(b.name, common) {
				continue
			}
			if len(entries) == l.max {
				return entries, b.name, nil
			}
			common = l.common(b.name)
			if common != "" {
				entries = append(entries, prefixXML{Name: nameXML(common)})
				continue
			}
			entries = append(entries, b.xml(account, l.metadata))
		}
		if len(batch) < limit {
			return entries, "", nil
		}
		// No name holds NUL, so nothing stands between a name and itself with U+0001 behind it.
		from = batch[limit-1].name + "\x01"
		if common != "" {
			if from = after(common); from == "" {
				return entries, "", nil
			}
		}
	}
}

// delimitedBatch is how many rows are read at once when most of them may hide behind a common prefix.
const delimitedBatch = 256

// common returns the common prefix behind which a name is listed, or "".
func (l *listing) common(name string) string {
	if l.delimiter == "" {
		return ""
	}
	i := strings.Index(name[len(l.prefix):], l.delimiter)
	if i < 0 {
		return ""
	}
	return name[:len(l.prefix)+i+len(l.delimiter)]
}

// readBlobs reads blobs in order of their names, from one name on and before another ("" is no bound).
func readBlobs(ctx context.Context, tx *store.Tx, container int64, from, to string, limit int) ([]blob, error) {
	query, args := `SELECT name, size, etag, created, modified, properties FROM blob_blobs WHERE container = $1 AND name >= $2`, []any{container, from, limit}
	if to != "" {
		query, args = query+` AND name < $4`, append(args, to)
	}
	rows, err := tx.Query(ctx, query+` ORDER BY name LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var batch []blob
	for rows.Next() {
		var b blob
		var created, modified int64
		var props string
		if err := rows.Scan(&b.name, &b.size, &b.etag, &created, &modified, &props); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(props), &b.properties); err != nil {
			return nil, err
		}
		b.created, b.modified = store.Time(created), store.Time(modified)
		batch = append(batch, b)
	}
	return batch, rows.Err()
}

func (b *blob) xml(account *account, withMetadata bool) blobXML {
	tier, inferred := b.tier(account)
	x := blobXML{Name: nameXML(b.name), OrMetadata: &emptyNode{}, Properties: blobPropertiesXML{
		Created: httpDate(b.created), LastModified: httpDate(b.modified), ETag: b.etag, Length: b.size,
		ContentType: b.contentType(), Encoding: b.Encoding, Language: b.Language, MD5: base64.StdEncoding.EncodeToString(b.MD5),
		CacheControl: b.CacheControl, Disposition: b.Disposition, BlobType: "BlockBlob", AccessTier: tier, Inferred: inferred,
		LeaseStatus: "unlocked", LeaseState: "available", Encrypted: true,
	}}
	if withMetadata && len(b.Metadata) > 0 {
		x.Metadata = &b.Metadata
	}
	return x
}

type containerXML struct {
	Name       string
	Properties struct {
		LastModified          string `xml:"Last-Modified"`
		ETag                  string `xml:"Etag"`
		LeaseStatus           string
		LeaseState            string
		HasImmutabilityPolicy bool
		HasLegalHold          bool
	}
	Metadata *metadata `xml:",omitempty"`
}

type containerPageXML struct {
	XMLName    xml.Name       `xml:"EnumerationResults"`
	Endpoint   string         `xml:"ServiceEndpoint,attr"`
	Prefix     string         `xml:"Prefix,omitempty"`
	Marker     string         `xml:"Marker,omitempty"`
	MaxResults int            `xml:"MaxResults,omitempty"`
	Containers []containerXML `xml:"Containers>Container"`
	NextMarker string
}

func (s *Storage) listContainers(w http.ResponseWriter, r *azure.Request) error {
	l, err := listingOf(r)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	var list []*container
	err = s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		list, err = l.containers(r.Context(), tx, acct.id)
		return err
	})
	if err != nil {
		return err
	}
	page := containerPageXML{Endpoint: s.Hosts.For(r.Request).Blob(acct.name) + "/", Prefix: l.prefix, Marker: l.marker}
	if l.given {
		page.MaxResults = l.max
	}
	if len(list) > l.max {
		page.NextMarker = l.next(list[l.max].name)
		list = list[:l.max]
	}
	for _, c := range list {
		x := containerXML{Name: c.name}
		x.Properties.LastModified, x.Properties.ETag = httpDate(c.modified), quoted(c.etag)
		x.Properties.LeaseStatus, x.Properties.LeaseState = "unlocked", "available"
		if l.metadata && len(c.metadata) > 0 {
			x.Metadata = &c.metadata
		}
		page.Containers = append(page.Containers, x)
	}
	return writeXML(w, page)
}

// containers reads one container more than the page holds.
func (l *listing) containers(ctx context.Context, tx *store.Tx, account int64) ([]*container, error) {
	from, to := l.bounds()
	query, args := `SELECT name, id, etag, modified, metadata FROM blob_containers WHERE account = $1 AND name >= $2`, []any{account, from, l.max + 1}
	if to != "" {
		query, args = query+` AND name < $4`, append(args, to)
	}
	rows, err := tx.Query(ctx, query+` ORDER BY name LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*container
	for rows.Next() {
		c := &container{}
		var modified int64
		var meta string
		if err := rows.Scan(&c.name, &c.id, &c.etag, &modified, &meta); err != nil {
			return nil, err
		}
		c.modified = store.Time(modified)
		if c.metadata, err = decodeMetadata(meta); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// writeXML answers 200 with a document.
func writeXML(w http.ResponseWriter, v any) error {
	body, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(xml.Header)+len(body)))
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write([]byte(xml.Header)); err != nil {
		return nil // a client that hung up is not an error of ours
	}
	w.Write(body)
	return nil
}
