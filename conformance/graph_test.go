package conformance

import (
	"encoding/json"
	"net/http"
	"testing"
)

// graph calls Microsoft Graph as the administrator and returns the object that it answers, if any.
func (s *server) graph(t testing.TB, method, path string, body any, want int) map[string]any {
	t.Helper()
	text, err := json.Marshal(body)
	check(t, err)
	resp, answer := s.raw(t, method, s.URLs().Graph()+"/v1.0/"+path, s.token(t, s.Admin, "https://graph.microsoft.com"), string(text), "Content-Type", "application/json")
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	var out map[string]any
	if answer != "" {
		check(t, json.Unmarshal([]byte(answer), &out))
	}
	return out
}

// application is a registered application with a service principal and a client secret.
type application struct{ id, clientID, principal, secret string }

func (s *server) application(t testing.TB, properties map[string]any) *application {
	t.Helper()
	if properties == nil {
		properties = map[string]any{}
	}
	properties["displayName"] = "Orders"
	app := s.graph(t, "POST", "applications", properties, http.StatusCreated)
	a := &application{id: app["id"].(string), clientID: app["appId"].(string)}
	a.principal = s.graph(t, "POST", "servicePrincipals", map[string]any{"appId": a.clientID}, http.StatusCreated)["id"].(string)
	a.secret = s.graph(t, "POST", "applications/"+a.id+"/addPassword", map[string]any{}, http.StatusOK)["secretText"].(string)
	return a
}

// newGroup makes a group of the directory and returns its id.
func (s *server) newGroup(t testing.TB, name string, members ...string) string {
	t.Helper()
	group := s.graph(t, "POST", "groups", map[string]any{
		"displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true,
	}, http.StatusCreated)["id"].(string)
	for _, member := range members {
		s.graph(t, "POST", "groups/"+group+"/members/$ref", map[string]any{
			"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + member,
		}, http.StatusNoContent)
	}
	return group
}
