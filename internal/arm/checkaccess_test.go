package arm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func question(subject, resource, attributes string, actions ...string) string {
	var list []string
	for _, a := range actions {
		list = append(list, fmt.Sprintf(`{"Id":%q,"Attributes":{"SubOperation":"Blob.List"}}`, a))
	}
	return fmt.Sprintf(`{"Subject":{"Attributes":{"ObjectId":%q}},"Actions":[%s],"Resource":{"Id":%q,"Attributes":%s},"Environment":{"Attributes":{}}}`,
		subject, strings.Join(list, ","), resource, attributes)
}

func TestCheckAccess(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		const path = "/providers/Microsoft.Authorization/checkAccess?api-version="
		w := newWorld(t, db)
		w.m.o.Groups = func(_ context.Context, id string) ([]string, error) {
			if id == "broken" {
				return nil, errors.New("no directory")
			}
			return map[string][]string{"member": {"a-group", builder}}[id], nil
		}
		w.deny(1, widgets+"/w", "Keep it")
		w.assign(2, contributorRole, stranger, "@Resource[name] ForAnyOfAnyValues:StringEquals {'x'} AND SubOperationMatches{'Blob.List'}")
		decisions := func(caller, scope, body string) map[string]string {
			t.Helper()
			a := w.do(caller, "POST", scope+path+checkAccessVersion, body).want(200)
			var list []accessDecision
			if err := json.Unmarshal(a.Body.Bytes(), &list); err != nil {
				t.Fatalf("%v: %s", err, a.Body)
			}
			out := map[string]string{}
			for _, d := range list {
				out[d.ActionID] = d.AccessDecision
			}
			return out
		}
		for _, c := range []struct {
			name, caller, scope, body string
			want                      map[string]string
		}{
			{
				"about another, in a batch", reader, g1, question(builder, "", "{}", "Test.Things/widgets/read", "Test.Things/widgets/delete", "Microsoft.Authorization/locks/write"),
				map[string]string{"Test.Things/widgets/read": "Allowed", "Test.Things/widgets/delete": "Allowed", "Microsoft.Authorization/locks/write": "NotAllowed"},
			},
			{
				"a deny assignment", owner, "", question(owner, widgets+"/w", "{}", "Test.Things/widgets/delete", "Test.Things/widgets/write"),
				map[string]string{"Test.Things/widgets/delete": "Denied", "Test.Things/widgets/write": "Allowed"},
			},
			{"about oneself", stranger, g1, question(stranger, "", `{"name":"x"}`, "a/write"), map[string]string{"a/write": "Allowed"}},
			{"without a subject", stranger, g1, `{"actions":[{"id":"a/write"}]}`, map[string]string{"a/write": "NotAllowed"}},
			{"a list of values", stranger, g1, question(stranger, "", `{"Name":["y","x",1,true]}`, "a/write"), map[string]string{"a/write": "Allowed"}},
			{"another value", stranger, g1, question(stranger, "", `{"name":null}`, "a/write"), map[string]string{"a/write": "NotAllowed"}},
			{"what nobody has", owner, subPath, question("nobody", "", "{}", "a/read"), map[string]string{"a/read": "NotAllowed"}},
			{"a group of another", owner, subPath, `{"Subject":{"Attributes":{"ObjectId":"x","Groups":["` + owner + `"]}},"Actions":[{"Id":"a/read"}]}`, map[string]string{"a/read": "Allowed"}},
			{"a member of a group", reader, g1, question("member", "", "{}", "a/write"), map[string]string{"a/write": "Allowed"}},
			{"a data action", owner, subPath, `{"Actions":[{"Id":"a/read","IsDataAction":true}]}`, map[string]string{"a/read": "NotAllowed"}},
		} {
			if diff := cmp.Diff(c.want, decisions(c.caller, c.scope, c.body)); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}

		a := w.do(owner, "POST", path+pdpVersion, question(owner, g1, "{}", "a/read")).want(200)
		want := map[string]any{"nextLink": "", "value": []any{map[string]any{
			"actionId": "a/read", "accessDecision": "Allowed", "isDataAction": false, "timeToLiveInMs": 5000.0,
			"roleAssignment": map[string]any{
				"id": subPath + "/providers/Microsoft.Authorization/roleAssignments/bbbbbbbb-0000-0000-0000-000000000000", "scope": subPath,
				"roleDefinitionId": subPath + "/providers/Microsoft.Authorization/roleDefinitions/" + ownerRole, "principalId": owner, "principalType": "User", "canDelegate": false,
			},
		}}}
		if diff := cmp.Diff(want, any(a.json()).(map[string]any)); diff != "" {
			t.Error(diff)
		}

		for _, c := range []struct {
			name, caller, scope, body string
			status                    int
			code                      string
		}{
			{"another's access, without a role", stranger, g1, question(owner, "", "{}", "a/read"), 403, "AuthorizationFailed"},
			{"another's access, elsewhere", reader, "", question(owner, subPath, "{}", "a/read"), 403, "AuthorizationFailed"},
			{"a group that one is not in", reader, subPath, `{"Subject":{"Attributes":{"ObjectId":"` + reader + `","Groups":["` + owner + `"]}},"Actions":[{"Id":"a/read"}]}`, 403, "AuthorizationFailed"},
			{"groups of nobody", reader, g1, `{"Subject":{"Attributes":{"Groups":["` + owner + `"]}},"Actions":[{"Id":"a/read"}]}`, 400, "InvalidRequestContent"},
			{"a resource outside the scope", reader, g1, question(reader, g1+"2", "{}", "a/read"), 400, "InvalidRequestContent"},
			{"a bad resource", reader, g1, question(reader, "x", "{}", "a/read"), 400, "InvalidResourceId"},
			{"a bad attribute", reader, g1, question(reader, "", `{"a":{}}`, "a/read"), 400, "InvalidRequestContent"},
			{"unknown groups", reader, g1, question("broken", "", "{}", "a/read"), 500, "InternalError"},
			{"no actions", reader, g1, question(reader, "", "{}"), 400, "InvalidRequestContent"},
			{"too many actions", reader, g1, question(reader, "", "{}", make([]string, maxQuestions+1)...), 400, "InvalidRequestContent"},
			{"an empty action", reader, g1, question(reader, "", "{}", ""), 400, "InvalidRequestContent"},
			{"no body", reader, g1, "", 400, "InvalidRequestContent"},
			{"no token", "", g1, question(reader, "", "{}", "a/read"), 401, "AuthenticationFailed"},
		} {
			if a := w.do(c.caller, "POST", c.scope+path+checkAccessVersion, c.body); a.Code != c.status || !strings.Contains(a.Body.String(), `"`+c.code+`"`) {
				t.Errorf("%s: got %d %s, want %d %s", c.name, a.Code, a.Body, c.status, c.code)
			}
		}
		w.do(owner, "GET", g1+path+checkAccessVersion, "").fails(405, "MethodNotAllowed")
		w.do(owner, "POST", g1+path+"2015-01-01", "{}").fails(400, "NoRegisteredProviderFound")
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	const path = "/providers/Microsoft.Authorization/explain?api-version=" + checkAccessVersion
	w.deny(1, g1, "Keep it")
	w.assign(2, contributorRole, stranger, "@Resource[name] StringEquals 'x'")
	w.do(owner, "PUT", subPath+"/resourceGroups/g2"+groupV, `{"location":"westeurope"}`).want(201)
	w.do(owner, "PUT", assignmentPath(subPath+"/resourceGroups/g2", 3), assignmentBody(readerRole, stranger, "")).want(201)

	explain := func(caller, subject, action string) (explanation, []string) {
		t.Helper()
		a := w.do(caller, "POST", g1+path, question(subject, "", "{}", action)).want(200)
		var answer struct{ Value []explanation }
		if err := json.Unmarshal(a.Body.Bytes(), &answer); err != nil || len(answer.Value) != 1 {
			t.Fatalf("%v: %s", err, a.Body)
		}
		var lines []string
		for _, c := range answer.Value[0].Considered {
			lines = append(lines, fmt.Sprintf("%s %s: %s, %s", c.Scope, c.RoleName, c.Outcome, c.Why))
		}
		return answer.Value[0], lines
	}
	denied := g1 + " : NotThisAction, does not concern the action"
	unmet := g1 + " Contributor: ConditionNotMet, role 'Contributor' holds the action, but its condition is not met: nothing is known of @Resource[name]"
	elsewhere := subPath + "/resourceGroups/g2 Reader: NotThisScope, stands neither at the scope nor above it"

	e, lines := explain(stranger, stranger, "a/write")
	if diff := cmp.Diff([]string{denied, unmet, elsewhere}, lines); diff != "" || e.AccessDecision != "NotAllowed" || !strings.Contains(e.Reason, "nothing is known of @Resource[name]") {
		t.Errorf("about oneself: %+v: %s", e, diff)
	}
	// Who may read the access here does not see the subject's elsewhere.
	if _, lines := explain(reader, stranger, "a/write"); !cmp.Equal([]string{denied, unmet}, lines) {
		t.Errorf("about another: %q", lines)
	}
	e, lines = explain(reader, owner, "a/delete")
	want := []string{g1 + " : Denies, forbids the action", subPath + " Owner: Allows, role 'Owner' allows the action"}
	if diff := cmp.Diff(want, lines); diff != "" || e.AccessDecision != "Denied" || e.DenyAssignment["denyAssignmentName"] != "Keep it" {
		t.Errorf("denied: %+v: %s", e, diff)
	}
	if e, _ := explain(reader, "nobody", "Microsoft.Storage/storageAccounts/listKeys/action"); len(e.Roles) == 0 || e.Roles[0] != "Storage Account Key Operator Service Role" {
		t.Errorf("what would mend it: %+v", e)
	}
	w.do(stranger, "POST", g1+path, question(owner, "", "{}", "a/read")).fails(403, "AuthorizationFailed")
}

// A question costs its principals times its actions, and anybody may ask some.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	groups := strings.TrimSuffix(strings.Repeat(`"g",`, maxGroups+1), ",")
	body := `{"Subject":{"Attributes":{"ObjectId":"x","Groups":[` + groups + `]}},"Actions":[{"Id":"a/read"}]}`
	const path = g1 + "/providers/Microsoft.Authorization/"
	w.do(reader, "POST", path+"checkAccess?api-version="+checkAccessVersion, body).fails(400, "InvalidRequestContent")
	actions := make([]string, maxExplained+1)
	for i := range actions {
		actions[i] = fmt.Sprintf("a/b%d/read", i)
	}
	w.do(stranger, "POST", path+"explain?api-version="+checkAccessVersion, question("", "", "{}", actions...)).fails(400, "InvalidRequestContent")
	w.do(stranger, "POST", path+"explain?api-version="+checkAccessVersion, question("", "", "{}", actions[1:]...)).want(200)
	deep := g1 + strings.Repeat("/providers/a/b/c", 100_000)
	w.do(stranger, "POST", path+"checkAccess?api-version="+checkAccessVersion, question("", deep, "{}", "a/read")).fails(400, "InvalidResourceId")
}
