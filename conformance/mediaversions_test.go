package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyreel/keyreel/keyreeltest"
)

// accountJSON is what these tests read of an account.
type accountJSON struct {
	Identity struct {
		Type                   string
		PrincipalID            string
		UserAssignedIdentities map[string]struct{ PrincipalID string }
	}
	Properties struct {
		StorageAuthentication string
		ProvisioningState     string
		PublicNetworkAccess   string
		MinimumTLSVersion     string `json:"minimumTlsVersion"`
		KeyDelivery           *struct {
			AccessControl struct{ DefaultAction string }
		}
		StorageAccounts []struct{ Status string }
		Encryption      *struct {
			Type               string
			Status             string
			KeyVaultProperties struct{ CurrentKeyIdentifier string }
		}
	}
}

// TestMediaAccountInEveryVersion writes an account with raw requests in every api-version: synchronous until 2021-06-01,
// followed by its operation from then on; each shows what it knows.
func TestMediaAccountInEveryVersion(t *testing.T) {
	t.Parallel()
	s := start(t)
	storage := s.storage(t, "versionstore", nil)
	vault := s.newVault(t, "version-vault", nil)
	s.assign(t, vault, cryptoOfficer, s.adminID(t))
	first := createRSA(t, s.keys(t, "version-vault", s.Admin), "k")
	user := s.identity(t, "versionuser")
	s.assign(t, vault, cryptoService, *user.Properties.PrincipalID)
	token := s.token(t, s.Admin, "https://management.azure.com")

	for i, version := range []string{"2018-07-01", "2020-05-01", "2021-05-01", "2021-06-01", "2021-11-01", "2023-01-01"} {
		name := fmt.Sprintf("version%d", i)
		base := s.URLs().Management() + s.groupID() + "/providers/microsoft.MEDIA/MediaServices/" + name
		asynchronous := version >= "2021-11-01"
		write := func(method, body string) (accountJSON, error) {
			t.Helper()
			resp, text := s.raw(t, method, base+"?api-version="+version, token, body, "Content-Type", "application/json")
			operation, result := resp.Header.Get("Azure-AsyncOperation"), resp.Header.Get("Location")
			if resp.StatusCode < 300 && asynchronous != (operation != "" && result != "") {
				t.Errorf("%s %s: %d, operation %q, result %q", version, method, resp.StatusCode, operation, result)
			}
			if resp.StatusCode >= 300 {
				return accountJSON{}, fmt.Errorf("%d %s", resp.StatusCode, text)
			}
			if asynchronous {
				if !strings.Contains(operation, "/providers/Microsoft.Media/locations/"+location+"/mediaServicesOperationStatuses/") || !strings.Contains(result, "/mediaServicesOperationResults/") {
					t.Errorf("%s: %s, %s", version, operation, result)
				}
				if err := s.followed(t, operation, token); err != nil {
					return accountJSON{}, err
				}
				if resp, text = s.raw(t, "GET", result, token, ""); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: the operation's result: %d %s", version, resp.StatusCode, text)
				}
			}
			var a accountJSON
			check(t, json.Unmarshal([]byte(text), &a))
			return a, nil
		}
		body := `{"location":"West Europe","identity":{"type":"SystemAssigned"},"tags":{"a":"b"},"unknown":1,
			"properties":{"mediaServiceId":"ignored","unknown":{},"storageAccounts":[{"id":"` + storage + `","type":"Primary","status":"ignored"}]}}`
		a, err := write("PUT", body)
		check(t, err)
		p := a.Properties
		for what, ok := range map[string]bool{
			"identity":              a.Identity.PrincipalID != "" && a.Identity.Type == "SystemAssigned",
			"storageAuthentication": (p.StorageAuthentication == "System") == (version >= "2020-05-01"),
			"encryption":            (p.Encryption != nil && p.Encryption.Type == "SystemKey") == (version >= "2020-05-01"),
			"keyDelivery":           (p.KeyDelivery != nil && p.KeyDelivery.AccessControl.DefaultAction == "Allow") == (version >= "2021-05-01"),
			"publicNetworkAccess":   (p.PublicNetworkAccess == "Enabled") == (version >= "2021-06-01"),
			"storage status":        (p.StorageAccounts[0].Status != "") == (version >= "2021-06-01"),
			"provisioningState":     (p.ProvisioningState == "Succeeded") == asynchronous,
			"minimumTlsVersion":     (p.MinimumTLSVersion == "Tls12") == (version >= "2023-01-01"),
		} {
			if !ok {
				t.Errorf("%s: %s: %+v", version, what, a)
			}
		}
		// A refused write says why, in each version, and leaves the account as it was.
		customer := `"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"` + s.URLs().Vault("version-vault") + `/keys/k"}%s}`
		_, err = write("PATCH", `{"properties":{`+fmt.Sprintf(customer, "")+`}}`)
		if err == nil || !strings.Contains(err.Error(), "BadRequest") || !strings.Contains(err.Error(), "Access to the Customer Key was forbidden.") || !strings.Contains(err.Error(), a.Identity.PrincipalID) {
			t.Errorf("%s: refused with %v", version, err)
		}
		a, err = write("PATCH", fmt.Sprintf(`{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{%q:{}}},"properties":{%s}}`,
			*user.ID, fmt.Sprintf(customer, fmt.Sprintf(`,"identity":{"userAssignedIdentity":%q,"useSystemAssignedIdentity":false}`, *user.ID))))
		check(t, err)
		if a.Identity.Type != "SystemAssigned,UserAssigned" || len(a.Identity.UserAssignedIdentities) != 1 {
			t.Errorf("%s: %+v", version, a.Identity)
		}
		if version >= "2020-05-01" && a.Properties.Encryption.KeyVaultProperties.CurrentKeyIdentifier != string(*first) {
			t.Errorf("%s: %+v", version, a.Properties.Encryption)
		}
		_, err = write("PATCH", fmt.Sprintf(`{"identity":{"userAssignedIdentities":{%q:null}}}`, *user.ID))
		if err == nil || !strings.Contains(err.Error(), "/keys/k") {
			t.Errorf("%s: an identity in use was removed, or the refusal does not name what needs it: %v", version, err)
		}
		a, err = write("PATCH", fmt.Sprintf(`{"identity":{"userAssignedIdentities":{%q:null}},"properties":{"encryption":{"type":"SystemKey"}}}`, *user.ID))
		check(t, err)
		if a.Identity.Type != "SystemAssigned" {
			t.Errorf("%s: %+v", version, a.Identity)
		}
		bySubscription := s.URLs().Management() + "/subscriptions/" + s.sub + "/providers/Microsoft.Media/mediaservices/" + name + "?api-version=" + version
		want := http.StatusNotFound
		if version <= "2021-05-01" {
			want = http.StatusOK
		}
		if resp, text := s.raw(t, "GET", bySubscription, token, ""); resp.StatusCode != want {
			t.Errorf("%s: by subscription: %d %s", version, resp.StatusCode, text)
		}
		for _, want := range []int{http.StatusOK, http.StatusNoContent} {
			if resp, text := s.raw(t, "DELETE", base+"?api-version="+version, token, ""); resp.StatusCode != want {
				t.Errorf("%s: DELETE: %d, want %d: %s", version, resp.StatusCode, want, text)
			}
		}
	}
}

