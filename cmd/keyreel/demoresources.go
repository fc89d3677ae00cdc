package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/keyreel/keyreel/internal/azure"
)

const demoLocation = "westeurope"

// Built-in roles, by the GUIDs that they have in Azure.
const (
	roleReader          = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	roleBlobContributor = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	roleCryptoOfficer   = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	roleCryptoService   = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
)

// polling is how often the SDK asks how an operation is getting on; less than a second it does not allow, and its default
// of 30 s is for a cloud far away.
const polling = time.Second

func (s *story) subscription() string { return s.srv.Installation().SubscriptionID }

func (s *story) resources(ctx context.Context) error {
	s.group, s.storage, s.account, s.vault = "reel", "reelstore", "reelmedia", "reelvault"
	s.title("A resource group, a storage account whose firewall denies everyone, a media account with an identity")
	err := s.step("resource group", func() (string, error) {
		c, err := armresources.NewResourceGroupsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		r, err := c.CreateOrUpdate(ctx, s.group, armresources.ResourceGroup{Location: to.Ptr(demoLocation)}, nil)
		if err != nil {
			return "", err
		}
		s.groupID = *r.ID
		return *r.ID, nil
	})
	if err != nil {
		return err
	}
	err = s.step("storage account: networkAcls.defaultAction Deny, bypass AzureServices", func() (string, error) {
		c, err := armstorage.NewAccountsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		p, err := c.BeginCreate(ctx, s.group, s.storage, armstorage.AccountCreateParameters{
			Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr(demoLocation), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
			Properties: &armstorage.AccountPropertiesCreateParameters{NetworkRuleSet: closedFirewall()},
		}, nil)
		if err != nil {
			return "", err
		}
		r, err := p.PollUntilDone(ctx, &runtimeOptions)
		if err != nil {
			return "", err
		}
		s.storageID = *r.ID
		return *r.Properties.PrimaryEndpoints.Blob, nil
	})
	if err != nil {
		return err
	}
	return s.step("media account with a system-assigned identity", func() (string, error) {
		c, err := armmediaservices.NewClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		p, err := c.BeginCreateOrUpdate(ctx, s.group, s.account, armmediaservices.MediaService{
			Location: to.Ptr(demoLocation),
			Identity: &armmediaservices.MediaServiceIdentity{Type: to.Ptr("SystemAssigned")},
			Properties: &armmediaservices.MediaServiceProperties{StorageAccounts: []*armmediaservices.StorageAccount{
				{ID: &s.storageID, Type: to.Ptr(armmediaservices.StorageAccountTypePrimary)},
			}},
		}, nil)
		if err != nil {
			return "", err
		}
		r, err := p.PollUntilDone(ctx, &runtimeOptions)
		if err != nil {
			return "", err
		}
		s.principal = *r.Identity.PrincipalID
		return "identity " + s.principal, nil
	})
}

var runtimeOptions = pollOptions()

func closedFirewall(allowed ...string) *armstorage.NetworkRuleSet {
	rules := []*armstorage.IPRule{}
	for _, ip := range allowed {
		rules = append(rules, &armstorage.IPRule{IPAddressOrRange: to.Ptr(ip)})
	}
	return &armstorage.NetworkRuleSet{
		DefaultAction: to.Ptr(armstorage.DefaultActionDeny), Bypass: to.Ptr(armstorage.BypassAzureServices), IPRules: rules,
	}
}

// useIdentity asks the media account to reach its storage as its identity.
func (s *story) useIdentity(ctx context.Context) error {
	return s.updateAccount(ctx, &armmediaservices.MediaServiceProperties{
		StorageAuthentication: to.Ptr(armmediaservices.StorageAuthenticationManagedIdentity),
	})
}

func (s *story) updateAccount(ctx context.Context, p *armmediaservices.MediaServiceProperties) error {
	c, err := armmediaservices.NewClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return err
	}
	poller, err := c.BeginUpdate(ctx, s.group, s.account, armmediaservices.MediaServiceUpdate{Properties: p}, nil)
	if err != nil {
		return err
	}
	_, err = poller.PollUntilDone(ctx, &runtimeOptions)
	return err
}

