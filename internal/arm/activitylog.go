package arm

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
)

// activityVersions are the api-versions of the activity log.
var activityVersions = []string{"2014-04-01", "2015-04-01", "2017-03-01-preview"}

// activityPage is how many entries a page holds at the most, as in Azure.
const activityPage = 200

// activityScan is how many records are looked through for one page, before it goes out as full as it is: a filter that
// hardly anything matches must not run into the request's time limit.
const activityScan = 20_000

// addActivityLog adds the log of what was decided and done in a subscription, read from the audit chain. Beyond Azure's
// it tells data-plane operations and uses of keys too.
//
// Source: https://learn.microsoft.com/rest/api/monitor/activity-logs/list
func (m *Manager) addActivityLog() {
	m.commands = append(m.commands, commandRow{versions: activityVersions, decide: byPath, route: m.recorded(azure.Route{
		Name: "Microsoft.Insights/activityLogs.List", Method: http.MethodGet,
		Pattern: "/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values",
		Action:  "Microsoft.Insights/eventtypes/values/read", Handle: m.listActivity,
	})})
}

// activity is an entry of the activity log.
type activity struct {
	ID                string            `json:"id"`
	EventDataID       string            `json:"eventDataId"`
	EventTimestamp    time.Time         `json:"eventTimestamp"`
	Caller            string            `json:"caller,omitempty"`
	OperationName     localized         `json:"operationName"`
	Category          localized         `json:"category"`
	Status            localized         `json:"status"`
	SubStatus         localized         `json:"subStatus"`
	Level             string            `json:"level"`
	ResourceID        string            `json:"resourceId"`
	ResourceGroupName string            `json:"resourceGroupName,omitempty"`
	ResourceProvider  localized         `json:"resourceProviderName"`
	ResourceType      localized         `json:"resourceType"`
	CorrelationID     string            `json:"correlationId,omitempty"`
	Authorization     map[string]string `json:"authorization,omitempty"`
	HTTPRequest       map[string]string `json:"httpRequest,omitempty"`
	Properties        map[string]string `json:"properties"`
	SubscriptionID    string            `json:"subscriptionId"`
	TenantID          string            `json:"tenantId"`
}

// localized is a value with its text for people; here they are the same.
type localized struct {
	Value          string `json:"value"`
	LocalizedValue string `json:"localizedValue"`
}

func (m *Manager) listActivity(w http.ResponseWriter, r *azure.Request) error {
	text := queryValue(r.URL, "$filter")
	keep, err := parseFilter(text)
	if err != nil {
		return err
	}
	f := activityFilter(text, "/subscriptions/"+strings.ToLower(r.Vars["subscription"]))
	if f.After, err = activityAfter(queryValue(r.URL, "$skiptoken")); err != nil {
		return err
	}
	items, more := []activity{}, true
	for scanned := 0; more && len(items) < activityPage && scanned < activityScan; {
		records, err := m.o.Audit.Query(r.Context(), f)
		if err != nil {
			return err
		}
		more = len(records) > 0
		scanned += len(records)
		for i := range records {
			f.After = records[i].Seq
			item := m.activity(&records[i], r.Vars["subscription"])
			ok, err := keep(item.fields())
			if err != nil {
				return err
			}
			if ok {
				items = append(items, item)
			}
			if len(items) == activityPage {
				break
			}
		}
	}
	body := map[string]any{"value": items}
	if more {
		body["nextLink"] = m.nextLink(r, strconv.FormatInt(f.After, 10), 0)
	}
	return azure.WriteJSON(w, http.StatusOK, body)
}

