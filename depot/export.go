package depot

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// archiveList is the file of a library's archive that says what names and bytes
// do not: one artifact a line. No artifact can be called so.
const archiveList = ".vitrine/library.jsonl"

// archived is a line of archiveList.
type archived struct {
	Path        string         `json:"path"` // as in the archive, without a slash before it
	ArtifactID  string         `json:"artifact_id"`
	Version     int64          `json:"version"`
	ContentType string         `json:"content_type"`
	ETag        string         `json:"etag"`
	Metadata    map[string]any `json:"metadata,omitempty"`
	Modified    string         `json:"last_modified"`
	Skipped     string         `json:"skipped,omitempty"` // why it is not in the archive
}

// Export writes a zip of the artifacts below a folder as they stand, named by
// their paths below it, then archiveList. Memory is constant. Each file is what
// stood when its turn came; one that is deleted before is left out, and so is one
// that the caller may not read, with the reason in archiveList. After an error
// the archive is unusable, and the caller breaks the connection.
func (d *Depot) Export(ctx context.Context, tenant string, dir artifact.Path, w io.Writer) error {
	zw := zip.NewWriter(bufio.NewWriterSize(w, zipBuffer))
	zw.RegisterCompressor(zip.Deflate, deflater)
	e := &exporting{d: d, tenant: tenant, top: strings.TrimSuffix(string(dir), "/") + "/", zw: zw, left: map[string]string{}}
	err := e.each(ctx, dir, func(v *artifact.Version) error { return e.file(ctx, v) })
	if err != nil {
		return err
	}
	list, err := zw.Create(archiveList)
	if err != nil {
		return err
	}
	err = e.each(ctx, dir, func(v *artifact.Version) error {
		line, err := json.Marshal(archived{strings.TrimPrefix(v.Path, e.top), v.Attachment, v.Number, v.MIME, v.ETag(), v.Extra, artifact.Stamp(v.At), e.left[v.Attachment]})
		if err != nil {
			return fmt.Errorf("encode %s: %w", v.Path, err)
		}
		_, err = list.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	return zw.Close()
}

// exporting is one run of Export.
type exporting struct {
	d      *Depot
	tenant string
	top    string
	zw     *zip.Writer
	left   map[string]string // by id, why an artifact is left out
	head   [probeSize]byte
}

// each calls f with every artifact below a folder.
func (e *exporting) each(ctx context.Context, dir artifact.Path, f func(v *artifact.Version) error) error {
	for after := ""; ; {
		list, _, err := e.d.Tree(ctx, e.tenant, dir, after, pageSize)
		if err != nil {
			return err
		}
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
			after = list[i].Path
		}
		if len(list) == 0 {
			return nil
		}
	}
}

// file writes one artifact: where it was replaced since it was listed, what
// stands now.
func (e *exporting) file(ctx context.Context, v *artifact.Version) error {
	content, n, err := e.open(ctx, v)
	if artifact.KindOf(err) == artifact.NotFound || errors.Is(err, fs.ErrNotExist) {
		now, ferr := e.d.FileByID(ctx, e.tenant, v.Attachment)
		if errors.Is(ferr, ErrNoFile) || ferr == nil && now.Path != v.Path {
			return nil
		}
		if ferr != nil || now.Seq == v.Seq {
			return errors.Join(ferr, err)
		}
		v = &now
		content, n, err = e.open(ctx, v)
	}
	if why := Withheld(err); why != "" {
		e.left[v.Attachment] = why
		return nil
	}
	if err != nil {
		return err
	}
	defer content.Close()
	return packEntry(ctx, e.zw, strings.TrimPrefix(v.Path, e.top), v, e.head[:n], content)
}

func (e *exporting) open(ctx context.Context, v *artifact.Version) (io.ReadCloser, int, error) {
	content, err := e.d.OpenContent(ctx, v)
	if err != nil {
		return nil, 0, err
	}
	n, err := readHead(content, e.head[:])
	if err != nil {
		_ = content.Close() // only read
		return nil, 0, err
	}
	return content, n, nil
}
