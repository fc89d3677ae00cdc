package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// Types of Microsoft.Resources, in lower case.
const (
	subscriptionType = "microsoft.resources/subscriptions"
	groupType        = "microsoft.resources/resourcegroups"
)

// resourcesVersions are the api-versions of Microsoft.Resources that clients in use send; one list, as the shapes that
// are served are the same in all of them.
var resourcesVersions = []string{
	"2014-04-01-preview", "2015-01-01", "2015-11-01", "2016-02-01", "2016-06-01", "2016-07-01", "2016-09-01", "2017-05-10", "2017-08-01",
	"2018-01-01", "2018-02-01", "2018-05-01", "2018-06-01", "2019-03-01", "2019-05-01", "2019-05-10", "2019-06-01", "2019-07-01",
	"2019-08-01", "2019-10-01", "2019-11-01", "2020-01-01", "2020-05-01", "2020-06-01", "2020-08-01", "2020-09-01", "2020-10-01",
	"2021-01-01", "2021-04-01", "2022-09-01", "2022-12-01", "2023-07-01", "2024-03-01", "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01",
}

// subscription is what is stored of a subscription.
type subscription struct {
	DisplayName string `json:"displayName"`
}

// addResources registers Microsoft.Resources.
func (m *Manager) addResources() {
	p := &Provider{Namespace: "Microsoft.Resources", Types: []Type{
		{Name: "Microsoft.Resources/subscriptions", Versions: resourcesVersions, ReadOnly: true},
		{
			Name: "Microsoft.Resources/resourceGroups", Versions: resourcesVersions, Tracked: true,
			action: "Microsoft.Resources/subscriptions/resourceGroups", CheckName: checkGroupName,
			Validate: func(_ context.Context, _ *store.Tx, w *Write) error {
				w.New.Properties = json.RawMessage(`{}`)
				return nil
			},
		},
	}}
	m.providers["microsoft.resources"] = p
	m.types[subscriptionType] = &typeRows{Type: &p.Types[0]} // served by the rows below
	groups := m.typeRows(&p.Types[1])
	groups.list = nil // its path is not a resource ID; a row below serves it
	m.types[groupType] = groups
	add := func(name, method, pattern, action string, decide decideBy, handle func(http.ResponseWriter, *azure.Request) error) {
		m.commands = append(m.commands, commandRow{versions: resourcesVersions, decide: decide, route: m.recorded(azure.Route{
			Name: "Microsoft.Resources/" + name, Method: method, Pattern: pattern, Action: "Microsoft.Resources/" + action + "/read", Handle: handle,
		})})
	}
	const get, sub = http.MethodGet, "/subscriptions/{subscription}"
	m.commands = append(m.commands, commandRow{decide: byHandler, route: azure.Route{
		Name: "Microsoft.Resources/metadata.Endpoints", Method: get, Pattern: "/metadata/endpoints",
		Public: "clients read it to find out where to sign in", Handle: m.metadata,
	}})
	m.commands = append(m.commands, commandRow{decide: byHandler, route: azure.Route{
		Name: "Microsoft.Resources/providers.ListOperations", Method: get, Pattern: "/providers/{namespace}/operations",
		Public: "a list of operations that is the same for everyone", Handle: m.listOperations,
	}})
	add("tenants.List", get, "/tenants", "tenants", byHandler, m.listTenants)
	add("subscriptions.List", get, "/subscriptions", "subscriptions", byHandler, m.listSubscriptions)
	add("subscriptions.Get", get, sub, "subscriptions", byPath, m.getSubscription)
	add("locations.List", get, sub+"/locations", "subscriptions/locations", byPath, m.listLocations)
	add("resourceGroups.List", get, sub+"/resourceGroups", "subscriptions/resourceGroups", byPathList, m.listGroups(groups.Type))
	add("resources.List", get, sub+"/resources", "subscriptions/resources", byPathList, m.listResources)
	add("resources.ListByResourceGroup", get, sub+"/resourceGroups/{resourceGroup}/resources", "subscriptions/resourceGroups/resources", byPathList, m.listResources)
	add("providers.ListAtTenant", get, "/providers", "providers", byHandler, m.listProviders)
	add("providers.GetAtTenant", get, "/providers/{namespace}", "providers", byHandler, m.getProvider)
	add("providers.List", get, sub+"/providers", "subscriptions/providers", byPath, m.listProviders)
	add("providers.Get", get, sub+"/providers/{namespace}", "subscriptions/providers", byPath, m.getProvider)
	add("providers.Register", http.MethodPost, sub+"/providers/{namespace}/register", "subscriptions/providers", byPath, m.getProvider)
	add("operationResults.Get", get, sub+"/operationresults/{operation}", "subscriptions/operationresults", byOperation, m.operationResult)
}

