package depot

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// Edit replaces one text by another. Old must occur exactly once.
type Edit struct {
	Old, New string
}

// Patch asks to change the artifact at a path.
type Patch struct {
	Tenant   string
	Path     artifact.Path
	Edits    []Edit         // each on the outcome of the one before
	Append   string         // to the end
	Metadata map[string]any // nil keeps it
	If       Precondition
	Replay   string // Idempotency-Key; may be empty
}

// PatchFile writes the next version of an artifact from its content, in one
// step with the look at it: where somebody else changes it at the same time the
// edits are tried on what that made of it. A text that is absent or ambiguous is
// an Exists error that says which, and nothing is changed. One that was made
// before under the same Replay is not made again: its outcome is returned.
func (d *Depot) PatchFile(ctx context.Context, p Patch) (artifact.Version, error) {
	request := ""
	if p.Replay != "" { // the texts that it replaced need not be there any more
		request = p.fingerprint()
		var v artifact.Version
		var done bool
		err := d.db.Tx(ctx, func(tx *store.Tx) (err error) {
			v, done, err = replayOf(tx, p.Tenant, p.Replay, request)
			return err
		})
		if err != nil || done {
			return v, err
		}
	}
	for { // as often as others were faster, which is never all of them
		if err := ctx.Err(); err != nil {
			return artifact.Version{}, err
		}
		v, err := d.File(ctx, p.Tenant, p.Path, 0)
		if err == nil {
			err = p.If.check(&v)
		}
		if err != nil {
			return v, err
		}
		text, err := d.Text(ctx, &v)
		if err == nil {
			text, err = p.apply(text)
		}
		if err != nil {
			return v, err
		}
		ask := Save{Tenant: p.Tenant, Path: p.Path, Metadata: p.Metadata, Replace: true, If: p.If, Replay: p.Replay, request: request, action: "artifact.edit", unchanged: &v}
		k, err := d.keep(ctx, p.Tenant, strings.NewReader(text), MaxText)
		if err != nil {
			return v, err
		}
		changed, _, err := d.commit(ctx, &ask, k)
		if err == nil || !errors.Is(err, errMoved) {
			return changed, err
		}
	}
}

// fingerprint tells requests with one Idempotency-Key apart.
func (p *Patch) fingerprint() string {
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte(err.Error()) // it came as JSON
	}
	return fmt.Sprintf("edit %s %x", p.Path, sha256.Sum256(b))
}

// apply returns the text after all edits.
func (p *Patch) apply(text string) (string, error) {
	for i, e := range p.Edits {
		first := strings.Index(text, e.Old)
		if e.Old == "" || first < 0 {
			return "", unclear(i, "absent", 0)
		}
		_, size := utf8.DecodeRuneInString(e.Old)
		if n := occurrences(text[first+size:], e.Old, size); n > 0 {
			return "", unclear(i, "ambiguous", n+1)
		}
		text = text[:first] + e.New + text[first+len(e.Old):]
		if len(text) > MaxText {
			break
		}
	}
	text += p.Append
	if len(text) > MaxText {
		return "", tooLong(int64(len(text)), MaxText)
	}
	return text, nil
}

// maxCount bounds what is counted: a text that overlaps itself may occur as often
// as it has characters, each time compared from its beginning.
const maxCount = 50

// occurrences counts how often old occurs, also where it overlaps itself, up to
// maxCount.
func occurrences(text, old string, step int) (n int) {
	for n < maxCount {
		i := strings.Index(text, old)
		if i < 0 {
			break
		}
		n++
		text = text[i+step:]
	}
	return n
}

func unclear(i int, reason string, n int) error {
	msg := fmt.Sprintf("The text of edit %d does not occur", i+1)
	if reason == "ambiguous" {
		msg = fmt.Sprintf("The text of edit %d occurs %d times", i+1, n)
		if n > maxCount {
			msg = fmt.Sprintf("The text of edit %d occurs at least %d times", i+1, n)
		}
	}
	e := artifact.Errorf(artifact.Exists, "%s; nothing was changed", msg)
	e.Code, e.Facts = "RES_EDIT_"+strings.ToUpper(reason), map[string]any{"reason": reason, "edit": i, "occurrences": n}
	return e
}
