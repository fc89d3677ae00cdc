package conformance

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/google/uuid"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/authority"
	"github.com/keyreel/keyreel/internal/blob"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/job"
	"github.com/keyreel/keyreel/internal/keyvault"
	"github.com/keyreel/keyreel/internal/media"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// TestSecretsAtRest plants secrets, stops the server and goes through the whole database and every file as a thief
// would who has the system's root key too, but not the customer's key: below the system layer lies another. The same
// thief finds what an account under the system key holds, which shows that the search finds what is there.
func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	var data string
	s := start(t, func(c *keyreel.Config) { data = c.Data })
	st := newStudio(t, s, "sealaccount")
	s.createAccount(t, "openaccount", st.storage)

	policies, err := armmediaservices.NewContentKeyPoliciesClient(s.sub, s.Admin, s.options())
	check(t, err)
	locators, err := armmediaservices.NewStreamingLocatorsClient(s.sub, s.Admin, s.options())
	check(t, err)
	planted := map[string][]byte{}
	secret := func(name string, size int) []byte {
		planted[name] = make([]byte, size)
		rand.Read(planted[name])
		return planted[name]
	}
	token := secret("token key", 32)
	p := tokenPolicy(token)
	restriction := p.Properties.Options[0].Restriction.(*armmediaservices.ContentKeyPolicyTokenRestriction)
	restriction.AlternateVerificationKeys = []armmediaservices.ContentKeyPolicyRestrictionTokenKeyClassification{&armmediaservices.ContentKeyPolicySymmetricTokenKey{
		ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicySymmetricTokenKey"), KeyValue: secret("alternate token key", 32),
	}}
	_, err = policies.CreateOrUpdate(t.Context(), s.group, st.name, "p", p, nil)
	check(t, err)
	_, err = policies.CreateOrUpdate(t.Context(), s.group, st.name, "p", p, nil) // and written again
	check(t, err)
	_, err = locators.Create(t.Context(), s.group, st.name, "own", armmediaservices.StreamingLocator{Properties: &armmediaservices.StreamingLocatorProperties{
		AssetName: to.Ptr("out"), StreamingPolicyName: to.Ptr("Predefined_ClearKey"), DefaultContentKeyPolicyName: to.Ptr("p"),
		ContentKeys: []*armmediaservices.StreamingLocatorContentKey{{ID: to.Ptr(uuid.NewString()), Value: to.Ptr(base64.StdEncoding.EncodeToString(secret("content key", 16)))}},
	}}, nil)
	check(t, err)
	signed := fmt.Sprintf("%x", secret("JobInputHttp URL", 24))
	_, err = st.jobs.Create(t.Context(), s.group, st.name, "copy", "fetched", armmediaservices.Job{Properties: &armmediaservices.JobProperties{
		Input: &armmediaservices.JobInputHTTP{
			ODataType: to.Ptr("#Microsoft.Media.JobInputHttp"), BaseURI: to.Ptr("https://films.invalid/" + signed + "/"), Files: []*string{to.Ptr("m.mp4?sig=" + signed)},
		},
		Outputs: []armmediaservices.JobOutputClassification{&armmediaservices.JobOutputAsset{ODataType: to.Ptr("#Microsoft.Media.JobOutputAsset"), AssetName: to.Ptr("other")}},
	}}, nil)
	check(t, err)
	// Refused writes leave nothing either.
	bad := tokenPolicy(secret("token key of a refused policy", 32))
	bad.Properties.Options[0].Restriction.(*armmediaservices.ContentKeyPolicyTokenRestriction).Issuer = nil
	if _, err := policies.CreateOrUpdate(t.Context(), s.group, st.name, "bad", bad, nil); err == nil {
		t.Error("a policy without issuer was taken")
	}
	_, err = st.blobs.UploadBuffer(t.Context(), st.container["in"], "blob", append(secret("small blob", 64), make([]byte, 100)...), nil)
	check(t, err)
	_, err = st.blobs.UploadBuffer(t.Context(), st.container["in"], "large", append(secret("large blob", 64), make([]byte, 1<<20)...), nil)
	check(t, err)
	open := secret("token key under the system key", 32)
	_, err = policies.CreateOrUpdate(t.Context(), s.group, "openaccount", "p", tokenPolicy(open), nil)
	check(t, err)

	bearer := s.token(t, s.Admin, "https://management.azure.com")
	account := s.URLs().Management() + s.groupID() + "/providers/Microsoft.Media/mediaservices/" + st.name
	for _, path := range []string{"", "/contentKeyPolicies", "/contentKeyPolicies/p", "/streamingLocators", "/streamingLocators/own", "/assets"} {
		_, text := s.raw(t, "GET", account+path+"?api-version=2022-08-01", bearer, "")
		find(t, "GET "+path, []byte(text), planted)
	}
	_, shown := s.raw(t, "POST", account+"/contentKeyPolicies/p/getPolicyPropertiesWithSecrets?api-version=2022-08-01", bearer, "{}")
	if !strings.Contains(shown, base64.StdEncoding.EncodeToString(token)) {
		t.Errorf("those who may do not get the secret: %s", shown)
	}
	s.Stop(t)()

	found := 0
	check(t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		bytes, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found++
		find(t, path, bytes, planted)
		return nil
	}))
	if found < 5 {
		t.Errorf("only %d files were looked through in %s", found, data)
	}

	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(data, "keyreel.db"), Schemas: []store.Schema{
		{Name: "install", FS: os.DirFS("../schema")},
		seal.Schema, job.Schema, audit.Schema, rbac.Schema, directory.Schema,
		authority.Schema, arm.Schema, customerkey.Schema, keyvault.Schema, blob.Schema, media.Schema,
	}})
	check(t, err)
	defer db.Close()
	root, err := seal.FileRoot(filepath.Join(data, "root.key"))
	check(t, err)
	keyring, err := seal.OpenKeyring(t.Context(), db, root)
	check(t, err)
	peeled := map[string][]byte{}
	peel := func(query, table string, aad int) {
		t.Helper()
		check(t, db.View(t.Context(), func(tx *store.Tx) error {
			rows, err := tx.Query(t.Context(), query)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var sealed []byte
				names := make([]string, aad)
				into := []any{&sealed}
				for i := range names {
					into = append(into, &names[i])
				}
				if err := rows.Scan(into...); err != nil {
					return err
				}
				plain, err := keyring.Open(sealed, append(append([]string{table}, names...), "sealed")...)
				if err != nil {
					return fmt.Errorf("%s %v: %w", table, names, err)
				}
				peeled[table+" "+strings.Join(names, " ")] = plain
			}
			return rows.Err()
		}))
	}
	peel(`SELECT sealed, policy FROM media_policy_secrets`, "media_policy_secrets", 1)
	peel(`SELECT sealed, account, kid FROM media_content_keys`, "media_content_keys", 2)
	peel(`SELECT sealed, owner, generation FROM customerkey_keys`, "customerkey_keys", 2)
	if len(peeled) < 6 {
		t.Errorf("only %d values were found below the system layer", len(peeled))
	}
	accountKeys := map[string]seal.Key{} // those of media accounts that are there without a vault
	for name, plain := range peeled {
		find(t, "below the system layer, "+name, plain, planted)
		if strings.HasPrefix(name, "customerkey_keys") && strings.Contains(name, "microsoft.media") && len(plain) == 64 {
			accountKeys[name] = seal.Key(plain[32:])
		}
	}
	if len(accountKeys) != 1 {
		t.Errorf("%d account keys lie under the system key alone, not 1: openaccount's", len(accountKeys))
	}
	for name, key := range accountKeys {
		opened := false
		for row, sealed := range peeled {
			table, policy, _ := strings.Cut(row, " ")
			plain, err := key.Open(sealed, table, policy, "sealed")
			opened = opened || err == nil && json.Valid(plain) && bytes.Contains(plain, []byte(base64.StdEncoding.EncodeToString(open)))
			if err == nil && !strings.Contains(row, "openaccount") {
				t.Errorf("%s opens %s", name, row)
			}
		}
		if !opened {
			t.Errorf("the search does not find what is there: %s", name)
		}
	}
}

// find reports secrets in a text, however they are spelled.
func find(t testing.TB, where string, text []byte, planted map[string][]byte) {
	t.Helper()
	for name, secret := range planted {
		for _, spelled := range spellings(secret) {
			if bytes.Contains(text, spelled) {
				t.Errorf("%s holds the %s", where, name)
			}
		}
	}
}