// followed waits for an operation's end and returns its error as it is shown.
func (s *server) followed(t testing.TB, operation, token string) (failed error) {
	t.Helper()
	keyreeltest.Within(t, 20*time.Second, func() error {
		resp, text := s.raw(t, "GET", operation, token, "")
		var status struct {
			Status string
			Error  json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d %s", resp.StatusCode, text)
		}
		switch status.Status {
		case "Succeeded":
			return nil
		case "Failed":
			failed = errors.New(string(status.Error))
			return nil
		}
		return errors.New(status.Status)
	})
	return failed
}

// TestAzureCLIWritesMediaAccounts: `az rest` writes, `az ams` reads.
func TestAzureCLIWritesMediaAccounts(t *testing.T) {
	t.Parallel()
	a := newAzureCLI(t)
	storage := a.az(t, "storage account create -g rg -n cliverstore -l westeurope --sku Standard_LRS --query id")
	for i, version := range []string{"2020-05-01", "2021-06-01", "2021-11-01", "2023-01-01"} {
		name := fmt.Sprintf("cliversion%d", i)
		account := a.groupID() + "/providers/Microsoft.Media/mediaservices/" + name + "?api-version=" + version
		a.az(t, "rest -m put -u "+account+" -b", `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"storageAccounts":[{"id":"`+storage+`","type":"Primary"}]}}`)
		keyreeltest.Within(t, time.Minute, func() error {
			if got := a.az(t, "ams account show -g rg -n "+name+" --query [storageAuthentication,encryption.type,provisioningState]"); got != "System\nSystemKey\nSucceeded" {
				return errors.New(got)
			}
			return nil
		})
		a.az(t, "rest -m patch -u "+account+" -b", `{"properties":{"publicNetworkAccess":"Disabled"}}`)
	}
	keyreeltest.Within(t, time.Minute, func() error {
		if got := a.az(t, "ams account list -g rg --query [].publicNetworkAccess"); got != strings.TrimSpace(strings.Repeat("Disabled\n", 4)) {
			return errors.New(got)
		}
		return nil
	})
	a.az(t, "ams account storage sync-storage-keys -g rg -a cliversion0 --storage-account-id "+storage)
}
