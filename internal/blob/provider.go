package blob

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	namespace   = "Microsoft.Storage"
	accountType = namespace + "/storageAccounts"
)

var versions = []string{
	"2019-06-01", "2020-08-01-preview", "2021-01-01", "2021-02-01", "2021-04-01", "2021-06-01", "2021-08-01", "2021-09-01",
	"2022-05-01", "2022-09-01", "2023-01-01", "2023-04-01", "2023-05-01", "2024-01-01", "2025-01-01", "2025-06-01", "2025-08-01",
	"2026-04-01", "2026-06-01", "2026-09-01",
}

// timeFormat is how the resource provider writes a time, in UTC.
const timeFormat = "2006-01-02T15:04:05.0000000Z"

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// Provider is Microsoft.Storage for the resource manager.
func (s *Storage) Provider() arm.Provider {
	return arm.Provider{
		Namespace: namespace,
		Types: []arm.Type{{
			Name: accountType, Versions: versions, Tracked: true, Identity: true,
			Unique: true, TakenCode: "StorageAccountAlreadyTaken", CreateStatus: http.StatusOK,
			CheckName: checkAccountName, Validate: s.validateAccount, Prepare: s.prepareAccount, Commit: s.commitAccount,
			Delete: func(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
				return s.deleteAccount(ctx, tx, res.ID)
			},
			Move: s.moveAccount,
			Show: s.showAccount,
			Actions: []arm.Action{
				{Name: "listKeys", Handle: s.listKeys},
				{Name: "regenerateKey", Handle: s.regenerateKey},
			},
		}},
		Commands: append(s.childCommands(), arm.Command{
			Name: "StorageAccounts.CheckNameAvailability", Method: http.MethodPost,
			Pattern: "/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability",
			Action:  namespace + "/checknameavailability/read", Handle: s.checkNameAvailability,
		}),
	}
}

func checkAccountName(name string) error {
	if !accountName.MatchString(name) {
		return azure.Errorf(http.StatusBadRequest, "AccountNameInvalid",
			"%s is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", name)
	}
	return nil
}

// accountProperties are the stored and shown properties of an account. Pointers tell what a client left out.
type accountProperties struct {
	CreationTime        string       `json:"creationTime,omitempty"`
	AccessTier          *string      `json:"accessTier,omitempty"`
	AllowBlobPublic     *bool        `json:"allowBlobPublicAccess,omitempty"`
	AllowSharedKey      *bool        `json:"allowSharedKeyAccess,omitempty"`
	AllowCrossTenant    *bool        `json:"allowCrossTenantReplication,omitempty"`
	DefaultToOAuth      *bool        `json:"defaultToOAuthAuthentication,omitempty"`
	MinimumTLS          *string      `json:"minimumTlsVersion,omitempty"`
	HTTPSOnly           *bool        `json:"supportsHttpsTrafficOnly,omitempty"`
	PublicNetworkAccess *string      `json:"publicNetworkAccess,omitempty"`
	NetworkACLs         *networkACLs `json:"networkAcls,omitempty"`
	Encryption          *encryption  `json:"encryption,omitempty"`
}

type networkACLs struct {
	Bypass              *string           `json:"bypass"`
	VirtualNetworkRules []json.RawMessage `json:"virtualNetworkRules"`
	IPRules             []ipRule          `json:"ipRules"`
	ResourceAccessRules []accessRule      `json:"resourceAccessRules,omitempty"`
	DefaultAction       string            `json:"defaultAction"`
}

type ipRule struct {
	Value  string `json:"value"`
	Action string `json:"action"`
}

// unbuiltProperties switch on what is not built. The values stand for "off" and are accepted.
var unbuiltProperties = map[string][]string{
	"isHnsEnabled": {"false"}, "isNfsV3Enabled": {"false"}, "isSftpEnabled": {"false"}, "isLocalUserEnabled": {"false"},
	"enableExtendedGroups": {"false"}, "largeFileSharesState": {`"Disabled"`}, "dnsEndpointType": {`"Standard"`}, "immutableStorageWithVersioning": nil,
	"customDomain": nil, "azureFilesIdentityBasedAuthentication": {`{"directoryServiceOptions":"None"}`}, "keyPolicy": nil, "sasPolicy": nil,
	"routingPreference": nil, "allowedCopyScope": nil,
}

