package arm

import (
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// azureLocations are the names and display names of Azure's regions.
var azureLocations = []struct{ name, display string }{
	{"australiacentral", "Australia Central"},
	{"australiaeast", "Australia East"},
	{"australiasoutheast", "Australia Southeast"},
	{"austriaeast", "Austria East"},
	{"belgiumcentral", "Belgium Central"},
	{"brazilsouth", "Brazil South"},
	{"canadacentral", "Canada Central"},
	{"canadaeast", "Canada East"},
	{"centralindia", "Central India"},
	{"centralus", "Central US"},
	{"chilecentral", "Chile Central"},
	{"eastasia", "East Asia"},
	{"eastus", "East US"},
	{"eastus2", "East US 2"},
	{"francecentral", "France Central"},
	{"francesouth", "France South"},
	{"germanynorth", "Germany North"},
	{"germanywestcentral", "Germany West Central"},
	{"indonesiacentral", "Indonesia Central"},
	{"israelcentral", "Israel Central"},
	{"italynorth", "Italy North"},
	{"japaneast", "Japan East"},
	{"japanwest", "Japan West"},
	{"koreacentral", "Korea Central"},
	{"koreasouth", "Korea South"},
	{"malaysiawest", "Malaysia West"},
	{"mexicocentral", "Mexico Central"},
	{"newzealandnorth", "New Zealand North"},
	{"northcentralus", "North Central US"},
	{"northeurope", "North Europe"},
	{"norwayeast", "Norway East"},
	{"norwaywest", "Norway West"},
	{"polandcentral", "Poland Central"},
	{"qatarcentral", "Qatar Central"},
	{"southafricanorth", "South Africa North"},
	{"southafricawest", "South Africa West"},
	{"southcentralus", "South Central US"},
	{"southindia", "South India"},
	{"southeastasia", "Southeast Asia"},
	{"spaincentral", "Spain Central"},
	{"swedencentral", "Sweden Central"},
	{"switzerlandnorth", "Switzerland North"},
	{"switzerlandwest", "Switzerland West"},
	{"uaecentral", "UAE Central"},
	{"uaenorth", "UAE North"},
	{"uksouth", "UK South"},
	{"ukwest", "UK West"},
	{"westcentralus", "West Central US"},
	{"westeurope", "West Europe"},
	{"westindia", "West India"},
	{"westus", "West US"},
	{"westus2", "West US 2"},
	{"westus3", "West US 3"},
}

// addLocations sets the locations in which resources can be made. A name that Azure does not have stands for itself.
func (m *Manager) addLocations(names []string) {
	display := map[string]string{}
	for _, l := range azureLocations {
		display[l.name] = l.display
		if len(names) == 0 {
			m.order = append(m.order, l.name)
		}
	}
	for _, name := range names {
		key := normalLocation(name)
		if display[key] == "" {
			display[key] = strings.TrimSpace(name)
		}
		m.order = append(m.order, key)
	}
	for _, name := range m.order {
		m.locations[name] = display[name]
	}
}

func (m *Manager) listLocations(w http.ResponseWriter, r *azure.Request) error {
	type location struct {
		ID                  string            `json:"id"`
		Type                string            `json:"type"`
		Name                string            `json:"name"`
		DisplayName         string            `json:"displayName"`
		RegionalDisplayName string            `json:"regionalDisplayName"`
		Metadata            map[string]string `json:"metadata"`
	}
	value := []location{}
	for _, name := range m.order {
		value = append(value, location{
			ID: "/subscriptions/" + strings.ToLower(r.Vars["subscription"]) + "/locations/" + name, Type: "Region", Name: name,
			DisplayName: m.locations[name], RegionalDisplayName: m.locations[name],
			Metadata: map[string]string{"regionType": "Physical", "regionCategory": "Recommended"},
		})
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}
