package arm

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestAsyncWrite(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		release := make(chan error)
		w.hook(func() { w.prepare = func(*Write) error { return <-release } })

		a := w.do(owner, "PUT", rigs+"/r"+async1, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"size":1}}`).want(201)
		if a.at("properties.provisioningState") != "InProgress" || a.at("identity.principalId") == nil {
			t.Errorf("PUT answered %s", a.Body)
		}
		status, result := a.Header().Get("Azure-AsyncOperation"), a.Header().Get("Location")
		prefix := "https://management.keyreel.localhost:8443" + subPath + "/providers/Test.Things/locations/westeurope/"
		if !strings.HasPrefix(status, prefix+"thingStatuses/") || !strings.HasPrefix(result, prefix+"thingResults/") || a.Header().Get("Retry-After") == "" {
			t.Fatalf("headers: %v", a.Header())
		}
		path := func(url string) string { return strings.TrimPrefix(url, "https://management.keyreel.localhost:8443") }
		if a := w.do(owner, "GET", path(status), "").want(200); a.at("status") != "InProgress" {
			t.Errorf("status is %s", a.Body)
		}
		if a := w.do(owner, "GET", path(result), "").want(202); a.Header().Get("Location") != result {
			t.Errorf("result's headers: %v", a.Header())
		}
		w.do(stranger, "GET", path(status), "").fails(403, "AuthorizationFailed")
		w.do(stranger, "GET", path(result), "").fails(403, "AuthorizationFailed")
		w.do(reader, "GET", path(status), "").want(200)
		w.do(owner, "GET", path(status)[:len(path(status))-len(async1)-2]+"zz"+async1, "").fails(404, "OperationNotFound")

		// While it runs, nothing else writes it or below it.
		w.do(owner, "PATCH", rigs+"/r"+sync1, `{}`).fails(409, "AnotherOperationInProgress")
		w.do(owner, "DELETE", rigs+"/r"+sync1, ``).fails(409, "AnotherOperationInProgress")
		w.do(owner, "PUT", rigs+"/r/bolts/b"+sync1, `{}`).fails(409, "ResourceNotReady")

		release <- nil
		if a := w.follow(owner, status); a.at("status") != "Succeeded" || a.at("endTime") == nil {
			t.Errorf("status ended as %s", a.Body)
		}
		if a := w.follow(owner, result).want(200); a.at("properties.provisioningState") != "Succeeded" || a.at("properties.size") != 1.0 {
			t.Errorf("result ended as %s", a.Body)
		}

		// An update that fails leaves everything as it was, the identity too.
		a = w.do(owner, "PATCH", rigs+"/r"+async1, `{"tags":{"a":"b"},"identity":{"type":"None"},"properties":{"size":2}}`).want(202)
		status = a.Header().Get("Azure-AsyncOperation")
		release <- azure.Errorf(400, "BadStorage", "Storage account cannot be accessed.")
		if a := w.follow(owner, status); a.at("status") != "Failed" || a.at("error.code") != "BadStorage" || a.at("error.message") != "Storage account cannot be accessed." {
			t.Errorf("status ended as %s", a.Body)
		}
		w.do(owner, "GET", path(a.Header().Get("Location")), "").fails(400, "BadStorage")
		a = w.do(owner, "GET", rigs+"/r"+async1, "")
		if a.at("properties.size") != 1.0 || a.at("properties.provisioningState") != "Succeeded" || a.at("identity.type") != "SystemAssigned" || a.at("tags.a") != nil {
			t.Errorf("after a failed update: %s", a.Body)
		}

		// A new resource that fails stays, as Failed, and can be written again or deleted.
		for _, next := range []string{"PUT", "DELETE"} {
			a = w.do(owner, "PUT", rigs+"/f"+async1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`).want(201)
			release <- azure.Errorf(400, "BadStorage", "no")
			w.follow(owner, a.Header().Get("Azure-AsyncOperation"))
			if a := w.do(owner, "GET", rigs+"/f"+async1, "").want(200); a.at("properties.provisioningState") != "Failed" {
				t.Errorf("after a failed creation: %s", a.Body)
			}
			w.consistent()
			w.do(owner, "PUT", rigs+"/f/bolts/b"+sync1, `{}`).fails(409, "ResourceNotReady")
			if next == "PUT" {
				a = w.do(owner, "PUT", rigs+"/f"+async1, `{"location":"northeurope"}`).want(201)
				release <- nil
				w.follow(owner, a.Header().Get("Azure-AsyncOperation"))
			}
			w.do(owner, "DELETE", rigs+"/f"+sync1, ``).want(200)
		}
		w.consistent()
	})
}

