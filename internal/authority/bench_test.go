package authority

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	n := newNode(b)
	p := n.system(b, "acct")
	raw, _, err := n.IdentityToken(b.Context(), p.ID, p.IdentityID, storageAud)
	if err != nil {
		b.Fatal(err)
	}
	accept := accepting(storageAud)
	for _, cold := range []bool{false, true} {
		name := "warm"
		if cold {
			name = "cold"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if cold {
					n.verified = verifiedTokens{}
				}
				if _, err := n.Verify(b.Context(), raw, accept); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIdentityToken(b *testing.B) {
	n := newNode(b)
	p := n.system(b, "acct")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := n.IdentityToken(b.Context(), p.ID, p.IdentityID, storageAud); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentityEndpoint(b *testing.B) {
	n := newNode(b)
	wl, _, _, _ := n.workload(b, "one")
	h := n.WorkloadHandler(wl.ID)
	b.ReportAllocs()
	for b.Loop() {
		clear(n.limits.workloads) // each round is the first in a quiet second
		w := httptest.NewRecorder()
		h.ServeHTTP(w, imdsRequest(imdsPath+imdsQuery))
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkTokenEndpoint signs and audits a token in each round; concurrent ones share commits.
func BenchmarkTokenEndpoint(b *testing.B) {
	n := newNode(b)
	app, secret := n.application(b)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {app.AppID}, "client_secret": {string(secret)}, "scope": {storageAud + "/.default"}}
	round := func() int {
		w := httptest.NewRecorder()
		n.Handler().ServeHTTP(w, postForm("/"+tenant+"/oauth2/v2.0/token", form))
		return w.Code
	}
	b.Run("one client", func(b *testing.B) {
		for b.Loop() {
			if code := round(); code != http.StatusOK {
				b.Fatal(code)
			}
		}
	})
	b.Run("64 clients", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if code := round(); code != http.StatusOK {
					b.Error(code)
				}
			}
		})
	})
}

// BenchmarkVerifyUser checks a user's token, for which the grant and the consent are looked up too.
func BenchmarkVerifyUser(b *testing.B) {
	n := newNode(b)
	ada := n.ada(b)
	web, secret := n.web(b)
	n.consent(b, web.AppID, armApp, ada.ID, "user_impersonation")
	raw := n.tokens(b, request(web.AppID, webCode), map[string]string{"client_secret": string(secret)})["access_token"].(string)
	accept := accepting(armAud)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Verify(b.Context(), raw, accept); err != nil {
			b.Fatal(err)
		}
	}
}
