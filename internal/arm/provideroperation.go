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

// operations lists the actions of a provider's rows, which are all that this server serves on the management host.
func (m *Manager) operations(p *Provider) []providerOperation {
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
	return slices.CompactFunc(list, func(a, b providerOperation) bool { return key(a) == key(b) })
}

func (m *Manager) listOperations(w http.ResponseWriter, r *azure.Request) error {
	p := m.providers[strings.ToLower(r.Vars["namespace"])]
	if p == nil {
		return azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", r.Vars["namespace"])
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": m.operations(p)})
}

// addProviderOperations adds the same lists as Microsoft.Authorization has them, by resource type, for those who make
// roles. Every caller may read them.
//
// Source: https://learn.microsoft.com/rest/api/authorization/provider-operations-metadata
func (m *Manager) addProviderOperations() {
	for _, row := range []struct{ name, pattern string }{{"List", ""}, {"Get", "/{namespace}"}} {
		m.commands = append(m.commands, commandRow{versions: authorizationVersions, decide: byHandler, route: azure.Route{
			Name: "Microsoft.Authorization/providerOperations." + row.name, Method: http.MethodGet,
			Pattern: "/providers/Microsoft.Authorization/providerOperations" + row.pattern,
			Action:  "Microsoft.Authorization/providerOperations/read", Handle: m.providerOperations,
		}})
	}
}

// shownOperations is a provider with its operations; those are left out of a list without $expand=resourceTypes.
type shownOperations struct {
	ID            string                `json:"id"`
	Name          string                `json:"name"`
	Type          string                `json:"type"`
	DisplayName   string                `json:"displayName"`
	ResourceTypes []*typeOperations     `json:"resourceTypes,omitempty"`
	Operations    []describedOperations `json:"operations"`
}

type typeOperations struct {
	Name        string                `json:"name"`
	DisplayName string                `json:"displayName"`
	Operations  []describedOperations `json:"operations"`
}

type describedOperations struct {
	Name         string `json:"name"`
	DisplayName  string `json:"displayName"`
	Description  string `json:"description"`
	IsDataAction bool   `json:"isDataAction"`
}

func (m *Manager) providerOperations(w http.ResponseWriter, r *azure.Request) error {
	expand, err := parseExpand(queryValue(r.URL, "$expand"), []string{"resourcetypes"})
	if err != nil {
		return err
	}
	if name := r.Vars["namespace"]; name != "" {
		p := m.providers[strings.ToLower(name)]
		if p == nil {
			return azure.Errorf(http.StatusNotFound, "ProviderNotFound", "Provider '%s' not found.", name)
		}
		return azure.WriteJSON(w, http.StatusOK, m.showOperations(p, len(expand) > 0))
	}
	value := []shownOperations{}
	for _, p := range m.providers {
		value = append(value, m.showOperations(p, len(expand) > 0))
	}
	slices.SortFunc(value, func(a, b shownOperations) int { return strings.Compare(a.Name, b.Name) })
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

func (m *Manager) showOperations(p *Provider, expand bool) shownOperations {
	const typ = "Microsoft.Authorization/providerOperations"
	s := shownOperations{ID: "/providers/" + typ + "/" + p.Namespace, Name: p.Namespace, Type: typ, DisplayName: p.Namespace, Operations: []describedOperations{}}
	if !expand {
		return s
	}
	byType := map[string]*typeOperations{}
	for _, o := range m.operations(p) {
		described := describedOperations{o.Name, o.Display["operation"] + " " + o.Display["resource"], o.Display["description"], o.IsDataAction}
		name := o.Display["resource"]
		if name == "" {
			s.Operations = append(s.Operations, described)
			continue
		}
		t := byType[strings.ToLower(name)]
		if t == nil {
			t = &typeOperations{Name: name, DisplayName: name}
			byType[strings.ToLower(name)] = t
			s.ResourceTypes = append(s.ResourceTypes, t)
		}
		t.Operations = append(t.Operations, described)
	}
	return s
}