func TestPreparedWrite(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		var state, private any
		w.hook(func() {
			w.prepare = func(wr *Write) error {
				err := db.View(t.Context(), func(tx *store.Tx) error {
					res, err := w.m.Get(t.Context(), tx, wr.New.ID)
					if err == nil && res.Identity != nil {
						state = res.State + " " + res.Identity.Type
					}
					return err
				})
				private = wr.Private
				if string(wr.Body) == `{"size":13}` {
					return azure.Errorf(400, "Unlucky", "13")
				}
				return err
			}
		})
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"size":13}}`).fails(400, "Unlucky")
		w.do(owner, "GET", rigs+"/r"+sync1, "").fails(404, "ResourceNotFound")
		w.consistent()
		a := w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope","properties":{"size":1}}`).want(201)
		if _, ok := private.(map[string]int); !ok {
			t.Errorf("Private was %T", private)
		}
		if a.at("properties.provisioningState") != "Succeeded" || a.Header().Get("ETag") == "" {
			t.Errorf("PUT answered %s", a.Body)
		}
		// Step 2 sees the identities that the write adds, and those that it removes.
		w.do(owner, "PATCH", rigs+"/r"+sync1, `{"identity":{"type":"SystemAssigned"}}`).want(200)
		if state != "InProgress SystemAssigned" {
			t.Errorf("Prepare saw %v", state)
		}
		w.do(owner, "PATCH", rigs+"/r"+sync1, `{"identity":{"type":"None"}, "properties":{"size":13}}`).fails(400, "Unlucky")
		if state != "InProgress SystemAssigned" {
			t.Errorf("Prepare saw %v", state)
		}
		if a := w.do(owner, "GET", rigs+"/r"+sync1, ""); a.at("identity.type") != "SystemAssigned" || a.at("properties.size") == 13.0 {
			t.Errorf("after a failed update: %s", a.Body)
		}
		w.do(owner, "PATCH", rigs+"/r"+sync1, `{"identity":{"type":"None"}}`).want(200)
		w.do(owner, "DELETE", rigs+"/r"+sync1, "").want(200)
		w.consistent()
	})
}

