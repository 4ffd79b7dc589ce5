package depot

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// Bounds of an archive that is taken in. It comes from outside: it may be made
// to be small as it is sent and endless as it is unpacked.
const (
	maxImportFiles = 10_000
	maxImportBytes = 16 << 30 // unpacked
	maxImportRatio = 200      // of unpacked to packed bytes, above importFree
	importFree     = 64 << 20
	maxImportList  = 16 << 20 // bytes of archiveList
	maxImports     = 2        // that are unpacked at the same time
)

// MaxMetadata is how many bytes of JSON the metadata of an artifact may have.
const MaxMetadata = 16 << 10

// Imported is what came of an archive.
type Imported struct {
	Files   int64    `json:"imported"`
	Bytes   int64    `json:"bytes"`
	Skipped []string `json:"skipped"` // paths at which something stood that was not to be replaced
}

// Import saves every file of a zip below a folder of the library. The whole
// archive is looked through first: a name that is no path, a link, a damaged or
// encrypted file, more than the bounds or than the tenant may keep is an error,
// and nothing is saved. Then each file is saved by itself, also when ctx ends
// meanwhile. Where something stands, replace decides.
func (d *Depot) Import(ctx context.Context, tenant string, dir artifact.Path, replace bool, r io.Reader) (Imported, error) {
	limit, err := d.maxArchive(ctx, tenant)
	if err != nil {
		return Imported{}, err
	}
	f, size, err := d.Spool(ctx, r, limit)
	if err != nil {
		return Imported{}, err
	}
	defer f.Close()
	// Not before: a client that sends slowly would keep others waiting.
	release, err := Turn(ctx, d.imports, 1, "archives")
	if err != nil {
		return Imported{}, err
	}
	defer release()
	zr, err := openZip(f, size)
	if err != nil {
		return Imported{}, err
	}
	in := &importing{d: d, tenant: tenant, top: strings.TrimSuffix(string(dir), "/") + "/", replace: replace, done: Imported{Skipped: []string{}}}
	if err := in.look(ctx, zr, size); err != nil {
		return Imported{}, err
	}
	ctx = context.WithoutCancel(ctx) // half of an archive is worse than none; the bounds end it
	for _, file := range in.files {
		if err := in.save(ctx, file); err != nil {
			return in.done, err
		}
	}
	return in.done, nil
}

// maxArchive returns how many bytes an archive may have that waits on the disk:
// no more than could be kept of it if it replaced all that the tenant has.
func (d *Depot) maxArchive(ctx context.Context, tenant string) (int64, error) {
	t, err := d.db.Tenant(ctx, tenant)
	limit := int64(maxImportBytes)
	if t.Quota.Bytes > 0 {
		limit = min(limit, t.Quota.Bytes)
	}
	if limit += maxImportList; d.opt.MaxUpload > 0 {
		limit = min(limit, d.opt.MaxUpload)
	}
	return limit, err
}

func notAnArchive(err error) error {
	return artifact.Wrap(artifact.Invalid, err, "The body is not a zip archive, or a damaged one")
}

// importing is one run of Import.
type importing struct {
	d       *Depot
	tenant  string
	top     string
	replace bool
	files   []*zip.File
	paths   map[*zip.File]artifact.Path
	list    *zip.File             // archiveList, or nil
	total   uint64                // bytes of files, unpacked
	said    map[string]listedFile // by name in the archive, of every file
	done    Imported
}

// listedFile is what a line of archiveList says. Metadata stays text until it is
// needed, which takes a fraction of the memory.
type listedFile struct {
	Path        string          `json:"path"`
	ContentType string          `json:"content_type"`
	Metadata    json.RawMessage `json:"metadata"`
	stored      int64           // bytes of a quota that the metadata uses
}

// decoded returns the metadata, or nil where there is none.
func (a *listedFile) decoded() (m map[string]any) {
	d := json.NewDecoder(bytes.NewReader(a.Metadata))
	d.UseNumber() // keeps every digit of the metadata
	if d.Decode(&m) != nil {
		return nil
	}
	return m
}

// uses returns how many bytes of a quota the metadata uses.
func (a *listedFile) uses() int64 {
	m := a.decoded()
	if len(m) == 0 {
		return 0
	}
	b, err := json.Marshal(m)
	if err != nil {
		return 0 // the save tells why
	}
	return int64(len(b))
}

