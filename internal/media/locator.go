package media

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// locatorProperties are stored as a streaming locator's properties. Its content keys lie sealed in media_content_keys.
type locatorProperties struct {
	AssetName               string     `json:"assetName"`
	Created                 time.Time  `json:"created"`
	StartTime               *time.Time `json:"startTime,omitempty"`
	EndTime                 *time.Time `json:"endTime,omitempty"`
	StreamingLocatorID      string     `json:"streamingLocatorId"`
	StreamingPolicyName     string     `json:"streamingPolicyName"`
	DefaultContentKeyPolicy string     `json:"defaultContentKeyPolicyName,omitempty"`
	AlternativeMediaID      string     `json:"alternativeMediaId,omitempty"`
}

// holds reports whether the locator is valid at a time.
func (p *locatorProperties) holds(now time.Time) bool {
	return (p.StartTime == nil || !now.Before(*p.StartTime)) && (p.EndTime == nil || now.Before(*p.EndTime))
}

const envelopeEncryptionKey = "EnvelopeEncryption"

// contentKey is a content key of a locator, in clear while in memory only.
type contentKey struct {
	kid     string
	locator string // ARM ID, lower case
	typ     string
	label   string
	policy  string
	value   []byte // 16 bytes
	sealed  []byte
}

// locatorWrite goes from Validate through Prepare to Commit.
type locatorWrite struct{ keys []contentKey }

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (s *Service) streamingLocatorType() arm.Type {
	t := child(streamingLocatorType)
	t.NoPatch = true
	t.Validate, t.Prepare, t.Commit, t.Delete = s.validateLocator, s.prepareLocator, s.commitLocator, s.deleteLocator
	t.Actions = []arm.Action{
		{Name: "listPaths", Handle: s.listPaths},
		{Name: "listContentKeys", Handle: s.listContentKeys},
	}
	return t
}

type locatorBody struct {
	locatorProperties
	ContentKeys []struct {
		ID    string `json:"id"`
		Type  string `json:"type"`
		Label string `json:"labelReferenceInStreamingPolicy"`
		Value string `json:"value"`
	} `json:"contentKeys"`
	Filters []string `json:"filters"`
}

func (s *Service) validateLocator(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	if w.Old != nil {
		return immutable(w.New.ID)
	}
	var body locatorBody
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	p := body.locatorProperties
	p.Created = time.Now().UTC()
	p.StreamingLocatorID = strings.ToLower(p.StreamingLocatorID)
	if p.StreamingLocatorID == "" {
		p.StreamingLocatorID = azure.NewGUID()
	}
	switch {
	case !guid.MatchString(p.StreamingLocatorID):
		return badRequest("properties.streamingLocatorId", "'%s' is not a GUID.", p.StreamingLocatorID)
	case p.StartTime != nil && p.EndTime != nil && !p.StartTime.Before(*p.EndTime):
		return badRequest("properties.endTime", "The end time is not after the start time.")
	case len(body.Filters) > 0:
		return badRequest("properties.filters", "Filters are not built.")
	}
	if _, err := s.asset(ctx, tx, w.New.ID, p.AssetName, "properties.assetName"); err != nil {
		return err
	}
	res, err := s.child(ctx, tx, w.New.ID, "streamingPolicies", p.StreamingPolicyName, "properties.streamingPolicyName")
	if err != nil {
		return err
	}
	var policy streamingPolicyProperties
	if err := decodeStored(res, &policy); err != nil {
		return err
	}
	if policy.drm() {
		return badRequest("properties.streamingPolicyName", "'%s' uses common encryption, which is not built. Use 'Predefined_ClearKey' or 'Predefined_ClearStreamingOnly'.", res.ID.Name())
	}
	keys, err := s.locatorKeys(ctx, tx, w.New.ID, &p, &policy, body)
	if err != nil {
		return err
	}
	w.Private = &locatorWrite{keys}
	return encodeProperties(w.New, p)
}