func invalidProperty(name, format string, args ...any) *azure.Error {
	e := azure.Errorf(http.StatusBadRequest, "InvalidValuesForRequestParameters", format, args...)
	e.Target = name
	return e
}

// validateAccount checks what the client sent and merges it over what is stored: properties that were left out stay.
func (s *Storage) validateAccount(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	props, err := mergeProperties(w)
	if err != nil {
		return err
	}
	set, err := props.settings()
	if err != nil {
		return err
	}
	if set.SKU, err = checkSKU(w.New); err != nil {
		return err
	}
	if set.Kind, err = checkKind(w); err != nil {
		return err
	}
	write := &accountWrite{settings: set, encryption: props.Encryption}
	if props.Encryption != nil {
		if write.identity, err = props.Encryption.identityOf(w.New); err != nil {
			return err
		}
	}
	w.Private = write
	if w.New.Properties, err = json.Marshal(props); err != nil || w.Old != nil {
		return err
	}
	return s.Keys.Create(ctx, tx, w.New.ID.Key())
}

func mergeProperties(w *arm.Write) (*accountProperties, error) {
	props := defaultProperties()
	if w.Old != nil {
		if err := json.Unmarshal(w.Old.Properties, props); err != nil {
			return nil, err
		}
	}
	if len(w.Body) == 0 {
		return props, nil
	}
	var raw map[string]json.RawMessage
	var given accountProperties
	if err := errors.Join(json.Unmarshal(w.Body, &raw), json.Unmarshal(w.Body, &given)); err != nil {
		return nil, invalidProperty("properties", "The properties cannot be read: %v.", err)
	}
	for name, value := range raw {
		if err := checkUnbuilt(name, value); err != nil {
			return nil, err
		}
	}
	take(&props.AccessTier, given.AccessTier)
	take(&props.AllowBlobPublic, given.AllowBlobPublic)
	take(&props.AllowSharedKey, given.AllowSharedKey)
	take(&props.AllowCrossTenant, given.AllowCrossTenant)
	take(&props.DefaultToOAuth, given.DefaultToOAuth)
	take(&props.MinimumTLS, given.MinimumTLS)
	take(&props.HTTPSOnly, given.HTTPSOnly)
	take(&props.PublicNetworkAccess, given.PublicNetworkAccess)
	take(&props.NetworkACLs, given.NetworkACLs)
	var err error
	props.Encryption, err = props.Encryption.merged(given.Encryption)
	return props, err
}

func take[T any](to **T, given *T) {
	if given != nil {
		*to = given
	}
}

func checkUnbuilt(name string, value json.RawMessage) error {
	for unbuilt, off := range unbuiltProperties {
		if !strings.EqualFold(unbuilt, name) {
			continue
		}
		if string(value) == "null" {
			return nil
		}
		for _, v := range off {
			if strings.EqualFold(v, string(value)) {
				return nil
			}
		}
		return invalidProperty(name, "The property '%s' asks for a feature that is not built; leave it out.", name)
	}
	return nil
}

func defaultProperties() *accountProperties {
	yes, no, hot, tls12, enabled, bypass := true, false, "Hot", "TLS1_2", "Enabled", bypassAzure
	return &accountProperties{
		AccessTier: &hot, AllowBlobPublic: &no, AllowSharedKey: &yes, AllowCrossTenant: &no, MinimumTLS: &tls12, HTTPSOnly: &yes,
		PublicNetworkAccess: &enabled, NetworkACLs: &networkACLs{Bypass: &bypass, DefaultAction: "Allow"},
	}
}

// checkSKU completes and returns the SKU's name.
func checkSKU(res *arm.Resource) (string, error) {
	var sku struct {
		Name string `json:"name"`
		Tier string `json:"tier"`
	}
	if len(res.SKU) > 0 {
		if err := json.Unmarshal(res.SKU, &sku); err != nil {
			return "", invalidProperty("sku", "The sku cannot be read: %v.", err)
		}
	}
	for _, name := range []string{
		"Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS", "Premium_LRS", "Premium_ZRS",
	} {
		if strings.EqualFold(sku.Name, name) {
			sku.Name = name
			sku.Tier, _, _ = strings.Cut(name, "_")
			var err error
			res.SKU, err = json.Marshal(sku)
			return name, err
		}
	}
	return "", invalidProperty("sku.name", "sku.name '%s' is not one of Azure's storage SKUs, such as 'Standard_LRS'.", sku.Name)
}

