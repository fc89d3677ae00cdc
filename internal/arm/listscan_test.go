package arm

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

// A filter that matched nothing used to look at all of a list while it kept one reader of the database.
func TestFilterLooksAtSoManyForAPage(t *testing.T) {
	t.Parallel()
	storetest.Each(t, testSchemas, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.do(owner, "PUT", rigs+"/r"+sync1, `{"location":"westeurope"}`).want(201)
		const n = 2*listScan + 10
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			for i := range n {
				id, err := azure.ParseResourceID(fmt.Sprintf("%s/widgets/w%05d", g1+"/providers/Test.Things", i))
				if err != nil {
					return err
				}
				if err := w.m.Create(t.Context(), tx, &Resource{ID: id, Location: "westeurope", Properties: json.RawMessage(`{}`)}); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), `INSERT INTO fake_things (key, body) VALUES ($1, '')`, id.Key()); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		pages := func(filter string) (names []string, sizes []int) {
			next := g1 + "/providers/Test.Things/widgets" + sync1 + "&$filter=" + url.QueryEscape(filter)
			for next != "" {
				a := w.do(owner, "GET", next, "")
				a.want(200)
				names, sizes = append(names, a.names()...), append(sizes, len(a.names()))
				link, _ := a.at("nextLink").(string)
				next = strings.TrimPrefix(link, "https://management.keyreel.localhost:8443")
			}
			return names, sizes
		}
		last := fmt.Sprintf("w%05d", n-1)
		names, sizes := pages("name eq '" + last + "'")
		if diff := cmp.Diff([]string{last}, names); diff != "" || !cmp.Equal(sizes, []int{0, 0, 1}) {
			t.Errorf("pages of %v: %s", sizes, diff)
		}
		if names, sizes := pages("name eq 'w00000' or name eq '" + last + "'"); len(names) != 2 || !cmp.Equal(sizes, []int{1, 0, 1}) {
			t.Errorf("%v on pages of %v", names, sizes)
		}
	})
}
