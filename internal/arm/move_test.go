package arm

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const otherSub = "44444444-4444-4444-4444-444444444444"

// moveBody asks to move resources.
func moveBody(target string, resources ...string) string {
	text, _ := json.Marshal(map[string]any{"resources": resources, "targetResourceGroup": target})
	return string(text)
}

func newMoveWorld(t *testing.T, db *store.DB) (w *world, g2, far string) {
	t.Helper()
	w = newWorld(t, db)
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return w.m.CreateSubscription(t.Context(), tx, otherSub, "Other") }); err != nil {
		t.Fatal(err)
	}
	w.grant("/subscriptions/"+otherSub, ownerRole, owner)
	g2, far = subPath+"/resourceGroups/Two", "/subscriptions/"+otherSub+"/resourceGroups/far"
	for _, g := range []string{g2, far} {
		w.do(owner, "PUT", g+groupV, `{"location":"westeurope"}`).want(201)
	}
	for _, name := range []string{"a", "b", "c"} {
		w.do(owner, "PUT", widgets+"/"+name+sync1, `{"location":"westeurope","tags":{"k":"`+name+`"}}`).want(201)
	}
	return w, g2, far
}

// TestMove: resources change their ID and keep the rest; roles at the old ID are gone, and one that cannot move keeps
// all where they are.
func TestMove(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w, g2, far := newMoveWorld(t, db)
		w.grant(widgets+"/a", readerRole, stranger)
		w.do(stranger, "GET", widgets+"/a"+sync1, "").want(200)

		w.do(owner, "POST", g1+"/validateMoveResources"+groupV, moveBody(g2, widgets+"/a", widgets+"/B")).want(204)
		w.do(owner, "GET", widgets+"/a"+sync1, "").want(200)
		w.do(owner, "POST", g1+"/moveResources"+groupV, moveBody(g2, widgets+"/a", widgets+"/B")).want(204)

		moved := g2 + "/providers/Test.Things/widgets/a"
		a := w.do(owner, "GET", moved+sync1, "").want(200)
		if a.at("id") != moved || a.at("tags.k") != "a" || a.at("location") != "westeurope" {
			t.Errorf("moved: %s", a.Body)
		}
		w.do(owner, "GET", widgets+"/a"+sync1, "").fails(404, "ResourceNotFound")
		if d := cmp.Diff([]string{"c"}, w.all(owner, widgets+sync1)); d != "" {
			t.Error(d)
		}
		w.do(stranger, "GET", moved+sync1, "").fails(403, "AuthorizationFailed")
		w.do(owner, "PUT", widgets+"/a"+sync1, `{"location":"westeurope"}`).fails(409, "WidgetTaken")
		w.do(owner, "DELETE", moved+sync1, "").want(200) // with what its service keeps of it
		w.do(owner, "PUT", widgets+"/a"+sync1, `{"location":"westeurope"}`).want(201)
		w.do(stranger, "GET", widgets+"/a"+sync1, "").fails(403, "AuthorizationFailed") // the old role did not wait for it

		w.do(owner, "POST", g2+"/moveResources"+groupV, moveBody(far, g2+"/providers/Test.Things/widgets/b")).want(204)
		w.do(owner, "PATCH", far+"/providers/Test.Things/widgets/b"+sync1, `{"tags":{}}`).want(200)
		w.consistent()
	})
}

func TestRefusedMoves(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w, g2, _ := newMoveWorld(t, db)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope"}`).want(201)
		w.do(owner, "PUT", widgets+"/heavy"+sync1, `{"location":"westeurope"}`).want(201)
		w.do(owner, "PUT", widgets+"/system"+sync1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`).want(201)
		w.do(owner, "PUT", widgets+"/parent"+sync1, `{"location":"westeurope"}`).want(201)
		w.do(owner, "PUT", widgets+"/parent/parts/p"+sync1, `{}`).want(201)
		for _, c := range []struct {
			name, caller, body string
			status             int
			code               string
		}{
			{"no role", stranger, moveBody(g2, widgets+"/a"), 403, "AuthorizationFailed"},
			{"no role at the target", builder, moveBody(g2, widgets+"/a"), 403, "LinkedAuthorizationFailed"},
			{"type", owner, moveBody(g2, widgets+"/a", rigs+"/r"), 409, "ResourceMoveNotSupported"},
			{"service", owner, moveBody(g2, widgets+"/a", widgets+"/heavy"), 409, "TooHeavy"},
			{"identity", owner, moveBody(g2, widgets+"/a", widgets+"/system"), 409, "ResourceMoveNotSupported"},
			{"children", owner, moveBody(g2, widgets+"/a", widgets+"/parent"), 409, "ResourceMoveNotSupported"},
			{"missing", owner, moveBody(g2, widgets+"/a", widgets+"/none"), 404, "ResourceNotFound"},
			{"no group", owner, moveBody(subPath+"/resourceGroups/none", widgets+"/a"), 404, "ResourceGroupNotFound"},
			{"target", owner, moveBody(widgets+"/a", widgets+"/a"), 400, "InvalidMoveResourcesRequest"},
			{"nothing", owner, moveBody(g2), 400, "InvalidMoveResourcesRequest"},
			{"same group", owner, moveBody(g1, widgets+"/a"), 400, "InvalidMoveResourcesRequest"},
			{"elsewhere", owner, moveBody(g2, g2+"/providers/Test.Things/widgets/a"), 400, "InvalidMoveResourcesRequest"},
			{"child", owner, moveBody(g2, widgets+"/parent/parts/p"), 400, "InvalidMoveResourcesRequest"},
			{"twice", owner, moveBody(g2, widgets+"/a", widgets+"/A"), 400, "InvalidMoveResourcesRequest"},
			{"body", owner, `{"resources": 1}`, 400, "InvalidRequestContent"},
		} {
			for _, action := range []string{"/validateMoveResources", "/moveResources"} {
				a := w.do(c.caller, "POST", g1+action+groupV, c.body)
				if a.Code != c.status {
					t.Errorf("%s: %d %s", c.name, a.Code, a.Body)
					continue
				}
				a.fails(c.status, c.code)
			}
		}
		locked := func(scope, level, resource string) {
			t.Helper()
			lock := scope + "/providers/Microsoft.Authorization/locks/l?api-version=2016-09-01"
			w.do(owner, "PUT", lock, `{"properties":{"level":"`+level+`"}}`).want(201)
			w.do(owner, "POST", g1+"/moveResources"+groupV, moveBody(g2, resource)).fails(409, "ScopeLocked")
			w.do(owner, "DELETE", lock, "")
		}
		locked(widgets+"/a", "CanNotDelete", widgets+"/a")
		locked(g1, "CanNotDelete", widgets+"/a")
		locked(g2, "ReadOnly", widgets+"/a")
		if got := w.all(owner, g2+"/resources"+groupV); len(got) != 0 {
			t.Errorf("the target has %v", got)
		}
		w.consistent()
	})
}