func (s *story) refusedAndGranted(ctx context.Context) error {
	s.title("Without a grant the account cannot use the storage; with it, it can")
	err := s.step("storageAuthentication: ManagedIdentity is refused, and the refusal says what would mend it", func() (string, error) {
		err := s.useIdentity(ctx)
		if err == nil {
			return "", errors.New("it was accepted though nothing is granted")
		}
		text := err.Error()
		for _, want := range []string{s.principal, "Microsoft.Storage/storageAccounts/", s.storageID, "Storage Blob Data Contributor"} {
			if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
				return "", fmt.Errorf("the refusal does not name %q: %w", want, err)
			}
		}
		return wrap(responseMessage(err), 100), nil
	})
	if err != nil {
		return err
	}
	for _, role := range []struct{ name, id string }{{"Storage Blob Data Contributor", roleBlobContributor}, {"Reader", roleReader}} {
		if err := s.step("grant "+role.name+" on the storage account", func() (string, error) {
			_, err := s.assign(ctx, s.storageID, role.id, s.principal)
			return "", err
		}); err != nil {
			return err
		}
	}
	return s.step("storageAuthentication: ManagedIdentity is accepted", func() (string, error) { return "", s.useIdentity(ctx) })
}

// assign grants a role and returns the assignment's name.
func (s *story) assign(ctx context.Context, scope, role, principal string) (string, error) {
	c, err := armauthorization.NewRoleAssignmentsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return "", err
	}
	name := azure.NewGUID()
	_, err = c.Create(ctx, scope, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr("/subscriptions/" + s.subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
		PrincipalID:      &principal, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
	}}, nil)
	return name, err
}

// self returns the object id of the administrator, as its own token says it.
func (s *story) self(ctx context.Context) (string, error) {
	t, err := s.admin.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		return "", err
	}
	return claim(t.Token, "oid")
}

func (s *story) keys() (*azkeys.Client, error) {
	return azkeys.NewClient(s.srv.URLs().Vault(s.vault), s.admin, &azkeys.ClientOptions{ClientOptions: s.srv.ClientOptions()})
}

func (s *story) createKey(ctx context.Context) (string, error) {
	c, err := s.keys()
	if err != nil {
		return "", err
	}
	r, err := c.CreateKey(ctx, s.keyName, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(3072))}, nil)
	if err != nil {
		return "", err
	}
	return string(*r.Key.KID), nil
}

func (s *story) customerKey(ctx context.Context) error {
	s.keyName = "reel"
	s.title("The customer's key: a vault with purge protection, an RSA-3072 key, and the account's own key wrapped by it")
	err := s.step("key vault with purge protection, roles decide", func() (string, error) {
		c, err := armkeyvault.NewVaultsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		p, err := c.BeginCreateOrUpdate(ctx, s.group, s.vault, armkeyvault.VaultCreateOrUpdateParameters{
			Location: to.Ptr(demoLocation),
			Properties: &armkeyvault.VaultProperties{
				TenantID: to.Ptr(s.srv.Installation().TenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
				EnableRbacAuthorization: to.Ptr(true), EnablePurgeProtection: to.Ptr(true),
			},
		}, nil)
		if err != nil {
			return "", err
		}
		r, err := p.PollUntilDone(ctx, &runtimeOptions)
		if err != nil {
			return "", err
		}
		s.vaultID = *r.ID
		return *r.Properties.VaultURI, nil
	})
	if err != nil {
		return err
	}
	err = s.step("RSA-3072 key (the administrator first grants itself Key Vault Crypto Officer)", func() (string, error) {
		me, err := s.self(ctx)
		if err != nil {
			return "", err
		}
		if _, err := s.assign(ctx, s.vaultID, roleCryptoOfficer, me); err != nil {
			return "", err
		}
		s.firstVersion, err = s.createKey(ctx)
		return s.firstVersion, err
	})
	if err != nil {
		return err
	}
	err = s.step("grant Key Vault Crypto Service Encryption User to the account's identity", func() (string, error) {
		var err error
		s.keyGrant, err = s.assign(ctx, s.vaultID, roleCryptoService, s.principal)
		return "", err
	})
	if err != nil {
		return err
	}
	return s.step("encryption: CustomerKey, by the key's identifier without version", func() (string, error) {
		err := s.updateAccount(ctx, &armmediaservices.MediaServiceProperties{Encryption: &armmediaservices.AccountEncryption{
			Type:               to.Ptr(armmediaservices.AccountEncryptionKeyTypeCustomerKey),
			KeyVaultProperties: &armmediaservices.KeyVaultProperties{KeyIdentifier: to.Ptr(s.srv.URLs().Vault(s.vault) + "/keys/" + s.keyName)},
			Identity:           &armmediaservices.ResourceIdentity{UseSystemAssignedIdentity: to.Ptr(true)},
		}})
		if err != nil {
			return "", err
		}
		current, err := s.currentKey(ctx)
		if err == nil && current != s.firstVersion {
			err = fmt.Errorf("currentKeyIdentifier is %s, not %s", current, s.firstVersion)
		}
		return "currentKeyIdentifier " + current, err
	})
}

// accountState returns the account as GET shows it.
func (s *story) accountState(ctx context.Context) (armmediaservices.MediaService, error) {
	c, err := armmediaservices.NewClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return armmediaservices.MediaService{}, err
	}
	r, err := c.Get(ctx, s.group, s.account, nil)
	return r.MediaService, err
}

