package authority

import (
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// Whoever tries one password for all names is locked out as who tries many for one, and fills no table: users who did sign
// in from that address before are not.
func TestPasswordSpraying(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		n.ada(t)
		const shared, elsewhere = "192.0.2.10:1", "198.51.100.1:1"
		if got := n.guess(t, shared, adaName, adaSecret); got != 0 {
			t.Fatalf("the right password: %v", got)
		}
		if got := n.guess(t, shared, "user0@example.org", "wrong"); got != 50126 {
			t.Fatalf("a first guess: %v", got)
		}
		n.exec(t, `UPDATE authority_attempts SET failures = $1 WHERE account = $2`, lockSource-1, anyName) // as after so many names
		for i, want := range []float64{50126, 50053} {
			if got := n.guess(t, shared, fmt.Sprintf("user%d@example.org", i+1), "wrong"); got != want {
				t.Errorf("guess %d: %v, want %v", i, got, want)
			}
		}
		if got := n.guess(t, shared, adaName, adaSecret); got != 0 {
			t.Errorf("a user who is known at the address: %v", got)
		}
		if got := n.guess(t, elsewhere, "user3@example.org", "wrong"); got != 50126 {
			t.Errorf("from elsewhere: %v", got)
		}
	})
}
