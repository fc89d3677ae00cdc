package blob

import (
	"bytes"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

// TestMovedAccount: an account's blobs follow it into another group, and roles at its old ID do not.
func TestMovedAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		const target, reader = "/subscriptions/" + testSubscription + "/resourceGroups/two", "66666666-6666-6666-6666-666666666666"
		for _, group := range []string{testGroup, target} {
			if a := s.armDo(t, "PUT", group+"?api-version=2021-04-01", `{"location":"westeurope"}`); a.status != 201 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		old := testGroup + "/providers/Microsoft.Storage/storageAccounts/moved"
		if a := s.armDo(t, "PUT", old+"?api-version=2023-01-01", `{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`); a.status >= 300 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		const dataReader = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
		s.assign(t, reader, dataReader, old)
		get := func() int {
			t.Helper()
			r := s.request(t, "GET", "/", &bytes.Buffer{}, "Authorization", "Bearer "+token(azure.Caller{ObjectID: reader, Audience: "https://storage.azure.com"}))
			r.URL.Host, r.Host, r.URL.RawQuery = "moved.blob.keyreel.test", "moved.blob.keyreel.test", "comp=list"
			resp, err := s.client.Do(r)
			check(t, err)
			resp.Body.Close()
			return resp.StatusCode
		}
		if status := get(); status != 200 {
			t.Fatalf("before: %d", status)
		}
		a := s.armDo(t, "POST", testGroup+"/moveResources?api-version=2021-04-01", `{"resources":["`+old+`"],"targetResourceGroup":"`+target+`"}`)
		if a.status != 204 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if status := get(); status != 403 {
			t.Errorf("with a role at the old ID: %d", status)
		}
		s.assign(t, reader, dataReader, target+"/providers/Microsoft.Storage/storageAccounts/moved")
		if status := get(); status != 200 {
			t.Errorf("with a role at the new ID: %d", status)
		}
	})
}
