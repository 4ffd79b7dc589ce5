package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vitrine-hq/vitrine/depot"
)

// Pages are bounded by what they hold, not only by their entries, and together
// tell everything once.
func TestPagesWithMuchMetadata(t *testing.T) {
	each(t, func(t *testing.T, h *house) {
		const n = 150
		large := fmt.Sprintf(`,"metadata":{"k":%q}`, strings.Repeat("m", 16000))
		var want []string
		for i := range n {
			path := fmt.Sprintf("/d/%03d.txt", i)
			want = append(want, path)
			h.data(h.save(path, "x", large))
		}
		pages := func(first, next string, of func(page map[string]any) (list []map[string]any, cursor any)) {
			t.Helper()
			var got []string
			count, most := 0, 0
			for path := first; path != ""; count++ {
				a := h.get(path)
				most = max(most, len(a.body))
				list, cursor := of(h.data(a))
				for _, f := range list {
					got = append(got, fmt.Sprint(f["path"]))
				}
				if path = ""; cursor != nil {
					path = first + next + fmt.Sprint(cursor)
				}
				if cursor != nil && len(list) == 0 {
					t.Fatalf("%s: a page with nothing on it leads on", first)
				}
			}
			if !slices.Equal(got, want) || count != 3 || most > depot.PageBytes+200<<10 {
				t.Errorf("%s: %d entries on %d pages of at most %d bytes", first, len(got), count, most)
			}
		}
		tree := func(page map[string]any) ([]map[string]any, any) { return objects(page["files"]), page["next_cursor"] }
		log := func(page map[string]any) (list []map[string]any, cursor any) {
			for _, e := range objects(page["events"]) {
				list = append(list, asMap(e["data"]))
			}
			if page["has_more"] == true {
				cursor = page["next_cursor"]
			}
			return list, cursor
		}
		pages(library+"/list?recursive=true", "&cursor=", tree)
		pages(library+"/list?recursive=true&name_pattern=.TXT", "&cursor=", tree)
		pages(library+"/events?limit=1000", "&after=", log)
		want = nil
		h.data(h.save("/v.txt", "x", large))
		for n := range n - 1 {
			h.data(h.ask("PATCH", at("/v.txt"), `{"append":"x"}`))
			want = append(want, fmt.Sprint(n+2))
		}
		slices.Reverse(want)
		want = append(want, "1")
		pages(library+"/versions?path=/v.txt", "&cursor=", func(page map[string]any) (list []map[string]any, cursor any) {
			for _, v := range objects(page["versions"]) {
				list = append(list, map[string]any{"path": v["version"]})
			}
			return list, page["next_cursor"]
		})
		some := h.data(h.get(library + "/versions?path=/v.txt&limit=2&cursor=4"))
		if list := objects(some["versions"]); len(list) != 2 || list[0]["version"] != 3.0 || some["next_cursor"] != 2.0 {
			t.Errorf("two before the fourth: %v", some)
		}
		if files := objects(h.data(h.get(library + "/list?prefix=/d"))["files"]); len(files) != n {
			t.Errorf("the list has %d files", len(files))
		}
		s := h.streamAt(library + "/events?after=0")
		for i := range n {
			if e := s.next(); e.seq() != int64(i+1) {
				t.Fatalf("entry %d of the stream is %d", i+1, e.seq())
			}
		}
	})
}