var groupName = regexp.MustCompile(`^[\p{L}\p{N}_\-.()]{1,90}$`)

func checkGroupName(name string) error {
	if groupName.MatchString(name) && !strings.HasSuffix(name, ".") {
		return nil
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidResourceGroup",
		"The resource group name '%s' is not valid: it has 1 to 90 letters, digits, '_', '-', '.', '(' or ')' and does not end with '.'.", name)
}

func (m *Manager) listTenants(w http.ResponseWriter, r *azure.Request) error {
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": []any{map[string]any{
		"id": "/tenants/" + m.o.TenantID, "tenantId": m.o.TenantID, "tenantCategory": "Home", "displayName": "Keyreel",
	}}})
}

func (m *Manager) showSubscription(res *Resource) (any, error) {
	var s subscription
	if err := json.Unmarshal(res.Properties, &s); err != nil {
		return nil, fmt.Errorf("showing %s: %w", res.ID, err)
	}
	body := map[string]any{
		"id": res.ID.String(), "subscriptionId": res.ID.Name(), "displayName": s.DisplayName, "state": "Enabled", "tenantId": m.o.TenantID,
		"authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]any{
			"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
		},
	}
	if len(res.Tags) > 0 {
		body["tags"] = res.Tags
	}
	return body, nil
}

func (m *Manager) getSubscription(w http.ResponseWriter, r *azure.Request) error {
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	var res *Resource
	err = m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		res, err = m.Get(r.Context(), tx, id)
		return err
	})
	if err != nil {
		return err
	}
	body, err := m.showSubscription(res)
	if err != nil {
		return err
	}
	return azure.WriteJSON(w, http.StatusOK, body)
}

// listSubscriptions shows those in which the caller has a role, at the subscription, above it or below it.
func (m *Manager) listSubscriptions(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	var all []*Resource
	err := m.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		all, err = query(ctx, tx, `type = $1 ORDER BY key`, subscriptionType)
		return err
	})
	if err != nil {
		return err
	}
	value := []any{}
	for _, res := range all {
		assigned, err := m.o.RBAC.Assignments(ctx, res.ID.String(), true)
		if err != nil {
			return err
		}
		visible := false
		for _, a := range assigned {
			if slices.Contains(r.Caller.Principals(), a.PrincipalID) {
				visible = true
				break
			}
		}
		if !visible {
			continue
		}
		item, err := m.showSubscription(res)
		if err != nil {
			return err
		}
		value = append(value, item)
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value, "count": map[string]any{"type": "Total", "value": len(value)}})
}

func (m *Manager) listGroups(groups *Type) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		scope := azure.ResourceID{Scope: "/subscriptions/" + strings.ToLower(r.Vars["subscription"])}
		view := m.view(r)
		return m.listPage(w, r, page{
			scope: scope, size: 1000, properties: []string{"tagname", "tagvalue"},
			rows: func(ctx context.Context, tx *store.Tx, from, to string, limit int) ([]*Resource, error) {
				return query(ctx, tx, `type = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4`, groupType, from, to, limit)
			},
			show: func(ctx context.Context, tx *store.Tx, res *Resource) (any, error) {
				return m.show(ctx, tx, groups, res, view)
			},
		})
	}
}

// Names of resourceFilter and resourceExpand are those of the REST reference.
//
// Source: https://learn.microsoft.com/rest/api/resources/resources/list
var (
	resourceFilter = []string{
		"resourcetype", "name", "location", "resourcegroup", "tagname", "tagvalue", "kind", "sku/name", "identity/type", "identity/principalid",
		"createdtime", "changedtime", "provisioningstate",
	}
	resourceExpand = []string{"createdtime", "changedtime", "provisioningstate"}
)

