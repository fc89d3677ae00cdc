package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A workload's name with NUL used to come as far as the database, which on PostgreSQL takes none: 500.
func TestWorkloadNames(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		d, _ := open(t, db)
		principal, _ := assignSystem(t, d, account(t))
		for _, tt := range []struct {
			name, as string
			ok       bool
		}{
			{"plain", "worker", true},
			{"none", "", true},
			{"other letters", "Arbeiter für Öl", true},
			{"as long as can be", strings.Repeat("ö", 256), true},
			{"NUL", "a\x00b", false},
			{"line", "a\nb", false},
			{"no text", "a\xff", false},
			{"too long", strings.Repeat("ö", 257), false},
		} {
			_, _, err := d.RegisterWorkload(t.Context(), directory.Workload{Name: tt.as, Identities: []string{principal}})
			var refused *azure.Error
			if tt.ok && err != nil || !tt.ok && (!errors.As(err, &refused) || refused.Status != 400 || refused.Code != "InvalidWorkloadName") {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	})
}
