package arm

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A deployment goes on after its request. What its caller loses meanwhile, a place in a group or its life, it loses too.
func TestDeploymentLosesItsRights(t *testing.T) {
	t.Parallel()
	const member, builders = "aaaaaaaa-0000-0000-0000-000000000005", "aaaaaaaa-0000-0000-0000-000000000006"
	for _, test := range []struct {
		name string
		lose func(w *world, inGroup *atomic.Bool) error
		want string
	}{
		{"group", func(_ *world, inGroup *atomic.Bool) error { inGroup.Store(false); return nil }, "AuthorizationFailed"},
		{"deleted or disabled", func(w *world, _ *atomic.Bool) error {
			return w.db.Update(w.t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(w.t.Context(), `INSERT INTO fake_things (key, body) VALUES ($1, '')`, "gone "+member)
				return err
			})
		}, "deleted or disabled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t, storetest.SQLite(t, testSchemas...))
			var inGroup atomic.Bool
			inGroup.Store(true)
			w.m.o.Groups = func(_ context.Context, principal string) ([]string, error) {
				if principal == member && inGroup.Load() {
					return []string{builders}, nil
				}
				return nil, nil
			}
			w.m.o.Verify = func(ctx context.Context, raw string, accepts func(string) bool) (*azure.Caller, error) {
				caller, err := verify(ctx, raw, accepts)
				if err == nil {
					caller.Groups, err = w.m.o.Groups(ctx, caller.ObjectID)
				}
				return caller, err
			}
			w.seed()
			err := w.db.Update(t.Context(), func(tx *store.Tx) error {
				return w.m.o.RBAC.Assign(t.Context(), tx, rbac.Assignment{ID: azureID(1), Scope: g1, RoleID: contributorRole, PrincipalID: builders})
			})
			if err != nil {
				t.Fatal(err)
			}
			begun, goOn := make(chan struct{}), make(chan struct{})
			w.prepare = func(*Write) error { close(begun); <-goOn; return nil }
			w.jobs.Start()
			a := w.do(member, "PUT", deployments+"d"+groupV, deploymentBody("", `"secret": {"value": "x"}`, `
				"parameters": {"secret": {"type": "securestring"}},
				"resources": [
					{"type": "Test.Things/rigs", "apiVersion": "2024-01-01", "name": "r1", "location": "westeurope"},
					{"type": "Test.Things/widgets", "apiVersion": "2023-01-01", "name": "w1", "location": "westeurope", "dependsOn": ["r1"]}]`)).want(201)
			<-begun
			if err := test.lose(w, &inGroup); err != nil {
				t.Fatal(err)
			}
			close(goOn)
			end := w.follow(owner, a.Header().Get("Azure-AsyncOperation"))
			if end.at("status") != "Failed" || !strings.Contains(end.Body.String(), test.want) {
				t.Errorf("the deployment ended with %s", end.Body)
			}
			w.do(owner, "GET", widgets+"/w1"+sync1, "").fails(404, "ResourceNotFound")
		})
	}
}

// What is kept of a deployment is shown in lists of a hundred.
func TestLargeDeployment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storetest.SQLite(t, testSchemas...))
	large := `"` + strings.Repeat("x", maxDeployment) + `"`
	w.do(builder, "PUT", deployments+"d"+groupV, deploymentBody("", `"p": {"value": `+large+`}`, `"parameters": {"p": {"type": "string"}}, "resources": []`)).
		fails(400, "InvalidDeployment")
	w.do(builder, "PUT", deployments+"d"+groupV, deploymentBody("", `"p": {"value": `+large+`}`, `"parameters": {"p": {"type": "securestring"}}, "resources": []`)).want(201)
	a := w.do(builder, "PUT", deployments+"e"+groupV, deploymentBody("", `"p": {"value": `+large+`}`,
		`"parameters": {"p": {"type": "securestring"}}, "resources": [], "outputs": {"o": {"type": "string", "value": "[parameters('p')]"}}`)).want(201)
	if end := w.follow(builder, a.Header().Get("Azure-AsyncOperation")); end.at("error.code") != "InvalidDeployment" {
		t.Errorf("the deployment ended with %.300s", end.Body)
	}
}
