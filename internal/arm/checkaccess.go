package arm

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

const (
	checkAccessType   = "Microsoft.Authorization/checkAccess"
	explainType       = "Microsoft.Authorization/explain"
	checkAccessAction = checkAccessType + "/read" // which Microsoft.Authorization/*/read holds

	checkAccessVersion = "2018-09-01-preview" // answers a bare array
	pdpVersion         = "2021-06-01-preview" // the policy decision point's: answers an object with "value"

	maxQuestions = 1000 // actions of a request
	maxExplained = 20   // actions of one to explain, each of which tells of all the subject's assignments
	maxGroups    = 2048 // groups that a request names, Entra's limit for a principal
	decisionLife = 5000 // milliseconds in which a removed grant is seen everywhere
)

// addCheckAccess adds the questions whether somebody may do something, and why. A principal may ask about itself; about
// another one, who may read the access at the resource.
//
// Source: the clients github.com/Azure/checkaccess-v2-go-sdk and github.com/kubeguard/guard. explain is this server's own.
func (m *Manager) addCheckAccess() {
	add := func(name, verb string, versions []string, handle func(http.ResponseWriter, *azure.Request) error) {
		m.extensions[strings.ToLower(name)] = &typeRows{
			Type: &Type{Name: name, Versions: versions, ReadOnly: true}, decide: byHandler,
			list: &azure.Route{
				Name: name + "." + verb, Method: http.MethodPost, Pattern: "{scope}/providers/" + name, Action: checkAccessAction, MaxBody: maxBody, Handle: handle,
			},
		}
	}
	add(checkAccessType, "Check", []string{checkAccessVersion, pdpVersion}, m.checkAccess)
	add(explainType, "Explain", []string{checkAccessVersion}, m.explain)
}

// accessRequest is a question as a client sends it.
type accessRequest struct {
	Subject struct {
		Attributes struct {
			ObjectID string   `json:"ObjectId"` // empty is the caller
			Groups   []string `json:"Groups"`
		} `json:"Attributes"`
	} `json:"Subject"`
	Actions []struct {
		ID           string         `json:"Id"`
		IsDataAction bool           `json:"IsDataAction"`
		Attributes   map[string]any `json:"Attributes"` // @Request
	} `json:"Actions"`
	Resource struct {
		ID         string         `json:"Id"`         // at or below the scope of the path; empty is that
		Attributes map[string]any `json:"Attributes"` // @Resource
	} `json:"Resource"`
	Environment struct {
		Attributes map[string]any `json:"Attributes"` // @Environment
	} `json:"Environment"`
}

// questions reads a request and checks that its caller may ask. own tells that it asks about itself.
func (m *Manager) questions(r *azure.Request) (list []rbac.Query, own bool, err error) {
	id, _, err := m.target(r)
	if err != nil {
		return nil, false, err
	}
	var req accessRequest
	if err := decode(r, &req); err != nil {
		return nil, false, err
	}
	if n := len(req.Actions); n == 0 || n > maxQuestions {
		return nil, false, errContent("'Actions' holds %d actions; there must be 1 to %d.", n, maxQuestions)
	}
	if r.Scope, err = questionScope(id.Scope, req.Resource.ID); err != nil {
		return nil, false, err
	}
	subject := req.Subject.Attributes
	if n := len(subject.Groups); n > maxGroups {
		return nil, false, errContent("'Groups' of 'Subject' holds %d groups; a principal is in at most %d.", n, maxGroups)
	}
	var principals []string
	mine := func(id string) bool {
		return slices.ContainsFunc(r.Caller.Principals(), func(p string) bool { return strings.EqualFold(p, id) })
	}
	own = subject.ObjectID == "" || strings.EqualFold(subject.ObjectID, r.Caller.ObjectID)
	for _, group := range subject.Groups {
		own = own && mine(group)
	}
	switch {
	case own:
		principals = r.Caller.Principals()
	case subject.ObjectID == "":
		return nil, false, errContent("'Subject' names groups that are not the caller's, and no 'ObjectId'.")
	default:
		_, err := m.decide(r.Context(), r.Caller, checkAccessAction, false, r.Scope, clientIP(r.Request), rbac.Attributes{})
		if err != nil {
			return nil, false, err
		}
		if principals, err = m.principals(r.Context(), subject.ObjectID); err != nil {
			return nil, false, err
		}
		principals = append(principals, subject.Groups...)
	}
	for i, action := range req.Actions {
		if action.ID == "" {
			return nil, false, errContent("'Actions[%d]' has no 'Id'.", i)
		}
		q := rbac.Query{Principals: principals, Action: action.ID, Data: action.IsDataAction, Scope: r.Scope}
		for _, source := range []struct {
			given map[string]any
			to    *map[string][]string
		}{
			{action.Attributes, &q.Attributes.Request},
			{req.Resource.Attributes, &q.Attributes.Resource},
			{req.Environment.Attributes, &q.Attributes.Environment},
		} {
			if *source.to, err = attributeValues(source.given); err != nil {
				return nil, false, err
			}
		}
		for name, values := range q.Attributes.Request {
			if strings.EqualFold(name, "subOperation") && len(values) == 1 {
				q.Attributes.SubOperation = values[0]
			}
		}
		list = append(list, q)
	}
	return list, own, nil
}