// TestFaults fails each commit of an operation in turn, once not applied and once applied with its answer lost, and
// checks that afterwards, with what is left to do done by a restarted server, everything goes together.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, op := range []struct{ name, method, path, body string }{
		{"sync create", "PUT", rigs + "/new" + sync1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`},
		{"sync update", "PATCH", rigs + "/r" + sync1, `{"identity":{"type":"SystemAssigned"},"properties":{"size":2}}`},
		{"async create", "PUT", rigs + "/new" + async1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`},
		{"async update", "PATCH", rigs + "/r" + async1, `{"identity":{"type":"SystemAssigned"},"properties":{"size":2}}`},
		{"simple create", "PUT", widgets + "/new" + sync1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`},
		{"prepared delete", "DELETE", rigs + "/r" + sync1, ``},
		{"simple delete", "DELETE", widgets + "/w" + sync1, ``},
		{"group delete", "DELETE", g1 + groupV, ``},
	} {
		for _, point := range []string{"commit.before", "commit.after"} {
			t.Run(op.name+" "+point, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					if !faultAt(t, point, n, op.method, op.path, op.body) {
						if n == 1 {
							t.Error("there was no commit to fail")
						}
						break
					}
				}
			})
		}
	}
}

// faultAt fails the n-th commit of a request. It reports whether there was one. The process dies at the fault: what
// comes after it, undoing included, does not reach the database.
func faultAt(t *testing.T, point string, n int, method, path, body string) (hit bool) {
	synctest.Test(t, func(t *testing.T) {
		url := storetest.SQLiteURL(t)
		var armed, dead atomic.Bool
		var count atomic.Int64
		db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: testSchemas, Fault: func(at string) error {
			if !armed.Load() {
				return nil
			}
			if at == "commit.before" && dead.Load() {
				return errors.New("the process is dead")
			}
			if at == point && count.Add(1) == int64(n) {
				dead.Store(true)
				return fmt.Errorf("fault at %s %d", point, n)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, db)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope","properties":{"size":1}}`).want(201)
		w.do(owner, "PUT", rigs+"/r/bolts/b"+sync1, `{}`).want(201)
		w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
		armed.Store(true)
		w.do(owner, method, path, body)
		time.Sleep(10 * time.Second) // for asynchronous work
		hit = dead.Load()
		w.jobs.Close()
		armed.Store(false)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}

		db, err = store.Open(t.Context(), store.Options{URL: url, Schemas: testSchemas})
		if err != nil {
			t.Fatal(err)
		}
		again := openWorld(t, db)
		again.jobs.Start()
		time.Sleep(guardDelay + 5*time.Minute) // the guard, leases and retries
		again.consistent()
		// Whatever happened, the same request works now.
		if a := again.do(owner, method, path, body); a.Code >= 500 || a.Code == 409 {
			t.Errorf("afterwards: %d %s", a.Code, a.Body)
		}
		time.Sleep(10 * time.Second)
		again.consistent()
		again.jobs.Close()
		again.m.o.Audit.Close()
		again.m.o.RBAC.Close()
		db.Close()
	})
	return hit
}

func TestGroupDeletion(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope","identity":{"type":"SystemAssigned"}}`).want(201)
		for i := range 5 {
			w.do(owner, "PUT", fmt.Sprintf("%s/r/bolts/b%d%s", rigs, i, sync1), `{}`).want(201)
		}
		w.do(owner, "PUT", widgets+"/w"+sync1, `{"location":"westeurope"}`).want(201)
		g10 := subPath + "/resourceGroups/g10"
		w.do(owner, "PUT", g10+groupV, `{"location":"westeurope"}`).want(201)

		// A refusal by one resource leaves the group with all that is in it.
		w.hook(func() {
			w.prepareDelete = func(*Resource) error { return azure.Errorf(409, "Protected", "It is protected.") }
		})
		w.do(owner, "DELETE", rigs+"/r"+sync1, "").fails(409, "Protected")
		a := w.do(owner, "DELETE", g1+groupV, "").want(202)
		w.follow(owner, a.Header().Get("Location")).fails(409, "Protected")
		if a := w.do(owner, "GET", g1+groupV, "").want(200); a.at("properties.provisioningState") != "Succeeded" {
			t.Errorf("the group is %s", a.Body)
		}
		w.consistent()

		hold, held := make(chan struct{}), make(chan struct{})
		w.hook(func() { w.prepareDelete = func(*Resource) error { held <- struct{}{}; <-hold; return nil } })
		a = w.do(builder, "DELETE", g1+groupV, "").want(202)
		<-held
		w.do(owner, "PUT", widgets+"/x"+sync1, `{"location":"westeurope"}`).fails(409, "ResourceGroupBeingDeleted")
		w.do(owner, "PUT", rigs+"/r/bolts/b"+sync1, `{}`).fails(409, "ResourceGroupBeingDeleted")
		w.do(owner, "DELETE", g1+groupV, "").fails(409, "AnotherOperationInProgress")
		close(hold)
		// The builder's role went with the group; its operation it may still follow.
		w.follow(builder, a.Header().Get("Location")).want(200)
		w.do(owner, "HEAD", g1+groupV, "").want(404)
		w.do(owner, "GET", g10+groupV, "").want(200)
		w.do(builder, "PUT", g1+groupV, `{"location":"westeurope"}`).fails(403, "AuthorizationFailed")
		w.consistent()
	})
}
