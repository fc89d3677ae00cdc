package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/storage/armstorage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
)

func (s *server) blobOptions() policy.ClientOptions {
	o := s.ClientOptions()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	return o
}

func (s *server) blobs(t testing.TB, account string, cred azcore.TokenCredential) *service.Client {
	t.Helper()
	c, err := service.NewClient(s.URLs().Blob(account), cred, &service.ClientOptions{ClientOptions: s.blobOptions()})
	check(t, err)
	return c
}

// sharedKey signs in with the account's own key.
func (s *server) sharedKey(t testing.TB, account string) *service.Client {
	t.Helper()
	c, err := armstorage.NewAccountsClient(s.sub, s.Admin, s.options())
	check(t, err)
	keys, err := c.ListKeys(t.Context(), s.group, account, nil)
	check(t, err)
	cred, err := azblob.NewSharedKeyCredential(account, *keys.Keys[0].Value)
	check(t, err)
	out, err := service.NewClientWithSharedKeyCredential(s.URLs().Blob(account), cred, &service.ClientOptions{ClientOptions: s.blobOptions()})
	check(t, err)
	return out
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	s := start(t)
	account := s.storage(t, "store1", nil)
	// An Owner makes containers, which is a matter of the control plane, and touches no data.
	_, err := s.blobs(t, "store1", s.Admin).CreateContainer(t.Context(), "first", nil)
	check(t, err)
	_, err = s.blobs(t, "store1", s.Admin).NewContainerClient("first").NewBlockBlobClient("b").UploadBuffer(t.Context(), []byte("x"), nil)
	refused(t, err, http.StatusForbidden, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor")
	s.assign(t, account, blobContributor, s.adminID(t))
	for name, c := range map[string]*service.Client{"bearer": s.blobs(t, "store1", s.Admin), "shared-key": s.sharedKey(t, "store1")} {
		t.Run(name, func(t *testing.T) { testBlobs(t, c, name) })
	}
}

func testBlobs(t *testing.T, c *service.Client, name string) {
	ctx := t.Context()
	cc := c.NewContainerClient(name)
	_, err := cc.Create(ctx, nil)
	check(t, err)
	_, err = cc.Create(ctx, nil)
	refused(t, err, http.StatusConflict, "ContainerAlreadyExists")

	data := make([]byte, 5<<20+123)
	rand.Read(data)
	names := []string{"plain", "a//b", "a/../b", "with space", "per%2Fcent", "ünïcode/名前", "trailing/", "q?x=1&y#z"}
	for _, n := range names {
		_, err := cc.NewBlockBlobClient(n).UploadBuffer(ctx, data, &blockblob.UploadBufferOptions{BlockSize: 1 << 20, Concurrency: 4})
		check(t, err)
	}
	var listed []string
	for pager := cc.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{MaxResults: to.Ptr(int32(3))}); pager.More(); {
		page, err := pager.NextPage(ctx)
		check(t, err)
		for _, item := range page.Segment.BlobItems {
			listed = append(listed, *item.Name)
		}
	}
	want := slices.Sorted(slices.Values(names))
	if !slices.Equal(listed, want) {
		t.Errorf("listed %q, want %q", listed, want)
	}
	for _, n := range names {
		got := make([]byte, len(data))
		_, err := cc.NewBlobClient(n).DownloadBuffer(ctx, got, &blob.DownloadBufferOptions{BlockSize: 1 << 20})
		check(t, err)
		if !bytes.Equal(got, data) {
			t.Errorf("%q: what came back differs", n)
		}
	}
	bb := cc.NewBlockBlobClient("plain")
	for _, r := range []struct{ off, n, wantLen int64 }{{0, 1, 1}, {65535, 2, 2}, {int64(len(data)) - 5, 100, 5}, {1 << 20, 0, int64(len(data)) - 1<<20}} {
		resp, err := bb.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: r.off, Count: r.n}})
		check(t, err)
		got, err := io.ReadAll(resp.Body)
		check(t, err)
		if !bytes.Equal(got, data[r.off:r.off+r.wantLen]) {
			t.Errorf("range %d+%d: %d bytes differ", r.off, r.n, len(got))
		}
	}
	_, err = bb.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: int64(len(data))}})
	refused(t, err, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")

	blockID := func(i int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%04d", i)) }
	_, err = bb.StageBlock(ctx, blockID(1), streaming.NopCloser(strings.NewReader("new ")), nil)
	check(t, err)
	_, err = bb.CommitBlockList(ctx, []string{blockID(1), blockID(2)}, nil)
	refused(t, err, http.StatusBadRequest, "InvalidBlockList")
	props, err := bb.GetProperties(ctx, nil)
	check(t, err)
	if *props.ContentLength != int64(len(data)) {
		t.Errorf("a refused block list changed the blob: %d bytes", *props.ContentLength)
	}
	_, err = bb.StageBlock(ctx, blockID(2), streaming.NopCloser(strings.NewReader("content")), nil)
	check(t, err)
	_, err = bb.CommitBlockList(ctx, []string{blockID(2), blockID(1)}, &blockblob.CommitBlockListOptions{
		Metadata: map[string]*string{"Key": to.Ptr("value")}, HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("text/plain")},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: props.ETag}},
	})
	check(t, err)
	resp, err := bb.DownloadStream(ctx, nil)
	check(t, err)
	got, err := io.ReadAll(resp.Body)
	check(t, err)
	if string(got) != "contentnew " || *resp.ContentType != "text/plain" {
		t.Errorf("%q %s", got, *resp.ContentType)
	}
	_, err = bb.UploadBuffer(ctx, []byte("x"), &blockblob.UploadBufferOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}})
	refused(t, err, http.StatusConflict, "BlobAlreadyExists")
	_, err = bb.Delete(ctx, nil)
	check(t, err)
	_, err = bb.GetProperties(ctx, nil)
	refused(t, err, http.StatusNotFound, "")
	_, err = cc.Delete(ctx, nil)
	check(t, err)
}

func TestStorageFirewall(t *testing.T) {
	t.Parallel()
	s := start(t)
	account := s.storage(t, "store2", &armstorage.NetworkRuleSet{DefaultAction: to.Ptr(armstorage.DefaultActionDeny), Bypass: to.Ptr(armstorage.BypassAzureServices)})
	s.assign(t, account, blobContributor, s.adminID(t))
	for name, c := range map[string]*service.Client{"bearer": s.blobs(t, "store2", s.Admin), "shared key": s.sharedKey(t, "store2")} {
		_, err := c.CreateContainer(context.Background(), "first", nil)
		t.Log(name)
		refused(t, err, http.StatusForbidden, "AuthorizationFailure")
	}
}
