package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/store"
)

// folders removes what lies in the WareHouse and belongs to nothing: uploads
// that a crash cut off, folders of sessions and of uploads without a row. It
// works below an os.Root, so that no link that an agent made leads it out, and
// it touches only names that this package gives.
func (w *sweeper) folders(ctx context.Context) error {
	root, err := os.OpenRoot(w.d.opt.WareHouse)
	if err != nil {
		return fmt.Errorf("open the WareHouse: %w", err)
	}
	defer root.Close()
	pending, err := w.d.db.Pending(ctx, maxPending)
	if err != nil {
		return err
	}
	f := &folderSweep{sweeper: w, root: root, dying: map[string]bool{}}
	for _, t := range pending {
		f.dying[path.Join(trash, strconv.FormatInt(t.Key, 10))] = true
		f.dying[f.name(t.Tenant, t.ID)] = true
	}
	err = f.leftovers(ctx, incoming)
	return errors.Join(err, f.leftovers(ctx, trash), f.tenant(ctx, ".", f.d.db.FirstTenant()), f.tenants(ctx))
}

type folderSweep struct {
	*sweeper
	root  *os.Root        // of the WareHouse
	dying map[string]bool // folders that a deletion is about to remove
}

// name returns the folder of a session as a slash path below the WareHouse.
func (f *folderSweep) name(tenant string, id artifact.SessionID) string {
	return f.d.below(&artifact.Session{Tenant: tenant, ID: id})
}

// eachBatch calls f with the entries of a folder, some at a time. A folder that
// is not there has none.
func eachBatch(ctx context.Context, root *os.Root, folder string, each func([]fs.DirEntry) error) error {
	dir, err := root.Open(inside(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	defer dir.Close()
	for ctx.Err() == nil {
		list, err := dir.ReadDir(pageSize)
		if len(list) == 0 && (err == nil || errors.Is(err, io.EOF)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list folder: %w", err)
		}
		if err := each(list); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// leftovers removes what is old in one of the folders of our own.
func (f *folderSweep) leftovers(ctx context.Context, folder string) error {
	var errs first
	err := eachBatch(ctx, f.root, folder, func(list []fs.DirEntry) error {
		for _, e := range list {
			if name := path.Join(folder, e.Name()); !f.dying[name] {
				errs.add(f.drop(f.root, name, name, f.root.RemoveAll))
			}
		}
		return nil
	})
	return errors.Join(err, errs.err)
}

// tenants looks through the folders of tenants other than the first.
func (f *folderSweep) tenants(ctx context.Context) error {
	return eachBatch(ctx, f.root, ".", func(list []fs.DirEntry) error {
		for _, e := range list {
			if e.IsDir() && strings.HasPrefix(e.Name(), "pf_") {
				if err := f.tenant(ctx, e.Name(), e.Name()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// tenant looks through the session folders of one tenant.
func (f *folderSweep) tenant(ctx context.Context, folder, tenant string) error {
	var errs first
	err := eachBatch(ctx, f.root, folder, func(list []fs.DirEntry) error {
		for _, e := range list {
			id, ours := strings.CutPrefix(e.Name(), artifact.SessionPrefix)
			if parsed, err := artifact.ParseSessionID(e.Name()); !ours || !e.IsDir() || err != nil || string(parsed) != id {
				continue
			}
			s, err := f.d.db.Session(ctx, tenant, artifact.SessionID(id))
			switch {
			case err == nil:
				errs.add(f.uploads(ctx, &s))
			case errors.Is(err, store.ErrNoSession):
				errs.add(f.session(ctx, tenant, artifact.SessionID(id)))
			default:
				return err
			}
		}
		return nil
	})
	return errors.Join(err, errs.err)
}

// session removes the folder of a session that is not there.
func (f *folderSweep) session(ctx context.Context, tenant string, id artifact.SessionID) error {
	name := f.name(tenant, id)
	if f.dying[name] {
		return nil
	}
	return f.drop(f.root, name, name, func(name string) error {
		aside := path.Join(trash, artifact.NewAttachmentID())
		moved, err := f.moveAside(ctx, tenant, id, name, aside)
		if err != nil || !moved {
			return err
		}
		return removeFolder(filepath.Join(f.d.opt.WareHouse, aside)) // of our own choosing
	})
}

// moveAside takes the folder away in one step, so that a session that is made
// at this moment does not lose half of one.
func (f *folderSweep) moveAside(ctx context.Context, tenant string, id artifact.SessionID, name, aside string) (moved bool, err error) {
	f.d.folders.Lock()
	defer f.d.folders.Unlock()
	if _, err := f.d.db.Session(ctx, tenant, id); !errors.Is(err, store.ErrNoSession) {
		return false, err
	}
	err = f.root.Rename(name, aside)
	return err == nil, err
}

// uploads removes the folders of uploads that came to nothing or were cleaned,
// and files that were being written there when the process died.
func (f *folderSweep) uploads(ctx context.Context, s *artifact.Session) error {
	root, err := f.d.openAttachments(s)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFolder) {
		return nil // a link in its place is an agent's doing and leads elsewhere
	}
	if err != nil {
		return fmt.Errorf("open folder of attachments: %w", err)
	}
	defer root.Close()
	folder := path.Join(f.name(s.Tenant, s.ID), artifact.WorkspaceDir, artifact.AttachmentsDir)
	var errs first
	err = eachBatch(ctx, root, ".", func(list []fs.DirEntry) error {
		var ids []string
		for _, e := range list {
			switch name := e.Name(); {
			case e.IsDir() && strings.HasPrefix(name, "att_") && len(name) == len("att_")+26:
				ids = append(ids, name)
			case e.Type().IsRegular() && (strings.HasPrefix(name, ".manifest-") || strings.HasPrefix(name, ".restore-")):
				errs.add(f.drop(root, name, path.Join(folder, name), root.Remove))
			}
		}
		kept, err := f.d.db.KeptUploads(ctx, s, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !kept[id] {
				errs.add(f.drop(root, id, path.Join(folder, id), root.RemoveAll))
			}
		}
		return nil
	})
	return errors.Join(err, errs.err)
}

// openAttachments opens the folder of a session's uploads. No link leads there.
func (d *Depot) openAttachments(s *artifact.Session) (*os.Root, error) {
	workspace, err := d.openWorkspace(s)
	if err != nil {
		return nil, err
	}
	defer workspace.Close()
	info, err := workspace.Lstat(artifact.AttachmentsDir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errNoFolder
	}
	return openDir(workspace, artifact.AttachmentsDir)
}

// drop removes name from root if nothing in it has changed since the limit. It
// is told as shown.
func (f *folderSweep) drop(root *os.Root, name, shown string, remove func(string) error) error {
	newest, size, err := f.measure(root, name)
	if errors.Is(err, errYoung) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	it := &SweptItem{Kind: "folder", Name: shown, Bytes: size, Modified: artifact.UnixSeconds(newest)}
	return f.remove(it, func() error {
		if err := remove(name); err != nil {
			return fmt.Errorf("remove folder: %w", err)
		}
		return nil
	})
}

// errYoung says that a folder changed after the limit.
var errYoung = errors.New("changed within the grace")

// measure returns when anything in the folder last changed, and how much it
// holds, or errYoung. It follows no links.
func (f *folderSweep) measure(root *os.Root, name string) (newest time.Time, size int64, err error) {
	err = fs.WalkDir(root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.ModTime().Before(f.limit) {
			return errYoung
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		return newest, size, fmt.Errorf("look through folder: %w", err)
	}
	return newest, size, nil
}
