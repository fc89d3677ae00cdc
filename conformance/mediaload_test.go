package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
)

// answers are when the readers of one path got what they asked for.
type answers struct {
	mu    sync.Mutex
	count int
	last  time.Time
	since []time.Time // of each reader: its first answer after the grant returned
}

// TestLossAndReturnUnderLoad: 50 readers of streams, keys and the API and two jobs are in full swing when the grant on
// the customer's key goes and, later, returns. It prints what docs/performance.md records: when the last of each was
// served, and when all went on. No job is lost or done twice.
func TestLossAndReturnUnderLoad(t *testing.T) {
	t.Parallel()
	st := newStudio(t, start(t), "loadaccount")
	_, err := st.blobs.UploadBuffer(t.Context(), st.container["in"], "long.mp4", movie(t, 30, "640x360"), nil)
	check(t, err)
	paths := st.paths(t)
	readers := map[string]int{"manifest": 5, "cached segment": 15, "encrypted segment": 10, "key delivery": 15, "asset GET": 5}
	seen := map[string]*answers{}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for name, n := range readers {
		a := &answers{since: make([]time.Time, n)}
		seen[name] = a
		for i := range n {
			running.Go(func() {
				for ctx.Err() == nil {
					asked := time.Now()
					err := paths[name]()
					a.mu.Lock()
					if err == nil {
						a.count, a.last = a.count+1, time.Now()
						if a.since[i].IsZero() {
							a.since[i] = asked
						}
					} else if !strings.Contains(err.Error(), "CustomerKeyInaccessible") && !errors.Is(err, errCut) && ctx.Err() == nil {
						t.Errorf("%s: %v", name, err)
					}
					a.mu.Unlock()
					if err != nil { // a player waits before it asks again
						time.Sleep(100 * time.Millisecond)
					}
				}
			})
		}
	}
	check(t, st.submit(t, "encode", "running", "long.mp4", "other"))
	check(t, st.submit(t, "copy", "queued", "long.mp4", "out"))
	st.until(t, "encode", "running", 30*time.Second, armmediaservices.JobStateProcessing)
	time.Sleep(time.Second)

	st.unassign(t, st.vault, st.vaultGrant)
	gone := time.Now()
	time.Sleep(promised + time.Second)
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		a := seen[name]
		a.mu.Lock()
		late := a.last.Sub(gone)
		if late > promised {
			t.Errorf("%s: served %v after the grant was gone", name, late)
		}
		t.Logf("%s: %d readers, %d answers, the last %v after the grant was gone", name, readers[name], a.count, late.Round(time.Millisecond))
		clear(a.since)
		a.mu.Unlock()
	}
	before := st.files(t, "other")
	st.vaultGrant = st.assign(t, st.vault, cryptoService, st.principal)
	back := time.Now()
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		a := seen[name]
		for !a.all() && time.Since(back) < 2*promised {
			time.Sleep(10 * time.Millisecond)
		}
		a.mu.Lock()
		if i := slices.IndexFunc(a.since, time.Time.IsZero); i >= 0 {
			t.Errorf("%s: reader %d got nothing for %v after the grant returned", name, i, 2*promised)
		} else if on := slices.MaxFunc(a.since, time.Time.Compare).Sub(back); on > promised {
			t.Errorf("%s: all go on %v after the grant returned", name, on)
		} else {
			t.Logf("%s: all go on %v after the grant returned", name, on.Round(time.Millisecond))
		}
		a.mu.Unlock()
	}
	st.until(t, "encode", "running", promised+time.Second, armmediaservices.JobStateProcessing, armmediaservices.JobStateFinished)
	t.Logf("the job that was running goes on %v after the grant returned", time.Since(back).Round(time.Millisecond))
	stop()
	running.Wait()
	for transform, name := range map[string]string{"encode": "running", "copy": "queued"} {
		if j := st.await(t, transform, name, 2*time.Minute); *j.State != armmediaservices.JobStateFinished {
			t.Errorf("%s: %s", name, describe(j))
		}
	}
	if after := st.files(t, "other"); after == before {
		t.Errorf("the job wrote nothing: %s", after)
	}
	finished := fmt.Sprint(st.files(t, "other"), st.files(t, "out"))
	time.Sleep(promised)
	if again := fmt.Sprint(st.files(t, "other"), st.files(t, "out")); again != finished {
		t.Errorf("a job was done twice: %s, then %s", finished, again)
	}
}

func (a *answers) all() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(a.since, time.Time.IsZero)
}
