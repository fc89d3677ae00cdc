package authority

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func (n *node) startDevice(t testing.TB, edit ...map[string]string) map[string]any {
	t.Helper()
	form := url.Values{"client_id": {azureCLI}, "scope": {armAud + "/.default openid offline_access"}}
	for _, e := range edit {
		for name, value := range e {
			form.Set(name, value)
		}
	}
	status, got := n.askAt(t, "/"+tenant+"/oauth2/v2.0/devicecode", form)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, got)
	}
	return got
}

// pollDevice asks for the device's token, as if it had waited.
func (n *node) pollDevice(t testing.TB, device map[string]any, more ...map[string]string) (int, map[string]any) {
	t.Helper()
	n.exec(t, `UPDATE authority_devices SET polled = 0`)
	return n.pollNow(t, device, more...)
}

func (n *node) pollNow(t testing.TB, device map[string]any, more ...map[string]string) (int, map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {azureCLI}, "device_code": {device["device_code"].(string)}}
	for _, m := range more {
		for name, value := range m {
			form.Set(name, value)
		}
	}
	return n.ask(t, form)
}

func TestDeviceCode(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		device := n.startDevice(t)
		if device["verification_uri"] != ownLogin+"/devicelogin" || device["interval"] != 5.0 || !strings.Contains(device["message"].(string), device["user_code"].(string)) {
			t.Errorf("%v", device)
		}
		_, got := n.pollDevice(t, device)
		refusedWith(t, "nobody has decided", got, "authorization_pending", 70016)
		_, got = n.pollNow(t, device)
		refusedWith(t, "at once again", got, "slow_down", 70016)
		_, got = n.pollDevice(t, device, map[string]string{"client_id": "1950a258-227b-4e31-a9cf-717495945fc2"})
		refusedWith(t, "another client", got, "bad_verification_code", 70020)
		_, got = n.pollDevice(t, device, map[string]string{"device_code": "x"})
		refusedWith(t, "unknown", got, "bad_verification_code", 70020)

		b := n.browser()
		code := device["user_code"].(string)
		typed := map[string]string{"otc": strings.ToLower(code[:4]) + "-" + code[4:] + " "}
		page := b.submit(t, b.get(t, ownLogin+"/devicelogin"), typed)
		if !strings.Contains(page.body, "Password") || !strings.Contains(page.body, "Microsoft Azure CLI") {
			t.Fatalf("%d %s", page.StatusCode, page.body)
		}
		if wrong := b.submit(t, page, credentials("wrong")); wrong.StatusCode != http.StatusUnauthorized || !strings.Contains(wrong.body, "incorrect") {
			t.Errorf("wrong password: %d %s", wrong.StatusCode, wrong.body)
		}
		confirm := b.submit(t, page, credentials(adaSecret))
		for _, needed := range []string{"Microsoft Azure CLI", adaName, "192.0.2.1", "Cancel"} {
			if !strings.Contains(confirm.body, needed) {
				t.Errorf("the question lacks %q: %s", needed, confirm.body)
			}
		}
		_, got = n.pollDevice(t, device)
		refusedWith(t, "signed in, but not decided", got, "authorization_pending", 70016)

		// Another site cannot decide in her name.
		_, fields := confirm.form(t)
		for name, form := range map[string]url.Values{
			"no token": {"otc": fields["otc"], "decision": {"approve"}}, "another token": {"otc": fields["otc"], "decision": {"approve"}, "form": {boundTo("x", "y")}},
		} {
			if got := b.send(t, postForm(devicePage, form)); got.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %d", name, got.StatusCode)
			}
		}
		done := b.submit(t, confirm, map[string]string{"decision": "approve"})
		if done.StatusCode != http.StatusOK || !strings.Contains(done.body, "You have signed in on your device") {
			t.Errorf("%d %s", done.StatusCode, done.body)
		}
		if again := b.submit(t, confirm, map[string]string{"decision": "decline"}); again.StatusCode != http.StatusBadRequest {
			t.Errorf("the second decision: %d", again.StatusCode)
		}
		status, got := n.pollDevice(t, device)
		if status != http.StatusOK || told(t, got["access_token"])["oid"] != ada.ID || got["refresh_token"] == nil || got["id_token"] == nil {
			t.Fatalf("%d %v", status, got)
		}
		if _, err := n.Verify(t.Context(), got["access_token"].(string), accepting(armAud)); err != nil {
			t.Error(err)
		}
		_, got = n.pollDevice(t, device)
		refusedWith(t, "the second redemption", got, "code_already_used", 54005)

		// Signed in already, she is asked all the same.
		device = n.startDevice(t)
		confirm = b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)})
		if !strings.Contains(confirm.body, "Sign in on another device?") {
			t.Fatalf("%s", confirm.body)
		}
		if done := b.submit(t, confirm, map[string]string{"decision": "decline"}); !strings.Contains(done.body, "refused") {
			t.Errorf("%s", done.body)
		}
		_, got = n.pollDevice(t, device)
		refusedWith(t, "declined", got, "authorization_declined", 70017)

		device = n.startDevice(t)
		n.exec(t, `UPDATE authority_devices SET expires = expires - $1`, (deviceLife + deviceLife).Microseconds())
		_, got = n.pollDevice(t, device)
		refusedWith(t, "expired", got, "expired_token", 70019)
		if late := b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)}); late.StatusCode != http.StatusBadRequest {
			t.Errorf("an expired code on the page: %d", late.StatusCode)
		}

		device = n.startDevice(t)
		b.submit(t, b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)}), map[string]string{"decision": "approve"})
		n.changePassword(t, ada, adaSecret)
		_, got = n.pollDevice(t, device)
		refusedWith(t, "approved under an older password", got, "invalid_grant", 50173)

		if rs := n.records(t, "SignIn.Device"); len(rs) < 3 || rs[1].Principal != ada.ID || rs[1].Category != signInCategory {
			t.Errorf("audit %+v", rs)
		}
	})
}

