package media

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// policyProperties are stored as a content key policy's properties. The secrets of its options are left out there;
// they lie sealed in media_policy_secrets.
type policyProperties struct {
	PolicyID     string         `json:"policyId"`
	Created      time.Time      `json:"created"`
	LastModified time.Time      `json:"lastModified"`
	Description  string         `json:"description,omitempty"`
	Options      []policyOption `json:"options"`
}

type policyOption struct {
	ID            string        `json:"policyOptionId"`
	Name          string        `json:"name,omitempty"`
	Configuration odataType     `json:"configuration"`
	Restriction   keyPermission `json:"restriction"`
}

type odataType struct {
	Type string `json:"@odata.type"`
}

// keyPermission is a ContentKeyPolicyOpenRestriction or ContentKeyPolicyTokenRestriction.
type keyPermission struct {
	Type                      string          `json:"@odata.type"`
	Issuer                    string          `json:"issuer,omitempty"`
	Audience                  string          `json:"audience,omitempty"`
	PrimaryVerificationKey    *tokenKey       `json:"primaryVerificationKey,omitempty"`
	AlternateVerificationKeys []tokenKey      `json:"alternateVerificationKeys,omitempty"`
	RequiredClaims            []requiredClaim `json:"requiredClaims,omitempty"`
	TokenType                 string          `json:"restrictionTokenType,omitempty"`
	OpenIDDiscoveryDocument   string          `json:"openIdConnectDiscoveryDocument,omitempty"`
}

// tokenKey is a SymmetricTokenKey (KeyValue, a secret) or an RsaTokenKey (Exponent and Modulus); base64.
type tokenKey struct {
	Type     string  `json:"@odata.type"`
	KeyValue *string `json:"keyValue,omitempty"`
	Exponent string  `json:"exponent,omitempty"`
	Modulus  string  `json:"modulus,omitempty"`
}

type requiredClaim struct {
	Type  string  `json:"claimType"`
	Value *string `json:"claimValue"`
}

const (
	clearKeyConfiguration = "#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration"
	openRestriction       = "#Microsoft.Media.ContentKeyPolicyOpenRestriction"
	tokenRestriction      = "#Microsoft.Media.ContentKeyPolicyTokenRestriction"
	symmetricTokenKey     = "#Microsoft.Media.ContentKeyPolicySymmetricTokenKey"
	rsaTokenKey           = "#Microsoft.Media.ContentKeyPolicyRsaTokenKey"

	contentKeyIDClaim = "urn:microsoft:azure:mediaservices:contentkeyidentifier"
	maxUsesClaim      = "urn:microsoft:azure:mediaservices:maxuses"
)

func (s *Service) contentKeyPolicyType() arm.Type {
	t := child(contentKeyPolicyType)
	t.Validate, t.Prepare, t.Commit, t.Delete = s.validatePolicy, s.preparePolicy, s.commitPolicy, s.deletePolicy
	t.Actions = []arm.Action{{Name: "getPolicyPropertiesWithSecrets", Handle: s.policyWithSecrets}}
	return t
}

// policyWrite goes from Validate through Prepare to Commit: the options with their secrets, then sealed.
type policyWrite struct {
	options []policyOption
	sealed  []byte
}

func (s *Service) validatePolicy(_ context.Context, _ *store.Tx, w *arm.Write) error {
	var body struct {
		Description *string         `json:"description"`
		Options     *[]policyOption `json:"options"`
	}
	if err := decodeProperties(w.Body, &body); err != nil {
		return err
	}
	now := time.Now().UTC()
	p := policyProperties{PolicyID: azure.NewGUID(), Created: now}
	if w.Old != nil {
		if err := decodeStored(w.Old, &p); err != nil {
			return err
		}
	}
	p.LastModified = now
	set(&p.Description, body.Description)
	if body.Options != nil || !w.Patch {
		if body.Options == nil || len(*body.Options) == 0 {
			return badRequest("properties.options", "A content key policy has at least one option.")
		}
		p.Options = *body.Options
		for i := range p.Options {
			if err := p.Options[i].check(); err != nil {
				return err
			}
			p.Options[i].ID = azure.NewGUID()
		}
		w.Private = &policyWrite{options: p.Options}
		p.Options = withoutSecrets(p.Options)
	}
	return encodeProperties(w.New, p)
}

func (o *policyOption) check() error {
	const target = "properties.options"
	if o.Configuration.Type != clearKeyConfiguration {
		return badRequest(target+".configuration", "'%s' is not a configuration that is built. Use '%s'.", o.Configuration.Type, clearKeyConfiguration)
	}
	r := &o.Restriction
	switch r.Type {
	case openRestriction:
		*r = keyPermission{Type: openRestriction}
		return nil
	case tokenRestriction:
	default:
		return badRequest(target+".restriction", "'%s' is not a restriction that is built. Use '%s' or '%s'.", r.Type, openRestriction, tokenRestriction)
	}
	if r.TokenType != "Jwt" {
		return badRequest(target+".restriction.restrictionTokenType", "'%s' is not a token type that is built. Use 'Jwt'.", r.TokenType)
	}
	if r.Issuer == "" || r.Audience == "" {
		return badRequest(target+".restriction", "A token restriction needs an issuer and an audience.")
	}
	if r.OpenIDDiscoveryDocument != "" {
		return badRequest(target+".restriction.openIdConnectDiscoveryDocument", "Discovery of verification keys is not built. Give the keys.")
	}
	if r.PrimaryVerificationKey == nil {
		return badRequest(target+".restriction.primaryVerificationKey", "A token restriction needs a primary verification key.")
	}
	for _, c := range r.RequiredClaims {
		if c.Type == "" || c.Type == maxUsesClaim {
			return badRequest(target+".restriction.requiredClaims", "The claim '%s' cannot be required.", c.Type)
		}
	}
	for _, k := range append([]tokenKey{*r.PrimaryVerificationKey}, r.AlternateVerificationKeys...) {
		if _, _, err := k.verifier(); err != nil {
			return badRequest(target+".restriction", "A verification key is not valid: %v.", err)
		}
	}
	return nil
}

