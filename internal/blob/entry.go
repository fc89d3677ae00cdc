package blob

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// entry is one of a listing's: a blob, or a common prefix, of which only the name counts.
type entry struct {
	blob
	stored string // the blob's properties as the row has them
	common bool
}

// entriesXML is the inside of a listing's Blobs element. It is written by hand: encoding/xml's reflection took longer
// than all the rest of a listing.
func entriesXML(entries []entry, account *account, withMetadata bool) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(1024 * len(entries))
	for i := range entries {
		e := &entries[i]
		if e.common {
			b.WriteString("<BlobPrefix>")
			nameXML(&b, e.name)
			b.WriteString("</BlobPrefix>")
			continue
		}
		if err := json.Unmarshal([]byte(e.stored), &e.properties); err != nil {
			return nil, fmt.Errorf("reading the properties of %s: %w", e.name, err)
		}
		e.xml(&b, account, withMetadata)
	}
	return b.Bytes(), nil
}

func (b *blob) xml(to *bytes.Buffer, account *account, withMetadata bool) {
	to.WriteString("<Blob>")
	nameXML(to, b.name)
	to.WriteString("<Properties>")
	element(to, "Creation-Time", httpDate(b.created))
	element(to, "Last-Modified", httpDate(b.modified))
	element(to, "Etag", b.etag)
	element(to, "Content-Length", strconv.FormatInt(b.size, 10))
	element(to, "Content-Type", b.contentType())
	element(to, "Content-Encoding", b.Encoding)
	element(to, "Content-Language", b.Language)
	element(to, "Content-CRC64", "")
	element(to, "Content-MD5", base64.StdEncoding.EncodeToString(b.MD5))
	element(to, "Cache-Control", b.CacheControl)
	element(to, "Content-Disposition", b.Disposition)
	element(to, "BlobType", "BlockBlob")
	tier, inferred := b.tier(account)
	element(to, "AccessTier", tier)
	if inferred {
		element(to, "AccessTierInferred", "true")
	}
	to.WriteString("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties>")
	if withMetadata && len(b.Metadata) > 0 {
		to.WriteString("<Metadata>")
		for _, name := range slices.Sorted(maps.Keys(b.Metadata)) {
			element(to, name, b.Metadata[name])
		}
		to.WriteString("</Metadata>")
	}
	to.WriteString("<OrMetadata></OrMetadata></Blob>")
}

// nameXML writes a blob's name. One that XML cannot hold is percent-encoded and says so.
func nameXML(to *bytes.Buffer, name string) {
	if strings.ContainsFunc(name, notXML) {
		to.WriteString(`<Name Encoded="true">`)
		xml.EscapeText(to, []byte(url.PathEscape(name))) // "&" is fine in a path
		to.WriteString("</Name>")
		return
	}
	element(to, "Name", name)
}

// notXML reports characters that XML 1.0 cannot hold or that its readers change.
func notXML(r rune) bool {
	return r < ' ' || r == 0xFFFE || r == 0xFFFF
}

func element(to *bytes.Buffer, name, value string) {
	to.WriteByte('<')
	to.WriteString(name)
	to.WriteByte('>')
	if plainXML(value) {
		to.WriteString(value)
	} else {
		xml.EscapeText(to, []byte(value)) // a buffer takes everything
	}
	to.WriteString("</")
	to.WriteString(name)
	to.WriteByte('>')
}

// plainXML reports whether a text needs no escaping.
func plainXML(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			return false
		}
	}
	return true
}