func (s *story) currentKey(ctx context.Context) (string, error) {
	a, err := s.accountState(ctx)
	if err != nil {
		return "", err
	}
	e := a.Properties.Encryption
	if e == nil || e.KeyVaultProperties == nil || e.KeyVaultProperties.CurrentKeyIdentifier == nil {
		return "", errors.New("the account shows no currentKeyIdentifier")
	}
	return *e.KeyVaultProperties.CurrentKeyIdentifier, nil
}

func (s *story) upload(ctx context.Context) error {
	s.title("A video goes into an asset's container")
	err := s.step("the source", func() (string, error) {
		s.video = s.input
		if s.video == "" {
			s.video = filepath.Join(s.dir, "source.mp4")
			if err := makeVideo(ctx, s.video, s.seconds); err != nil {
				return "", err
			}
		}
		var err error
		if s.frames, err = countFrames(ctx, s.video, "v:0"); err != nil {
			return "", err
		}
		info, err := os.Stat(s.video)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%.1f MB, %d frames", float64(info.Size())/1e6, s.frames), nil
	})
	if err != nil {
		return err
	}
	err = s.step("assets in and out; the account makes their containers as its identity", func() (string, error) {
		c, err := armmediaservices.NewAssetsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		for _, name := range []string{"in", "out"} {
			_, err := c.CreateOrUpdate(ctx, s.group, s.account, name, armmediaservices.Asset{
				Properties: &armmediaservices.AssetProperties{Container: to.Ptr("asset-" + name)},
			}, nil)
			if err != nil {
				return "", err
			}
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	if err := s.step("our own upload meets the firewall, though our role would do", func() (string, error) {
		me, err := s.self(ctx)
		if err != nil {
			return "", err
		}
		if _, err := s.assign(ctx, s.storageID, roleBlobContributor, me); err != nil {
			return "", err
		}
		if err = s.put(ctx); statusOf(err) != http.StatusForbidden {
			return "", fmt.Errorf("the answer was not 403: %w", err)
		}
		return wrap(responseMessage(err), 100), nil
	}); err != nil {
		return err
	}
	return s.step("open the firewall for 127.0.0.1, upload, close it again", func() (string, error) {
		if err := s.setFirewall(ctx, "127.0.0.1"); err != nil {
			return "", err
		}
		start := time.Now()
		if err := s.put(ctx); err != nil {
			return "", err
		}
		took := time.Since(start)
		return fmt.Sprintf("uploaded in %s", round(took)), s.setFirewall(ctx)
	})
}

func (s *story) setFirewall(ctx context.Context, allowed ...string) error {
	c, err := armstorage.NewAccountsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return err
	}
	_, err = c.Update(ctx, s.group, s.storage, armstorage.AccountUpdateParameters{
		Properties: &armstorage.AccountPropertiesUpdateParameters{NetworkRuleSet: closedFirewall(allowed...)},
	}, nil)
	return err
}

func (s *story) put(ctx context.Context) error {
	c, err := azblob.NewClient(s.srv.URLs().Blob(s.storage), s.admin, &azblob.ClientOptions{ClientOptions: s.srv.ClientOptions()})
	if err != nil {
		return err
	}
	f, err := os.Open(s.video)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = c.UploadFile(ctx, "asset-in", "source.mp4", f, &azblob.UploadFileOptions{BlockSize: 4 << 20})
	return err
}

// makeVideo encodes a moving test picture with a tone: H.264 with B-frames, AAC.
func makeVideo(ctx context.Context, path string, seconds int) error {
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-y",
		"-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", fmt.Sprint(seconds), "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart", path)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the test video: %w: %s", err, text)
	}
	return nil
}

func statusOf(err error) int {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	var f *refusal
	if errors.As(err, &f) {
		return f.status
	}
	return 0
}
