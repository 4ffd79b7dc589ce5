package depot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/store"
)

// stand is a depot on a data directory of its own.
type stand struct {
	testing.TB
	*Depot
	dir  string
	once sync.Once // of shut
}

const tenant = artifact.DefaultTenant

// newStand opens a depot on the data directory dir, which is made where it is
// not there, and closes it when the test ends.
func newStand(t testing.TB, dir string, opt Options) *stand {
	t.Helper()
	drv, err := openBlobs(filepath.Join(dir, blobsDir))
	if err != nil {
		t.Fatal(err)
	}
	return newStandOn(t, dir, drv, opt)
}

// newLight is newStand for tests that do not look at the files of blobs, which
// takes a tenth of the time.
func newLight(t testing.TB, opt Options) *stand {
	t.Helper()
	return newStandOn(t, t.TempDir(), blob.NewMem(), opt)
}

func newStandOn(t testing.TB, dir string, drv blob.Driver, opt Options) *stand {
	t.Helper()
	opt.WareHouse = filepath.Join(dir, wareHouseDir)
	opt.Implicit = true
	if err := os.MkdirAll(opt.WareHouse, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, databaseFile), store.Options{Now: opt.Now})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), db, blob.New(drv), opt)
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{TB: t, Depot: d, dir: dir}
	t.Cleanup(s.shut)
	return s
}

func openBlobs(dir string) (blob.Driver, error) { return fileblob.Open(dir, fileblob.Options{}) }

// shut closes the depot and its database. It may be called again.
func (s *stand) shut() {
	s.once.Do(func() {
		if err := s.Close(); err != nil {
			s.Error(err)
		}
		if err := s.db.Close(); err != nil {
			s.Error(err)
		}
	})
}

// up uploads a file and returns its version.
func (s *stand) up(id artifact.SessionID, name string, content []byte) artifact.Version {
	s.Helper()
	v, err := s.tryUp(s.Context(), id, name, content)
	if err != nil {
		s.Fatal(err)
	}
	return v
}

func (s *stand) tryUp(ctx context.Context, id artifact.SessionID, name string, content []byte) (artifact.Version, error) {
	var none artifact.Version
	u, err := s.NewUpload(ctx, tenant, id)
	if err != nil {
		return none, err
	}
	defer u.Discard()
	if _, err := u.Add(ctx, name, "", bytes.NewReader(content)); err != nil {
		return none, err
	}
	list, err := u.Commit(ctx)
	if err != nil {
		return none, err
	}
	return list[0], nil
}

// write writes a file into the workspace of a session that is there, and
// returns the version that comes of it.
func (s *stand) write(id artifact.SessionID, name string, content []byte) artifact.Version {
	s.Helper()
	session := s.session(id)
	file := filepath.Join(s.workspace(&session), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		s.Fatal(err)
	}
	return s.scanned(id)
}

// scanned looks through the workspace and returns the one change there is.
func (s *stand) scanned(id artifact.SessionID) artifact.Version {
	s.Helper()
	scan, err := s.Scan(s.Context(), tenant, id, "")
	if err != nil {
		s.Fatal(err)
	}
	if len(scan.Versions) != 1 {
		s.Fatalf("the scan found %d changes, want one: %+v", len(scan.Versions), scan.Versions)
	}
	return scan.Versions[0]
}

// many adds n uploads of one byte to a new session, without their files.
func (s *stand) many(id artifact.SessionID, n int) {
	s.Helper()
	session, err := s.CreateSession(s.Context(), tenant, id, nil)
	if err != nil {
		s.Fatal(err)
	}
	for made := 0; made < n; {
		step := min(n-made, 250)
		err := s.db.Tx(s.Context(), func(tx *store.Tx) error {
			for range step {
				v := &artifact.Version{
					Attachment: artifact.NewAttachmentID(), Session: id, Change: artifact.Created, Name: "x.txt",
					MIME: "text/plain", Source: artifact.SourceUpload, Node: "upload",
				}
				v.Path = artifact.AttachmentsDir + "/" + v.Attachment + "/" + v.Name
				v.Size, v.SHA256 = 1, fmt.Sprintf("%x", sha256.Sum256([]byte("x")))
				if err := tx.AppendVersion(session.Key, v, []byte("x")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
		made += step
	}
}

func (s *stand) session(id artifact.SessionID) artifact.Session {
	s.Helper()
	session, err := s.Session(s.Context(), tenant, id)
	if err != nil {
		s.Fatal(err)
	}
	return session
}

// content returns the bytes of a version, or the error.
func (s *stand) content(v *artifact.Version) ([]byte, error) {
	r, err := s.OpenContent(s.Context(), v)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// has reports whether a blob is there.
func (s *stand) has(key string) bool {
	err := s.bucket.Check(s.Context(), blob.Info{Key: key})
	return !errors.Is(err, fs.ErrNotExist)
}

// blobFile returns the file of a blob.
func (s *stand) blobFile(key string) string { return filepath.Join(s.dir, blobsDir, key[:2], key) }

// exec runs SQL behind the depot's back.
func (s *stand) exec(query string, args ...any) {
	s.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.dir, databaseFile))
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	res, err := db.ExecContext(s.Context(), query, args...)
	if err != nil {
		s.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		s.Fatalf("%s changed %d rows, %v", query, n, err)
	}
}

// sound fails the test unless a deep check is clean, and returns its report.
func (s *stand) sound() Report {
	s.Helper()
	r, err := s.Check(s.Context(), true, nil)
	if err != nil {
		s.Fatal(err)
	}
	if !r.Clean() {
		s.Errorf("check found faults: %q", r.Faults)
	}
	return r
}

// noise returns bytes that do not compress.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// prose returns bytes that compress.
func prose(n int) []byte {
	return bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. "), n/45+1)[:n]
}

// settle waits until the manifests on the disk are written.
func (s *stand) settle() {
	s.Helper()
	until(s, "the manifests are written", func() bool {
		s.manifest.mu.Lock()
		defer s.manifest.mu.Unlock()
		for _, x := range s.manifest.m {
			if x.pending || x.writing {
				return false
			}
		}
		return true
	})
}
