package arm

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// tagsType stands for the tags of any scope that can have them; its only resource is "default".
//
// Source: https://learn.microsoft.com/rest/api/resources/tags
const tagsType = "Microsoft.Resources/tags"

func (m *Manager) addTags() {
	t := Type{Name: tagsType, Versions: resourcesVersions, ReadOnly: true}
	rows := &typeRows{Type: &t, methods: map[string]*azure.Route{}}
	m.extensions[strings.ToLower(tagsType)] = rows
	m.providers["microsoft.resources"].Types = append(m.providers["microsoft.resources"].Types, t)
	for _, row := range []struct {
		method, name, action string
		handle               func(http.ResponseWriter, *azure.Request) error
	}{
		{http.MethodGet, "GetAtScope", "read", m.getTags},
		{http.MethodPut, "CreateOrUpdateAtScope", "write", m.writeTags},
		{http.MethodPatch, "UpdateAtScope", "write", m.writeTags},
		{http.MethodDelete, "DeleteAtScope", "delete", m.writeTags},
	} {
		r := m.recorded(azure.Route{
			Name: tagsType + "." + row.name, Method: row.method, Pattern: "{scope}/providers/" + tagsType + "/default",
			Action: tagsType + "/" + row.action, Handle: row.handle,
		})
		rows.methods[row.method] = &r
	}
	m.commands = append(m.commands, commandRow{versions: resourcesVersions, decide: byPath, route: azure.Route{
		Name: tagsType + ".List", Method: http.MethodGet, Pattern: "/subscriptions/{subscription}/tagNames",
		Action: "Microsoft.Resources/subscriptions/tagNames/read", Handle: m.listTagNames,
	}})
}

// tagged returns the resource whose tags a request is about.
func (m *Manager) tagged(ctx context.Context, tx *store.Tx, r *azure.Request) (*Resource, error) {
	id, _, err := m.target(r)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(id.Name(), "default") {
		return nil, azure.Errorf(http.StatusNotFound, "TagsNotFound", "The tags '%s' were not found; the only name is 'default'.", id.Name())
	}
	scope, err := azure.ParseResourceID(id.Scope)
	if err != nil {
		return nil, err
	}
	rows := m.types[typeKey(scope)]
	if rows == nil || !rows.Tracked && typeKey(scope) != subscriptionType {
		return nil, azure.Errorf(http.StatusBadRequest, "TagsNotSupported", "'%s' is of a type that has no tags.", id.Scope)
	}
	return m.existing(ctx, tx, scope)
}

func answerTags(w http.ResponseWriter, res *Resource) error {
	tags := res.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	w.Header().Set("ETag", res.ETag)
	return azure.WriteJSON(w, http.StatusOK, map[string]any{
		"id": res.ID.String() + "/providers/" + tagsType + "/default", "name": "default", "type": tagsType,
		"properties": map[string]any{"tags": tags},
	})
}

func (m *Manager) getTags(w http.ResponseWriter, r *azure.Request) error {
	var res *Resource
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		res, err = m.tagged(r.Context(), tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return answerTags(w, res)
}

// writeTags serves PUT, which replaces tags, PATCH, which says what it does, and DELETE, which removes all.
func (m *Manager) writeTags(w http.ResponseWriter, r *azure.Request) error {
	var body struct {
		Operation  string `json:"operation"`
		Properties struct {
			Tags map[string]string `json:"tags"`
		} `json:"properties"`
	}
	if r.Method != http.MethodDelete {
		if err := decode(r, &body); err != nil {
			return err
		}
		if err := checkTags(body.Properties.Tags); err != nil {
			return err
		}
	}
	operation := "replace"
	if r.Method == http.MethodPatch {
		operation = strings.ToLower(body.Operation)
	}
	if !slices.Contains([]string{"replace", "merge", "delete"}, operation) {
		return azure.Errorf(http.StatusBadRequest, "InvalidTagsPatchOperation", "'%s' is not one of 'Replace', 'Merge', 'Delete'.", body.Operation)
	}
	id, _, err := m.target(r)
	if err != nil {
		return err
	}
	scope, err := azure.ParseResourceID(id.Scope)
	if err != nil {
		return err
	}
	if err := m.gate(r.Context(), scope, Op{Target: scope, Method: http.MethodPatch}); err != nil {
		return err
	}
	var res *Resource
	err = m.o.DB.Update(r.Context(), func(tx *store.Tx) (err error) {
		if res, err = m.tagged(r.Context(), tx, r); err != nil {
			return err
		}
		if res.operation != "" {
			return errBusy(res.ID)
		}
		if res.Tags = mergeTags(res.Tags, body.Properties.Tags, operation); checkTags(res.Tags) != nil {
			return checkTags(res.Tags)
		}
		return save(r.Context(), tx, res)
	})
	if err != nil {
		return err
	}
	return answerTags(w, res)
}

// mergeTags applies an operation. Names of tags have no case; Delete takes away those that have the value given.
func mergeTags(has, given map[string]string, operation string) map[string]string {
	if operation == "replace" {
		return given
	}
	tags := map[string]string{}
	maps.Copy(tags, has)
	for name, value := range given {
		for known, was := range tags {
			if strings.EqualFold(known, name) && (operation == "merge" || was == value) {
				delete(tags, known)
			}
		}
		if operation == "merge" {
			tags[name] = value
		}
	}
	return tags
}

// listTagNames counts the tags in a subscription.
func (m *Manager) listTagNames(w http.ResponseWriter, r *azure.Request) error {
	scope := azure.ResourceID{Scope: "/subscriptions/" + strings.ToLower(r.Vars["subscription"])}
	counts := map[string]map[string]int{}
	err := m.o.DB.View(r.Context(), func(tx *store.Tx) error {
		clear(counts)
		if err := m.checkExists(r.Context(), tx, scope); err != nil {
			return err
		}
		for after, to := below(scope); ; {
			list, err := query(r.Context(), tx, `tags <> '' AND key > $1 AND key < $2 ORDER BY key LIMIT $3`, after, to, batch)
			if err != nil {
				return err
			}
			for _, res := range list {
				after = res.ID.Key()
				for name, value := range res.Tags {
					if counts[name] == nil {
						counts[name] = map[string]int{}
					}
					counts[name][value]++
				}
			}
			if len(list) < batch {
				return nil
			}
		}
	})
	if err != nil {
		return err
	}
	total := func(n int) map[string]any { return map[string]any{"type": "Total", "value": n} }
	value := []any{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		id, values, n := scope.Scope+"/tagNames/"+name, []any{}, 0
		for _, v := range slices.Sorted(maps.Keys(counts[name])) {
			n += counts[name][v]
			values = append(values, map[string]any{"id": id + "/tagValues/" + v, "tagValue": v, "count": total(counts[name][v])})
		}
		value = append(value, map[string]any{"id": id, "tagName": name, "count": total(n), "values": values})
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"value": value})
}
