package depot

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// BenchmarkUpload stores files of 4 KiB, 64 at a time, with full durability.
func BenchmarkUpload(b *testing.B) {
	dir := b.TempDir()
	db, err := store.OpenSQLite(b.Context(), filepath.Join(dir, "vitrine.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	d, err := Open(b.Context(), db, blob.New(blob.NewMem()), Options{WareHouse: dir, Implicit: true})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	content := bytes.Repeat([]byte("vitrine\n"), 512)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u, err := d.NewUpload(b.Context(), artifact.DefaultTenant, "bench")
			if err == nil {
				_, err = u.Add(b.Context(), "f.txt", "text/plain", bytes.NewReader(content))
			}
			if err == nil {
				_, err = u.Commit(b.Context())
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}
