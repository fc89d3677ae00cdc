package directory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A filter that matched nothing used to look at the whole directory while it kept one reader of the database.
func TestFilterLooksAtSoManyForAPage(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		const n = 10_010 // twice what is looked at for a page, and some
		id := func(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }
		update(t, g.d, func(ctx context.Context, tx *store.Tx) error {
			for i := range n {
				if _, err := tx.Exec(ctx, `INSERT INTO directory_principals (id, kind, name, identity_id, enabled, created) VALUES ($1, 'Group', $2, '', 1, 0)`,
					id(i), fmt.Sprintf("group %d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		var found []string
		var sizes []int
		for path := fmt.Sprintf("/v1.0/groups?$filter=displayName eq 'group 7' or displayName eq 'group %d'", n-1); path != ""; {
			answer := g.do("GET", path, "", 200)
			list := idsOf(answer)
			found, sizes = append(found, list...), append(sizes, len(list))
			path, _ = answer["@odata.nextLink"].(string)
		}
		if diff := cmp.Diff([]string{id(7), id(n - 1)}, found); diff != "" || !cmp.Equal(sizes, []int{1, 0, 1}) {
			t.Errorf("pages of %v: %s", sizes, diff)
		}
		answer := g.do("GET", "/v1.0/groups?$count=true&$filter=displayName eq 'group 7'", "", 200)
		if answer["@odata.count"] != 1.0 || answer["@odata.nextLink"] != nil {
			t.Errorf("counted: %v", answer)
		}
	})
}
