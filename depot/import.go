package depot

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
)

// Bounds of an archive that is taken in. It comes from outside: it may be made
// to be small as it is sent and endless as it is unpacked.
const (
	maxImportFiles = 10_000
	maxImportBytes = 16 << 30 // unpacked
	maxImportRatio = 200      // of unpacked to packed bytes, above importFree
	importFree     = 64 << 20
	maxImportList  = 64 << 20 // bytes of archiveList
)

// Imported is what came of an archive.
type Imported struct {
	Files   int64    `json:"imported"`
	Bytes   int64    `json:"bytes"`
	Skipped []string `json:"skipped"` // paths at which something stood that was not to be replaced
}

// Import saves every file of a zip below a folder of the library. The whole
// archive is looked through first: a name that is no path, a link, a damaged or
// encrypted file, or more than the bounds is an error, and nothing is saved.
// Then each file is saved by itself. Where something stands, replace decides.
func (d *Depot) Import(ctx context.Context, tenant string, dir artifact.Path, replace bool, r io.Reader) (Imported, error) {
	f, size, err := d.spool(ctx, r)
	if err != nil {
		return Imported{}, err
	}
	defer f.Close()
	zr, err := zip.NewReader(f, size)
	if err != nil {
		return Imported{}, notAnArchive(err)
	}
	in := &importing{d: d, tenant: tenant, top: strings.TrimSuffix(string(dir), "/") + "/", replace: replace, done: Imported{Skipped: []string{}}}
	if err := in.plan(zr, size); err != nil {
		return Imported{}, err
	}
	for _, file := range in.files { // before anything is saved
		if err := in.test(ctx, file); err != nil {
			return Imported{}, err
		}
	}
	for _, file := range in.files {
		if err := in.save(ctx, file); err != nil {
			return in.done, err
		}
	}
	return in.done, nil
}

func notAnArchive(err error) error {
	return artifact.Wrap(artifact.Invalid, err, "The body is not a zip archive, or a damaged one")
}

// spool writes a body to a file without a name, because reading a zip begins at
// its end.
func (d *Depot) spool(ctx context.Context, r io.Reader) (*os.File, int64, error) {
	f, err := os.CreateTemp(filepath.Join(d.opt.WareHouse, incoming), "import-")
	if err != nil {
		return nil, 0, noRoom(fmt.Errorf("make import file: %w", err))
	}
	_ = os.Remove(f.Name()) // else the next start does
	limited := r
	if d.opt.MaxUpload > 0 {
		limited = io.LimitReader(r, d.opt.MaxUpload+1)
	}
	n, err := blob.Copy(ctx, f, limited)
	if err == nil && d.opt.MaxUpload > 0 && n > d.opt.MaxUpload {
		err = tooLarge(d.opt.MaxUpload)
	}
	if err != nil {
		_ = f.Close() // it has no name
		return nil, 0, noRoom(err)
	}
	return f, n, nil
}

// importing is one run of Import.
type importing struct {
	d       *Depot
	tenant  string
	top     string
	replace bool
	files   []*zip.File
	paths   map[*zip.File]artifact.Path
	said    map[string]archived // by name in the archive
	done    Imported
}

func badArchive(name, format string, args ...any) error {
	e := artifact.Errorf(artifact.Invalid, "The archive cannot be taken in: "+format, args...)
	e.Code, e.Field = "VAL_FIELD_INVALID", "body"
	e.Facts = map[string]any{"field": "body", "name": strings.ToValidUTF8(name[:min(len(name), 256)], "\ufffd")}
	return e
}

// plan looks at the directory of the archive.
func (in *importing) plan(zr *zip.Reader, packed int64) error {
	in.paths = make(map[*zip.File]artifact.Path)
	taken := make(map[artifact.Path]bool)
	total := uint64(0)
	for _, f := range zr.File {
		if f.Name == archiveList {
			if err := in.read(f); err != nil {
				return err
			}
			continue
		}
		if f.Mode().IsDir() {
			continue
		}
		path, err := artifact.ParsePath(in.top + f.Name)
		switch {
		case err != nil:
			return badArchive(f.Name, "a name in it is no path: %v", err)
		case taken[path]:
			return badArchive(f.Name, "a name is in it twice")
		case f.Mode()&fs.ModeType != 0:
			return badArchive(f.Name, "it holds something that is no file")
		case f.Flags&1 != 0:
			return badArchive(f.Name, "a file in it is encrypted")
		case in.d.opt.MaxUpload > 0 && f.UncompressedSize64 > uint64(in.d.opt.MaxUpload):
			return tooLarge(in.d.opt.MaxUpload)
		}
		taken[path], in.paths[f] = true, path
		in.files = append(in.files, f)
		total += min(f.UncompressedSize64, maxImportBytes+1)
		if len(in.files) > maxImportFiles || total > maxImportBytes || total > importFree && total/maxImportRatio > uint64(packed) {
			return artifact.Errorf(artifact.TooLarge, "An archive may hold %d files of %d bytes, and not unpack to more than %d times its size",
				maxImportFiles, int64(maxImportBytes), maxImportRatio)
		}
	}
	return nil
}

// read reads what an export of ours says of its files. What it does not say
// right is left out: names decide.
func (in *importing) read(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return notAnArchive(err)
	}
	defer r.Close()
	in.said = make(map[string]archived)
	lines := bufio.NewScanner(io.LimitReader(r, maxImportList))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a archived
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber() // keeps every digit of the metadata
		if d.Decode(&a) == nil && len(in.said) < maxImportFiles {
			in.said[a.Path] = a
		}
	}
	return nil
}

// test reads a file to its end, which checks its size and its sum.
func (in *importing) test(ctx context.Context, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return badArchive(f.Name, "a file in it cannot be read")
	}
	defer r.Close()
	n, err := blob.Copy(ctx, io.Discard, io.LimitReader(r, int64(f.UncompressedSize64)+1))
	if err == nil && uint64(n) != f.UncompressedSize64 {
		err = zip.ErrFormat
	}
	if err != nil && ctx.Err() == nil {
		return badArchive(f.Name, "a file in it is damaged")
	}
	return ctx.Err()
}

// save saves one file.
func (in *importing) save(ctx context.Context, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return notAnArchive(err)
	}
	defer r.Close()
	said := in.said[f.Name]
	ask := Save{Tenant: in.tenant, Path: in.paths[f], Declared: said.ContentType, Metadata: said.Metadata, Replace: in.replace, action: "artifact.import"}
	v, _, err := in.d.SaveFile(ctx, ask, r)
	if artifact.KindOf(err) == artifact.Exists && !in.replace && !errors.Is(err, errMoved) {
		in.done.Skipped = append(in.done.Skipped, string(ask.Path))
		return nil
	}
	if err != nil {
		return err
	}
	in.done.Files++
	in.done.Bytes += v.Size
	return nil
}
