package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/store"
)

// MaxText is the largest content of a path artifact that travels as JSON, in
// bytes of UTF-8 (contract, artifacts §5).
const MaxText = 10 << 20

// Save asks to keep a content at a path of a tenant's library.
type Save struct {
	Tenant    string
	Path      artifact.Path
	Declared  string         // media type, for names whose extension says nothing
	Metadata  map[string]any // nil keeps what the replaced version has
	Replace   bool           // an artifact that stands gets another version
	If        Precondition
	Replay    string // Idempotency-Key; may be empty
	Limit     int64  // bytes; 0 is any
	request   string // tells requests with one Replay apart; empty is what the rest says
	action    string // for the audit log; empty is "artifact.save"
	unchanged *artifact.Version
}

// kept is a content whose bytes are safe but which no row names yet.
type kept struct {
	content []byte // of a small one, not nil
	blob    artifact.Blob
}

// keep makes a content safe: a small one in memory, for its row, another in the
// bucket. The error is TooLarge, Full, or r's own.
func (d *Depot) keep(ctx context.Context, tenant string, r io.Reader, limit int64) (kept, error) {
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	head := grow(buf, d.opt.InlineLimit+1)
	n, err := readHead(r, head)
	if err != nil {
		return kept{}, noRoom(err)
	}
	if head = head[:n]; int64(n) <= d.opt.InlineLimit {
		if limit > 0 && int64(n) > limit {
			return kept{}, tooLarge(limit)
		}
		content, info := small(head)
		return kept{content, info}, nil
	}
	var k kept
	err = d.within(ctx, tenant, limit, func(limit int64) error {
		info, err := d.bucket.Put(ctx, io.MultiReader(bytes.NewReader(head), r), limit)
		k.blob = artifact.Blob(info)
		return err
	})
	if errors.Is(err, blob.ErrTooLarge) {
		return kept{}, tooLarge(limit)
	}
	return k, noRoom(err)
}

// duplicate keeps the content of a version once more, for another row: no two
// rows share a blob. A file system that can shares the bytes.
func (d *Depot) duplicate(ctx context.Context, tenant string, v *artifact.Version) (kept, error) {
	r, err := d.OpenContent(ctx, v)
	if err != nil {
		return kept{}, err
	}
	defer r.Close()
	if f, ok := r.(*os.File); ok {
		var k kept
		err := d.within(ctx, tenant, 0, func(limit int64) error {
			info, err := d.bucket.PutFile(ctx, f, limit)
			k.blob = artifact.Blob(info)
			return err
		})
		return k, noRoom(err)
	}
	return d.keep(ctx, tenant, r, 0)
}

// drop deletes the blob of a content that certainly no row names.
func (d *Depot) drop(ctx context.Context, k kept) {
	if k.blob.Key != "" {
		_ = d.bucket.Delete(context.WithoutCancel(ctx), k.blob.Key) // else the sweeper does
	}
}

// SaveFile keeps what r gives as an artifact, or as its next version. It looks
// before it reads: Exists where an artifact stands that is not to be replaced,
// Stale where the precondition does not hold. The transaction looks again, and
// of many that save one path at the same time it lets one make the artifact.
// replayed says that the version is that of an earlier request with the same
// key, and that nothing was done.
func (d *Depot) SaveFile(ctx context.Context, ask Save, r io.Reader) (v artifact.Version, replayed bool, err error) {
	if err := d.look(ctx, &ask); err != nil && ask.Replay == "" {
		return v, false, err
	}
	k, err := d.keep(ctx, ask.Tenant, r, ask.Limit)
	if err != nil {
		return v, false, err
	}
	return d.commit(ctx, &ask, k)
}

// look tells early what the transaction would refuse.
func (d *Depot) look(ctx context.Context, ask *Save) error {
	v, err := d.File(ctx, ask.Tenant, ask.Path, 0)
	switch {
	case errors.Is(err, ErrNoFile):
		return ask.allows(nil)
	case err != nil:
		return err
	}
	return ask.allows(&v)
}

// allows returns an error unless the artifact v, or none, may be saved over.
func (ask *Save) allows(v *artifact.Version) error {
	if err := ask.If.check(v); err != nil {
		return err
	}
	if v == nil && ask.unchanged != nil || v != nil && ask.unchanged != nil && v.Seq != ask.unchanged.Seq {
		return errMoved
	}
	if v != nil && !ask.Replace {
		return exists(ask.Path)
	}
	return nil
}

// errMoved says that the artifact is no longer what an edit began with.
var errMoved = artifact.Errorf(artifact.Exists, "The artifact was changed at the same time")

