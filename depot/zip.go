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
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
)

// ZipOptions say what goes into an archive of a session.
type ZipOptions struct {
	// IDs select versions of files by any of their ids; an attachment id means
	// the version that stood at the position. Empty takes all files. Two
	// versions of one file can be asked for: the older one's name then carries
	// its position.
	IDs []string
	// At is the position of the log that the archive shows; 0 means now.
	At artifact.Seq
	// Standing takes versions that stood at the position only, and leaves out the
	// log, which tells of others.
	Standing bool
}

// maxZipIDs bounds a selection, which is held in memory.
const maxZipIDs = 1000

// Zip is an archive of a session at one position, ready to be streamed.
type Zip struct {
	d       *Depot
	session artifact.Session
	at      artifact.Seq
	picked  []*artifact.Version // nil means all
	options ZipOptions
}

// PrepareZip returns the archive of a session. Everything that can be known to
// be wrong before the first byte is an error here: no such session, a position
// that is not in the log (Gone), an id that names nothing or no bytes (NotFound),
// or something that the caller may not read ([Depot.MayRead]).
func (d *Depot) PrepareZip(ctx context.Context, s *artifact.Session, o ZipOptions) (*Zip, error) {
	if len(o.IDs) > maxZipIDs {
		return nil, artifact.Errorf(artifact.Invalid, "At most %d files can be selected", maxZipIDs)
	}
	if o.At == 0 {
		if err := d.refresh(ctx, s); err != nil {
			return nil, err
		}
	}
	now, err := d.db.SessionByKey(ctx, s.Key)
	if err != nil {
		return nil, err
	}
	z := &Zip{d: d, session: now, at: o.At, options: o}
	if z.at == 0 {
		z.at = now.LastSeq
	} else if err := d.expired(&now, Cursor{After: o.At}); err != nil {
		return nil, err
	}
	for _, id := range o.IDs {
		v, err := z.find(ctx, id)
		if err != nil {
			return nil, err
		}
		z.picked = append(z.picked, v)
	}
	bySeq := func(a, b *artifact.Version) int { return int(a.Seq - b.Seq) }
	slices.SortFunc(z.picked, bySeq)
	z.picked = slices.CompactFunc(z.picked, func(a, b *artifact.Version) bool { return a.Seq == b.Seq })
	nameApart(z.picked)
	return z, nil
}

// find returns the version that id stands for at the position of the archive.
func (z *Zip) find(ctx context.Context, id string) (*artifact.Version, error) {
	v, err := z.d.versionAt(ctx, &z.session, id, z.at)
	if err == nil && z.options.Standing && !stood(&v, z.at) {
		err = errNoVersion
	}
	if err != nil {
		return nil, err
	}
	if v.Key == "" {
		return nil, errNoContent
	}
	return &v, z.d.MayRead(ctx, &v)
}

// nameApart gives versions of the same path, which are in the order of the log,
// names of their own: the last one keeps the path.
func nameApart(list []*artifact.Version) {
	taken := make(map[string]bool, len(list))
	for _, v := range slices.Backward(list) {
		name, ext := v.Path, path.Ext(v.Path)
		for n := ""; taken[name]; n += "_" {
			name = strings.TrimSuffix(v.Path, ext) + "." + strconv.FormatInt(int64(v.Seq), 10) + n + ext
		}
		taken[name] = true
		v.Path = name
	}
}

// Name returns the file name of the archive.
func (z *Zip) Name() string { return artifact.SessionPrefix + string(z.session.ID) + ".zip" }

// At returns the position of the log that the archive shows.
func (z *Zip) At() artifact.Seq { return z.at }

// Stream writes the archive: the files in the order of the log, then the
// manifest and events.jsonl, the log up to the position, which a selection goes
// without. It holds no file in memory and none on disk. After an error the
// archive is unusable and must not look complete: the caller breaks the
// connection.
//
// Uploads that are cleaned are left out, also when that happens meanwhile, and so
// is what the caller may not read, with the reason in the manifest; a session
// that is deleted meanwhile is an error.
func (z *Zip) Stream(ctx context.Context, w io.Writer) error {
	zw := zip.NewWriter(bufio.NewWriterSize(w, zipBuffer))
	zw.RegisterCompressor(zip.Deflate, deflater)
	s := &zipping{Zip: z, zw: zw, top: artifact.SessionPrefix + string(z.session.ID) + "/", made: map[string]bool{}, left: map[artifact.Seq]string{}}
	for _, folder := range []string{"", artifact.WorkspaceDir + "/", artifact.WorkspaceDir + "/" + artifact.AttachmentsDir + "/"} {
		if err := s.folder(folder, z.session.Created); err != nil {
			return err
		}
	}
	for v, err := range z.files(ctx) {
		if err == nil {
			err = s.file(ctx, v)
		}
		if err != nil {
			return err
		}
	}
	if err := s.manifest(ctx); err != nil {
		return err
	}
	if z.picked == nil && !z.options.Standing {
		if err := s.events(ctx); err != nil {
			return err
		}
	}
	if _, err := z.d.db.SessionByKey(ctx, z.session.Key); err != nil {
		return err
	}
	return zw.Close()
}

// zipBuffer is what is gathered before it is written to the connection.
const zipBuffer = 64 << 10

