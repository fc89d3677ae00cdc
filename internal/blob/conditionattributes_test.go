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

// A condition that cannot be evaluated is not met, nor is its negation, whatever the action: on blobs, on containers, on
// the account, in the resource manager. One that speaks of other actions alone leaves these as they are.
func TestConditionsThatAreNotMet(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		s.container(t, "con")
		s.put(t, "/con/b", []byte("x"))
		const (
			tags   = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>] StringEquals 'a'"
			member = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Name] StringEquals 'a'"
			meta   = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/metadata:a] StringEquals 'a'"
			path   = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringEquals 'b'"
		)
		requests := []struct{ method, url, body string }{
			{"GET", "/con/b", ""},
			{"HEAD", "/con/b", ""},
			{"PUT", "/con/b", "y"},
			{"PUT", "/con/b?comp=block&blockid=" + blockID(1), "y"},
			{"PUT", "/con/b?comp=blocklist", "<BlockList/>"},
			{"PUT", "/con/b?comp=metadata", ""},
			{"DELETE", "/con/b", ""},
			{"GET", "/con?restype=container&comp=list", ""},
			{"GET", "/con?restype=container", ""},
			{"PUT", "/other?restype=container", ""},
			{"PUT", "/con?restype=container&comp=metadata", ""},
			{"DELETE", "/con?restype=container", ""},
			{"GET", "/?comp=list", ""},
			{"GET", "/?restype=account&comp=properties", ""},
		}
		for i, condition := range []string{tags, "NOT " + tags, member, "NOT (" + member + ")", meta, path + " AND " + tags, tags + " OR " + member} {
			caller := "caller" + blockID(i)
			s.grant(t, caller, contributorRole, condition)
			for _, r := range requests {
				a := s.do(t, r.method, r.url, r.body, "Authorization", "Bearer "+token(azure.Caller{ObjectID: caller}), "X-Ms-Blob-Type", "BlockBlob")
				if a.status != 403 {
					t.Errorf("%s: %s %s: %d %s", condition, r.method, r.url, a.status, a.body)
				}
			}
		}
		// Of a container or an account no path is known.
		s.grant(t, "pather", contributorRole, path)
		for _, r := range requests {
			want := map[bool]int{true: 200, false: 403}[r.url == "/con/b" && r.method != "PUT" && r.method != "DELETE"]
			if want == 403 && strings.HasPrefix(r.url, "/con/b") {
				continue // a write that is allowed
			}
			a := s.do(t, r.method, r.url, r.body, "Authorization", "Bearer "+token(azure.Caller{ObjectID: "pather"}))
			if a.status != want {
				t.Errorf("%s %s: %d, want %d: %s", r.method, r.url, a.status, want, a.body)
			}
		}
		// The resource manager's own actions.
		for _, condition := range []string{tags, "NOT " + tags, path} {
			caller := "manager" + blockID(len(condition))
			s.grant(t, caller, ownerRole, condition)
			for _, r := range []struct{ method, path string }{
				{"GET", testAccountID},
				{"POST", testAccountID + "/listKeys"},
				{"POST", testAccountID + "/regenerateKey"},
				{"GET", testAccountID + "/blobServices/default/containers"},
				{"DELETE", testAccountID},
			} {
				if a := s.armAs(t, caller, r.method, r.path+"?api-version=2023-05-01", `{"keyName":"key1"}`); a.status != 403 {
					t.Errorf("%s: %s %s: %d %s", condition, r.method, r.path, a.status, a.body)
				}
			}
		}
	})
}