// principals lists every id under which a role may have been assigned to a principal.
func (m *Manager) principals(ctx context.Context, id string) ([]string, error) {
	if m.o.Groups == nil {
		return []string{id}, nil
	}
	groups, err := m.o.Groups(ctx, id)
	return append([]string{id}, groups...), err
}

// questionScope returns the resource asked about, which stands at or below the scope of the path.
func questionScope(scope, resource string) (string, error) {
	if resource == "" {
		return scope, nil
	}
	id, err := azure.ParseResourceID(resource)
	if err != nil {
		return "", err
	}
	key, above := id.Key(), strings.ToLower(strings.TrimSuffix(scope, "/"))
	if key != above && !strings.HasPrefix(key, above+"/") {
		return "", errContent("the resource '%s' does not stand below the scope '%s' of the request.", resource, scope)
	}
	return id.String(), nil
}

// attributeValues turns JSON values into those of conditions. null is known not to exist.
func attributeValues(given map[string]any) (map[string][]string, error) {
	out := map[string][]string{}
	for name, value := range given {
		list, ok := value.([]any)
		if !ok && value != nil {
			list = []any{value}
		}
		out[name] = []string{}
		for _, v := range list {
			switch v := v.(type) {
			case string:
				out[name] = append(out[name], v)
			case bool:
				out[name] = append(out[name], strconv.FormatBool(v))
			case float64:
				out[name] = append(out[name], strconv.FormatFloat(v, 'f', -1, 64))
			default:
				return nil, errContent("the attribute '%s' is neither a text, a number, a boolean nor a list of them.", name)
			}
		}
	}
	return out, nil
}

// accessDecision is the answer to one action.
type accessDecision struct {
	ActionID       string            `json:"actionId"`
	AccessDecision string            `json:"accessDecision"` // "Allowed"; "Denied" by a deny assignment; "NotAllowed" for want of a role
	IsDataAction   bool              `json:"isDataAction"`
	RoleAssignment *decidingRole     `json:"roleAssignment,omitempty"`
	DenyAssignment map[string]string `json:"denyAssignment,omitempty"`
	TimeToLive     int               `json:"timeToLiveInMs"`
}