// locatorKeys makes the keys that the policy asks for, or takes those that the client brings.
func (s *Service) locatorKeys(ctx context.Context, tx *store.Tx, id azure.ResourceID, p *locatorProperties, policy *streamingPolicyProperties, body locatorBody) ([]contentKey, error) {
	if policy.EnvelopeEncryption == nil {
		if len(body.ContentKeys) > 0 {
			return nil, badRequest("properties.contentKeys", "The streaming policy '%s' does not encrypt, so there is no use for content keys.", p.StreamingPolicyName)
		}
		return nil, nil
	}
	key := contentKey{kid: azure.NewGUID(), typ: envelopeEncryptionKey, value: make([]byte, 16)}
	rand.Read(key.value)
	if d := policy.EnvelopeEncryption.ContentKeys.DefaultKey; d != nil {
		key.label, key.policy = d.Label, d.PolicyName
	}
	for _, fallback := range []string{p.DefaultContentKeyPolicy, policy.DefaultContentKeyPolicy} {
		if key.policy == "" {
			key.policy = fallback
		}
	}
	if key.policy == "" {
		return nil, badRequest("properties.defaultContentKeyPolicyName", "The streaming policy '%s' encrypts, so the locator needs a content key policy that says who gets the key.", p.StreamingPolicyName)
	}
	if err := s.hasContentKeyPolicy(ctx, tx, id, key.policy, "properties.defaultContentKeyPolicyName"); err != nil {
		return nil, err
	}
	if len(body.ContentKeys) > 1 {
		return nil, badRequest("properties.contentKeys", "One content key encrypts all tracks; %d were given.", len(body.ContentKeys))
	}
	for _, k := range body.ContentKeys {
		value, err := decodeBase64(k.Value)
		if err != nil || len(value) != 16 || !guid.MatchString(strings.ToLower(k.ID)) || k.Label != key.label {
			return nil, badRequest("properties.contentKeys", "A content key needs an id that is a GUID, a value of 16 bytes in base64 and the label '%s'.", key.label)
		}
		key.kid, key.value = strings.ToLower(k.ID), value
	}
	return []contentKey{key}, nil
}

func (s *Service) prepareLocator(ctx context.Context, w *arm.Write) error {
	lw, ok := w.Private.(*locatorWrite)
	if !ok || len(lw.keys) == 0 {
		return nil
	}
	account := accountID(w.New.ID).Key()
	key, err := s.o.Keys.Key(ctx, account)
	if err != nil {
		return inaccessible(w.New.ID, err)
	}
	for i := range lw.keys {
		k := &lw.keys[i]
		k.sealed = s.seal(key, k.value, "media_content_keys", account, k.kid, "sealed")
	}
	return nil
}