// tooLong says whether there is more metadata than a save may bring. What an
// export has spelled longer than it came counts as it came.
func (a *listedFile) tooLong() bool {
	if len(a.Metadata) <= MaxMetadata {
		return false
	}
	if len(a.Metadata) > 6*MaxMetadata {
		return true
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(a.decoded()) != nil {
		return true
	}
	separators := bytes.Count(b.Bytes(), []byte(`\u2028`)) + bytes.Count(b.Bytes(), []byte(`\u2029`))
	return b.Len()-len("\n")-3*separators > MaxMetadata
}

func badArchive(name, format string, args ...any) error {
	e := artifact.Errorf(artifact.Invalid, "The archive cannot be taken in: "+format, args...)
	e.Code, e.Field = "VAL_FIELD_INVALID", "body"
	e.Facts = map[string]any{"field": "body", "name": strings.ToValidUTF8(name[:min(len(name), 256)], "\ufffd")}
	return e
}

// look finds whatever forbids to take the archive in.
func (in *importing) look(ctx context.Context, zr *zip.Reader, packed int64) error {
	if err := in.plan(zr, packed); err != nil {
		return err
	}
	if in.list != nil {
		if err := in.read(ctx, in.list); err != nil {
			return err
		}
	}
	if err := in.room(ctx); err != nil {
		return err
	}
	for _, file := range in.files {
		if err := in.test(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// plan looks at the directory of the archive.
func (in *importing) plan(zr *zip.Reader, packed int64) error {
	in.paths, in.said = make(map[*zip.File]artifact.Path), make(map[string]listedFile)
	taken := make(map[artifact.Path]bool)
	unpacked := uint64(0)
	for _, f := range zr.File {
		if f.Mode().IsDir() {
			continue
		}
		if err := in.allows(f); err != nil {
			return err
		}
		unpacked += min(f.UncompressedSize64, maxImportBytes+1)
		full := f.Name != archiveList && len(in.files) == maxImportFiles
		if full || unpacked > maxImportBytes || unpacked > importFree && unpacked/maxImportRatio > uint64(packed) {
			return artifact.Errorf(artifact.TooLarge, "An archive may hold %d files of %d bytes, and not unpack to more than %d times its size",
				maxImportFiles, int64(maxImportBytes), maxImportRatio)
		}
		if f.Name == archiveList {
			if in.list != nil {
				return badArchive(f.Name, "a name is in it twice")
			}
			in.list = f
			continue
		}
		path, err := artifact.ParsePath(in.top + f.Name)
		switch {
		case err != nil:
			return badArchive(f.Name, "a name in it is no path: %v", err)
		case taken[path]:
			return badArchive(f.Name, "a name is in it twice")
		}
		taken[path], in.paths[f], in.said[f.Name] = true, path, listedFile{}
		in.files = append(in.files, f)
		in.total += f.UncompressedSize64
	}
	return nil
}

// allows returns an error unless an entry is a file that can be read.
func (in *importing) allows(f *zip.File) error {
	switch limit := in.d.opt.MaxUpload; {
	case f.Mode()&fs.ModeType != 0:
		return badArchive(f.Name, "it holds something that is no file")
	case f.Flags&1 != 0:
		return badArchive(f.Name, "a file in it is encrypted")
	case f.Name == archiveList && f.UncompressedSize64 > maxImportList:
		return tooLarge(maxImportList)
	case f.Name != archiveList && limit > 0 && f.UncompressedSize64 > uint64(limit):
		return tooLarge(limit)
	}
	return nil
}

// room returns the Full error where the tenant may not keep as much. What is
// going to be skipped does not count. Each save looks again.
func (in *importing) room(ctx context.Context) error {
	t, err := in.d.db.Tenant(ctx, in.tenant)
	if err != nil {
		return err
	}
	need := store.Usage{Bytes: int64(in.total)}
	for _, f := range in.files {
		need.Bytes += in.said[f.Name].stored
	}
	full := t.Allows(need)
	if full == nil || in.replace {
		return full
	}
	for _, f := range in.files {
		_, err := in.d.File(ctx, in.tenant, in.paths[f], 0)
		if err == nil {
			need.Bytes -= int64(f.UncompressedSize64) + in.said[f.Name].stored
		} else if !errors.Is(err, ErrNoFile) {
			return err
		}
	}
	return t.Allows(need)
}

// read reads what an export of ours says of its files. What it does not say
// right is left out: names decide.
func (in *importing) read(ctx context.Context, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return badArchive(f.Name, "a file in it cannot be read")
	}
	defer r.Close()
	lines := bufio.NewScanner(io.LimitReader(r, maxImportList+1))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var a listedFile
		if len(lines.Bytes()) == 0 || json.Unmarshal(lines.Bytes(), &a) != nil {
			continue
		}
		if _, ours := in.said[a.Path]; !ours {
			continue
		}
		if a.tooLong() {
			return badArchive(a.Path, "the metadata of a file in it has more than %d bytes", MaxMetadata)
		}
		a.stored = a.uses()
		in.said[a.Path] = a
	}
	if lines.Err() != nil {
		return badArchive(f.Name, "a file in it is damaged")
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
	ask := Save{Tenant: in.tenant, Path: in.paths[f], Declared: said.ContentType, Metadata: said.decoded(), Replace: in.replace, action: "artifact.import"}
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
