package media

import (
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func benchAccount(b *testing.B) (*world, *arm.Resource) {
	b.Helper()
	w := newWorld(b, storetest.SQLite(b, schemas...))
	w.managed()
	w.put(acct, syncV, fmt.Sprintf(accountDoc, customer)).want(200)
	var res *arm.Resource
	err := w.db.View(b.Context(), func(tx *store.Tx) (err error) {
		res, err = w.o.Manager.Get(b.Context(), tx, resourceID(b, acct))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return w, res
}

// BenchmarkSealContentKey puts both layers over a content key and takes them off again.
func BenchmarkSealContentKey(b *testing.B) {
	w, res := benchAccount(b)
	key, err := w.o.Keys.Key(b.Context(), res.ID.Key())
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 16)
	sealed := w.seal(key, value, "media_content_keys", res.ID.Key(), "kid", "sealed")
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			w.seal(key, value, "media_content_keys", res.ID.Key(), "kid", "sealed")
		}
	})
	b.Run("open", func(b *testing.B) {
		k := &contentKey{kid: "kid", sealed: sealed}
		for b.Loop() {
			if err := w.openContentKey(key, res.ID.Key(), k); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGate is what the check of the customer key adds to a request of the resource manager.
func BenchmarkGate(b *testing.B) {
	w, res := benchAccount(b)
	op := arm.Op{Target: res.ID.Child("assets", "a"), Method: "GET"}
	for b.Loop() {
		if err := w.gate(b.Context(), res, op); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWatchStorage looks once after the storage of 1,000 accounts, with storage in the same process.
func BenchmarkWatchStorage(b *testing.B) {
	const accounts = 1000
	w, _ := benchAccount(b)
	for i := range accounts {
		path := group + "/providers/Microsoft.Media/mediaservices/many" + fmt.Sprint(i) + "x1" // the fake's identity is named by the last digit
		w.put(path, syncV, fmt.Sprintf(accountDoc, `,"storageAuthentication":"ManagedIdentity"`)).want(201)
	}
	for b.Loop() {
		if err := w.watchStorage(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/accounts, "µs/account")
}
