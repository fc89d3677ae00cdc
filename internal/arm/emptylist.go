package arm

import (
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// addEmptyLists adds the lists that clients ask for and of which this server has nothing: nobody is a classic
// administrator, and every role is held, none is one's to activate.
func (m *Manager) addEmptyLists() {
	empty := func(w http.ResponseWriter, _ *azure.Request) error {
		return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": []any{}})
	}
	m.commands = append(m.commands, commandRow{versions: authorizationVersions, decide: byPath, route: azure.Route{
		Name: "Microsoft.Authorization/classicAdministrators.List", Method: http.MethodGet,
		Pattern: "/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators",
		Action:  "Microsoft.Authorization/classicAdministrators/read", Handle: empty,
	}})
	for _, name := range []string{"roleEligibilitySchedules", "roleEligibilityScheduleInstances", "roleEligibilityScheduleRequests"} {
		typ := "Microsoft.Authorization/" + name
		m.extensions[strings.ToLower(typ)] = &typeRows{
			Type: &Type{Name: typ, Versions: []string{"2020-10-01", "2020-10-01-preview", "2022-04-01-preview", "2024-09-01-preview"}, ReadOnly: true},
			list: &azure.Route{
				Name: typ + ".List", Method: http.MethodGet, Pattern: "{scope}/providers/" + typ, Action: typ + "/read", Handle: empty,
			},
		}
	}
}
