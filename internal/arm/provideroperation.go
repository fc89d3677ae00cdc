package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// providerOperation is an RBAC action as /providers/{namespace}/operations shows it.
type providerOperation struct {
	Name         string            `json:"name"`
	IsDataAction bool              `json:"isDataAction"`
	Display      map[string]string `json:"display"`
}

// listOperations lists the actions of a provider's rows, which are all that this host serves.
func (m *Manager) listOperations(w http.ResponseWriter, r *azure.Request) error {
	p := m.providers[strings.ToLower(r.Vars["namespace"])]
	if p == nil {
		return azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", r.Vars["namespace"])
	}
	prefix := strings.ToLower(p.Namespace) + "/"
	list := []providerOperation{}
	for _, row := range m.Routes() {
		if !strings.HasPrefix(strings.ToLower(row.Action), prefix) {
			continue
		}
		resource, verb := row.Action, ""
		for range 1 + strings.Count(row.Action, "/action") {
			i := strings.LastIndexByte(resource, '/')
			verb, resource = row.Action[i+1:], resource[:i]
		}
		list = append(list, providerOperation{Name: row.Action, IsDataAction: row.Data, Display: map[string]string{
			"provider": p.Namespace, "resource": resource[min(len(prefix), len(resource)):], "operation": verb, "description": row.Name,
		}})
	}
	key := func(o providerOperation) string { return strings.ToLower(o.Name) }
	slices.SortStableFunc(list, func(a, b providerOperation) int { return strings.Compare(key(a), key(b)) })
	list = slices.CompactFunc(list, func(a, b providerOperation) bool { return key(a) == key(b) })
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": list})
}
