package rbac_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const (
	named        = "Microsoft.Storage/storageAccounts/blobServices/containers:name"
	onlyLogs     = "!(ActionMatches{'" + blobWrite + "'}) OR @Resource[" + named + "] StringEquals 'logs'"
	onlyArchives = "@Resource[" + named + "] StringEquals 'archive'"
)

func writeTo(container string) rbac.Query {
	q := rbac.Query{Principals: []string{alice}, Action: blobWrite, Data: true, Scope: account}
	if container != "" {
		q.Attributes.Resource = map[string][]string{named: {container}}
	}
	return q
}

func TestConditionOnAssignment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, []store.Schema{rbac.Schema}, func(t *testing.T, db *store.DB) {
		r := open(t, db)
		a := assignment("a1", alice, blobContributor, account)
		assignAgain := func(condition string, at time.Time) error {
			a.Condition, a.UpdatedBy, a.Updated = condition, alice, at
			return try(db, func(ctx context.Context, tx *store.Tx) error { return r.Assign(ctx, tx, a) })
		}
		check := func(step string, q rbac.Query, want bool, reason string) {
			t.Helper()
			d, err := r.Decide(t.Context(), q)
			if err != nil || d.Allowed != want || !strings.Contains(d.Reason(), reason) {
				t.Errorf("%s: %v, %s, %v; want %v, %s", step, d.Allowed, d.Reason(), err, want, reason)
			}
		}
		then := a.Created.Add(time.Hour)
		if err := assignAgain(onlyLogs, then); err != nil {
			t.Fatal(err)
		}
		check("there", writeTo("logs"), true, "(assignment a1)")
		check("elsewhere", writeTo("Logs"), false, "(assignment a1), but its condition is not met")
		check("nothing known", writeTo(""), false, "its condition is not met: nothing is known of @Resource["+named+"]")
		q := writeTo("other")
		q.Action = strings.ReplaceAll(blobWrite, "write", "read")
		check("another action", q, true, "")

		if err := assignAgain(onlyArchives, then.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		check("changed", writeTo("logs"), false, "not met")
		check("changed, there", writeTo("archive"), true, "")
		if err := assignAgain("oops", then); !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleAssignmentCondition"}) || !strings.Contains(err.Error(), "position 5") {
			t.Errorf("an invalid condition: %v", err)
		}
		got, err := r.Assignments(t.Context(), account, false)
		a.Condition, a.Updated = onlyArchives, then.Add(time.Hour)
		if diff := cmp.Diff([]rbac.Assignment{a}, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if err := assignAgain("", then); err != nil {
			t.Fatal(err)
		}
		check("without a condition", writeTo("logs"), true, "")

		// Another assignment may allow what a condition does not.
		if err := assignAgain(onlyArchives, then); err != nil {
			t.Fatal(err)
		}
		assign(t, db, r, "a2", bob, blobContributor, account)
		q = writeTo("logs")
		q.Principals = append(q.Principals, bob)
		check("by a group", q, true, "(assignment a2)")

		custom := rbac.Definition{ID: "c", Name: "C", Scopes: []string{"/"}, Permissions: []rbac.Permission{{Actions: []string{"*"}, Condition: onlyLogs}}}
		err = try(db, func(ctx context.Context, tx *store.Tx) error { return r.Define(ctx, tx, custom) })
		if !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRoleDefinition"}) {
			t.Errorf("a custom role with a condition: %v", err)
		}
	})
}

// A condition that is put on an assignment takes something away, so it must reach other nodes in time.
func TestConditionOnOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := storetest.SQLite(t, rbac.Schema)
		here, there := open(t, db), open(t, db)
		a := assignment("a1", alice, blobContributor, account)
		put := func() {
			update(t, db, func(ctx context.Context, tx *store.Tx) error { return here.Assign(ctx, tx, a) })
		}
		put()
		if d, err := there.Decide(t.Context(), writeTo("other")); err != nil || !d.Allowed {
			t.Error("not allowed before", err)
		}
		a.Condition = onlyLogs
		put()
		time.Sleep(2 * time.Second)
		for _, r := range []*rbac.RBAC{here, there} {
			if d, err := r.Decide(t.Context(), writeTo("other")); err != nil || d.Allowed {
				t.Error("still allowed 2 s after the condition", err)
			}
		}
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	db := storetest.SQLite(t, rbac.Schema)
	r := open(t, db)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		a := assignment("a1", alice, blobContributor, account)
		a.Condition = onlyLogs
		return r.Assign(ctx, tx, a)
	})
	assign(t, db, r, "a2", alice, reader, "/")
	assign(t, db, r, "a3", alice, owner, group+"2")
	assign(t, db, r, "a4", bob, blobContributor, group)
	spared := lock("d1", account)
	spared.Excluded = []rbac.Principal{{ID: alice}}
	spared.Permissions[0].DataActions = []string{"*"}
	spared.Principals = append(spared.Principals, rbac.Principal{ID: alice})
	deny(t, db, r, spared)
	above := lock("d2", group)
	above.ThisScopeOnly = true
	deny(t, db, r, above)
	deny(t, db, r, lock("d3", "/")) // no data actions

	q := writeTo("other")
	q.Principals = append(q.Principals, bob)
	e, err := r.Explain(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range e.Considered {
		line := string(c.Outcome) + ", " + c.Why()
		if c.Denial != nil {
			line = c.Denial.ID + " " + line
		} else {
			line = c.Assignment.ID + " " + line
		}
		got = append(got, line)
	}
	want := []string{
		"d1 Excluded, spares the principal",
		"d3 NotThisAction, does not concern the action",
		"d2 NotThisScope, does not apply below its scope",
		"a2 NotThisAction, role 'Reader' does not hold the action",
		"a1 ConditionNotMet, role 'Storage Blob Data Contributor' holds the action, but its condition is not met",
		"a3 NotThisScope, stands neither at the scope nor above it",
		"a4 Allows, role 'Storage Blob Data Contributor' allows the action",
	}
	if diff := cmp.Diff(want, got); diff != "" || !e.Allowed || e.Assignment.ID != "a4" {
		t.Errorf("%s; %s", diff, e.Reason())
	}
}