// expandedResource is a resource of a list with what $expand adds.
type expandedResource struct {
	shown
	CreatedTime       *time.Time `json:"createdTime,omitempty"`
	ChangedTime       *time.Time `json:"changedTime,omitempty"`
	ProvisioningState string     `json:"provisioningState,omitempty"`
}

// parseExpand reads a list of names, of which those known are returned in lower case.
func parseExpand(text string, known []string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	names := strings.Split(strings.ToLower(text), ",")
	for i, name := range names {
		if names[i] = strings.TrimSpace(name); !slices.Contains(known, names[i]) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidExpand", "$expand '%s' is not valid: '%s' is not one of %s.", text, name, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// listResources lists the tracked resources of a subscription or group, without their properties.
func (m *Manager) listResources(w http.ResponseWriter, r *azure.Request) error {
	scope := azure.ResourceID{Scope: "/subscriptions/" + strings.ToLower(r.Vars["subscription"])}
	if group := r.Vars["resourceGroup"]; group != "" {
		scope.Scope += "/resourceGroups/" + group
	}
	expand, err := parseExpand(queryValue(r.URL, "$expand"), resourceExpand)
	if err != nil {
		return err
	}
	return m.listPage(w, r, page{
		scope: scope, size: 1000, properties: resourceFilter,
		rows: func(ctx context.Context, tx *store.Tx, from, to string, limit int) ([]*Resource, error) {
			return query(ctx, tx, `key >= $1 AND key < $2 AND location <> '' AND type <> $3 AND type <> $4 ORDER BY key LIMIT $5`,
				from, to, groupType, strings.ToLower(deploymentType), limit)
		},
		show: func(_ context.Context, _ *store.Tx, res *Resource) (any, error) {
			rows := m.types[typeKey(res.ID)]
			if rows == nil {
				return nil, fmt.Errorf("listing %s: type %s is not registered", res.ID, res.ID.Type())
			}
			item := expandedResource{shown: rows.envelope(res)}
			for _, name := range expand {
				switch name {
				case "createdtime":
					item.CreatedTime = &res.System.CreatedAt
				case "changedtime":
					item.ChangedTime = &res.System.LastModifiedAt
				case "provisioningstate":
					item.ProvisioningState = res.State
				}
			}
			return item, nil
		},
	})
}

type shownProvider struct {
	ID                string      `json:"id"`
	Namespace         string      `json:"namespace"`
	RegistrationState string      `json:"registrationState,omitempty"`
	Policy            string      `json:"registrationPolicy,omitempty"`
	ResourceTypes     []shownType `json:"resourceTypes"`
}

type shownType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
	Capabilities string   `json:"capabilities"`
}

func (m *Manager) showProvider(p *Provider, sub string) shownProvider {
	s := shownProvider{ID: "/providers/" + p.Namespace, Namespace: p.Namespace, ResourceTypes: []shownType{}}
	if sub != "" {
		s.ID = "/subscriptions/" + strings.ToLower(sub) + s.ID
		s.RegistrationState, s.Policy = "Registered", "RegistrationRequired"
	}
	for _, t := range p.Types {
		st := shownType{Locations: []string{}, APIVersions: slices.Clone(t.Versions), Capabilities: "None"}
		_, st.ResourceType, _ = strings.Cut(t.Name, "/")
		slices.Sort(st.APIVersions)
		slices.Reverse(st.APIVersions)
		if t.Tracked {
			st.Capabilities = "SupportsTags, SupportsLocation"
			for _, name := range m.order {
				st.Locations = append(st.Locations, m.locations[name])
			}
		}
		s.ResourceTypes = append(s.ResourceTypes, st)
	}
	return s
}

func (m *Manager) listProviders(w http.ResponseWriter, r *azure.Request) error {
	value := []shownProvider{}
	for _, p := range m.providers {
		value = append(value, m.showProvider(p, r.Vars["subscription"]))
	}
	slices.SortFunc(value, func(a, b shownProvider) int { return strings.Compare(a.Namespace, b.Namespace) })
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

// getProvider serves GET and register: every provider is registered in every subscription.
func (m *Manager) getProvider(w http.ResponseWriter, r *azure.Request) error {
	p := m.providers[strings.ToLower(r.Vars["namespace"])]
	if p == nil {
		return azure.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", r.Vars["namespace"])
	}
	return azure.WriteJSON(w, http.StatusOK, m.showProvider(p, r.Vars["subscription"]))
}
