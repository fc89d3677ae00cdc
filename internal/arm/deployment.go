package arm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm/template"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// deploymentType is that of template deployments, at resource groups and subscriptions.
//
// Source: https://learn.microsoft.com/rest/api/resources/deployments
const deploymentType = "Microsoft.Resources/deployments"

// Modes of a deployment.
const (
	incremental = "Incremental"
	complete    = "Complete" // deletes what the group has and the template has not
)

const canceled = "Canceled"

// addDeployments adds deployments. A deployment is a resource whose write is asynchronous: its job writes the
// template's resources.
func (m *Manager) addDeployments() {
	t := &Type{
		Name: deploymentType, Versions: resourcesVersions, NoPatch: true, UpdateStatus: http.StatusOK, atSubscription: true,
		deleteStatus: http.StatusNoContent, CheckName: checkDeploymentName,
		Async:    func(string) bool { return true },
		Validate: m.validateDeployment, Prepare: m.deploy, fail: failDeployment, Show: m.showDeployment,
		Delete: func(ctx context.Context, tx *store.Tx, res *Resource) error {
			for _, table := range []string{"arm_deployment_steps", "arm_deployment_templates"} {
				if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE deployment = $1`, res.ID.Key()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	m.types[strings.ToLower(deploymentType)] = m.typeRows(t)
	put := m.types[strings.ToLower(deploymentType)].methods[http.MethodPut]
	put.Handle = m.putDeployment(put.Handle)
	p := m.providers["microsoft.resources"]
	p.OperationStatuses, p.OperationResults = "operationStatuses", "operationResults"
	p.Types = append(p.Types, *t)
	m.addOperations(p, resourcesVersions)
	const sub, group = "/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{resourceGroup}"
	add := func(name, method, pattern, action string, handle func(http.ResponseWriter, *azure.Request) error) {
		for _, scope := range []struct{ pattern, suffix string }{{group, ""}, {sub, "AtSubscription"}} {
			m.commands = append(m.commands, commandRow{versions: resourcesVersions, decide: byPath, route: m.recorded(azure.Route{
				Name: deploymentType + "." + name + scope.suffix, Method: method, Pattern: scope.pattern + pattern,
				Action: deploymentType + "/" + action, MaxBody: maxBody, Handle: handle,
			})})
		}
	}
	const one = "/providers/Microsoft.Resources/deployments/{deployment}"
	add("Validate", http.MethodPost, one+"/validate", "validate/action", m.validateOnly)
	add("WhatIf", http.MethodPost, one+"/whatIf", "whatIf/action", m.whatIf)
	add("Cancel", http.MethodPost, one+"/cancel", "cancel/action", m.cancelDeployment)
	add("ExportTemplate", http.MethodPost, one+"/exportTemplate", "exportTemplate/action", m.exportDeployment)
	add("ListOperations", http.MethodGet, one+"/operations", "operations/read", m.listSteps)
	add("GetOperation", http.MethodGet, one+"/operations/{step}", "operations/read", m.listSteps)
	// Azure's own clients leave the provider out.
	add("ListOperationsShort", http.MethodGet, "/deployments/{deployment}/operations", "operations/read", m.listSteps)
	add("GetOperationShort", http.MethodGet, "/deployments/{deployment}/operations/{step}", "operations/read", m.listSteps)
}

func checkDeploymentName(name string) error {
	if len(name) <= 64 && groupName.MatchString(name) {
		return nil
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidDeploymentName",
		"The deployment name '%s' is not valid: it has 1 to 64 letters, digits, '_', '-', '.', '(' or ')'.", name)
}

// deploymentRequest is a deployment as a client sends it.
type deploymentRequest struct {
	Location   string `json:"location"` // where a subscription's deployment is kept
	Properties struct {
		Mode           string                     `json:"mode"`
		Template       json.RawMessage            `json:"template"`
		TemplateLink   json.RawMessage            `json:"templateLink"`
		Parameters     map[string]json.RawMessage `json:"parameters"`
		ParametersLink json.RawMessage            `json:"parametersLink"`
		OnError        json.RawMessage            `json:"onErrorDeployment"`
		WhatIf         struct {
			ResultFormat string `json:"resultFormat"`
		} `json:"whatIfSettings"`
	} `json:"properties"`
}

// deploymentWork is what a deployment's job needs. Template and arguments may hold secrets; it is stored sealed.
type deploymentWork struct {
	Run       string // correlation id
	Host      string // under which it was asked for
	Mode      string
	Template  []byte
	Arguments map[string]json.RawMessage
	Scope     template.Scope
}

// deploymentPlan is a deployment that was checked and not begun.
type deploymentPlan struct {
	deploymentWork
	location     string // of a subscription's deployment
	bound        *template.Deployment
	resultFormat string // of what-if
}

// bind evaluates what can be before anything is deployed.
func (w *deploymentWork) bind() (*template.Deployment, error) {
	t, err := template.Parse(w.Template)
	if err != nil {
		return nil, err
	}
	arguments := map[string]any{}
	for name, raw := range w.Arguments {
		if arguments[name], err = template.Decode(raw); err != nil {
			return nil, errContent("the parameter '%s' could not be deserialized.", name)
		}
	}
	return t.Bind(arguments, w.Scope)
}

// planDeployment reads and checks a request for a deployment.
func (m *Manager) planDeployment(r *azure.Request, id azure.ResourceID) (*deploymentPlan, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	body = template.Strict(body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var req deploymentRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body)) // for the write that may follow
	p := &req.Properties
	given := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
	switch {
	case given(p.TemplateLink) || given(p.ParametersLink):
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidDeployment", "Linked templates and parameters are not fetched; send them with the request.")
	case given(p.OnError):
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidDeployment", "'onErrorDeployment' is not supported.")
	case !given(p.Template):
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidDeployment", "The deployment has no 'template'.")
	}
	plan := &deploymentPlan{resultFormat: p.WhatIf.ResultFormat}
	if id.ResourceGroup() == "" {
		plan.location = normalLocation(req.Location)
		if m.locations[plan.location] == "" {
			return nil, azure.Errorf(http.StatusBadRequest, "LocationRequired", "A deployment at a subscription needs a 'location'; '%s' is not one of '%s'.",
				req.Location, strings.Join(m.order, ","))
		}
	}
	plan.Run, plan.Host, plan.Template, plan.Arguments = azure.NewGUID(), r.Host, p.Template, map[string]json.RawMessage{}
	switch {
	case p.Mode == "" || strings.EqualFold(p.Mode, incremental):
		plan.Mode = incremental
	case strings.EqualFold(p.Mode, complete) && id.ResourceGroup() != "":
		plan.Mode = complete
	default:
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidDeployment",
			"The mode '%s' is not one of '%s' and, in a resource group, '%s'.", p.Mode, incremental, complete)
	}
	for name, raw := range p.Parameters {
		var argument struct {
			Value     json.RawMessage `json:"value"`
			Reference json.RawMessage `json:"reference"`
		}
		if err := json.Unmarshal(raw, &argument); err != nil || given(argument.Reference) || argument.Value == nil {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidDeploymentParameters",
				"The parameter '%s' has no 'value'; references to key vaults are not supported.", name)
		}
		plan.Arguments[name] = argument.Value
	}
	if plan.Scope, err = m.templateScope(r, id, plan); err != nil {
		return nil, err
	}
	plan.bound, err = plan.bind()
	return plan, err
}

// templateScope makes what a template's functions tell of where it is deployed.
func (m *Manager) templateScope(r *azure.Request, id azure.ResourceID, plan *deploymentPlan) (s template.Scope, err error) {
	if s.ID, err = azure.ParseResourceID(id.Scope); err != nil {
		return s, err
	}
	s.Now, s.Seed = time.Now().UTC(), plan.Run
	err = m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		res, err := m.existing(r.Context(), tx, s.ID)
		if err != nil {
			return err
		}
		s.ID = res.ID
		if s.ID.ResourceGroup() != "" {
			tags := map[string]any{}
			for name, value := range res.Tags {
				tags[name] = value
			}
			s.ResourceGroup = map[string]any{
				"id": res.ID.String(), "name": res.ID.Name(), "type": "Microsoft.Resources/resourceGroups", "location": res.Location, "tags": tags,
				"properties": map[string]any{"provisioningState": res.State},
			}
			if res, err = m.Get(r.Context(), tx, res.ID.Parent()); err != nil {
				return err
			}
		}
		var kept subscription
		if err := json.Unmarshal(res.Properties, &kept); err != nil {
			return err
		}
		s.Subscription = map[string]any{
			"id": res.ID.String(), "subscriptionId": res.ID.Name(), "tenantId": m.o.TenantID, "displayName": kept.DisplayName,
		}
		return nil
	})
	u := m.view(r).URLs
	s.Tenant = map[string]any{"tenantId": m.o.TenantID, "displayName": "Keyreel"}
	s.Environment = map[string]any{
		"name": "Keyreel", "portal": u.Portal(), "resourceManager": u.Management() + "/", "graph": u.Graph() + "/",
		"authentication": map[string]any{"loginEndpoint": u.Login() + "/", "tenant": "common", "identityProvider": "AAD"},
		"suffixes":       map[string]any{"storage": u.BlobSuffix(), "keyvaultDns": "." + u.VaultSuffix()},
	}
	s.Deployer = map[string]any{"objectId": r.Caller.ObjectID, "tenantId": m.o.TenantID}
	s.Deployment = map[string]any{"name": id.Name(), "properties": map[string]any{"mode": plan.Mode, "provisioningState": "Accepted"}}
	return s, err
}

// putDeployment plans a deployment before the transaction that stores it, as evaluating a template takes its time.
func (m *Manager) putDeployment(write func(http.ResponseWriter, *azure.Request) error) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		id, _, err := m.target(r)
		if err != nil {
			return err
		}
		plan, err := m.planDeployment(r, id)
		if err != nil {
			return err
		}
		r.Extra = plan
		return write(w, r)
	}
}

// deploymentProperties is what is stored of a deployment.
type deploymentProperties struct {
	CorrelationID   string           `json:"correlationId"`
	Mode            string           `json:"mode"`
	Timestamp       time.Time        `json:"timestamp"`
	Duration        string           `json:"duration,omitempty"`
	TemplateHash    string           `json:"templateHash"`
	Parameters      map[string]any   `json:"parameters"`
	Providers       []any            `json:"providers"`
	Dependencies    []any            `json:"dependencies"`
	Outputs         map[string]any   `json:"outputs,omitempty"`
	OutputResources []map[string]any `json:"outputResources,omitempty"`
	Error           *azure.Error     `json:"error,omitempty"`
}

// maxDeployment bounds what is kept of a deployment: parameters and outputs are as large as their writer likes, and a list
// shows many.
const maxDeployment = 1 << 20 // bytes

func (p *deploymentProperties) encode() (json.RawMessage, error) {
	text, err := json.Marshal(p)
	if err == nil && len(text) > maxDeployment {
		err = azure.Errorf(http.StatusBadRequest, "InvalidDeployment",
			"The deployment's parameters and outputs take %d bytes; at most %d are kept of them.", len(text), maxDeployment)
	}
	return text, err
}

func (p *deploymentPlan) properties() *deploymentProperties {
	hash := sha256.Sum256(p.Template)
	shown := &deploymentProperties{
		CorrelationID: p.Run, Mode: p.Mode, Timestamp: p.Scope.Now, TemplateHash: hex.EncodeToString(hash[:]), Parameters: p.bound.Parameters(),
		Providers: []any{}, Dependencies: []any{},
	}
	types := map[string][]any{}
	for _, r := range p.bound.Resources {
		namespace, typ, _ := strings.Cut(r.Type, "/")
		if item := map[string]any{"resourceType": typ}; !slices.ContainsFunc(types[namespace], func(v any) bool { return named(v, "resourceType") == typ }) {
			types[namespace] = append(types[namespace], item)
		}
		if len(r.DependsOn) == 0 {
			continue
		}
		on := []any{}
		for _, dep := range r.DependsOn {
			on = append(on, dependency(dep))
		}
		item := dependency(r)
		item["dependsOn"] = on
		shown.Dependencies = append(shown.Dependencies, item)
	}
	for namespace, list := range types {
		shown.Providers = append(shown.Providers, map[string]any{"namespace": namespace, "resourceTypes": list})
	}
	slices.SortFunc(shown.Providers, func(a, b any) int {
		return strings.Compare(fmt.Sprint(named(a, "namespace")), fmt.Sprint(named(b, "namespace")))
	})
	return shown
}

func named(v any, name string) any { return v.(map[string]any)[name] }

func dependency(r *template.Resource) map[string]any {
	return map[string]any{"id": r.ID, "resourceType": r.Type, "resourceName": r.Name}
}

// validateDeployment stores what was planned; template and arguments go to the job sealed.
func (m *Manager) validateDeployment(ctx context.Context, tx *store.Tx, w *Write) error {
	plan, ok := w.extra.(*deploymentPlan)
	if !ok {
		return fmt.Errorf("writing %s: it was not planned", w.New.ID)
	}
	text, err := json.Marshal(plan.deploymentWork)
	if err != nil {
		return err
	}
	w.Body = json.RawMessage("null")
	w.Private = sealedWork{Run: plan.Run, Sealed: m.o.Keyring.Seal(text, "arm_operations", plan.Run, "work")}
	if w.New.Properties, err = plan.properties().encode(); err != nil {
		return err
	}
	if w.Old != nil && w.Old.Location != "" && w.Old.Location != plan.location {
		return azure.Errorf(http.StatusConflict, "InvalidDeploymentLocation",
			"Invalid deployment location '%s'. The deployment '%s' already exists in location '%s'.", plan.location, w.New.ID.Name(), w.Old.Location)
	}
	w.New.Location = plan.location
	return m.keepTemplate(ctx, tx, w.New.ID.Key(), plan)
}

// sealedWork is a deploymentWork in the database.
type sealedWork struct {
	Run    string
	Sealed []byte
}

func (m *Manager) openWork(raw any) (*deploymentWork, error) {
	text, _ := raw.(json.RawMessage)
	var sealed sealedWork
	if err := json.Unmarshal(text, &sealed); err != nil {
		return nil, err
	}
	opened, err := m.o.Keyring.Open(sealed.Sealed, "arm_operations", sealed.Run, "work")
	if err != nil {
		return nil, fmt.Errorf("opening deployment %s: %w", sealed.Run, err)
	}
	var work deploymentWork
	return &work, json.Unmarshal(opened, &work)
}

// showDeployment adds the state to what is stored.
func (m *Manager) showDeployment(_ context.Context, _ *store.Tx, res *Resource, _ View) (any, error) {
	properties := map[string]any{}
	if err := json.Unmarshal(res.Properties, &properties); err != nil {
		return nil, err
	}
	state := res.State
	if state == InProgress {
		state = running
	}
	properties["provisioningState"] = state
	return properties, nil
}

// failDeployment keeps a deployment that failed, with why.
func failDeployment(res *Resource, cause *azure.Error) error {
	var p deploymentProperties
	if err := json.Unmarshal(res.Properties, &p); err != nil {
		return err
	}
	p.Error, p.Duration = cause, isoDuration(time.Since(p.Timestamp))
	if res.State = Failed; cause.Code == errDeploymentCanceled.Code {
		res.State = canceled
	}
	var err error
	res.Properties, err = json.Marshal(p)
	return err
}

var errDeploymentCanceled = azure.Errorf(http.StatusConflict, "DeploymentCanceled", "The deployment was canceled.")

// cancelDeployment ends a deployment that is running. A resource that it is writing is written to its end.
func (m *Manager) cancelDeployment(w http.ResponseWriter, r *azure.Request) error {
	var op *operation
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		res, err := m.existing(r.Context(), tx, deploymentID(r))
		if err != nil {
			return err
		}
		if res.State == InProgress {
			op, err = m.operation(r.Context(), tx, res.operation)
		}
		return err
	})
	if err != nil {
		return err
	}
	if op == nil || op.Status != InProgress {
		return azure.Errorf(http.StatusConflict, "DeploymentCannotBeCancelled", "The deployment '%s' is not running and cannot be canceled.", r.Vars["deployment"])
	}
	if err := m.abort(r.Context(), op, errDeploymentCanceled); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
