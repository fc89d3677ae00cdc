package authority

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/seal"
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

// Whoever holds a user's token could try passwords at /me/changePassword without end; those are counted with the others.
func TestPasswordsToChangeCountTowardsTheLockout(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		n.ada(t)
		const ip = "198.51.100.1"
		prove := func(password string) error { return n.ProvePassword(t.Context(), adaName, seal.Secret(password), ip) }
		if err := prove(adaSecret); err != nil {
			t.Fatalf("the right password: %v", err)
		}
		for i := range lockAfter {
			if err := prove("wrong"); !errors.Is(err, directory.ErrWrongSecret) {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		var locked *azure.Error
		if err := prove(adaSecret); !errors.As(err, &locked) || locked.Target != "50053" {
			t.Errorf("after so many: %v", err)
		}
		if got := n.guess(t, ip+":1", adaName, adaSecret); got != 50053 {
			t.Errorf("signing in: %v", got)
		}
		if got := n.guess(t, "192.0.2.10:1", adaName, adaSecret); got != 0 {
			t.Errorf("from elsewhere: %v", got)
		}
	})
}

// People type their password where the name goes: what is nobody's name is not kept.
func TestTypedNamesAreNotRecorded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		n := open(t, db, newRoot(t))
		ada := n.ada(t)
		n.guess(t, "192.0.2.10:1", adaSecret, "x")
		n.guess(t, "192.0.2.10:1", adaName, "x")
		var principals []string
		for _, r := range n.records(t, "Token.Password") {
			if text := fmt.Sprintf("%+v", r); strings.Contains(text, adaSecret) {
				t.Errorf("a password is in the log: %s", text)
			}
			principals = append(principals, r.Principal)
		}
		if len(principals) != 2 || principals[0] == principals[1] || principals[1] != ada.ID {
			t.Errorf("recorded under %q", principals)
		}
	})
}
