package arm

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
)

// DecisionHandler serves the policy decision point, {region}.authorization.azure.net: version 2 of checkAccess, for tokens
// that are meant for it. It answers the same in every region. No provider can be registered afterwards.
//
// Source: the client github.com/Azure/checkaccess-v2-go-sdk.
func (m *Manager) DecisionHandler() http.Handler {
	m.sealed = true
	own := azure.URLs{Hosts: m.o.Hosts}.AuthorizationResource()
	audiences := []string{"https://authorization.azure.net", own}
	return &azure.Router{
		Service: azure.Authorization, Authorize: m.authorize, Render: azure.RenderDecision, NotFound: notFound,
		Authenticate: func(r *azure.Request) error { return m.authenticateFor(r, audiences) },
		Lookup: func(r *http.Request) (*azure.Route, map[string]string, error) {
			row, vars, err := m.lookup(r)
			if err == nil && (row == nil || row.Action != checkAccessAction || row.Name != checkAccessType+".Check" || vars[varVersion] != pdpVersion) {
				return nil, nil, azure.Errorf(http.StatusNotFound, "NotFound",
					"The policy decision point answers POST {scope}/providers/%s?api-version=%s alone.", checkAccessType, pdpVersion)
			}
			return row, vars, err
		},
	}
}
