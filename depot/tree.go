package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/vitrine-hq/vitrine/artifact"
)

// maxSkipped bounds how many things that are not captured are listed.
const maxSkipped = 1000

// maxDepth is how deep folders may lie in each other. It bounds open folders.
const maxDepth = 100

// tree walks a workspace. It never leaves it, whatever links lie there, never
// opens what is not a regular file, and takes no offence at files that come and
// go meanwhile.
type tree struct {
	root    *os.Root
	ignore  []string          // names of folders
	enter   func(dir string)  // called before a folder is read; "" is the workspace
	found   []found           // files of a folder before its folders, in byte order
	kept    map[string]bool   // paths that are there but cannot be captured now
	skipped map[string]string // path, with a slash behind a folder, to the reason
}

// found is a file that could be captured.
type found struct {
	path string
	seen fileStat
}

// Reasons why something is not captured.
const (
	whyIgnored  = "ignored folder"
	whyLeaves   = "link that leaves the workspace"
	whyBroken   = "link to nothing"
	whyDirLink  = "link to a folder"
	whyManifest = "link to the manifest"
	whyHardLink = "file with more than one link"
	whySpecial  = "not a regular file"
	whyName     = "name is not UTF-8"
	whyClosed   = "cannot be read"
	whyDeep     = "folders nested too deeply"
)

// skip lists a path; that of a folder ends with a slash.
func (t *tree) skip(path, reason string) {
	if len(t.skipped) < maxSkipped {
		t.skipped[strings.ToValidUTF8(path, "\ufffd")] = reason
	}
	// What cannot be read or judged now is still there.
	if reason == whyHardLink || reason == whyClosed {
		if t.kept == nil {
			t.kept = map[string]bool{}
		}
		t.kept[path] = true
	}
}

// keeps reports whether the file at path may be there although it was not found.
func (t *tree) keeps(path string) bool {
	if t.kept[path] {
		return true
	}
	for i := range len(path) {
		if len(t.kept) > 0 && path[i] == '/' && t.kept[path[:i+1]] {
			return true
		}
	}
	return false
}

// all walks everything.
func (t *tree) all(ctx context.Context) error { return t.folder(ctx, t.root, "", 0) }

// some looks at the given paths only, and walks those that are folders.
func (t *tree) some(ctx context.Context, paths []string) error {
	for _, p := range slices.Sorted(slices.Values(paths)) {
		if err := t.one(ctx, p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (t *tree) one(ctx context.Context, p string) error {
	segments := strings.Split(p, "/")
	dir := t.root
	for i, name := range segments[:len(segments)-1] {
		if t.ignored(strings.Join(segments[:i], "/"), name) {
			return nil
		}
		sub, err := openDir(dir, name)
		if i > 0 {
			_ = dir.Close()
		}
		if err != nil {
			return nil // gone, or no folder any more
		}
		dir = sub
	}
	if dir != t.root {
		defer dir.Close()
	}
	parent := strings.Join(segments[:len(segments)-1], "/")
	name := segments[len(segments)-1]
	info, err := dir.Lstat(name)
	if err != nil {
		return nil // gone
	}
	if !utf8.ValidString(name) {
		t.skip(p, whyName)
		return nil
	}
	if t.ignored(parent, name) && (parent == "" && name == artifact.AttachmentsDir || info.IsDir()) {
		t.listIgnored(parent, name)
		return nil
	}
	if info.IsDir() {
		return t.subfolder(ctx, dir, parent, name, len(segments))
	}
	t.file(dir, p, name)
	return nil
}

// folder walks one folder, which is open as dir.
func (t *tree) folder(ctx context.Context, dir *os.Root, rel string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.enter(rel)
	entries, err := readDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if rel == "" {
			return fmt.Errorf("read workspace: %w", err)
		}
		t.skip(rel+"/", whyClosed)
	}
	var folders []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case rel == "" && name == artifact.AttachmentsDir:
		case !utf8.ValidString(name):
			t.skip(join(rel, name), whyName)
		case !e.IsDir():
			t.file(dir, join(rel, name), name)
		case t.ignored(rel, name):
			t.listIgnored(rel, name)
		default:
			folders = append(folders, name)
		}
	}
	for _, name := range folders {
		if err := t.subfolder(ctx, dir, rel, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) subfolder(ctx context.Context, dir *os.Root, rel, name string, depth int) error {
	p := join(rel, name)
	if !utf8.ValidString(name) {
		t.skip(p+"/", whyName)
		return nil
	}
	if depth > maxDepth {
		t.skip(p+"/", whyDeep)
		return nil
	}
	sub, err := openDir(dir, name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		t.skip(p+"/", whyClosed)
		return nil
	case err != nil:
		return nil // gone, or no folder any more
	}
	defer sub.Close()
	return t.folder(ctx, sub, p, depth)
}

// ignored reports whether the folder called name below rel is left out.
func (t *tree) ignored(rel, name string) bool {
	return rel == "" && name == artifact.AttachmentsDir || slices.Contains(t.ignore, name)
}

func (t *tree) listIgnored(rel, name string) {
	if rel != "" || name != artifact.AttachmentsDir {
		t.skip(join(rel, name)+"/", whyIgnored)
	}
}

// file judges what is not a folder.
func (t *tree) file(dir *os.Root, p, name string) {
	info, err := dir.Lstat(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.skip(p, whyClosed)
		}
		return
	}
	if info.Mode().Type() == fs.ModeSymlink {
		if info, err = t.root.Stat(p); err != nil {
			t.skip(p, whyNotFollowed(err))
			return
		}
		if info.IsDir() {
			t.skip(p, whyDirLink)
			return
		}
		// Each capture of it would make it another one.
		if own, err := t.root.Lstat(artifact.AttachmentsDir + "/" + manifestName); err == nil && os.SameFile(info, own) {
			t.skip(p, whyManifest)
			return
		}
	}
	if reason := refuse(info); reason != "" {
		t.skip(p, reason)
		return
	}
	t.found = append(t.found, found{p, statOf(info)})
}

// whyNotFollowed says what is wrong with a link whose target os.Root did not find.
func whyNotFollowed(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ELOOP):
		return whyBroken
	case errors.Is(err, fs.ErrPermission):
		return whyClosed
	}
	return whyLeaves
}

// refuse returns why a file of this kind is not captured, or "".
func refuse(info fs.FileInfo) string {
	switch {
	case !info.Mode().IsRegular():
		return whySpecial
	case statOf(info).links > 1:
		// Another name may lie where the session has no business.
		return whyHardLink
	}
	return ""
}

func readDir(dir *os.Root) ([]os.DirEntry, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}