func checkKind(w *arm.Write) (string, error) {
	for _, kind := range []string{"StorageV2", "Storage", "BlobStorage", "BlockBlobStorage"} {
		if strings.EqualFold(w.New.Kind, kind) {
			w.New.Kind = kind
			return kind, nil
		}
	}
	return "", invalidProperty("kind", "kind '%s' is not StorageV2, Storage, BlobStorage or BlockBlobStorage.", w.New.Kind)
}

func (s *Storage) commitAccount(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	write := w.Private.(*accountWrite)
	if write.wrapping != nil {
		if err := s.Keys.Commit(ctx, tx, write.wrapping); err != nil {
			return err
		}
	}
	if w.Old == nil {
		return s.createAccount(ctx, tx, w.New.ID, write.settings, write.data)
	}
	return s.saveSettings(ctx, tx, w.New.ID.Name(), write.settings)
}

// showAccount adds what is not stored but follows.
func (s *Storage) showAccount(ctx context.Context, tx *store.Tx, res *arm.Resource, v arm.View) (any, error) {
	var props accountProperties
	if err := json.Unmarshal(res.Properties, &props); err != nil {
		return nil, err
	}
	created := res.System.CreatedAt.UTC().Format(timeFormat)
	props.CreationTime = created
	if err := s.showEncryption(ctx, tx, res, &props, created); err != nil {
		return nil, err
	}
	return struct {
		accountProperties
		ProvisioningState string            `json:"provisioningState"`
		PrimaryEndpoints  map[string]string `json:"primaryEndpoints"`
		PrimaryLocation   string            `json:"primaryLocation"`
		StatusOfPrimary   string            `json:"statusOfPrimary"`
		PrivateEndpoints  []struct{}        `json:"privateEndpointConnections"`
	}{
		accountProperties: props, ProvisioningState: res.State,
		PrimaryEndpoints: map[string]string{"blob": v.URLs.Blob(res.ID.Name()) + "/"},
		PrimaryLocation:  res.Location, StatusOfPrimary: "available", PrivateEndpoints: []struct{}{},
	}, nil
}

type shownKey struct {
	KeyName      string `json:"keyName"`
	Value        string `json:"value"`
	Permissions  string `json:"permissions"`
	CreationTime string `json:"creationTime"`
}

func writeKeys(w http.ResponseWriter, a *account) error {
	var keys []shownKey
	for _, k := range a.keys {
		keys = append(keys, shownKey{k.Name, k.Value, "FULL", k.Created.Format(timeFormat)})
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

func (s *Storage) listKeys(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	var a *account
	err := s.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		a, err = s.readAccount(r.Context(), tx, res.ID.Name())
		return err
	})
	if err != nil {
		return err
	}
	return writeKeys(w, a)
}

func (s *Storage) regenerateKey(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	var body struct {
		KeyName string `json:"keyName"`
	}
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	var a *account
	err := s.DB.Update(r.Context(), func(tx *store.Tx) (err error) {
		a, err = s.regenerate(r.Context(), tx, res.ID.Name(), body.KeyName)
		return err
	})
	if err != nil {
		return err
	}
	return writeKeys(w, a)
}

func (s *Storage) checkNameAvailability(w http.ResponseWriter, r *azure.Request) error {
	var body struct{ Name, Type string }
	if err := r.DecodeJSON("InvalidRequestContent", &body); err != nil {
		return err
	}
	if !strings.EqualFold(body.Type, accountType) {
		return invalidProperty("type", "type '%s' is not '%s'.", body.Type, accountType)
	}
	type answer struct {
		Available bool   `json:"nameAvailable"`
		Reason    string `json:"reason,omitempty"`
		Message   string `json:"message,omitempty"`
	}
	if err := checkAccountName(body.Name); err != nil {
		e, _ := azure.AsError(err)
		return azure.WriteJSON(w, http.StatusOK, answer{Reason: "AccountNameInvalid", Message: e.Message})
	}
	_, err := s.account(r.Context(), body.Name)
	switch {
	case err == nil:
		return azure.WriteJSON(w, http.StatusOK, answer{Reason: "AlreadyExists", Message: errNameTaken(body.Name).Message})
	case errors.Is(err, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "")):
		return azure.WriteJSON(w, http.StatusOK, answer{Available: true})
	}
	return err
}