func exists(p artifact.Path) error {
	e := artifact.Errorf(artifact.Exists, "Artifact already exists at this path")
	e.Facts = map[string]any{"resource_type": "Artifact", "identifier": string(p)}
	return e
}

// commit writes the row of a content that is safe. Whether it may be saved is
// decided inside the transaction, which has the library to itself. A client that
// has left by now does not stop it, one that is let in no longer does.
func (d *Depot) commit(ctx context.Context, ask *Save, k kept) (v artifact.Version, replayed bool, err error) {
	if err := artifact.ShutOut(ctx); err != nil {
		d.drop(ctx, k)
		return v, false, err
	}
	var dropped string // the blob of a version that is one too many
	err = d.db.Tx(context.WithoutCancel(ctx), func(tx *store.Tx) (err error) {
		replayed, dropped = false, ""
		lib, err := tx.EnsureLog(ask.Tenant, artifact.LibraryLog)
		if err != nil {
			return err
		}
		if ask.Replay != "" {
			if v, replayed, err = replayOf(tx, ask.Tenant, ask.Replay, ask.fingerprint(k)); err != nil || replayed {
				return err
			}
		}
		stands, err := tx.FileAt(lib, ask.Path)
		if err != nil {
			return err
		}
		if err := ask.allows(stands); err != nil {
			return err
		}
		v = ask.version(stands, k)
		d.unscanned(ctx, &v)
		if dropped, err = tx.AppendFile(lib, &v, k.content); err != nil {
			return err
		}
		tx.Audit(ask.Tenant, ask.audit(&v))
		if ask.Replay != "" {
			return tx.Remember(ask.Tenant, ask.Replay, ask.fingerprint(k), v.EventID)
		}
		return nil
	})
	if replayed || undone(err) {
		d.drop(ctx, k)
	}
	if err == nil && dropped != "" {
		d.dropGone(ctx, artifact.LibraryLog, []string{dropped})
	}
	d.scanning.wake()
	return v, replayed, err
}

// replayOf returns the version that a request made before under the same
// Idempotency-Key, and whether there was one.
func replayOf(tx *store.Tx, tenant, name, request string) (v artifact.Version, done bool, err error) {
	id, err := tx.Replay(tenant, name, request)
	if err != nil || id == "" {
		return v, false, err
	}
	lib, err := tx.EnsureLog(tenant, artifact.LibraryLog)
	if err == nil {
		v, err = tx.VersionByEvent(lib, id)
	}
	return v, true, err
}

// version returns what is to be written: the artifact, or its next version.
func (ask *Save) version(stands *artifact.Version, k kept) artifact.Version {
	v := artifact.Version{
		Attachment: uuid.NewString(), Session: artifact.LibraryLog, Change: artifact.Created, Path: string(ask.Path),
		Name: ask.Path.Name(), MIME: artifact.TypeFor(ask.Path, ask.Declared), Blob: k.blob, Extra: ask.Metadata,
	}
	if stands == nil {
		return v
	}
	v.Attachment, v.Change, v.Seq, v.Number = stands.Attachment, artifact.Updated, stands.Seq, stands.Number
	if ask.Metadata == nil {
		v.Extra = stands.Extra
	}
	if ask.Declared == "" {
		v.MIME = stands.MIME
	}
	return v
}

// fingerprint tells requests with one Idempotency-Key apart.
func (ask *Save) fingerprint(k kept) string {
	if ask.request != "" {
		return ask.request
	}
	metadata, err := json.Marshal(ask.Metadata) // which orders the members
	if err != nil {
		metadata = []byte(err.Error()) // it came as JSON
	}
	return fmt.Sprintf("%s %s %t %q %q %q %x", ask.Path, k.blob.SHA256, ask.Replace, ask.Declared, ask.If.Match, ask.If.NoneMatch, sha256.Sum256(metadata))
}

func (ask *Save) audit(v *artifact.Version) artifact.AuditEntry {
	action := ask.action
	if action == "" {
		action = "artifact.save"
	}
	return artifact.AuditEntry{Action: action, Object: "artifact:" + v.Path, Details: map[string]any{
		"artifact_id": v.Attachment, "version": v.Number, "size": v.Size, "sha256": v.SHA256,
	}}
}

func tooLong(n, limit int64) error {
	e := artifact.Errorf(artifact.TooLarge, "The content has %d bytes; as JSON it may have %d", n, limit)
	e.Code, e.Field = "VAL_FIELD_TOO_LONG", "content"
	e.Facts = map[string]any{"field": "content", "max_length": limit, "actual_length": n}
	return e
}
