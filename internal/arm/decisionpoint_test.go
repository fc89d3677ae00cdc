package arm

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// TestDecisionPoint: the policy decision point answers checkAccess, to tokens that are meant for it, and nothing else.
func TestDecisionPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	handler := w.m.DecisionHandler()
	const v2 = "?api-version=2021-06-01-preview"
	ask := func(method, path, token, body string) (int, map[string]any) {
		t.Helper()
		r := httptest.NewRequest(method, "https://westeurope.authorization.azure.net"+path, strings.NewReader(body)).WithContext(t.Context())
		r.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		var answer map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, rec.Body)
		}
		return rec.Code, answer
	}
	const check, token = "/providers/Microsoft.Authorization/checkAccess", "aud:https://authorization.azure.net/"
	question := `{"Subject":{"Attributes":{"ObjectId":"` + reader + `"}},"Actions":[{"Id":"Test.Things/widgets/read"},{"Id":"Test.Things/widgets/write"}],"Resource":{"Id":"` + widgets + `/w"}}`
	status, answer := ask("POST", check+v2, token, question)
	list, _ := answer["value"].([]any)
	if status != 200 || len(list) != 2 || at(list[0], "accessDecision") != "Allowed" || at(list[1], "accessDecision") != "NotAllowed" {
		t.Errorf("%d %v", status, answer)
	}
	for _, c := range []struct {
		method, path, token, body string
		status                    int
	}{
		{"POST", check + v2, "aud:https://management.azure.com/", question, 401},
		{"POST", check + "?api-version=2018-09-01-preview", token, question, 404},
		{"POST", "/providers/Microsoft.Authorization/explain?api-version=2018-09-01-preview", token, question, 404},
		{"GET", g1 + groupV, token, "", 404},
		{"POST", check + v2, token, `{}`, 400},
		{"POST", check + v2, "aud:https://authorization.keyreel.localhost:8443", question, 200},
	} {
		status, answer := ask(c.method, c.path, c.token, c.body)
		if status != c.status || status != 200 && (answer["statusCode"] != float64(status) || answer["message"] == "") {
			t.Errorf("%s %s: %d %v, want %d", c.method, c.path, status, answer, c.status)
		}
	}
}
