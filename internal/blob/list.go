package blob

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"net/http"
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

type blobPageXML struct {
	XMLName    xml.Name `xml:"EnumerationResults"`
	Endpoint   string   `xml:"ServiceEndpoint,attr"`
	Container  string   `xml:"ContainerName,attr"`
	Prefix     string   `xml:"Prefix,omitempty"`
	Marker     string   `xml:"Marker,omitempty"`
	MaxResults int      `xml:"MaxResults,omitempty"`
	Delimiter  string   `xml:"Delimiter,omitempty"`
	Blobs      struct {
		Entries []byte `xml:",innerxml"`
	}
	NextMarker string
}

func (s *Storage) listBlobs(w http.ResponseWriter, r *azure.Request) error {
	l, err := listingOf(r)
	if err != nil {
		return err
	}
	acct := accessOf(r).account
	var entries []entry
	var next string
	err = s.DB.View(r.Context(), func(tx *store.Tx) error {
		c, err := readContainer(r.Context(), tx, acct.id, r.Vars["container"])
		if err != nil {
			return err
		}
		entries, next, err = l.page(r.Context(), tx, c.id)
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
	if page.Blobs.Entries, err = entriesXML(entries, acct, l.metadata); err != nil {
		return err
	}
	if next != "" {
		page.NextMarker = l.next(next)
	}
	return writeXML(w, page)
}

// page reads a page of blobs and common prefixes, and the name with which the next page begins ("" is the end).
func (l *listing) page(ctx context.Context, tx *store.Tx, container int64) (entries []entry, next string, err error) {
	from, to := l.bounds()
	hidden := delimitedBatch // rows to read at once
	for {
		limit := l.max - len(entries) + 1
		if l.delimiter != "" {
			limit = min(limit, hidden)
		}
		batch, err := readBlobs(ctx, tx, container, from, to, limit)
		if err != nil {
			return nil, "", err
		}
		common, before := "", len(entries)
		for _, e := range batch {
			if common != "" && strings.HasPrefix(e.name, common) {
				continue
			}
			if len(entries) == l.max {
				return entries, e.name, nil
			}
			if common = l.common(e.name); common != "" {
				e = entry{blob: blob{name: common}, common: true}
			}
			entries = append(entries, e)
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
		// Where prefixes hide many blobs each, the next one is found sooner by a leap than by reading up to it.
		if hidden = min(2*hidden, delimitedBatch); len(entries)-before < limit/2 {
			hidden = max(limit/2, delimitedLeap)
		}
	}
}

// How many rows are read at once when some may hide behind a common prefix: at most, and when nearly all do.
const (
	delimitedBatch = 256
	delimitedLeap  = 8
)

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
func readBlobs(ctx context.Context, tx *store.Tx, container int64, from, to string, limit int) ([]entry, error) {
	query, args := `SELECT name, size, etag, created, modified, properties FROM blob_blobs WHERE container = $1 AND name >= $2`, []any{container, from, limit}
	if to != "" {
		query, args = query+` AND name < $4`, append(args, to)
	}
	rows, err := tx.Query(ctx, query+` ORDER BY name LIMIT $3`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	batch := make([]entry, 0, limit)
	for rows.Next() {
		var e entry
		var created, modified int64
		if err := rows.Scan(&e.name, &e.size, &e.etag, &created, &modified, &e.stored); err != nil {
			return nil, err
		}
		e.created, e.modified = store.Time(created), store.Time(modified)
		batch = append(batch, e)
	}
	return batch, rows.Err()
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
