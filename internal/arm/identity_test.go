package arm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const uaPrefix = g1 + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"

func TestMergeIdentity(t *testing.T) {
	t.Parallel()
	none := (*Identity)(nil)
	system := &Identity{Type: typeSystem, PrincipalID: "p", ClientID: "c", TenantID: "t"}
	user := &Identity{Type: typeUser, UserAssigned: map[string]UserIdentity{uaPrefix + "a": {PrincipalID: "pa"}}}
	both := &Identity{Type: typeBoth, PrincipalID: "p", UserAssigned: user.UserAssigned}
	for _, test := range []struct {
		name  string
		old   *Identity
		block string
		patch bool
		want  *Identity
		code  string
	}{
		{name: "no block keeps", old: system, block: ``, want: system},
		{name: "null keeps", old: system, block: `null`, want: system},
		{name: "none", old: system, block: `{"type":"none"}`, want: &Identity{Type: typeNone}},
		{name: "new system", old: none, block: `{"type":"systemassigned"}`, want: &Identity{Type: typeSystem}},
		{name: "system again", old: system, block: `{"type":"SystemAssigned"}`, want: system},
		{
			name: "both with a space", old: system, block: `{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"` + uaPrefix + `b":{}}}`,
			want: &Identity{Type: typeBoth, PrincipalID: "p", ClientID: "c", TenantID: "t", UserAssigned: map[string]UserIdentity{uaPrefix + "b": {}}},
		},
		{
			name: "PUT replaces", old: user, block: `{"type":"UserAssigned","userAssignedIdentities":{"` + uaPrefix + `b":{}}}`,
			want: &Identity{Type: typeUser, UserAssigned: map[string]UserIdentity{uaPrefix + "b": {}}},
		},
		{
			name: "PATCH adds", patch: true, old: user, block: `{"type":"UserAssigned","userAssignedIdentities":{"` + uaPrefix + `b":{}}}`,
			want: &Identity{Type: typeUser, UserAssigned: map[string]UserIdentity{uaPrefix + "a": {PrincipalID: "pa"}, uaPrefix + "b": {}}},
		},
		{
			name: "PATCH names one again in another case", patch: true, old: user, block: `{"userAssignedIdentities":{"` + uaPrefix + `A":{}}}`,
			want: &Identity{Type: typeUser, UserAssigned: map[string]UserIdentity{uaPrefix + "a": {}}},
		},
		{
			name: "PATCH removes one of both", patch: true, old: both, block: `{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"` + uaPrefix + `A":null}}`,
			want: &Identity{Type: typeSystem, PrincipalID: "p"},
		},
		{
			name: "PATCH removes the last", patch: true, old: user, block: `{"type":"UserAssigned","userAssignedIdentities":{"` + uaPrefix + `a":null}}`,
			want: &Identity{Type: typeNone},
		},
		{name: "PATCH to system drops users", patch: true, old: both, block: `{"type":"SystemAssigned"}`, want: &Identity{Type: typeSystem, PrincipalID: "p"}},
		{name: "no ids", old: none, block: `{"type":"UserAssigned"}`, code: "MissingIdentityIds"},
		{name: "ids without the type", old: none, block: `{"type":"SystemAssigned","userAssignedIdentities":{"` + uaPrefix + `a":{}}}`, code: "InvalidIdentityValues"},
		{name: "odd type", old: none, block: `{"type":"x"}`, code: "InvalidIdentityType"},
		{name: "odd id", old: none, block: `{"type":"UserAssigned","userAssignedIdentities":{"x":{}}}`, code: "LinkedInvalidPropertyId"},
		{name: "not an object", old: none, block: `5`, code: "InvalidRequestContent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := parseIdentity(json.RawMessage(test.block))
			var got *Identity
			if err == nil {
				got, err = mergeIdentity(test.old, req, test.patch)
			}
			code := ""
			if err != nil {
				e, _ := azure.AsError(err)
				code = e.Code
			}
			if code != test.code {
				t.Fatalf("error %v, want code %q", err, test.code)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w1 := widgets + "/w" + sync1
		a := w.do(owner, "PUT", w1, `{"location":"westeurope","identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"`+uaPrefix+`Ua":{}}}}`).want(201)
		principal, _ := a.at("identity.principalId").(string)
		if a.at("identity.type") != "SystemAssigned,UserAssigned" || principal == "" || a.at("identity.tenantId") != tenant || a.at("identity.clientId") != nil {
			t.Errorf("identity is %v", a.at("identity"))
		}
		ua, _ := a.at("identity.userAssignedIdentities").(map[string]any)
		if d := cmp.Diff(map[string]any{uaPrefix + "Ua": map[string]any{"principalId": "p-Ua", "clientId": "c-Ua"}}, ua); d != "" {
			t.Errorf("user-assigned (-want +got):\n%s", d)
		}
		own := widgets + "/w/providers/Microsoft.ManagedIdentity/identities/default?api-version=2024-11-30"
		if a := w.do(owner, "GET", own, "").want(200); a.at("properties.principalId") != principal || a.at("properties.clientId") != "client-"+principal {
			t.Errorf("the resource's own identity is %s", a.Body)
		}
		w.do(stranger, "GET", own, "").fails(403, "AuthorizationFailed")
		w.do(owner, "GET", g1+own[len(widgets+"/w"):], "").fails(404, "ResourceNotFound")
		w.do(owner, "PATCH", w1, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+uaPrefix+`none":{}}}}`).fails(400, "FailedIdentityOperation")

		// The writer needs the right to assign each identity that the request names, unless it removes it.
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			return w.m.o.RBAC.Assign(t.Context(), tx, rbac.Assignment{
				ID: "bbbbbbbb-0000-0000-0000-00000000000a", Scope: widgets + "/w", RoleID: contributorRole, PrincipalID: stranger, PrincipalType: azure.TypeUser,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		w.do(stranger, "PATCH", w1, `{"tags":{"a":"b"}}`).want(200)
		w.do(stranger, "PATCH", w1, `{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"`+uaPrefix+`ub":{}}}}`).fails(403, "LinkedAuthorizationFailed")
		w.do(stranger, "PATCH", w1, `{"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"`+uaPrefix+`uA":null}}}`).want(200)
		if a := w.do(owner, "GET", w1, ""); a.at("identity.type") != "SystemAssigned" || a.at("identity.principalId") != principal {
			t.Errorf("identity is %v", a.at("identity"))
		}

		// The identity's role assignments, and those at the resource, go with the resource.
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			return w.m.o.RBAC.Assign(t.Context(), tx, rbac.Assignment{
				ID: "bbbbbbbb-0000-0000-0000-00000000000b", Scope: subPath, RoleID: readerRole, PrincipalID: principal, PrincipalType: azure.TypeServicePrincipal,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		w.do(owner, "DELETE", w1, "").want(200)
		left, err := w.m.o.RBAC.Assignments(t.Context(), subPath, true)
		if err != nil || len(left) != 3 {
			t.Errorf("%d assignments are left, want the 3 of the seed: %v, %v", len(left), left, err)
		}
		w.consistent()
		w.do(stranger, "GET", w1, "").fails(403, "AuthorizationFailed")
	})
}
