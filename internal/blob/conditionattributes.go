package blob

import (
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
)

// Suboperations that conditions tell apart.
const (
	subOperationList = "Blob.List"
	subOperationTier = "Blob.Write.Tier"
)

// conditionAttributes returns what conditions may ask about a request. Of what is not built, snapshots for example, it is
// known that there is none.
//
// Source: https://learn.microsoft.com/azure/storage/blobs/storage-auth-abac-attributes
func conditionAttributes(r *azure.Request) rbac.Attributes {
	const (
		account    = "Microsoft.Storage/storageAccounts"
		containers = actionPrefix + "containers"
		blobs      = containers + "/blobs"
	)
	a := rbac.Attributes{
		Resource: map[string][]string{
			account + ":name": {r.Vars["account"]}, account + ":isHnsEnabled": {"false"}, account + "/encryptionScopes:name": {},
		},
		Request:     map[string][]string{blobs + ":snapshot": {}, blobs + ":versionId": {}, blobs + ":prefix": {}},
		Environment: map[string][]string{"isPrivateLink": {"false"}},
	}
	if container := r.Vars["container"]; container != "" {
		a.Resource[containers+":name"] = []string{container}
	}
	if path := r.Vars["blob"]; path != "" {
		a.Resource[blobs+":path"] = []string{path}
		a.Resource[blobs+":isCurrentVersion"] = []string{"true"}
	}
	switch r.Route.Name {
	case "Containers.ListBlobs":
		a.SubOperation = subOperationList
		if prefix := r.URL.Query().Get("prefix"); prefix != "" {
			a.Request[blobs+":prefix"] = []string{prefix}
		}
	case "Blobs.SetTier":
		a.SubOperation = subOperationTier
	}
	return a
}
