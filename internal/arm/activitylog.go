package arm

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
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
	q := r.URL.Query()
	keep, err := parseFilter(q.Get("$filter"))
	if err != nil {
		return err
	}
	f := activityFilter(q.Get("$filter"))
	f.Resource = "/subscriptions/" + strings.ToLower(r.Vars["subscription"])
	if f.After, err = activityAfter(q.Get("$skipToken")); err != nil {
		return err
	}
	items := []activity{}
	body := map[string]any{}
	for more := true; more && len(items) < activityPage; {
		records, err := m.o.Audit.Query(r.Context(), f)
		if err != nil {
			return err
		}
		more = len(records) > 0
		for i := range records {
			f.After = records[i].Seq
			item := m.activity(&records[i], r.Vars["subscription"])
			ok, err := keep(item)
			if err != nil {
				return err
			}
			if ok {
				items = append(items, item)
			}
			if len(items) == activityPage {
				q.Set("$skipToken", base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(f.After, 10))))
				body["nextLink"] = m.view(r).URLs.Management() + (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()
				break
			}
		}
	}
	body["value"] = items
	return azure.WriteJSON(w, http.StatusOK, body)
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

var (
	callerTerm = regexp.MustCompile(`(?i)\bcaller\s+eq\s+'([^']*)'`)
	sinceTerm  = regexp.MustCompile(`(?i)\beventTimestamp\s+ge\s+'([^']*)'`)
	otherwise  = regexp.MustCompile(`(?i)\b(or|not)\b`)
)

// activityFilter takes out of a filter what an index answers. The filter itself is still applied to every entry, so
// what is not recognised here costs time and nothing else.
func activityFilter(text string) audit.Filter {
	var f audit.Filter
	if otherwise.MatchString(text) {
		return f
	}
	if m := callerTerm.FindStringSubmatch(text); m != nil {
		f.Principal = strings.ToLower(m[1])
	}
	if m := sinceTerm.FindStringSubmatch(text); m != nil {
		if t, err := time.Parse(time.RFC3339, m[1]); err == nil {
			f.Since = t
		}
	}
	return f
}

func activityAfter(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		var n int64
		if n, err = strconv.ParseInt(string(text), 10, 64); err == nil && n >= 0 {
			return n, nil
		}
	}
	return 0, azure.Errorf(http.StatusBadRequest, "InvalidSkipToken", "The $skipToken '%s' is not one that this server gave.", token)
}
