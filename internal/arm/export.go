package arm

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// maxExported is how many resources an exported template may have, as in Azure.
const maxExported = 200

const templateSchema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"

// addExports adds the templates of groups, made of what is there, and of deployments, as they were sent.
//
// Source: https://learn.microsoft.com/rest/api/resources/resource-groups/export-template
func (m *Manager) addExports() {
	m.commands = append(m.commands, commandRow{versions: resourcesVersions, decide: byPath, route: m.recorded(azure.Route{
		Name: "Microsoft.Resources/resourceGroups.ExportTemplate", Method: http.MethodPost,
		Pattern: "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/exportTemplate",
		Action:  "Microsoft.Resources/subscriptions/resourceGroups/exportTemplate/action", MaxBody: maxBody, Handle: m.exportGroup,
	})})
}

// exportOptions are the words of a request's "options".
type exportOptions struct {
	defaults, comments, literalNames bool
}

func parseExportOptions(text string) (exportOptions, error) {
	var o exportOptions
	for _, word := range strings.Split(text, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "":
		case "includeparameterdefaultvalue":
			o.defaults = true
		case "includecomments":
			o.comments = true
		case "skipresourcenameparameterization", "skipallparameterization":
			o.literalNames = true
		default:
			return o, azure.Errorf(http.StatusBadRequest, "InvalidExportOptions", "The export option '%s' is not valid: it is IncludeParameterDefaultValue, "+
				"IncludeComments, SkipResourceNameParameterization or SkipAllParameterization.", word)
		}
	}
	return o, nil
}

