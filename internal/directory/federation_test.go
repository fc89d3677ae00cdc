package directory_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const identityPath = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Ident"

// putFederated runs the type's Validate and Commit as the resource manager does.
func putFederated(t *testing.T, d *directory.Directory, name, properties string) error {
	t.Helper()
	typ := d.Provider().Types[1]
	if err := typ.CheckName(name); err != nil {
		return err
	}
	return try(d, func(ctx context.Context, tx *store.Tx) error {
		w := &arm.Write{New: &arm.Resource{ID: resourceID(t, identityPath+"/federatedIdentityCredentials/"+name)}, Body: []byte(properties)}
		if err := typ.Validate(ctx, tx, w); err != nil {
			return err
		}
		return typ.Commit(ctx, tx, w)
	})
}

func TestFederatedCredentials(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		d, _ := open(t, db)
		types := d.Provider().Types
		ident := &arm.Resource{ID: resourceID(t, identityPath)}
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return types[0].Commit(ctx, tx, &arm.Write{New: ident}) })
		var appID string
		update(t, d, func(ctx context.Context, tx *store.Tx) (err error) {
			_, appID, err = d.UserAssigned(ctx, tx, ident.ID)
			return err
		})
		want := func(step string, want ...directory.FederatedCredential) {
			t.Helper()
			got, err := d.FederatedCredentials(ctx, strings.ToUpper(appID))
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(directory.FederatedCredential{}, "ID")); err != nil || diff != "" {
				t.Errorf("%s: %v %s", step, err, diff)
			}
		}
		want("none")
		one := directory.FederatedCredential{Name: "One", Issuer: "https://Issuer.example/Path", Subject: "system:serviceaccount:NS:sa", Audiences: []string{"api://AzureADTokenExchange"}}
		body := `{"issuer":"https://Issuer.example/Path","subject":"system:serviceaccount:NS:sa","audiences":["api://AzureADTokenExchange"]}`
		for range 2 { // a PUT again changes nothing
			if err := putFederated(t, d, "One", body); err != nil {
				t.Fatal(err)
			}
		}
		want("case is kept", one)
		if err := putFederated(t, d, "twin", body); !errors.Is(err, &azure.Error{Status: http.StatusConflict, Code: "Conflict"}) {
			t.Errorf("the same issuer and subject again: %v", err)
		}
		for name, bad := range map[string]string{
			"no body": `null`, "no issuer": `{"subject":"s","audiences":["a"]}`, "http": `{"issuer":"http://i","subject":"s","audiences":["a"]}`,
			"no subject": `{"issuer":"https://i","audiences":["a"]}`, "no audience": `{"issuer":"https://i","subject":"s","audiences":[]}`,
			"empty audience": `{"issuer":"https://i","subject":"s","audiences":[""]}`, "NUL": `{"issuer":"https://i","subject":"s\u0000","audiences":["a"]}`,
			"long": `{"issuer":"https://i","subject":"` + strings.Repeat("s", 601) + `","audiences":["a"]}`,
		} {
			if err := putFederated(t, d, "bad", bad); !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "BadRequest"}) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := putFederated(t, d, "bad", `{"issuer":7}`); !errors.Is(err, &azure.Error{Status: http.StatusBadRequest, Code: "InvalidRequestContent"}) {
			t.Errorf("no string: %v", err)
		}
		for name, ok := range map[string]bool{"abc": true, strings.Repeat("a", 120): true, "ab": false, strings.Repeat("a", 121): false, "-ab": false, "a.b": false} {
			if err := types[1].CheckName(name); (err == nil) != ok {
				t.Errorf("name %q: %v", name, err)
			}
		}
		for i := range 19 {
			if err := putFederated(t, d, fmt.Sprintf("more%d", i), fmt.Sprintf(`{"issuer":"https://i","subject":"%d","audiences":["a"]}`, i)); err != nil {
				t.Fatal(err)
			}
		}
		limit := &azure.Error{Status: http.StatusBadRequest, Code: "FederatedIdentityCredentialsLimitExceeded"}
		if err := putFederated(t, d, "toomany", `{"issuer":"https://i","subject":"x","audiences":["a"]}`); !errors.Is(err, limit) {
			t.Errorf("the 21st: %v", err)
		}
		for i := range 19 {
			res := &arm.Resource{ID: resourceID(t, fmt.Sprintf("%s/federatedIdentityCredentials/MORE%d", identityPath, i))}
			update(t, d, func(ctx context.Context, tx *store.Tx) error { return types[1].Delete(ctx, tx, res) })
		}
		want("after deletions", one)
		update(t, d, func(ctx context.Context, tx *store.Tx) error { return types[0].Delete(ctx, tx, ident) })
		want("after the identity's deletion")
	})
}