// withoutSecrets returns a copy that may be stored and shown.
func withoutSecrets(options []policyOption) []policyOption {
	shown := make([]policyOption, len(options))
	for i, o := range options {
		if o.Restriction.PrimaryVerificationKey != nil {
			k := *o.Restriction.PrimaryVerificationKey
			k.KeyValue = nil
			o.Restriction.PrimaryVerificationKey = &k
		}
		alternates := o.Restriction.AlternateVerificationKeys
		o.Restriction.AlternateVerificationKeys = nil
		for _, k := range alternates {
			k.KeyValue = nil
			o.Restriction.AlternateVerificationKeys = append(o.Restriction.AlternateVerificationKeys, k)
		}
		shown[i] = o
	}
	return shown
}

// preparePolicy seals the options under the account key, which may mean a call to the customer's vault.
func (s *Service) preparePolicy(ctx context.Context, w *arm.Write) error {
	pw, ok := w.Private.(*policyWrite)
	if !ok {
		return nil // a PATCH that leaves the options
	}
	key, err := s.o.Keys.Key(ctx, accountID(w.New.ID).Key())
	if err != nil {
		return inaccessible(w.New.ID, err)
	}
	plain, err := json.Marshal(pw.options)
	if err != nil {
		return fmt.Errorf("sealing %s: %w", w.New.ID, err)
	}
	pw.sealed = s.seal(key, plain, "media_policy_secrets", w.New.ID.Key(), "sealed")
	return nil
}

func (s *Service) commitPolicy(ctx context.Context, tx *store.Tx, w *arm.Write) error {
	pw, ok := w.Private.(*policyWrite)
	if !ok {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO media_policy_secrets (policy, sealed) VALUES ($1, $2)
		ON CONFLICT (policy) DO UPDATE SET sealed = excluded.sealed`, w.New.ID.Key(), pw.sealed)
	if err != nil {
		return fmt.Errorf("storing the secrets of %s: %w", w.New.ID, err)
	}
	return nil
}

func (s *Service) deletePolicy(ctx context.Context, tx *store.Tx, res *arm.Resource) error {
	if _, err := tx.Exec(ctx, `DELETE FROM media_policy_secrets WHERE policy = $1`, res.ID.Key()); err != nil {
		return fmt.Errorf("deleting the secrets of %s: %w", res.ID, err)
	}
	return nil
}

// policyOptions returns a policy's options with their secrets.
func (s *Service) policyOptions(ctx context.Context, key seal.Key, policy azure.ResourceID) ([]policyOption, error) {
	var sealed []byte
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT sealed FROM media_policy_secrets WHERE policy = $1`, policy.Key()).Scan(&sealed)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, azure.Errorf(http.StatusNotFound, "ResourceNotFound", "The content key policy '%s' was not found.", policy.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("reading the secrets of %s: %w", policy, err)
	}
	plain, err := s.unseal(key, sealed, "media_policy_secrets", policy.Key(), "sealed")
	if err != nil {
		return nil, err
	}
	var options []policyOption
	if err := json.Unmarshal(plain, &options); err != nil {
		return nil, fmt.Errorf("reading the secrets of %s: %w", policy, err)
	}
	return options, nil
}

func (s *Service) policyWithSecrets(w http.ResponseWriter, r *azure.Request, res *arm.Resource) error {
	key, err := s.o.Keys.Key(r.Context(), accountID(res.ID).Key())
	if err != nil {
		return inaccessible(res.ID, err)
	}
	var p policyProperties
	if err := decodeStored(res, &p); err != nil {
		return err
	}
	if p.Options, err = s.policyOptions(r.Context(), key, res.ID); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return azure.WriteJSON(w, http.StatusOK, p)
}

// seal puts both layers over a secret: the account key's and the system key's.
func (s *Service) seal(key seal.Key, plain []byte, aad ...string) []byte {
	return s.o.Keyring.Seal(key.Seal(plain, aad...), aad...)
}

func (s *Service) unseal(key seal.Key, sealed []byte, aad ...string) ([]byte, error) {
	inner, err := s.o.Keyring.Open(sealed, aad...)
	if err == nil {
		inner, err = key.Open(inner, aad...)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %v: %w", aad, err)
	}
	return inner, nil
}

// decodeBase64 reads base64 with or without padding, in either alphabet.
func decodeBase64(s string) ([]byte, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(s); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("it is not base64")
}
