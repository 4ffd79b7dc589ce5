package depot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vitrine-hq/vitrine/blob"
)

// Spool writes all of r to a file without a name, whose bytes it counts: for
// what cannot be worked with before all of it is there, and would take memory
// for as long as a client takes to send it. More than limit bytes are a TooLarge
// error; 0 is no limit. The file goes when it is closed.
func (d *Depot) Spool(ctx context.Context, r io.Reader, limit int64) (*os.File, int64, error) {
	f, err := os.CreateTemp(filepath.Join(d.opt.WareHouse, incoming), "spool-")
	if err != nil {
		return nil, 0, noRoom(fmt.Errorf("make spool file: %w", err))
	}
	_ = os.Remove(f.Name()) // else the next start does
	limited := r
	if limit > 0 {
		limited = io.LimitReader(r, limit+1)
	}
	n, err := blob.Copy(ctx, f, limited)
	if err == nil && limit > 0 && n > limit {
		err = tooLarge(limit)
	}
	if err != nil {
		_ = f.Close() // it has no name
		return nil, 0, noRoom(err)
	}
	return f, n, nil
}