func (s *Service) commitLocator(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	lw, ok := w.Private.(*locatorWrite)
	if !ok {
		return fmt.Errorf("storing %s: its keys were not prepared", w.New.ID)
	}
	var p locatorProperties
	if err := decodeStored(w.New, &p); err != nil {
		return err
	}
	account := accountID(w.New.ID).Key()
	_, err := tx.Exec(ctx, `INSERT INTO media_locators (account, locator_id, locator) VALUES ($1, $2, $3)`, account, p.StreamingLocatorID, w.New.ID.String())
	if store.IsUnique(err) {
		return azure.Errorf(http.StatusConflict, "Conflict", "Streaming locator id '%s' already exists.", p.StreamingLocatorID)
	} else if err != nil {
		return fmt.Errorf("storing %s: %w", w.New.ID, err)
	}
	for _, k := range lw.keys {
		_, err := tx.Exec(ctx, `INSERT INTO media_content_keys (account, kid, locator, type, label, policy, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			account, k.kid, w.New.ID.Key(), k.typ, k.label, k.policy, k.sealed)
		if store.IsUnique(err) {
			return azure.Errorf(http.StatusConflict, "Conflict", "Content key id '%s' already exists.", k.kid)
		} else if err != nil {
			return fmt.Errorf("storing the content keys of %s: %w", w.New.ID, err)
		}
	}
	return nil
}

func (s *Service) deleteLocator(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
	if _, err := tx.Exec(ctx, `DELETE FROM media_content_keys WHERE locator = $1`, res.ID.Key()); err != nil {
		return fmt.Errorf("deleting the content keys of %s: %w", res.ID, err)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM media_locators WHERE account = $1 AND locator = $2`, accountID(res.ID).Key(), res.ID.String()); err != nil {
		return fmt.Errorf("deleting %s: %w", res.ID, err)
	}
	return nil
}

// contentKeys returns the content keys that a column's value selects, still sealed. where is "locator" or "kid".
func (s *Service) contentKeys(ctx context.Context, tx *store.Tx, account, where, value string) ([]contentKey, error) {
	rows, err := tx.Query(ctx, `SELECT kid, locator, type, label, policy, sealed FROM media_content_keys WHERE account = $1 AND `+where+` = $2 ORDER BY kid`, account, value)
	if err != nil {
		return nil, fmt.Errorf("reading content keys: %w", err)
	}
	defer rows.Close()
	var keys []contentKey
	for rows.Next() {
		var k contentKey
		if err := rows.Scan(&k.kid, &k.locator, &k.typ, &k.label, &k.policy, &k.sealed); err != nil {
			return nil, fmt.Errorf("reading content keys: %w", err)
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// openContentKey takes both layers off a content key.
func (s *Service) openContentKey(key seal.Key, account string, k *contentKey) error {
	value, err := s.unseal(key, k.sealed, "media_content_keys", account, k.kid, "sealed")
	if err == nil && len(value) != 16 {
		err = errors.New("it has not 16 bytes")
	}
	if err != nil {
		return fmt.Errorf("opening the content key %s: %w", k.kid, err)
	}
	k.value = value
	return nil
}

func (s *Service) listContentKeys(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	ctx, account := r.Context(), accountID(res.ID).Key()
	key, err := s.o.Keys.Key(ctx, account)
	if err != nil {
		return inaccessible(res.ID, err)
	}
	var keys []contentKey
	err = s.o.DB.View(ctx, func(tx *store.Tx) error {
		keys, err = s.contentKeys(ctx, tx, account, "locator", res.ID.Key())
		return err
	})
	if err != nil {
		return err
	}
	shown := []map[string]any{}
	for i := range keys {
		k := &keys[i]
		if err := s.openContentKey(key, account, k); err != nil {
			return err
		}
		shown = append(shown, map[string]any{
			"id": k.kid, "type": k.typ, "labelReferenceInStreamingPolicy": k.label,
			"value": base64.StdEncoding.EncodeToString(k.value), "policyName": k.policy, "tracks": []string{},
		})
	}
	w.Header().Set("Cache-Control", "no-store")
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"contentKeys": shown})
}

type streamingPath struct {
	StreamingProtocol string   `json:"streamingProtocol"`
	EncryptionScheme  string   `json:"encryptionScheme"`
	Paths             []string `json:"paths"`
}

// listPaths looks into the asset's container for its server manifest and files.
func (s *Service) listPaths(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	ctx := r.Context()
	p, err := s.playback(ctx, res)
	if err != nil {
		return err
	}
	files, err := s.listFiles(ctx, p.target, p.asset.Container)
	if err != nil {
		return storageDenied(err)
	}
	base := "/" + p.locator.StreamingLocatorID + "/"
	paths, downloads := []streamingPath{}, []string{}
	manifest := slices.IndexFunc(files, func(f string) bool { return strings.HasSuffix(strings.ToLower(f), ".ism") })
	add := func(protocols enabledProtocols, scheme, encryption string) {
		if manifest < 0 {
			return
		}
		for _, f := range []struct {
			enabled        bool
			name, protocol string
		}{{protocols.HLS, "m3u8-cmaf", "Hls"}, {protocols.Dash && encryption == "", "mpd-time-cmaf", "Dash"}} {
			if f.enabled {
				paths = append(paths, streamingPath{f.protocol, scheme, []string{base + files[manifest] + "/manifest(format=" + f.name + encryption + ")"}})
			}
		}
	}
	if e := p.policy.NoEncryption; e != nil {
		add(e.EnabledProtocols, "NoEncryption", "")
		if e.EnabledProtocols.Download {
			for _, f := range files {
				downloads = append(downloads, base+f)
			}
		}
	}
	if e := p.policy.EnvelopeEncryption; e != nil {
		add(e.EnabledProtocols, envelopeEncryptionKey, ",encryption=cbc")
	}
	return azure.WriteJSON(w, http.StatusOK, map[string]any{"streamingPaths": paths, "downloadPaths": downloads})
}

// maxFiles bounds how many files of an asset are listed.
const maxFiles = 5000

func (s *Service) listFiles(ctx context.Context, t storageTarget, container string) ([]string, error) {
	client, err := s.client(ctx, t)
	if err != nil {
		return nil, err
	}
	files := []string{}
	for pager := client.NewContainerClient(container).NewListBlobsFlatPager(nil); pager.More() && len(files) < maxFiles; {
		page, err := pager.NextPage(ctx)
		if err := s.access.observe(ctx, t, t.problem("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", err)); err != nil {
			return nil, err
		}
		for _, b := range page.Segment.BlobItems {
			if b.Name != nil {
				files = append(files, *b.Name)
			}
		}
	}
	return files, nil
}
