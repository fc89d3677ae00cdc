package media

import (
	"testing"

	"github.com/keyreel/keyreel/internal/store"
)

// TestAbandonedJobsEnd: when a node dies while a job is canceled, or during a job's last attempt, the queue ends its own
// job without calling the handler. The media job must end too.
func TestAbandonedJobsEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.upload()
		queue := func(path, sql string) {
			t.Helper()
			id := w.attempt(path).ID
			err := w.db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(t.Context(), sql, id)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		settle := func() {
			t.Helper()
			if err := w.settleJobs(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"canceling", "last", "running", "purged", "deleted"} {
			w.put(acct+"/transforms/t/jobs/"+name, asyncV, `{"properties":`+jobDoc+`}`).want(201)
			w.attempt(acct + "/transforms/t/jobs/" + name)
		}
		jobs := acct + "/transforms/t/jobs/"
		w.post(jobs + "canceling/cancelJob").want(200)
		w.get(jobs + "canceling").want(200).says(`"state":"Canceling"`)
		settle()
		w.get(jobs + "canceling").want(200).says(`"state":"Canceling"`) // its node may live

		queue(jobs+"canceling", `UPDATE job SET state = 'canceled', ended = 1 WHERE id = $1`)
		queue(jobs+"last", `UPDATE job SET state = 'failed', ended = 1 WHERE id = $1`)
		queue(jobs+"purged", `DELETE FROM job WHERE id = $1`)
		w.do("DELETE", jobs+"deleted", asyncV, "").want(200)
		settle()
		w.get(jobs + "canceling").want(200).says(`"state":"Canceled"`)
		w.get(jobs + "running").want(200).says(`"state":"Queued"`)
		w.get(jobs + "deleted").want(404)
		for _, name := range []string{"last", "purged"} {
			w.get(jobs+name).want(200).says(`"state":"Error"`, `"retry":"MayRetry"`, "Look into its log")
			w.post(jobs + name + "/cancelJob").want(400)
		}
		settle()
	})
}

// TestEndedJobIsNotRunAgain: a node that dies between a job's last write and the queue's makes the queue run it again.
func TestEndedJobIsNotRunAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.upload()
		path := acct + "/transforms/t/jobs/j"
		w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
		run := w.attempt(path)
		w.out.set(func() { w.out.noWrites = true })
		if err := w.runEncodeJob(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		ended := w.get(path).want(200).says(`"state":"Error"`)
		w.out.set(func() { w.out.noWrites = false })
		if err := w.runEncodeJob(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if again := w.get(path).want(200); string(again.raw) != string(ended.raw) {
			t.Errorf("it was %s, and is %s", ended.raw, again.raw)
		}
	})
}

// TestLostJobIsNotWritten: a run whose lease has gone to another node writes nothing.
func TestLostJobIsNotWritten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.upload()
		path := acct + "/transforms/t/jobs/j"
		w.put(path, asyncV, `{"properties":`+jobDoc+`}`).want(201)
		run := w.attempt(path)
		err := w.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE job SET lease = 'another' WHERE id = $1`, run.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.runEncodeJob(t.Context(), run); err == nil {
			t.Error("it ran")
		}
		w.get(path).want(200).says(`"state":"Queued"`)
	})
}
