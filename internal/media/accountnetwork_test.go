package media

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestMinimumTLSVersion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		minimum string
		version uint16
		passes  bool
	}{
		{"Unspecified", tls.VersionTLS12, true},
		{"Tls10", tls.VersionTLS12, true},
		{"Tls12", tls.VersionTLS12, true},
		{"Tls12", tls.VersionTLS11, false},
		{"Tls13", tls.VersionTLS12, false},
		{"Tls13", tls.VersionTLS13, true},
		{"Tls12", 0, false}, // no TLS at all
	} {
		w := newWorld(t, storetest.SQLite(t, schemas...))
		w.managed()
		w.do("PATCH", acct, "?api-version=2021-06-01", `{"properties":{"minimumTlsVersion":"`+tt.minimum+`"}}`).want(200)
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://acct1.keydelivery.keyreel.test/?kid=dddddddd-0000-0000-0000-000000000000", nil)
		r.TLS.Version = tt.version
		if tt.version == 0 {
			r.TLS = nil
		}
		rec := httptest.NewRecorder()
		w.KeyDeliveryHandler().ServeHTTP(rec, r)
		if want := map[bool]int{true: 404, false: 400}[tt.passes]; rec.Code != want {
			t.Errorf("minimum %s, connection %#x: %d, want %d: %s", tt.minimum, tt.version, rec.Code, want, rec.Body)
		}
	}
}

// TestKeyDeliveryHonoursLocatorTimes: a key is delivered while its locator is valid, as the stream is.
func TestKeyDeliveryHonoursLocatorTimes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/contentKeyPolicies/open", openPolicy).want(201)
		w.child("/assets/a", `{}`).want(201)
		at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
		for _, tt := range []struct {
			name, times string
			status      int
		}{
			{"always", ``, 200},
			{"now", `,"startTime":"` + at(-time.Hour) + `","endTime":"` + at(time.Hour) + `"`, 200},
			{"over", `,"endTime":"` + at(-time.Hour) + `"`, 403},
			{"to-come", `,"startTime":"` + at(time.Hour) + `"`, 403},
		} {
			w.child("/streamingLocators/"+tt.name, `{"assetName":"a","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"open"`+tt.times+`}`).want(201)
			kid := w.post(acct + "/streamingLocators/" + tt.name + "/listContentKeys").want(200).at("contentKeys.0.id").(string)
			if a := w.key("?kid="+kid, "").want(tt.status); tt.status == 403 {
				a.says("not valid at this time")
			}
		}
	})
}
