package media

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// TestStorageWithoutItsCustomerKey: a storage account that cannot use the key that encrypts it refuses everyone, and
// neither a role nor another key of the storage account mends that.
func TestStorageWithoutItsCustomerKey(t *testing.T) {
	t.Parallel()
	target := storageTarget{account: "a", storage: "/s", name: "store"}
	err := target.problem("read", &azcore.ResponseError{StatusCode: http.StatusForbidden, ErrorCode: "KeyVaultEncryptionKeyNotFound"})
	if text := err.Error(); !strings.Contains(text, "customer's key") || strings.Contains(text, "syncStorageKeys") || strings.Contains(text, "Storage Blob Data Contributor") {
		t.Errorf("got %s", text)
	}
}
