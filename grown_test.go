package keyreel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store/storetest"
	"github.com/keyreel/keyreel/keyreeltest"
)

// TestTwoNodes runs two nodes on one PostgreSQL database, one S3-compatible bucket and one root key: what one
// acknowledged the other shows, and what one took away the other refuses within 5 s.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("keyreel"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	database, shared := storetest.PostgresURL(t), t.TempDir()
	node := func(c *keyreel.Config) {
		c.Database, c.RootKey = database, filepath.Join(shared, "root.key")
		c.S3Endpoint, c.S3Bucket, c.S3AccessKey, c.S3SecretKey = s3.URL, "keyreel", "key", "secret"
	}
	first := keyreeltest.Start(t, node)
	second := keyreeltest.Start(t, func(c *keyreel.Config) {
		node(c)
		text, err := os.ReadFile(first.CredentialsPath())
		if err == nil {
			err = os.WriteFile(filepath.Join(c.Data, "administrator.json"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if first.Installation() != second.Installation() {
		t.Fatalf("two installations: %+v %+v", first.Installation(), second.Installation())
	}

	options := func(n *keyreeltest.Server) *arm.ClientOptions {
		o := &arm.ClientOptions{ClientOptions: n.ClientOptions()}
		o.Retry = policy.RetryOptions{MaxRetries: -1}
		return o
	}
	ctx, sub := t.Context(), first.Installation().SubscriptionID
	groups, err := armresources.NewResourceGroupsClient(sub, first.Admin, options(first))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := groups.CreateOrUpdate(ctx, "rg", armresources.ResourceGroup{Location: to.Ptr("westeurope")}, nil); err != nil {
		t.Fatal(err)
	}
	accounts, err := armstorage.NewAccountsClient(sub, second.Admin, options(second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := accounts.BeginCreate(ctx, "rg", "twonodes", armstorage.AccountCreateParameters{
		Kind: to.Ptr(armstorage.KindStorageV2), Location: to.Ptr("westeurope"), SKU: &armstorage.SKU{Name: to.Ptr(armstorage.SKUNameStandardLRS)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	account, err := p.PollUntilDone(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}

	blobs := func(n *keyreeltest.Server) *azblob.Client {
		o := n.ClientOptions()
		o.Retry = policy.RetryOptions{MaxRetries: -1}
		c, err := azblob.NewClient(n.URLs().Blob("twonodes"), n.Admin, &azblob.ClientOptions{ClientOptions: o})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	roles, err := armauthorization.NewRoleAssignmentsClient(sub, first.Admin, options(first))
	if err != nil {
		t.Fatal(err)
	}
	grant := azure.NewGUID()
	_, err = roles.Create(ctx, *account.ID, grant, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr("/subscriptions/" + sub + "/providers/Microsoft.Authorization/roleDefinitions/ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
		PrincipalID:      to.Ptr(objectID(t, first.Admin)),
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("two nodes "), 50_000)
	if _, err := blobs(second).CreateContainer(ctx, "shared", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := blobs(first).UploadBuffer(ctx, "shared", "b", data, nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	keyreeltest.Within(t, 5*time.Second, func() error { // the grant was given on the first node
		_, err := blobs(second).DownloadBuffer(ctx, "shared", "b", got, nil)
		return err
	})
	if !bytes.Equal(got, data) {
		t.Fatal("the other node reads other bytes")
	}
	if _, err := roles.Delete(ctx, *account.ID, grant, nil); err != nil {
		t.Fatal(err)
	}
	keyreeltest.Within(t, 5*time.Second, func() error {
		_, err := blobs(second).DownloadBuffer(ctx, "shared", "b", got, nil)
		var refused *azcore.ResponseError
		if !errors.As(err, &refused) || refused.StatusCode != 403 {
			return fmt.Errorf("a grant that the first node took away still serves on the second: %v", err)
		}
		return nil
	})
}

// objectID is the principal that a credential signs in as.
func objectID(t testing.TB, cred azcore.TokenCredential) string {
	t.Helper()
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	return claims(t, token.Token)["oid"].(string)
}
