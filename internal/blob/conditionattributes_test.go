package blob

import (
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// grant assigns a role at the test account under a condition.
func (s *server) grant(t *testing.T, principal, role, condition string) {
	t.Helper()
	check(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
		return s.RBAC.Assign(t.Context(), tx, rbac.Assignment{
			ID: azure.NewGUID(), Scope: testAccountID, RoleID: role, PrincipalID: principal, PrincipalType: azure.TypeUser, Condition: condition,
		})
	}))
}

func TestRoleConditions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "logs")
		s.container(t, "other")
		for _, name := range []string{"/logs/readonly/a", "/logs/b", "/other/readonly/a"} {
			s.put(t, name, []byte("x"))
		}
		const (
			container = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name]"
			path      = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]"
			prefix    = "@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix]"
			tag       = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>]"
			read      = "ActionMatches{'" + blobsRead + "'}"
			list      = "SubOperationMatches{'Blob.List'}"
		)
		// The documentation's "Read or list blobs in named containers with a path".
		s.grant(t, "reader", readerRole,
			"((!("+read+" AND NOT "+list+")) OR ("+container+" StringEquals 'logs' AND "+path+" StringStartsWith 'readonly/'))"+
				" AND ((!("+read+" AND "+list+")) OR ("+container+" StringEquals 'logs' AND "+prefix+" StringStartsWith 'readonly/'))")
		s.grant(t, "writer", contributorRole,
			"(!(ActionMatches{'"+blobsWrite+"'}) AND !(ActionMatches{'"+blobsAdd+"'})) OR ("+path+" StringLike '*.txt' AND NOT SubOperationMatches{'Blob.Write.Tier'})")
		s.grant(t, "tagged", readerRole, "NOT ("+tag+" StringEquals 'Baker')")
		s.grant(t, "private", readerRole, "@Environment[isPrivateLink] BoolEquals true")
		s.grant(t, "plain", readerRole, "NOT Exists @Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:snapshot]")

		for _, c := range []struct {
			caller, method, url string
			status              int
		}{
			{"reader", "GET", "/logs/readonly/a", 200},
			{"reader", "GET", "/logs/b", 403},
			{"reader", "GET", "/logs/READONLY/a", 403},
			{"reader", "HEAD", "/other/readonly/a", 403},
			{"reader", "GET", "/logs?restype=container&comp=list&prefix=readonly/", 200},
			{"reader", "GET", "/logs?restype=container&comp=list&prefix=read", 403},
			{"reader", "GET", "/logs?restype=container&comp=list", 403},
			{"reader", "GET", "/other?restype=container&comp=list&prefix=readonly/", 403},
			{"reader", "GET", "/other?restype=container", 200}, // another action
			{"writer", "PUT", "/logs/new.txt", 201},
			{"writer", "PUT", "/logs/new.exe", 403},
			{"writer", "PUT", "/logs/new.txt?comp=tier", 403},
			{"writer", "GET", "/logs/b", 200},
			{"writer", "DELETE", "/logs/b", 202},
			{"tagged", "GET", "/logs/readonly/a", 403}, // nothing is known of tags
			{"private", "GET", "/logs/readonly/a", 403},
			{"plain", "GET", "/logs/readonly/a", 200},
		} {
			a := s.do(t, c.method, c.url, "", "Authorization", "Bearer "+token(azure.Caller{ObjectID: c.caller}), "X-Ms-Blob-Type", "BlockBlob", "X-Ms-Access-Tier", "Cool")
			if a.status != c.status {
				t.Errorf("%s: %s %s: got %d, want %d: %s", c.caller, c.method, c.url, a.status, c.status, a.body)
			}
			if a.status == 403 && c.method != "HEAD" && !strings.Contains(a.body, "its condition is not met") {
				t.Errorf("%s: %s %s: the denial does not name the condition: %s", c.caller, c.method, c.url, a.body)
			}
		}
	})
}
