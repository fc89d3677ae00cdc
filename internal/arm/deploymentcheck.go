package arm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/arm/template"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

// validateOnly serves validate: what a PUT would check, and that the caller may write each resource.
func (m *Manager) validateOnly(w http.ResponseWriter, r *azure.Request) error {
	id := deploymentID(r)
	plan, err := m.planDeployment(r, id)
	if err != nil {
		return err
	}
	var details []azure.Error
	validated := []any{}
	d := &deploymentRun{m: m, plan: plan, caller: r.Caller}
	for _, res := range plan.bound.Resources {
		if err := d.mayWrite(r.Context(), res); err != nil {
			e, unexpected := azure.AsError(err)
			if unexpected {
				return err
			}
			failure := *e
			failure.Target = res.ID
			details = append(details, failure)
		}
		validated = append(validated, map[string]any{"id": res.ID})
	}
	if len(details) > 0 {
		return &azure.Error{
			Status: http.StatusBadRequest, Code: "InvalidTemplateDeployment", Details: details,
			Message: "The template deployment '" + id.Name() + "' is not valid according to the validation procedure. See inner errors for details.",
		}
	}
	p := plan.properties()
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"id": id.String(), "name": id.Name(), "type": deploymentType,
		"properties": map[string]any{
			"provisioningState": Succeeded, "mode": p.Mode, "timestamp": p.Timestamp, "correlationId": p.CorrelationID, "templateHash": p.TemplateHash,
			"parameters": p.Parameters, "providers": p.Providers, "dependencies": p.Dependencies, "validatedResources": validated,
		},
	})
}

// mayWrite checks type, api-version and the caller's right to write a resource.
func (d *deploymentRun) mayWrite(ctx context.Context, res *template.Resource) error {
	m := d.m
	id, err := azure.ParseResourceID(res.ID)
	if err != nil {
		return err
	}
	scope := id
	rows := m.extensions[typeKey(id)]
	if rows == nil {
		rows = m.types[typeKey(id)]
	} else if scope, err = azure.ParseResourceID(id.Scope); err != nil {
		return err
	}
	if rows == nil || rows.methods[http.MethodPut] == nil {
		return azure.Errorf(http.StatusBadRequest, "InvalidResourceType", "The resource type '%s' could not be found or cannot be written.", id.Type())
	}
	if !slices.Contains(rows.Versions, strings.ToLower(res.Version)) {
		return azure.Errorf(http.StatusBadRequest, "NoRegisteredProviderFound",
			"No registered resource provider found for API version '%s' for type '%s'. The supported api-versions are '%s'.",
			res.Version, id.Type(), strings.Join(rows.Versions, ", "))
	}
	action := rows.methods[http.MethodPut].Action
	attributes, err := d.attributes(ctx, action, res)
	if err != nil {
		// What the resource is rests on others that are not there yet. A role that would do but for its condition may do
		// then; the write decides.
		decision, err := m.o.RBAC.Decide(ctx, rbac.Query{Principals: d.caller.Principals(), Action: action, Scope: scope.String()})
		if err != nil {
			return fmt.Errorf("deciding on %s at %s: %w", action, scope, err)
		}
		if decision.Denial == nil && decision.Assignment != nil {
			return nil
		}
	}
	_, err = m.decide(ctx, d.caller, action, false, scope.String(), "", attributes)
	return err
}

// attributes returns what conditions may ask about the write of a resource: the same as conditionAttributes, of what will
// be sent.
func (d *deploymentRun) attributes(ctx context.Context, action string, res *template.Resource) (rbac.Attributes, error) {
	if action != roleAssignmentType+"/write" {
		return rbac.Attributes{}, nil
	}
	body, err := d.plan.bound.Body(ctx, res, d)
	if err != nil {
		return rbac.Attributes{}, err
	}
	text := func(name string) string {
		v, _ := template.Property(body["properties"], name)
		s, _ := v.(string)
		return s
	}
	return rbac.Attributes{Request: assignmentAttributes(lastSegment(text("roleDefinitionId")), text("principalId"), text("principalType"))}, nil
}

