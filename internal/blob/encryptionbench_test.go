package blob

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/customerkey"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// BenchmarkAccountKey puts and gets 4 KiB under the system key and under a customer's key, with the Keeper's own times.
func BenchmarkAccountKey(b *testing.B) {
	for _, customer := range []bool{false, true} {
		name := map[bool]string{false: "system", true: "customer"}[customer]
		d := benchAccountKey(b, customer)
		data := pattern(4 << 10)
		var puts, gets atomic.Int64
		b.Run("put/"+name, func(b *testing.B) {
			run(b, 16, func() { d.do(b, newSink(), "PUT", fmt.Sprintf("/con/%d", puts.Add(1)), data, 201) })
		})
		b.Run("get/"+name, func(b *testing.B) {
			run(b, 16, func() { d.do(b, newSink(), "GET", fmt.Sprintf("/con/%d", 1+gets.Add(1)%puts.Load()), nil, 200) })
		})
	}
}

func benchAccountKey(b *testing.B, customer bool) direct {
	c := newConfig(b, storetest.SQLiteURL(b))
	c.ttl, c.scan = 0, 0
	s := open(b, c)
	s.container(b, "con")
	s.assign(b, "bench", contributorRole, testAccountID)
	if customer {
		who := onbehalf.Identity{PrincipalID: "p", ResourceID: testAccountID, IdentityID: testAccountID}
		next, err := s.Keys.Prepare(b.Context(), testAccountID, &customerkey.Config{Identity: who, KeyID: "https://" + vaultHost + "/keys/k"})
		check(b, err)
		check(b, s.db.Update(b.Context(), func(tx *store.Tx) error { return s.Keys.Commit(b.Context(), tx, next) }))
	}
	return direct{s.Handler(), "Bearer " + token(azure.Caller{ObjectID: "bench"})}
}
