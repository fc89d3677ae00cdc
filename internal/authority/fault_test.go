package authority

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestLostAnswers lets each commit of a sign-in fail, without effect and with its answer lost: nothing is handed out then,
// the server's answer to the next try is one that clients know, and whoever signs in anew succeeds.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, dbURL string) {
		var faults storetest.Faults
		db, err := store.Open(t.Context(), store.Options{URL: dbURL, Schemas: schemas, Fault: faults.Inject})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		n := open(t, db, newRoot(t))
		n.ada(t)
		codeForm := func() url.Values {
			_, code := n.signedIn(t, request(azureCLI, cliLogin))
			return redeem(azureCLI, cliLogin, code)
		}
		passwordForm := func() url.Values {
			return url.Values{"grant_type": {"password"}, "client_id": {azureCLI}, "username": {adaName}, "password": {adaSecret}, "scope": {armAud + "/.default offline_access"}}
		}
		refresh := func() url.Values {
			_, got := n.ask(t, passwordForm())
			return refreshForm(azureCLI, got["refresh_token"])
		}
		device := func() url.Values {
			d := n.startDevice(t)
			b := n.browser()
			page := b.submit(t, b.get(t, deviceLink), map[string]string{"otc": d["user_code"].(string)})
			b.submit(t, b.submit(t, page, credentials(adaSecret)), map[string]string{"decision": "approve"})
			return url.Values{"grant_type": {"device_code"}, "client_id": {azureCLI}, "device_code": {d["device_code"].(string)}}
		}
		for name, c := range map[string]struct {
			form  func() url.Values
			again map[storetest.Fault]map[float64]bool // the AADSTS codes of the next try; 0 for tokens
		}{
			"code":          {codeForm, map[storetest.Fault]map[float64]bool{storetest.NotApplied: {0: true, 54005: true}, storetest.AnswerLost: {54005: true}}},
			"password":      {passwordForm, map[storetest.Fault]map[float64]bool{storetest.NotApplied: {0: true}, storetest.AnswerLost: {0: true}}},
			"refresh token": {refresh, map[storetest.Fault]map[float64]bool{storetest.NotApplied: {0: true}, storetest.AnswerLost: {0: true}}},
			"device code":   {device, map[storetest.Fault]map[float64]bool{storetest.NotApplied: {0: true, 54005: true}, storetest.AnswerLost: {0: true, 54005: true}}},
		} {
			for _, fault := range []storetest.Fault{storetest.NotApplied, storetest.AnswerLost} {
				for skip := 0; ; skip++ {
					what := fmt.Sprintf("%s, %s of commit %d", name, fault, skip)
					form := c.form()
					faults.Fail(fault, skip)
					status, got := n.ask(t, form)
					if !faults.Clear() {
						if status != http.StatusOK || skip == 0 { // begun anew, it succeeds
							t.Errorf("%s: no fault, and %d %v", what, status, got)
						}
						break
					}
					if status == http.StatusOK { // it hit what the audit log writes each minute
						continue
					}
					if status != http.StatusInternalServerError || got["access_token"] != nil {
						t.Errorf("%s: %d %v", what, status, got)
					}
					status, got = n.ask(t, form)
					number := 0.0
					if status != http.StatusOK {
						number, _ = got["error_codes"].([]any)[0].(float64)
					}
					if !c.again[fault][number] {
						t.Errorf("%s: then %d %v", what, status, got)
					}
				}
			}
		}
	})
}

// TestLostConsent lets the commit of a consent fail: nothing goes to the application then, and the same answer once more is
// good, whether the first was kept or not.
func TestLostConsent(t *testing.T) {
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, dbURL string) {
		var faults storetest.Faults
		db, err := store.Open(t.Context(), store.Options{URL: dbURL, Schemas: schemas, Fault: faults.Inject})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		web, _ := n.web(t)
		b, _ := n.signedIn(t, request(azureCLI, cliLogin))
		accept := map[string]string{"decision": "accept"}
		for _, fault := range []storetest.Fault{storetest.NotApplied, storetest.AnswerLost} {
			for skip := range 3 {
				n.withdraw(t, web)
				page := b.get(t, authorizeURL(request(web.AppID, webCode)))
				faults.Fail(fault, skip)
				got := b.submit(t, page, accept)
				hit := faults.Clear()
				if hit && got.StatusCode != http.StatusInternalServerError && got.Header.Get("Location") == "" || !hit && got.Header.Get("Location") == "" {
					t.Errorf("%s of commit %d (hit: %v): %d %s", fault, skip, hit, got.StatusCode, got.body)
				}
				if b.submit(t, page, accept).location(t, webCode).Get("code") == "" || n.granted(t, web)[ada.ID] != "user_impersonation" {
					t.Errorf("%s of commit %d: no code, or no grant: %v", fault, skip, n.granted(t, web))
				}
			}
		}
	})
}
