package blob_test

import (
	"bytes"
	"io"
	"strconv"
	"testing"

	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/blobtest"
)

// The difference between memory and files is what durability costs.
func eachSize(b *testing.B, bench func(*testing.B, *blob.Bucket, []byte)) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for name, d := range map[string]blob.Driver{"memory": blob.NewMem(), "files": files(b)} {
			b.Run(name+"/"+strconv.Itoa(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				bench(b, blob.New(d), blobtest.Bytes(size))
			})
		}
	}
}

func BenchmarkPut(b *testing.B) {
	eachSize(b, func(b *testing.B, bucket *blob.Bucket, data []byte) {
		for b.Loop() {
			if _, err := bucket.Put(b.Context(), bytes.NewReader(data), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	eachSize(b, func(b *testing.B, bucket *blob.Bucket, data []byte) {
		info, err := bucket.Put(b.Context(), bytes.NewReader(data), 0)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		for b.Loop() {
			r, err := bucket.Open(b.Context(), info.Key, info.Size)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
			if err != nil || n != info.Size {
				b.Fatalf("read %d bytes, %v", n, err)
			}
			r.Close()
		}
	})
}
