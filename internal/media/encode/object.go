package encode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

// object is a JSON object of which every property must be taken: what is left over is not built.
type object struct {
	path  string // in the preset, for messages
	kind  string // @odata.type without "#Microsoft.Media."
	props map[string]json.RawMessage
}

// badPreset is an error about the property at path.
func badPreset(path, format string, args ...any) error {
	e := azure.Errorf(http.StatusBadRequest, "BadRequest", format, args...)
	e.Target = path
	return e
}

func parseObject(path string, raw json.RawMessage) (*object, error) {
	o := &object{path: path}
	if err := json.Unmarshal(raw, &o.props); err != nil || o.props == nil {
		return nil, badPreset(path, "%s is not an object.", path)
	}
	var kind string
	if err := o.take("@odata.type", &kind); err != nil {
		return nil, err
	}
	o.kind = strings.TrimPrefix(kind, "#Microsoft.Media.")
	return o, nil
}

func (o *object) at(name string) string { return o.path + "." + name }

// take decodes the property into v, when it is there.
func (o *object) take(name string, v any) error {
	raw, ok := o.props[name]
	delete(o.props, name)
	if !ok || string(bytes.TrimSpace(raw)) == "null" {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return badPreset(o.at(name), "%s has a value of the wrong type: %s.", o.at(name), raw)
	}
	return nil
}

// takeNumber decodes a whole number within bounds. An absent one leaves v as it is.
func (o *object) takeNumber(name string, v *int, low, high int) error {
	given := *v
	if err := o.take(name, &given); err != nil {
		return err
	}
	if given != *v && (given < low || given > high) {
		return badPreset(o.at(name), "%s is %d; it must be between %d and %d.", o.at(name), given, low, high)
	}
	*v = given
	return nil
}

// takeChoice decodes a string that must be a key of choices; absent gives absent.
func takeChoice[V any](o *object, name, absent string, choices map[string]V) (V, error) {
	given := absent
	if err := o.take(name, &given); err != nil {
		var none V
		return none, err
	}
	v, ok := choices[given]
	if !ok {
		return v, badPreset(o.at(name), "%s %q is not supported. These are: %s.", o.at(name), given, strings.Join(slices.Sorted(maps.Keys(choices)), ", "))
	}
	return v, nil
}

// takeObjects decodes an array of objects.
func (o *object) takeObjects(name string) ([]*object, error) {
	var raws []json.RawMessage
	if err := o.take(name, &raws); err != nil {
		return nil, err
	}
	var list []*object
	for i, raw := range raws {
		item, err := parseObject(fmt.Sprintf("%s[%d]", o.at(name), i), raw)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

// done refuses what was not taken.
func (o *object) done() error {
	for _, name := range slices.Sorted(maps.Keys(o.props)) {
		if string(bytes.TrimSpace(o.props[name])) != "null" {
			return badPreset(o.at(name), "%s is not supported; leave it out.", o.at(name))
		}
	}
	return nil
}
