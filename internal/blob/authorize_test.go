package blob

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		ctx := t.Context()
		s.container(t, "con")
		s.put(t, "/con/b", []byte("x"))
		reader, writer := azure.Caller{ObjectID: "reader"}, azure.Caller{ObjectID: "writer"}
		s.assign(t, "reader", readerRole, testAccountID)
		grant := s.assign(t, "writer", contributorRole, testAccountID+"/blobServices/default/containers/con")
		read := s.as(t, reader).NewContainerClient("con").NewBlockBlobClient("b")
		write := s.as(t, writer).NewContainerClient("con").NewBlockBlobClient("b")

		_, err := read.GetProperties(ctx, nil)
		check(t, err)
		_, err = read.UploadBuffer(ctx, []byte("y"), nil)
		if code(err) != bloberror.AuthorizationPermissionMismatch {
			t.Errorf("reader writes: %v", err)
		}
		_, err = write.UploadBuffer(ctx, []byte("y"), nil)
		check(t, err)
		_, err = s.as(t, writer).NewContainerClient("other").Create(ctx, nil)
		if code(err) != bloberror.AuthorizationPermissionMismatch {
			t.Errorf("writer outside its scope: %v", err)
		}
		check(t, s.db.Update(ctx, func(tx *store.Tx) error {
			_, _, err := s.RBAC.Unassign(ctx, tx, testAccountID+"/blobServices/default/containers/con", grant)
			return err
		}))
		_, err = write.UploadBuffer(ctx, []byte("z"), nil)
		if code(err) != bloberror.AuthorizationPermissionMismatch {
			t.Errorf("after the grant was removed: %v", err)
		}
		denied := s.do(t, "PUT", "/con/b", "z", "X-Ms-Blob-Type", "BlockBlob", "Authorization", "Bearer "+token(writer))
		for _, part := range []string{"writer", blobsWrite, "/containers/con", "Storage Blob Data Contributor"} {
			if !strings.Contains(denied.body, part) {
				t.Errorf("the denial does not name %s: %s", part, denied.body)
			}
		}
		records, err := s.Audit.Query(ctx, audit.Filter{Principal: "writer"})
		check(t, err)
		results := map[string]int{}
		for _, r := range records {
			results[r.Operation+" "+r.Result]++
		}
		if diff := cmp.Diff(map[string]int{"Blobs.Put Allowed": 1, "Blobs.Put Denied": 2, "Containers.Create Denied": 1}, results); diff != "" {
			t.Errorf("audit: %s", diff)
		}
	})
}

func TestBearerRefusals(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	s.assign(t, "someone", readerRole, testAccountID)
	for _, c := range []struct {
		name   string
		caller azure.Caller
		header []string
		status int
		code   string
	}{
		{"storage", azure.Caller{Audience: "https://storage.azure.com/"}, nil, 404, "BlobNotFound"},
		{"own host", azure.Caller{Audience: "https://acct1.blob.keyreel.test"}, nil, 404, "BlobNotFound"},
		{"public host", azure.Caller{Audience: "https://acct1.blob.core.windows.net/"}, nil, 404, "BlobNotFound"},
		{"app id", azure.Caller{Audience: storageAppID}, nil, 404, "BlobNotFound"},
		{"another account", azure.Caller{Audience: "https://other.blob.core.windows.net"}, nil, 401, "InvalidAuthenticationInfo"},
		{"another service", azure.Caller{Audience: "https://management.azure.com"}, nil, 401, "InvalidAuthenticationInfo"},
		{"old version", azure.Caller{}, []string{"X-Ms-Version", "2016-05-31"}, 403, "AuthenticationFailed"},
		{"no version", azure.Caller{}, []string{"X-Ms-Version", ""}, 403, "AuthenticationFailed"},
		{"newer version", azure.Caller{}, []string{"X-Ms-Version", "2099-01-01"}, 404, "BlobNotFound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.caller.ObjectID = "someone"
			a := s.do(t, "GET", "/con/none", "", append([]string{"Authorization", "Bearer " + token(c.caller)}, c.header...)...)
			if a.status != c.status || a.code() != c.code {
				t.Errorf("got %d %s: %s", a.status, a.code(), a.body)
			}
			challenge := a.header.Get("Www-Authenticate")
			if want := "Bearer authorization_uri=https://login.keyreel.test/" + testTenant + "/oauth2/authorize resource_id=https://storage.azure.com"; (a.status == 401) != (challenge == want) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

// Custom roles may grant add without write.
func TestAddOnly(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	role := rbac.Definition{ID: azure.NewGUID(), Name: "Adder", Permissions: []rbac.Permission{{DataActions: []string{blobsAdd}}}, Scopes: []string{"/subscriptions/" + testSubscription}}
	check(t, s.db.Update(t.Context(), func(tx *store.Tx) error { return s.RBAC.Define(t.Context(), tx, role) }))
	s.assign(t, "adder", role.ID, testAccountID)
	bearer := "Bearer " + token(azure.Caller{ObjectID: "adder"})
	if a := s.do(t, "PUT", "/con/b", "x", "X-Ms-Blob-Type", "BlockBlob", "Authorization", bearer); a.status != 201 {
		t.Errorf("new blob: %d %s", a.status, a.body)
	}
	if a := s.do(t, "PUT", "/con/b", "y", "X-Ms-Blob-Type", "BlockBlob", "Authorization", bearer); a.status != 403 || a.code() != "AuthorizationPermissionMismatch" {
		t.Errorf("existing blob: %d %s", a.status, a.code())
	}
}

// Who proves to be nobody leaves no trace for each attempt, neither in the log nor in memory.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		before := s.rows(t, "audit_records")
		for i, authorization := range []string{
			"-", "Bearer nothing", "Bearer " + token(azure.Caller{ObjectID: "x", Audience: "https://vault.azure.net"}),
			"SharedKey " + testAccount + ":bm8gc2lnbmF0dXJl", "SharedKey other:bm8gc2lnbmF0dXJl", "SharedKeyLite " + testAccount + ":x", "Basic x",
		} {
			for j := range 30 {
				method := []string{"GET", "PUT", "DELETE"}[j%3]
				a := s.do(t, method, "/con/b"+strings.Repeat("x", j), "", "Authorization", authorization, "X-Ms-Blob-Type", "BlockBlob")
				if a.status < 400 || a.status == 500 {
					t.Fatalf("%d %s: %d %s", i, authorization, a.status, a.body)
				}
			}
		}
		for i := range 30 {
			if _, err := s.Storage.account(t.Context(), "nobody"+strings.Repeat("x", i%10)); err == nil {
				t.Fatal("an account that is not there")
			}
		}
		check(t, s.Audit.Close())
		if n := s.rows(t, "audit_records") - before; n != 0 {
			t.Errorf("%d records", n)
		}
		if n := len(s.accounts.entries); n > 1 {
			t.Errorf("%d accounts in memory", n)
		}
	})
}
