package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sign signs a request of a client as the server of it would see it.
func sign(r *http.Request, account, key string) {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		panic(err)
	}
	seen := r.Clone(r.Context())
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(stringToSign(seen, account, strings.Compare)))
	r.Header.Set("Authorization", "SharedKey "+account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func TestStringToSign(t *testing.T) {
	t.Parallel()
	// The first case is the example of learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
	for _, c := range []struct {
		name, method, url string
		length            int64
		header            http.Header
		want              string
	}{
		{
			"documentation", "GET", "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20", 0,
			http.Header{"X-Ms-Date": {"Fri, 26 Jun 2015 23:39:12 GMT"}, "X-Ms-Version": {"2015-02-21"}},
			"GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n" +
				"/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20",
		},
		{
			"repeated parameters, upper case, encoded", "GET", "https://x/c/a%2Fb%20c?b=2&B=1&a=x%20y", 0,
			http.Header{"Date": {"D"}},
			"GET\n\n\n\n\n\nD\n\n\n\n\n\n/myaccount/c/a%2Fb%20c\na:x y\nb:1,2",
		},
		{
			"body and standard headers", "PUT", "https://x/c/b", 11,
			http.Header{"Date": {"ignored"}, "X-Ms-Date": {"D"}, "Content-Md5": {"M"}, "Content-Type": {"T"}, "If-Match": {"E"}, "Range": {"bytes=0-1"}, "X-Ms-Meta-B": {"2"}, "X-Ms-Meta-A": {"1", "3"}},
			"PUT\n\n\n11\nM\nT\n\n\nE\n\n\nbytes=0-1\nx-ms-date:D\nx-ms-meta-a:1,3\nx-ms-meta-b:2\n/myaccount/c/b",
		},
		{
			"zero length in old versions", "PUT", "https://x/c", 0,
			http.Header{"X-Ms-Version": {"2014-02-14"}},
			"PUT\n\n\n0\n\n\n\n\n\n\n\n\nx-ms-version:2014-02-14\n/myaccount/c",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequest(c.method, c.url, nil)
			check(t, err)
			r.Header, r.ContentLength = c.header, c.length
			if got := stringToSign(r, "myaccount", strings.Compare); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestSharedKey(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	for _, c := range []struct {
		name   string
		header []string
		status int
		code   string
	}{
		{"good", nil, 200, ""},
		{"old date", []string{"X-Ms-Date", httpDate(time.Now().Add(-16 * time.Minute))}, 403, "AuthenticationFailed"},
		{"future date", []string{"X-Ms-Date", httpDate(time.Now().Add(time.Hour))}, 403, "AuthenticationFailed"},
		{"no date", []string{"X-Ms-Date", ""}, 403, "AuthenticationFailed"},
		{"standard date", []string{"X-Ms-Date", "", "Date", httpDate(time.Now())}, 200, ""},
		{"wrong signature", []string{"Authorization", "SharedKey " + testAccount + ":" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, 403, "AuthenticationFailed"},
		{"other account", []string{"Authorization", "SharedKey other:AAAA"}, 403, "AuthenticationFailed"},
		{"not base64", []string{"Authorization", "SharedKey " + testAccount + ":%%"}, 400, "InvalidAuthenticationInfo"},
		{"no colon", []string{"Authorization", "SharedKey x"}, 400, "InvalidAuthenticationInfo"},
		{"unknown scheme", []string{"Authorization", "Basic eDp5"}, 400, "InvalidAuthenticationInfo"},
		{"lite", []string{"Authorization", "SharedKeyLite " + testAccount + ":AAAA"}, 501, "NotImplemented"},
		{"anonymous", []string{"Authorization", "-"}, 401, "NoAuthenticationInformation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := s.do(t, "GET", "/?comp=list", "", c.header...)
			if a.status != c.status || a.code() != c.code {
				t.Errorf("got %d %s, want %d %s: %s", a.status, a.code(), c.status, c.code, a.body)
			}
		})
	}
	t.Run("second key", func(t *testing.T) {
		t.Parallel()
		r := s.request(t, "GET", "/?comp=list", http.NoBody, "Authorization", "-")
		sign(r, testAccount, s.account.keys[1].Value)
		resp, err := s.client.Do(r)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

// Several official clients order headers by weights in which '-' counts nothing.
func TestHeaderOrderOfOfficialClients(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "order")
	r := s.request(t, "PUT", "/order/b", http.NoBody, "Authorization", "-", "X-Ms-Blob-Type", "BlockBlob",
		"X-Ms-Meta-a_1", "x", "X-Ms-Meta-a1", "y", "X-Ms-Meta-ab", "z")
	raw, err := base64.StdEncoding.DecodeString(s.account.keys[0].Value)
	check(t, err)
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(stringToSign(r, testAccount, headerOrders[1])))
	r.Header.Set("Authorization", "SharedKey "+testAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := s.client.Do(r)
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("got %d", resp.StatusCode)
	}
}
