package depot

import (
	"archive/zip"
	"encoding/binary"
	"io"

	"github.com/vitrine-hq/vitrine/artifact"
)

// Bounds of the directory of an archive that is taken in. All of it is in memory.
const (
	maxZipEntries   = 2 * maxImportFiles // folders are entries, too
	maxZipDirectory = 8 << 20            // bytes
	zipEnds         = 128 << 10          // bytes that may be read to find it
)

// openZip reads the directory of a zip. The error is TooLarge where it has more
// than the bounds, whatever the archive says of itself.
func openZip(r io.ReaderAt, size int64) (*zip.Reader, error) {
	dir := &zipDirectory{ReaderAt: r, left: maxZipDirectory + zipEnds}
	zr, err := zip.NewReader(dir, size)
	if dir.large || err == nil && len(zr.File) > maxZipEntries {
		return nil, errZipDirectory
	}
	if err != nil {
		return nil, notAnArchive(err)
	}
	dir.known = true
	return zr, nil
}

var errZipDirectory = artifact.Errorf(artifact.TooLarge, "The directory of an archive may have %d entries of %d bytes together", maxZipEntries, maxZipDirectory)

// zipDirectory is what zip.NewReader reads a directory from. It reads on as long
// as there are entries, however many are announced, so what it reads is counted.
type zipDirectory struct {
	io.ReaderAt
	left  int64
	large bool // the bounds were broken
	known bool // the directory is read; files come next
}

// The end of a large directory (zip64): 56 bytes, the number of entries from the 32nd on.
const (
	zip64End       = "PK\x06\x06"
	zip64EndLen    = 56
	zip64EndNumber = 32
)

// ReadAt reads, or fails where that breaks the bounds.
func (z *zipDirectory) ReadAt(p []byte, off int64) (int, error) {
	n, err := z.ReaderAt.ReadAt(p, off)
	if z.known {
		return n, err
	}
	z.left -= int64(n)
	// zip.NewReader makes room for as many entries as are announced here, as long
	// as the file is large enough for them. Without zip64 they are 65,535 at most.
	announced := n == zip64EndLen && string(p[:4]) == zip64End && binary.LittleEndian.Uint64(p[zip64EndNumber:]) > maxZipEntries
	if z.left < 0 || announced {
		z.large = true
		return 0, errZipDirectory
	}
	return n, err
}
