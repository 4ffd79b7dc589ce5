package depot

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
)

var errNoText = artifact.Errorf(artifact.Unsupported, "The content is not text; read its bytes below /api/v2/artifacts/raw")

// Text returns the whole content of a version, which must be UTF-8 of at most
// [MaxText] bytes: otherwise the error is Unsupported or TooLarge.
func (d *Depot) Text(ctx context.Context, v *artifact.Version) (string, error) {
	return d.text(ctx, v, v.Size)
}

// TextStart returns the beginning of a text, at most n bytes of it and no half
// characters. The errors are those of [Depot.Text], as far as it looks.
func (d *Depot) TextStart(ctx context.Context, v *artifact.Version, n int64) (string, error) {
	return d.text(ctx, v, min(n, v.Size))
}

func (d *Depot) text(ctx context.Context, v *artifact.Version, n int64) (string, error) {
	if v.Size > MaxText {
		return "", tooLong(v.Size, MaxText)
	}
	r, err := d.OpenContent(ctx, v)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	b.Grow(int(n))
	if _, err := io.Copy(&b, io.LimitReader(r, n)); err != nil {
		return "", fmt.Errorf("read content: %w", err)
	}
	text := b.String()
	if n < v.Size {
		text = text[:whole(text)]
	}
	if !utf8.ValidString(text) {
		return "", errNoText
	}
	return text, nil
}

// OpenText opens the content of a version for the caller, to be read piece by
// piece. The errors are those of [Depot.Text]: all of it is looked at before.
func (d *Depot) OpenText(ctx context.Context, v *artifact.Version) (io.ReadCloser, error) {
	if v.Size > MaxText {
		return nil, tooLong(v.Size, MaxText)
	}
	r, err := d.OpenContent(ctx, v)
	if err != nil {
		return nil, err
	}
	if err = checkText(r); err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = r.Close() // only read
		return nil, err
	}
	return r, nil
}

// checkText reads all of r. Other text than UTF-8 is an Unsupported error.
func checkText(r io.Reader) error {
	buf := make([]byte, 32<<10)
	kept := 0 // bytes of a character that goes on in the next piece
	for {
		n, err := r.Read(buf[kept:])
		piece := buf[:kept+n]
		end := len(piece)
		if err == nil {
			end = whole(piece)
		}
		if !utf8.Valid(piece[:end]) {
			return errNoText
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		kept = copy(buf, piece[end:])
	}
}

// whole returns how much of text there is without the beginning of a character
// at its end.
func whole[T string | []byte](text T) int {
	for i := len(text) - 1; i >= max(0, len(text)-utf8.UTFMax); i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune([]byte(text[i:])) {
				return i
			}
			break
		}
	}
	return len(text)
}
