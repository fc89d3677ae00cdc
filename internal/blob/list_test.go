package blob

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	azcontainer "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreel/keyreel/internal/store"
)

// oddNames are names that servers like to clean, decode twice or lose.
var oddNames = []string{
	"plain", "a//b", "a/./b", "a/../b", "..", "../up", "./here", "/lead", "//", "trail/", "sp ace", "%2F", "%252F", "a%2Fb", "q?x=1", "h#h", "plus+", "amp&",
	"ünïcödé", "日本/語", "\U0001F511", "back\\slash", "quote\"'<>", "semi;colon", "tab\tin", "bell\x07", "e\u0301", "é", "a\u2028b", "UPPER", "upper",
}

func TestOddNames(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		c := s.container(t, "odd")
		for _, name := range oddNames {
			_, err := c.NewBlockBlobClient(name).UploadBuffer(t.Context(), []byte("of "+name), nil)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
		want := slices.Clone(oddNames)
		slices.Sort(want)
		for _, size := range []int32{1, 7, 5000} {
			var got []string
			for pager := c.NewListBlobsFlatPager(&azcontainer.ListBlobsFlatOptions{MaxResults: to.Ptr(size)}); pager.More(); {
				page, err := pager.NextPage(t.Context())
				check(t, err)
				for _, item := range page.Segment.BlobItems {
					got = append(got, *item.Name)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d: %s", size, diff)
			}
		}
		for _, name := range oddNames {
			if a := s.do(t, "GET", "/odd/"+url.PathEscape(name), ""); a.body != "of "+name {
				t.Errorf("%q: %d %q", name, a.status, a.body)
			}
			if strings.ContainsAny(name, "\x07 \t?#%\"<>\\;日é\u2028\u0301ü\U0001F511+&") {
				continue
			}
			if a := s.do(t, "GET", "/odd/"+name, ""); a.body != "of "+name {
				t.Errorf("unescaped %q: %d %q", name, a.status, a.body)
			}
		}
	})
}

func TestListDelimited(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		c := s.container(t, "tree")
		for _, name := range []string{"a", "a/1", "a/2", "a/b/3", "ab/4", "b", "c/5", "c/6"} {
			s.put(t, "/tree/"+name, []byte("x"), "X-Ms-Meta-N", "v")
		}
		for i := range delimitedBatch + 10 { // more behind one prefix than is read at once
			s.put(t, fmt.Sprintf("/tree/deep/%d", i), nil)
		}
		for _, tc := range []struct{ prefix, want string }{
			{"", "a a/ ab/ b c/ deep/"}, {"a", "a a/ ab/"}, {"a/", "a/1 a/2 a/b/"}, {"a/b/", "a/b/3"}, {"c", "c/"}, {"none", ""}, {"deep", "deep/"},
		} {
			for _, size := range []int32{1, 2, 5000} {
				var got []string
				pager := c.NewListBlobsHierarchyPager("/", &azcontainer.ListBlobsHierarchyOptions{Prefix: &tc.prefix, MaxResults: to.Ptr(size)})
				for pager.More() {
					page, err := pager.NextPage(t.Context())
					check(t, err)
					n := len(page.Segment.BlobItems) + len(page.Segment.BlobPrefixes)
					if n > int(size) {
						t.Errorf("a page of %d entries", n)
					}
					for _, item := range page.Segment.BlobItems {
						got = append(got, *item.Name)
					}
					for _, p := range page.Segment.BlobPrefixes {
						got = append(got, *p.Name)
					}
				}
				slices.Sort(got)
				if diff := cmp.Diff(strings.Fields(tc.want), got, cmp.Transformer("n", func(s []string) []string { return append([]string{}, s...) })); diff != "" && len(got)+len(tc.want) > 0 {
					t.Errorf("prefix %q, pages of %d: %s", tc.prefix, size, diff)
				}
			}
		}
		page, err := c.NewListBlobsFlatPager(&azcontainer.ListBlobsFlatOptions{Prefix: to.Ptr("b"), Include: azcontainer.ListBlobsInclude{Metadata: true}}).NextPage(t.Context())
		check(t, err)
		if item := page.Segment.BlobItems[0]; *item.Metadata["n"] != "v" || *item.Properties.ContentLength != 1 || *item.Properties.BlobType != "BlockBlob" || item.Properties.LastModified == nil {
			t.Errorf("item %+v", item)
		}
	})
}

// A listing of any names by any pages gives what sorting and grouping them gives.
func TestListModel(t *testing.T) {
	t.Parallel()
	s := sqlite(t)
	s.container(t, "con")
	acct := s.account
	var id int64
	check(t, s.db.View(t.Context(), func(tx *store.Tx) error {
		c, err := readContainer(t.Context(), tx, acct.id, "con")
		id = c.id
		return err
	}))
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringOfN(rapid.SampledFrom([]rune("ab/\u00e9\U0010FFFF\uD7FF\uE000")), 1, 6, -1), rapid.ID[string]).Draw(rt, "names")
		l := &listing{
			prefix:    rapid.StringOfN(rapid.SampledFrom([]rune("ab/\U0010FFFF\uD7FF")), 0, 2, -1).Draw(rt, "prefix"),
			delimiter: rapid.SampledFrom([]string{"", "/", "a/"}).Draw(rt, "delimiter"), max: rapid.IntRange(1, 4).Draw(rt, "max"),
		}
		err := s.db.Update(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(t.Context(), `DELETE FROM blob_blobs`); err != nil {
				return err
			}
			for _, name := range names {
				if _, err := tx.Exec(t.Context(), `INSERT INTO blob_blobs (container, name, content, pieces, size, etag, created, modified, properties) VALUES ($1, $2, 1, 0, 0, '', 0, 0, '{}')`, id, name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
		var want []string
		slices.Sort(names)
		for _, name := range names {
			if !strings.HasPrefix(name, l.prefix) {
				continue
			}
			if common := l.common(name); common != "" {
				name = common
			}
			if !slices.Contains(want, name) {
				want = append(want, name)
			}
		}
		var got []string
		for pages := 0; ; pages++ {
			var entries []entry
			var next string
			err := s.db.View(t.Context(), func(tx *store.Tx) (err error) {
				entries, next, err = l.page(t.Context(), tx, id)
				return err
			})
			if err != nil || len(entries) > l.max || pages > len(names) {
				rt.Fatalf("page %d of %d entries: %v", pages, len(entries), err)
			}
			for _, e := range entries {
				got = append(got, e.name)
			}
			if l.from = next; next == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestListContainersPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *server) {
		for _, name := range []string{"films", "films-2", "music", "zoo"} {
			s.container(t, name)
		}
		a := s.do(t, "GET", "/?comp=list&prefix=films&maxresults=1", "")
		if a.status != http.StatusOK || !strings.Contains(a.body, "<Name>films</Name>") || strings.Contains(a.body, "films-2</Name>") || !strings.Contains(a.body, "<NextMarker>"+(&listing{}).next("films-2")+"</NextMarker>") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func pathUnescape(t testing.TB, s string) string {
	t.Helper()
	u, err := url.PathUnescape(s)
	check(t, err)
	return u
}