// exportGroup makes a template of a group's resources, each as the caller would read it.
func (m *Manager) exportGroup(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	var body struct {
		Resources []string `json:"resources"`
		Options   string   `json:"options"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	options, err := parseExportOptions(body.Options)
	if err != nil {
		return err
	}
	group := azure.ResourceID{Scope: "/subscriptions/" + r.Vars["subscription"] + "/resourceGroups/" + r.Vars["resourceGroup"]}
	list, err := m.exported(ctx, group, body.Resources)
	if err != nil {
		return err
	}
	e := export{options: options, parameters: map[string]any{}, resources: []any{}}
	var failed []azure.Error
	for _, res := range list {
		versions := m.types[typeKey(res.ID)].Versions
		version := versions[len(versions)-1]
		answer, err := m.perform(ctx, r.Caller, r.Host, http.MethodGet, res.ID.String()+"?api-version="+version, nil)
		if err != nil {
			return err
		}
		if failure := answer.failure(); failure != nil {
			failure.Target = res.ID.String()
			failed = append(failed, *failure)
			continue
		}
		var read map[string]any
		if err := json.Unmarshal(answer.body.Bytes(), &read); err != nil {
			return fmt.Errorf("reading %s: %w", res.ID, err)
		}
		e.add(res.ID, version, read)
	}
	result := map[string]any{"template": map[string]any{
		"$schema": templateSchema, "contentVersion": "1.0.0.0", "parameters": e.parameters, "variables": map[string]any{}, "resources": e.resources,
	}}
	if len(failed) > 0 {
		result["error"] = azure.Error{
			Code: "ExportTemplateCompletedWithErrors", Details: failed,
			Message: "Export template operation completed with errors. Some resources were not exported. Please see details for more information.",
		}
	}
	return azure.WriteJSON(w, http.StatusOK, result)
}

// exported returns the resources of a group that are to be exported: those named, with what is below them, or all.
func (m *Manager) exported(ctx context.Context, group azure.ResourceID, named []string) ([]*Resource, error) {
	if len(named) == 0 {
		return nil, azure.Errorf(http.StatusBadRequest, "InvalidExportRequest", "'resources' names no resource; '*' exports all.")
	}
	var scopes []azure.ResourceID
	for _, text := range named {
		if text == "*" {
			scopes = []azure.ResourceID{group}
			break
		}
		id, err := azure.ParseResourceID(text)
		if err != nil || id.IsCollection() || id.Namespace == "" || !strings.EqualFold(id.Scope, group.Scope) {
			return nil, azure.Errorf(http.StatusBadRequest, "InvalidExportRequest", "'%s' is not the ID of a resource in the resource group '%s'.", text, group)
		}
		scopes = append(scopes, id)
	}
	found := map[string]*Resource{}
	err := m.o.DB.View(ctx, func(tx *store.Tx) error {
		clear(found)
		if _, err := m.existing(ctx, tx, group); err != nil {
			return err
		}
		for _, scope := range scopes {
			if scope.Namespace != "" {
				res, err := m.existing(ctx, tx, scope)
				if err != nil {
					return err
				}
				found[res.ID.Key()] = res
			}
			from, to := below(scope)
			list, err := query(ctx, tx, `key > $1 AND key < $2 AND type <> $3 AND type <> $4 AND ready = 1 ORDER BY key LIMIT $5`,
				from, to, strings.ToLower(deploymentType), strings.ToLower(lockType), maxExported+1)
			if err != nil {
				return err
			}
			for _, res := range list {
				if parent := found[res.ID.Parent().Key()]; parent == nil || !madeWith(parent, res) {
					found[res.ID.Key()] = res
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) > maxExported {
		return nil, azure.Errorf(http.StatusBadRequest, "ExportTemplateLimitExceeded", "There are more than %d resources to export; name some of them.", maxExported)
	}
	list := make([]*Resource, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if rows := m.types[typeKey(found[key].ID)]; rows != nil && !rows.ReadOnly {
			list = append(list, found[key])
		}
	}
	return list, nil
}

// madeWith reports whether a resource was made along with its parent by their service (Manager.Create) and has not been
// written since: such as a media account's predefined policies, it comes again with the parent.
func madeWith(parent, res *Resource) bool {
	made := res.System.CreatedAt
	return made.Equal(parent.System.CreatedAt) && made.Equal(res.System.LastModifiedAt)
}

// export is a template in the making.
type export struct {
	options    exportOptions
	parameters map[string]any
	resources  []any
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// add adds a resource as it was read.
func (e *export) add(id azure.ResourceID, version string, read map[string]any) {
	item := map[string]any{"type": id.Type(), "apiVersion": version, "name": e.name(id, len(id.Names))}
	if e.options.comments {
		item["comments"] = "Generalized from resource: '" + id.String() + "'."
	}
	if depth := len(id.Names); depth > 1 {
		on := "resourceId('" + id.Namespace + "/" + strings.Join(id.Types[:depth-1], "/") + "'"
		for i := range depth - 1 {
			on += ", " + e.term(id, i)
		}
		item["dependsOn"] = []any{"[" + on + ")]"}
	}
	for _, name := range []string{"location", "tags", "kind", "sku", "identity", "properties"} {
		if value, there := read[name]; there {
			item[name] = literal(value)
		}
	}
	if identity, ok := item["identity"].(map[string]any); ok {
		if delete(identity, "principalId"); identity["type"] == typeNone {
			delete(item, "identity")
		}
		delete(identity, "tenantId")
		users, _ := identity["userAssignedIdentities"].(map[string]any)
		for text := range users {
			users[text] = map[string]any{}
		}
	}
	if properties, ok := item["properties"].(map[string]any); ok {
		delete(properties, "provisioningState")
	}
	e.resources = append(e.resources, item)
}

// term is a name as it stands in an expression: the first of an ID's names is a parameter.
func (e *export) term(id azure.ResourceID, i int) string {
	quoted := "'" + strings.ReplaceAll(id.Names[i], "'", "''") + "'"
	if i > 0 || e.options.literalNames {
		return quoted
	}
	name := notInNames.ReplaceAllString(id.Types[0]+"_"+id.Names[0]+"_name", "_")
	declared := map[string]any{"type": "String"}
	if e.options.defaults {
		declared["defaultValue"] = literal(id.Names[0])
	}
	e.parameters[name] = declared
	return "parameters('" + name + "')"
}

// name is the name of a resource.
func (e *export) name(id azure.ResourceID, depth int) string {
	first := e.term(id, 0)
	switch {
	case e.options.literalNames:
		return literal(strings.Join(id.Names[:depth], "/")).(string)
	case depth == 1:
		return "[" + first + "]"
	}
	return "[concat(" + first + ", '/" + strings.ReplaceAll(strings.Join(id.Names[1:depth], "/"), "'", "''") + "')]"
}

// literal returns a value that a template evaluates to the value given.
func literal(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "[") {
			return "[" + v
		}
	case []any:
		for i := range v {
			v[i] = literal(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = literal(v[name])
		}
	}
	return v
}

// keepTemplate stores the template of a deployment that begins.
func (m *Manager) keepTemplate(ctx context.Context, tx *store.Tx, key string, plan *deploymentPlan) error {
	_, err := tx.Exec(ctx, `INSERT INTO arm_deployment_templates (deployment, run, sealed) VALUES ($1, $2, $3)
		ON CONFLICT (deployment) DO UPDATE SET run = excluded.run, sealed = excluded.sealed`,
		key, plan.Run, m.o.Keyring.Seal(plan.Template, "arm_deployment_templates", plan.Run, "sealed"))
	if err != nil {
		return fmt.Errorf("keeping the template of %s: %w", key, err)
	}
	return nil
}

// exportDeployment answers with a deployment's template.
func (m *Manager) exportDeployment(w http.ResponseWriter, r *azure.Request) error {
	var run string
	var sealed []byte
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		res, err := m.existing(r.Context(), tx, deploymentID(r))
		if err != nil {
			return err
		}
		return tx.QueryRow(r.Context(), `SELECT run, sealed FROM arm_deployment_templates WHERE deployment = $1`, res.ID.Key()).Scan(&run, &sealed)
	})
	if errors.Is(err, sql.ErrNoRows) { // begun before templates were kept
		return azure.Errorf(http.StatusNotFound, "DeploymentTemplateNotFound", "The template of the deployment '%s' was not kept.", r.Vars["deployment"])
	}
	if err != nil {
		return err
	}
	text, err := m.o.Keyring.Open(sealed, "arm_deployment_templates", run, "sealed")
	if err != nil {
		return fmt.Errorf("opening the template of deployment %s: %w", run, err)
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"template": json.RawMessage(text)})
}
