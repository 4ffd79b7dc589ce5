package depot

import (
	"archive/zip"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/vitrine-hq/vitrine/artifact"
)

// probeSize is how much of a file decides whether compressing it is worth while.
const probeSize = 4 << 10

// tooSmall is the size below which compressing saves nothing worth having.
const tooSmall = 64

// method returns how a file goes into an archive: stored where it is tiny, its
// type says that it is compressed already, or its beginning does not get smaller
// by a sixteenth. head is the beginning, or all of it.
func method(v *artifact.Version, head []byte) uint16 {
	if len(head) < tooSmall || packed(v.MIME) || packed(artifact.TypeByName(v.Name)) {
		return zip.Store
	}
	p := probes.Get().(*probe)
	defer probes.Put(p)
	p.n = 0
	p.w.Reset(&p.n)
	_, _ = p.w.Write(head) // neither can fail: size does not
	_ = p.w.Close()
	if int(p.n) > len(head)-len(head)/16 {
		return zip.Store
	}
	return zip.Deflate
}

// packed reports whether files of a media type are compressed by nature.
func packed(mime string) bool {
	mime, _, _ = strings.Cut(mime, ";")
	switch mime {
	case "image/svg+xml", "image/bmp", "image/x-icon", "image/tiff", "audio/wav":
		return false
	case "application/zip", "application/gzip", "application/x-gzip", "application/x-bzip2", "application/x-xz", "application/zstd",
		"application/x-7z-compressed", "application/epub+zip", "application/java-archive", "font/woff", "font/woff2":
		return true
	}
	for _, prefix := range []string{"image/", "audio/", "video/", "application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."} {
		if strings.HasPrefix(mime, prefix) {
			return true
		}
	}
	return false
}

// probe compresses quickly and keeps nothing. It only looks at how often each
// byte occurs: what repeats itself only further on, such as hex or base64, shows
// there and not in matches within so short a text.
type probe struct {
	w *flate.Writer
	n size
}

// size counts what is written to it.
type size int

func (s *size) Write(p []byte) (int, error) {
	*s += size(len(p))
	return len(p), nil
}

var probes = sync.Pool{New: func() any { return &probe{w: newFlate(flate.HuffmanOnly)} }}

// deflaters are large, so that archives share them.
var deflaters = sync.Pool{New: func() any { return newFlate(zipLevel) }}

const zipLevel = 6

func newFlate(level int) *flate.Writer {
	w, err := flate.NewWriter(nil, level)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}

// deflater is the zip.Compressor for Deflate.
func deflater(w io.Writer) (io.WriteCloser, error) {
	f := deflaters.Get().(*flate.Writer)
	f.Reset(w)
	return &pooled{f}, nil
}

// pooled gives its writer back when it is closed.
type pooled struct{ *flate.Writer }

func (p *pooled) Close() error {
	err := p.Writer.Close()
	p.Reset(nil) // forgets the connection
	deflaters.Put(p.Writer)
	p.Writer = nil
	return err
}