// decidingRole is the assignment that allowed.
type decidingRole struct {
	ID               string `json:"id"`
	RoleDefinitionID string `json:"roleDefinitionId"`
	PrincipalID      string `json:"principalId"`
	PrincipalType    string `json:"principalType"`
	Scope            string `json:"scope"`
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`
	CanDelegate      bool   `json:"canDelegate"`
}

func showAccess(d *rbac.Decision) accessDecision {
	a := accessDecision{ActionID: d.Action, AccessDecision: "NotAllowed", IsDataAction: d.Data, TimeToLive: decisionLife}
	switch {
	case d.Allowed:
		a.AccessDecision = "Allowed"
		shown := showAssignment(*d.Assignment)
		a.RoleAssignment = &decidingRole{
			ID: shown.ID, RoleDefinitionID: shown.Properties.RoleDefinitionID, PrincipalID: d.Assignment.PrincipalID,
			PrincipalType: d.Assignment.PrincipalType, Scope: d.Assignment.Scope, Condition: d.Assignment.Condition,
		}
		if d.Assignment.Condition != "" {
			a.RoleAssignment.ConditionVersion = rbac.ConditionVersion
		}
	case d.Denial != nil:
		a.AccessDecision = "Denied"
		a.DenyAssignment = map[string]string{"id": denialID(*d.Denial), "denyAssignmentName": d.Denial.Name, "scope": d.Denial.Scope}
	}
	return a
}

func (m *Manager) checkAccess(w http.ResponseWriter, r *azure.Request) error {
	list, _, err := m.questions(r)
	if err != nil {
		return err
	}
	value := []accessDecision{}
	for _, q := range list {
		d, err := m.o.RBAC.Decide(r.Context(), q)
		if err != nil {
			return fmt.Errorf("checking access to %s at %s: %w", q.Action, q.Scope, err)
		}
		value = append(value, showAccess(d))
	}
	if r.Vars[varVersion] == pdpVersion {
		return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value, "nextLink": ""})
	}
	return azure.WriteJSON(w, http.StatusOK, value)
}

// explanation is an answer with its reason.
type explanation struct {
	accessDecision
	Reason     string       `json:"reason"`
	Roles      []string     `json:"rolesThatWould"` // built-in, least privilege first; when no role allows
	Considered []considered `json:"considered"`
}

// considered is an assignment that was looked at.
type considered struct {
	ID          string       `json:"id"`
	Type        string       `json:"type"`
	Scope       string       `json:"scope"`
	PrincipalID string       `json:"principalId,omitempty"` // of a role assignment
	RoleName    string       `json:"roleName,omitempty"`
	Condition   string       `json:"condition,omitempty"`
	Outcome     rbac.Outcome `json:"outcome"`
	Why         string       `json:"why"`
}

func (m *Manager) explain(w http.ResponseWriter, r *azure.Request) error {
	list, own, err := m.questions(r)
	if err != nil {
		return err
	}
	if len(list) > maxExplained {
		return errContent("'Actions' holds %d actions; at most %d are explained at once.", len(list), maxExplained)
	}
	value := []explanation{}
	for _, q := range list {
		e, err := m.o.RBAC.Explain(r.Context(), q)
		if err != nil {
			return fmt.Errorf("explaining %s at %s: %w", q.Action, q.Scope, err)
		}
		shown := explanation{accessDecision: showAccess(&e.Decision), Reason: e.Reason(), Roles: e.Roles, Considered: []considered{}}
		if shown.Roles == nil {
			shown.Roles = []string{}
		}
		for _, c := range e.Considered {
			if c := showConsidered(&c); own || onPath(c.Scope, q.Scope) {
				shown.Considered = append(shown.Considered, c)
			}
		}
		value = append(value, shown)
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}

func showConsidered(c *rbac.Considered) considered {
	s := considered{Outcome: c.Outcome, Why: c.Why()}
	if c.Denial != nil {
		s.ID, s.Type, s.Scope = denialID(*c.Denial), denyAssignmentType, c.Denial.Scope
		return s
	}
	a := showAssignment(*c.Assignment)
	s.ID, s.Type, s.Scope = a.ID, a.Type, c.Assignment.Scope
	s.PrincipalID, s.RoleName, s.Condition = c.Assignment.PrincipalID, c.Role.Name, c.Assignment.Condition
	return s
}

// onPath reports whether one scope is the other or stands above or below it. Who may read the access at a scope sees
// those; what its subject may do elsewhere is not theirs to see.
func onPath(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSuffix(a, "/"))+"/", strings.ToLower(strings.TrimSuffix(b, "/"))+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}
