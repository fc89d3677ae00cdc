package blob

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
)

// rootContainer is the container whose blobs stand at the top of the account's paths.
const rootContainer = "$root"

// See learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata.
var (
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)
	metadataName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// maxNameBytes keeps a blob's name within what PostgreSQL can index.
const maxNameBytes = 2560

func checkContainerName(name string) error {
	if name == rootContainer {
		return nil
	}
	if len(name) < 3 || len(name) > 63 {
		return azure.Errorf(http.StatusBadRequest, "OutOfRangeInput",
			"The specified resource name length is not within the permissible limits: a container's name has 3 to 63 characters.")
	}
	if !containerName.MatchString(name) {
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceName",
			"The specified resource name contains invalid characters: a container's name has lower-case letters, digits and single hyphens between them.")
	}
	return nil
}

func checkBlobName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return azure.Errorf(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server: the blob's name is not UTF-8.")
	case strings.IndexByte(name, 0) >= 0:
		return azure.Errorf(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server: the blob's name holds the character NUL.")
	case utf8.RuneCountInString(name) > 1024 || len(name) > maxNameBytes:
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceName",
			"The specified resource name length is not within the permissible limits: a blob's name has at most 1024 characters and %d bytes of UTF-8.", maxNameBytes)
	}
	return nil
}

// metadata of a container or blob, by lower-case name.
type metadata map[string]string

const metaPrefix = "X-Ms-Meta-"

func metadataOf(h http.Header) (metadata, error) {
	var m metadata
	size := 0
	for key, values := range h {
		name, ok := strings.CutPrefix(key, metaPrefix)
		if !ok {
			continue
		}
		if name == "" {
			return nil, azure.Errorf(http.StatusBadRequest, "EmptyMetadataKey", "The key for one of the metadata key-value pairs is empty.")
		}
		if !metadataName.MatchString(name) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidMetadata",
				"The metadata specified is invalid: the name '%s' is not an identifier of letters, digits and underscores.", name)
		}
		value := strings.Join(values, ",")
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == utf8.RuneError }) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidMetadata", "The metadata specified is invalid: the value of '%s' holds a control character or is not UTF-8.", name)
		}
		if m == nil {
			m = metadata{}
		}
		m[strings.ToLower(name)] = value
		size += len(name) + len(value)
	}
	if size > maxMetadata {
		return nil, azure.Errorf(http.StatusBadRequest, "MetadataTooLarge", "The size of the specified metadata exceeds the maximum size permitted of %d bytes.", maxMetadata)
	}
	return m, nil
}

// header sends metadata in lower case, as Azure does: Python's client compares the prefix byte by byte.
func (m metadata) header(h http.Header) {
	for name, value := range m {
		h[strings.ToLower(metaPrefix)+name] = []string{value}
	}
}

// encoded is the stored form.
func (m metadata) encoded() string {
	if len(m) == 0 {
		return ""
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // a map of strings always encodes
	}
	return string(b)
}

func decodeMetadata(s string) (m metadata, err error) {
	if s == "" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(s), &m)
	return m, err
}
