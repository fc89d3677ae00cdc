package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// clockSkew is how far a signed request's date may be from the server's.
const clockSkew = 15 * time.Minute

// zeroLengthSince is the first x-ms-version that signs an empty string for a PUT with a Content-Length of zero.
const zeroLengthSince = "2015-02-21"

// verifySharedKey checks "account:signature" and returns the name of the key that signed.
// See learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
func (a *account) verifySharedKey(r *http.Request, credential string) (string, error) {
	if !a.settings.SharedKey {
		return "", azure.Errorf(http.StatusForbidden, "KeyBasedAuthenticationNotPermitted",
			"Key based authentication is not permitted on this storage account. Use a bearer token, or set allowSharedKeyAccess to true.")
	}
	name, signature, ok := strings.Cut(strings.TrimSpace(credential), ":")
	given, err := base64.StdEncoding.DecodeString(signature)
	if !ok || err != nil {
		return "", azure.Errorf(http.StatusBadRequest, "InvalidAuthenticationInfo",
			"Authentication information is not given in the correct format: SharedKey is followed by account:signature, and the signature is base64.")
	}
	if name != a.name {
		return "", errSignature("the account in the Authorization header is '" + name + "', the host's is '" + a.name + "'")
	}
	if err := checkDate(r); err != nil {
		return "", err
	}
	var signed string
	for _, order := range headerOrders {
		signed = stringToSign(r, a.name, order)
		for _, k := range a.keys {
			key, err := base64.StdEncoding.DecodeString(k.Value)
			if err != nil {
				return "", err
			}
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(signed))
			if hmac.Equal(mac.Sum(nil), given) {
				return k.Name, nil
			}
		}
	}
	return "", errSignature("the signature is not the one that either of the account's keys makes of this string: '" + signed + "'")
}

func errSignature(detail string) *azure.Error {
	return azure.Errorf(http.StatusForbidden, "AuthenticationFailed",
		"Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature: %s.", detail)
}

func checkDate(r *http.Request) error {
	value := r.Header.Get("X-Ms-Date")
	if value == "" {
		value = r.Header.Get("Date")
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return errSignature("x-ms-date '" + value + "' is not a date in RFC 1123 form")
	}
	if d := time.Since(date); d > clockSkew || d < -clockSkew {
		return errSignature("the request's date '" + value + "' is more than 15 minutes away from the server's clock; synchronize the client's")
	}
	return nil
}

// headerOrders are the two orders of x-ms-* headers in use: by bytes, and by the word-sort weights of .NET that several
// official clients copy, in which '-' weighs nothing and '_' less than digits.
var headerOrders = []func(a, b string) int{
	strings.Compare,
	func(a, b string) int { return strings.Compare(weights.Replace(a), weights.Replace(b)) },
}

var weights = strings.NewReplacer("-", "", "_", "\x01")

func stringToSign(r *http.Request, account string, order func(a, b string) int) string {
	h := r.Header
	length := ""
	if r.ContentLength > 0 || r.Method == http.MethodPut && r.ContentLength == 0 && h.Get("X-Ms-Version") < zeroLengthSince {
		length = strconv.FormatInt(r.ContentLength, 10)
	}
	date := h.Get("Date")
	if h.Get("X-Ms-Date") != "" {
		date = ""
	}
	var b strings.Builder
	for _, part := range []string{
		r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-Md5"), h.Get("Content-Type"), date,
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
	} {
		b.WriteString(part)
		b.WriteByte('\n')
	}
	var names []string
	for name := range h {
		if strings.HasPrefix(name, "X-Ms-") {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.SortFunc(names, order)
	for _, name := range names {
		b.WriteString(name + ":" + strings.Join(h.Values(name), ",") + "\n")
	}
	b.WriteString("/" + account + r.URL.EscapedPath())
	query := map[string][]string{}
	values, _ := url.ParseQuery(r.URL.RawQuery) // the lookup has refused what does not parse
	for name, vs := range values {
		name = strings.ToLower(name)
		query[name] = append(query[name], vs...)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		slices.Sort(query[name])
		b.WriteString("\n" + name + ":" + strings.Join(query[name], ","))
	}
	return b.String()
}