func TestDeviceCodeV1(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ada(t)
	status, device := n.askAt(t, "/common/oauth2/devicecode", url.Values{"client_id": {azureCLI}, "resource": {armAud + "/"}})
	if status != http.StatusOK || device["verification_url"] == nil || device["expires_in"] != "900" || device["interval"] != "5" {
		t.Fatalf("%d %v", status, device)
	}
	redeem := url.Values{"grant_type": {"device_code"}, "client_id": {azureCLI}, "code": {device["device_code"].(string)}, "resource": {armAud + "/"}}
	_, got := n.askAt(t, "/common/oauth2/token", redeem)
	refusedWith(t, "pending", got, "authorization_pending", 70016)
	b := n.browser()
	page := b.submit(t, b.get(t, deviceLink), map[string]string{"otc": device["user_code"].(string)})
	b.submit(t, b.submit(t, page, credentials(adaSecret)), map[string]string{"decision": "approve"})
	if status, got = n.askAt(t, "/common/oauth2/token", redeem); status != http.StatusOK || got["resource"] != armAud+"/" || got["refresh_token"] == nil {
		t.Errorf("%d %v", status, got)
	}
}

// Nobody has to prove anything to ask for a device code, or to try one.
func TestDeviceCodesAreBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	web, _ := n.web(t)
	for name, c := range map[string]struct {
		form   url.Values
		code   string
		number float64
	}{
		"no client":      {url.Values{"scope": {"openid"}}, "invalid_request", 900144},
		"unknown client": {url.Values{"client_id": {tenant}, "scope": {"openid"}}, "unauthorized_client", 700016},
		"no scope":       {url.Values{"client_id": {azureCLI}}, "invalid_request", 900144},
		"no resource":    {url.Values{"client_id": {azureCLI}, "scope": {"https://example.org/.default"}}, "invalid_resource", 500011},
	} {
		_, got := n.askAt(t, "/common/oauth2/v2.0/devicecode", c.form)
		refusedWith(t, name, got, c.code, c.number)
	}
	device := n.startDevice(t, map[string]string{"client_id": web.AppID})
	_, got := n.pollNow(t, device, map[string]string{"client_id": web.AppID})
	refusedWith(t, "a confidential client without its secret", got, "invalid_client", 7000218)
	for range devicesFrom - 1 {
		n.startDevice(t)
	}
	_, got = n.askAt(t, "/common/oauth2/v2.0/devicecode", url.Values{"client_id": {azureCLI}, "scope": {"openid"}})
	refusedWith(t, "one too many", got, "temporarily_unavailable", 90055)

	b := n.browser()
	page := b.get(t, deviceLink)
	for range lockAfter {
		if got := b.submit(t, page, map[string]string{"otc": "BCDFGHJKL"}); got.StatusCode != http.StatusBadRequest {
			t.Fatalf("%d", got.StatusCode)
		}
	}
	if got := b.submit(t, page, map[string]string{"otc": device["user_code"].(string)}); got.StatusCode != http.StatusBadRequest || strings.Contains(got.body, "Password") {
		t.Errorf("the right code after %d wrong ones: %d %s", lockAfter, got.StatusCode, got.body)
	}
}
