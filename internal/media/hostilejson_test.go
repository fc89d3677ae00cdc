package media

import (
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestHostileJSON: whatever stands in the place of each value of a good document, the answer is a refusal or a resource
// and never a failure of the server.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, schemas...))
	w.managed()
	w.upload()
	w.child("/contentKeyPolicies/p", openPolicy).want(201)
	documents := map[string]string{
		"/assets/x":                     `{"alternateId":"a","description":"d","container":"c-c","storageAccountName":"store1"}`,
		"/transforms/x":                 copyPreset,
		"/transforms/t/jobs/x":          jobDoc,
		"/transforms/t/jobs/y":          httpJob("https://h/films/", "a.mp4?sig=x"),
		"/contentKeyPolicies/x":         tokenPolicy(),
		"/streamingPolicies/x":          `{"defaultContentKeyPolicyName":"p","envelopeEncryption":{"enabledProtocols":{"hls":true},"contentKeys":{"defaultKey":{"label":"k","policyName":"p"}}},"noEncryption":{"enabledProtocols":{"hls":true}}}`,
		"/streamingLocators/x":          `{"assetName":"in","streamingPolicyName":"Predefined_ClearKey","defaultContentKeyPolicyName":"p","startTime":"2026-01-01T00:00:00Z","contentKeys":[{"id":"cccccccc-0000-0000-0000-00000000000a","value":"AAAAAAAAAAAAAAAAAAAAAA=="}]}`,
		"/streamingEndpoints/x":         `{"description":"d","cdnEnabled":false,"customHostNames":[]}`,
		"/privateEndpointConnections/x": `{"privateEndpoint":{"id":"` + storage + `"},"privateLinkServiceConnectionState":{"status":"Approved","description":"d","actionsRequired":"None"}}`,
		"2": `{"storageAccounts":[{"id":"` + storage + `","type":"Primary","identity":{"useSystemAssignedIdentity":false}}],"storageAuthentication":"System",
			"encryption":{"type":"SystemKey","keyVaultProperties":{"keyIdentifier":"x"},"identity":{"userAssignedIdentity":"x"}},
			"keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":["10.0.0.0/8"]}},"publicNetworkAccess":"Enabled","minimumTlsVersion":"Tls12"}`,
		"/streamingEndpoints/x2": `{"description":"d","unknown":{"a":[1,2]},"resourceState":"Running"}`,
	}
	values := []string{`null`, `[]`, `{}`, `[null]`, `[{}]`, `7`, `-1e300`, `true`, `""`, `"\u0000"`, `"../../x"`, `"` + strings.Repeat("a", 3000) + `"`, `{"@odata.type":null}`, `{"@odata.type":"#Microsoft.Media.Nothing"}`}
	for path, doc := range documents {
		bodies := []string{}
		for _, at := range jsonValues(doc) {
			for _, v := range values {
				bodies = append(bodies, doc[:at[0]]+v+doc[at[1]:])
			}
		}
		for _, body := range bodies {
			version := asyncV
			if path == "2" { // an account, to be done when it is answered
				version = syncV
			}
			a := w.put(acct+path, version, `{"location":"westeurope","properties":`+body+`}`)
			switch {
			case a.status >= 500:
				t.Fatalf("%s: %d %s", body, a.status, a.raw)
			case a.status < 300:
				w.do("DELETE", acct+path, asyncV, "").want(200)
			}
		}
	}
}

// jsonValues finds where the values of a document's objects and arrays stand.
func jsonValues(doc string) [][2]int {
	var found [][2]int
	var value func(i int) int
	value = func(i int) int {
		start := i
		switch doc[i] {
		case '{', '[':
			object := doc[i] == '{'
			for i++; doc[i] != '}' && doc[i] != ']'; {
				switch c := doc[i]; {
				case strings.IndexByte(", \n\t", c) >= 0:
					i++
				case object:
					i += strings.IndexByte(doc[i:], ':') + 1 // no name here holds a colon
					i = value(i)
				default:
					i = value(i)
				}
			}
			i++
		case '"':
			i += strings.IndexByte(doc[i+1:], '"') + 2
		default:
			i += strings.IndexAny(doc[i:], ",]}")
		}
		found = append(found, [2]int{start, i})
		return i
	}
	value(0)
	return found
}