// files yields what is in the archive.
func (z *Zip) files(ctx context.Context) func(func(*artifact.Version, error) bool) {
	if z.picked == nil {
		return z.d.Files(ctx, &z.session, z.at)
	}
	return func(yield func(*artifact.Version, error) bool) {
		for _, v := range z.picked {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// zipping is one run of Stream.
type zipping struct {
	*Zip
	zw   *zip.Writer
	top  string                  // the one folder that everything is in, with a slash
	made map[string]bool         // folders below it that have an entry
	left map[artifact.Seq]string // why a file is left out
	head [probeSize]byte
}

func (z *zipping) folder(name string, at time.Time) error {
	if z.made[name] {
		return nil
	}
	z.made[name] = true
	return z.folderOnce(name, at)
}

func (z *zipping) folderOnce(name string, at time.Time) error {
	h := &zip.FileHeader{Name: z.top + name, Modified: at.UTC()}
	h.SetMode(fs.ModeDir | 0o755)
	_, err := z.zw.CreateHeader(h)
	return err
}

// folders writes the entries of the folders that a file lies in, as far as they
// are new. The folder of an upload holds nothing else and is not remembered.
func (z *zipping) folders(v *artifact.Version, name string) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		folder, enter := name[:i+1], z.folder
		if v.Upload() && i == strings.LastIndexByte(name, '/') && strings.HasSuffix(folder, "/"+v.Attachment+"/") && z.picked == nil {
			enter = z.folderOnce
		}
		if err := enter(folder, v.At); err != nil {
			return err
		}
	}
	return nil
}

// file writes one file. Its content is opened and read before its header is
// written, so that one that is gone can be left out.
func (z *zipping) file(ctx context.Context, v *artifact.Version) error {
	if v.Cleaned() {
		return nil
	}
	name, err := zipName(v.Path)
	if err != nil {
		return err
	}
	content, err := z.d.OpenContent(ctx, v)
	if why := Withheld(err); why != "" {
		z.left[v.Seq] = why
		return nil
	}
	if err != nil {
		return z.gone(ctx, v, err)
	}
	defer content.Close()
	n, err := readHead(content, z.head[:])
	if err != nil {
		return z.gone(ctx, v, err)
	}
	if err := z.folders(v, name); err != nil {
		return err
	}
	return packEntry(ctx, z.zw, z.top+name, v, z.head[:n], content)
}

// packEntry writes one file of an archive: its beginning, which was read, and
// what follows in content.
func packEntry(ctx context.Context, zw *zip.Writer, name string, v *artifact.Version, head []byte, content io.Reader) error {
	h := &zip.FileHeader{Name: name, Method: method(v, head), Modified: v.At.UTC()}
	h.SetMode(0o644)
	w, err := zw.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	more, err := blob.Copy(ctx, w, content)
	if err != nil {
		return err
	}
	if written := int64(len(head)) + more; written != v.Size {
		return fmt.Errorf("content of %s has %d bytes, not %d", v.ID(), written, v.Size)
	}
	return ctx.Err()
}

// gone decides about a file that cannot be opened: nil if it has been cleaned
// since it was listed.
func (z *zipping) gone(ctx context.Context, v *artifact.Version, err error) error {
	if artifact.KindOf(err) != artifact.NotFound && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, serr := z.d.db.SessionByKey(ctx, z.session.Key); serr != nil {
		return serr
	}
	now, verr := z.d.db.Version(ctx, &z.session, v.EventID)
	if verr != nil {
		return verr
	}
	if now.Cleaned() {
		return nil
	}
	return fmt.Errorf("content of %s: %w", v.ID(), err)
}

// zipName returns the name of a workspace file in an archive. A path that
// could lead out of where the archive is unpacked is an error: no row has one.
// Programs on Windows take a backslash for a separator, so it is written as
// %5C, in such names % as %25, and so are these two where they stand already:
// no two names become one.
func zipName(p string) (string, error) {
	if !fs.ValidPath(p) || p == "." || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q is not one of a workspace", p)
	}
	if strings.Contains(p, `\`) || strings.Contains(p, "%5C") || strings.Contains(p, "%25") {
		p = strings.NewReplacer("%", "%25", `\`, "%5C").Replace(p)
	}
	return artifact.WorkspaceDir + "/" + p, nil
}

// manifest writes attachments_manifest.json, of a selection with its files only.
func (z *zipping) manifest(ctx context.Context) error {
	w, err := z.text(artifact.WorkspaceDir + "/" + artifact.AttachmentsDir + "/" + manifestName)
	if err != nil {
		return err
	}
	if z.picked == nil {
		return z.d.writeManifest(ctx, &z.session, z.at, w, z.left)
	}
	records := make(map[string]ManifestRecord, len(z.picked))
	for _, v := range z.picked {
		records[v.Attachment] = z.d.Record(v).leftOut(z.left[v.Seq])
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(records); err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	_, err = w.Write(text.Bytes())
	return err
}

// text begins a file of our own making.
func (z *zipping) text(name string) (io.Writer, error) {
	h := &zip.FileHeader{Name: z.top + name, Method: zip.Deflate, Modified: z.session.Updated.UTC()}
	h.SetMode(0o644)
	return z.zw.CreateHeader(h)
}

// events writes the log up to the position, one entry a line. What was trimmed
// is not there; whatever is there has no gap.
func (z *zipping) events(ctx context.Context) error {
	w, err := z.text("events.jsonl")
	if err != nil {
		return err
	}
	now, err := z.d.db.SessionByKey(ctx, z.session.Key) // where the log begins by now
	if err != nil {
		return err
	}
	for after := now.FirstSeq - 1; after < z.at; {
		list, err := z.d.db.Entries(ctx, &z.session, after, pageSize)
		if err != nil {
			return err
		}
		if len(list) == 0 || list[len(list)-1].Seq != after+artifact.Seq(len(list)) {
			return fmt.Errorf("log of session %s ends or has a gap after %d", z.session.ID, after)
		}
		for i := range list {
			if after = list[i].Seq; after > z.at {
				break
			}
			line, err := list[i].MarshalJSON()
			if err != nil {
				return fmt.Errorf("encode entry: %w", err)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
		}
	}
	return nil
}
