package depot

import (
	"context"
	"errors"

	"github.com/vitrine-hq/vitrine/artifact"
)

// What keeps bytes back while a scanner has not called them clean. The codes are
// of our own; a client can try again later only where the kind is Unavailable.
const (
	codePending     = "RES_SCAN_PENDING"
	codeFailed      = "RES_SCAN_FAILED"
	codeQuarantined = "RES_QUARANTINED"
)

// Reasons for which an archive leaves a file out.
var withheld = map[string]string{
	codePending:     "not scanned yet",
	codeFailed:      "cannot be scanned",
	codeQuarantined: "quarantined",
}

func keptBack(kind artifact.Kind, code, reason, msg string) *artifact.Error {
	e := artifact.Errorf(kind, "%s", msg)
	e.Code, e.Facts = code, map[string]any{"reason": reason}
	return e
}

// Withheld returns why an error keeps bytes back that are there, in a few words,
// or "" for every other error.
func Withheld(err error) string {
	e, ok := errors.AsType[*artifact.Error](err)
	if !ok {
		return ""
	}
	return withheld[e.Code]
}

// unscanned marks a version that is about to be written as one that the scanner
// has to look at. What comes out of a workspace is its session's and nobody's.
func (d *Depot) unscanned(ctx context.Context, v *artifact.Version) {
	if d.opt.Scanner == nil {
		return
	}
	v.Scan = artifact.ScanPending
	if v.Source != artifact.SourceWorkspace {
		v.Owner = artifact.CallerOf(ctx).Owner()
	}
}

// MayRead returns an error unless the caller may have the bytes of a version:
// Denied where the scanner found something in them or could not look at them,
// Unavailable where it is still to look. [Withheld] tells such errors from
// others. Whatever opens contents for a caller asks here first.
func (d *Depot) MayRead(ctx context.Context, v *artifact.Version) error {
	state := v.Scan
	if state == artifact.ScanPending || state == artifact.ScanFailed {
		// The row may have changed since v was read from it.
		var err error
		if state, err = d.db.ScanState(ctx, v.Key); err != nil {
			return err
		}
	}
	return d.refusal(ctx, v, state)
}

// refusal returns the error of MayRead for a version in that state.
func (d *Depot) refusal(ctx context.Context, v *artifact.Version, state string) error {
	switch state {
	case artifact.ScanFound:
		return keptBack(artifact.Denied, codeQuarantined, "quarantined", "The content is quarantined: a scanner found something in it")
	case artifact.ScanFailed:
		if d.opt.Scanner != nil && d.opt.ScanRequired {
			return keptBack(artifact.Denied, codeFailed, "scan_failed", "The content could not be scanned and is not given out")
		}
	case artifact.ScanPending:
		if d.holds(artifact.CallerOf(ctx), v) {
			e := keptBack(artifact.Unavailable, codePending, "scan_pending", "The content has not been scanned yet; try again in a moment")
			e.Facts["retry_after"] = d.scanning.patience()
			return e
		}
	}
	return nil
}

// holds reports whether a version that is still to be looked at is kept from a
// caller. On an open server everybody is its owner.
func (d *Depot) holds(c *artifact.Caller, v *artifact.Version) bool {
	if d.opt.Scanner == nil || !d.opt.ScanHold || c.Kind == artifact.CallerLocal {
		return false
	}
	if v.Owner != "" && v.Owner == c.Owner() {
		return false
	}
	return d.opt.ScanRequired || !d.scanning.down()
}
