package authority

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
)

// Whoever has no credentials must not be able to fill the audit log.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	app, _ := n.application(t)
	send := func(ip, clientID string) {
		t.Helper()
		r := postForm("/"+tenant+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {"wrong"}, "scope": {storageAud + "/.default"},
		})
		r.RemoteAddr = ip
		if res, body := do(t, n.Handler(), r); res.StatusCode/100 != 4 {
			t.Fatalf("%d %v", res.StatusCode, body)
		}
	}
	for i := range 50 {
		send("192.0.2.1:1", fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)) // nobody's: they cost one record
		send("192.0.2.1:2", app.AppID)
		send(fmt.Sprintf("[2001:db8::%d]:1", i+1), app.AppID)
		refuse := imdsRequest("/msi/" + fmt.Sprintf("%08d", i) + imdsPath + imdsQuery)
		if res, _ := do(t, n.IdentityHandler(), refuse); res.StatusCode != http.StatusBadRequest {
			t.Fatal(res.StatusCode)
		}
	}
	records := append(n.records(t, "Token.ClientCredentials"), n.records(t, "Identity.IMDS")...)
	if len(records) > 12 { // two for each of four kinds, and the clock's minute may end in between
		t.Errorf("200 refusals left %d records", len(records))
	}
	var tried, nobody, wide *audit.Record
	for i, r := range records {
		switch {
		case r.ClientIP == "2001:db8::/64":
			wide = &records[i]
		case r.ClientIP == "192.0.2.1" && r.Principal == app.ID:
			tried = &records[i]
		case r.ClientIP == "192.0.2.1":
			nobody = &records[i]
		}
	}
	if tried == nil || nobody == nil || wide == nil || wide.Details["clientIP"] != "2001:db8::1" || tried.Result != "Failure" {
		t.Errorf("records: %+v", records)
	}
}

func TestRefusalSources(t *testing.T) {
	t.Parallel()
	var s refusals
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for i := range maxSources {
		ip := fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		if got := s.source(ip, now); got != ip {
			t.Fatalf("%s is counted as %s", ip, got)
		}
	}
	for _, tt := range []struct {
		ip   string
		now  time.Time
		want string
	}{
		{"10.0.0.0", now, "10.0.0.0"},
		{"10.1.0.0", now.Add(time.Second), elsewhere},
		{"10.1.0.0", now.Add(time.Minute), "10.1.0.0"},
		{"fe80::1%eth0", now.Add(time.Minute), "fe80::/64"},
		{"::ffff:10.0.0.1", now.Add(time.Minute), "::ffff:10.0.0.1"},
		{"in-process", now.Add(time.Minute), "in-process"},
		{"", now.Add(time.Minute), ""},
	} {
		if got := s.source(tt.ip, tt.now); got != tt.want {
			t.Errorf("%q is counted as %q, want %q", tt.ip, got, tt.want)
		}
	}
}
