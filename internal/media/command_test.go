package media

import (
	"fmt"
	"testing"
)

func TestAccountBySubscription(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(201)
		inSubscription := "/subscriptions/" + sub + "/providers/Microsoft.Media/mediaservices/"
		a := w.do("GET", inSubscription+"acct1", "?api-version=2020-05-01", "").want(200)
		if got, want := a.at("id"), w.get(acct).want(200).at("id"); got != want {
			t.Errorf("id %v, want %v", got, want)
		}
		w.do("GET", inSubscription+"none", "?api-version=2020-05-01", "").want(404).says("ResourceNotFound")
		w.do("GET", inSubscription+"acct1", syncV, "").want(404).says("InvalidResourceType")
		w.do("DELETE", inSubscription+"acct1", "?api-version=2020-05-01", "").want(405)
		w.serve(w.arm, "GET", "https://management.keyreel.test"+inSubscription+"acct1?api-version=2020-05-01", poor, "").want(403)
	})
}