// whatIf serves what-if: which resources a deployment would create, change, delete or leave.
func (m *Manager) whatIf(w http.ResponseWriter, r *azure.Request) error {
	id := deploymentID(r)
	plan, err := m.planDeployment(r, id)
	if err != nil {
		return err
	}
	d := &deploymentRun{m: m, plan: plan, caller: r.Caller}
	// A change shows values, and a template with secure parameters may put them anywhere.
	values := !strings.EqualFold(plan.resultFormat, "ResourceIdOnly") && !plan.bound.HasSecrets()
	changes := []any{}
	for _, res := range plan.bound.Resources {
		change, err := d.change(r.Context(), res, values)
		if err != nil {
			return err
		}
		changes = append(changes, change)
	}
	if plan.Scope.ID.ResourceGroup() != "" {
		others, err := d.others(r.Context())
		if err != nil {
			return err
		}
		what := "Ignore"
		if plan.Mode == complete {
			what = "Delete"
		}
		for _, res := range others {
			// Who may not read a resource learns nothing of it, though the deployment could delete it.
			err := m.Authorize(r.Context(), r.Caller, m.types[typeKey(res.ID)].prefix()+"/read", res.ID)
			if e, unexpected := azure.AsError(err); err != nil && (unexpected || e.Status != http.StatusForbidden) {
				return err
			} else if err == nil {
				changes = append(changes, map[string]any{"resourceId": res.ID.String(), "changeType": what})
			}
		}
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"status": Succeeded, "properties": map[string]any{"correlationId": plan.Run, "changes": changes},
	})
}

// change compares what a deployment would send for a resource with what is there. What it would not send is taken to
// stay, as services keep and fill in what a client leaves out.
func (d *deploymentRun) change(ctx context.Context, res *template.Resource, values bool) (map[string]any, error) {
	change := map[string]any{"resourceId": res.ID}
	var known *azure.Error
	there, err := d.fetch(ctx, http.MethodGet, res.ID, res.Version, nil)
	created := errors.As(err, &known) && known.Status == http.StatusNotFound
	if err != nil && !created {
		if known == nil {
			return nil, err
		}
		change["changeType"], change["unsupportedReason"] = "Unsupported", known.Code+": "+known.Message
		return change, nil
	}
	body, err := d.plan.bound.Body(ctx, res, d)
	if err != nil {
		if !errors.As(err, &known) {
			return nil, err
		}
		// An expression asks for what is not deployed yet.
		body = map[string]any{}
		if !created {
			change["changeType"], change["unsupportedReason"] = "Unsupported", known.Message
			return change, nil
		}
	}
	body["id"], body["name"], body["type"], body["apiVersion"] = res.ID, res.Name, res.Type, res.Version
	if created {
		change["changeType"] = "Create"
		if values {
			change["after"] = body
		}
		return change, nil
	}
	delta := []any{}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if slices.Contains([]string{"id", "name", "type", "apiVersion"}, name) {
			continue
		}
		before, _ := template.Property(there, name)
		delta = append(delta, differences(name, before, body[name], values)...)
	}
	change["changeType"] = "NoChange"
	if len(delta) > 0 {
		change["changeType"], change["delta"] = "Modify", delta
	}
	if values {
		change["before"], change["after"] = there, body
	}
	return change, nil
}

// differences lists where "after" differs from "before", which may have more.
func differences(path string, before, after any, values bool) []any {
	object, ok := after.(map[string]any)
	if _, isObject := before.(map[string]any); ok && isObject {
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			inner, _ := template.Property(before, name)
			list = append(list, differences(path+"."+name, inner, object[name], values)...)
		}
		return list
	}
	if template.Equal(before, after) || path == "location" && sameLocation(before, after) {
		return nil
	}
	change := map[string]any{"path": path, "propertyChangeType": "Modify"}
	if before == nil {
		change["propertyChangeType"] = "Create"
	}
	if values {
		change["before"], change["after"] = before, after
	}
	return []any{change}
}

func sameLocation(a, b any) bool {
	s, _ := a.(string)
	t, _ := b.(string)
	return normalLocation(s) == normalLocation(t)
}