// fields are what a filter can name: https://learn.microsoft.com/rest/api/monitor/activity-logs/list and az's own.
func (a activity) fields() map[string]any {
	return map[string]any{
		"eventTimestamp": a.EventTimestamp, "caller": a.Caller, "correlationId": a.CorrelationID, "levels": a.Level, "level": a.Level,
		"resourceId": a.ResourceID, "resourceUri": a.ResourceID, "resourceGroupName": a.ResourceGroupName,
		"resourceProvider": a.ResourceProvider.Value, "resourceType": a.ResourceType.Value, "type": a.ResourceType.Value,
		"operationName": a.OperationName.Value, "category": a.Category.Value, "status": a.Status.Value, "subStatus": a.SubStatus.Value,
		"eventDataId": a.EventDataID, "properties": a.Properties,
	}
}

func (m *Manager) activity(rec *audit.Record, subscription string) activity {
	same := func(s string) localized { return localized{s, s} }
	a := activity{
		EventDataID: strconv.FormatInt(rec.Seq, 10), EventTimestamp: rec.Time, Caller: rec.Principal,
		OperationName: same(rec.Operation), Category: same(rec.Category), Status: same(rec.Result), Level: "Informational",
		ResourceID: rec.Resource, CorrelationID: rec.RequestID, Properties: map[string]string{"hash": rec.Hash},
		SubscriptionID: subscription, TenantID: m.o.TenantID,
	}
	a.ID = rec.Resource + "/events/" + a.EventDataID
	if id, err := azure.ParseResourceID(rec.Resource); err == nil {
		a.ResourceGroupName, a.ResourceProvider, a.ResourceType = id.ResourceGroup(), same(id.Namespace), same(id.Type())
	}
	if rec.Status != 0 {
		a.SubStatus = same(strconv.Itoa(rec.Status))
	}
	if rec.Result == "Denied" || rec.Result == "Failure" {
		a.Level = "Error"
	}
	if rec.Action != "" {
		a.Authorization = map[string]string{"action": rec.Action, "scope": rec.Resource}
	}
	if rec.ClientIP != "" {
		a.HTTPRequest = map[string]string{"clientIpAddress": rec.ClientIP}
	}
	for key, value := range rec.Details {
		a.Properties[key] = value
	}
	for key, value := range map[string]string{"reason": rec.Reason, "identity": rec.Identity} {
		if value != "" {
			a.Properties[key] = value
		}
	}
	if rec.Count > 0 {
		a.Properties["count"] = strconv.FormatInt(rec.Count, 10)
	}
	return a
}

// activityFilter takes out of a filter what an index answers, within a subscription. The filter itself is still applied
// to every entry, so what is not recognised here costs time and nothing else.
func activityFilter(text, subscription string) audit.Filter {
	f := audit.Filter{Resource: subscription}
	tokens, err := filterTokens(text)
	or := func(token string) bool { return strings.EqualFold(token, "or") || strings.EqualFold(token, "not") }
	if err != nil || slices.ContainsFunc(tokens, or) {
		return f
	}
	for i := 0; i+2 < len(tokens); i++ {
		literal, err := parseLiteral(tokens[i+2])
		if err != nil {
			continue
		}
		value, _ := literal.(string)
		at, isTime := literal.(time.Time)
		if t, err := time.Parse(time.RFC3339, value); err == nil {
			at, isTime = t, true
		}
		switch field, op := strings.ToLower(tokens[i]), strings.ToLower(tokens[i+1]); {
		case field == "caller" && op == "eq":
			f.Principal = strings.ToLower(value)
		case (field == "resourceid" || field == "resourceuri") && op == "eq":
			if key := strings.ToLower(value); strings.HasPrefix(key, subscription+"/") {
				f.Resource = key
			}
		case field == "eventtimestamp" && (op == "ge" || op == "gt") && isTime:
			f.Since = at
		case field == "eventtimestamp" && (op == "le" || op == "lt") && isTime:
			f.Until = at.Add(time.Microsecond) // which Query leaves out
		}
	}
	return f
}

func activityAfter(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	key, err := parseSkipToken(token, "", "a") // digits come before letters
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil || n < 0 {
		return 0, errSkipToken(token)
	}
	return n, nil
}
