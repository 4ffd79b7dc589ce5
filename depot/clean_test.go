package depot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// told returns the data of the entries about cleaning.
func (s *stand) told(id artifact.SessionID) []string {
	s.Helper()
	session := s.session(id)
	var data []string
	for after := session.FirstSeq - 1; after < session.LastSeq; {
		list, err := s.db.Entries(s.Context(), &session, after, pageSize)
		if err != nil {
			s.Fatal(err)
		}
		for _, e := range list {
			if after = e.Seq; e.Type == artifact.TypeCleaned {
				data = append(data, string(e.Data))
			}
		}
	}
	return data
}

func (s *stand) version(id artifact.SessionID, name string) artifact.Version {
	s.Helper()
	v, err := s.Version(s.Context(), tenant, id, name)
	if err != nil {
		s.Fatal(err)
	}
	return v
}

func (s *stand) attachments(id artifact.SessionID) []string {
	s.Helper()
	session := s.session(id)
	list, err := os.ReadDir(filepath.Join(s.workspace(&session), artifact.AttachmentsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestCleanUploads(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	small := s.up("a", "secret.txt", []byte("secret"))
	big := s.up("a", "secret.bin", noise(large, 1))
	out := s.write("a", "out.txt", []byte("result"))
	other := s.up("b", "other.txt", []byte("other"))
	if err := s.CleanUploads(t.Context(), tenant, "a"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []artifact.Version{small, big} {
		now := s.version("a", v.Attachment)
		if now.Storage() != "cleaned" || now.Size != v.Size || now.SHA256 != v.SHA256 {
			t.Errorf("%s is %+v, want its record with storage cleaned", v.Name, now)
		}
		for _, stale := range []artifact.Version{v, now} { // also who looked it up before
			if _, err := s.content(&stale); artifact.KindOf(err) != artifact.NotFound || !strings.Contains(err.Error(), "Artifact file missing") {
				t.Errorf("content of %s: %v, want NotFound", v.Name, err)
			}
		}
	}
	if s.has(big.Key) {
		t.Error("the blob is still there")
	}
	if left := s.attachments("a"); len(left) > 0 {
		t.Errorf("left in attachments: %v, want nothing", left)
	}
	for _, v := range []artifact.Version{out, other} {
		if _, err := s.content(&v); err != nil {
			t.Errorf("content of %s: %v, want it untouched", v.Name, err)
		}
	}
	want := []string{fmt.Sprintf(`{"count":2,"bytes":%d,"up_to":3}`, large+6)}
	if d := cmp.Diff(want, s.told("a")); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if got := s.session("a"); got.Attachments != 2 {
		t.Errorf("attachments = %d, want 2: the records stay", got.Attachments)
	}
	if err := s.CleanUploads(t.Context(), tenant, "a"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, s.told("a")); d != "" {
		t.Errorf("entries after a second cleaning (-want +got):\n%s", d)
	}
	if err := s.CleanUploads(t.Context(), tenant, "nobody"); artifact.KindOf(err) != artifact.NotFound {
		t.Errorf("cleaning of no session: %v, want NotFound", err)
	}
	s.sound()
}

// One transaction takes 500 uploads; the log tells of all of them once.
func TestCleanInSteps(t *testing.T) {
	s := newLight(t, Options{})
	const n = 2*cleanStep + 100
	s.many("a", n)
	if err := s.CleanUploads(t.Context(), tenant, "a"); err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf(`{"count":%d,"bytes":%d,"up_to":%d}`, n, n, n)}
	if d := cmp.Diff(want, s.told("a")); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if r := s.sound(); r.Versions != 0 {
		t.Errorf("%d versions have bytes, want none", r.Versions)
	}
}

func TestCleanLosesNoConcurrentUpload(t *testing.T) {
	s := newLight(t, Options{})
	for range 20 {
		s.up("a", "old.bin", noise(large, 1))
	}
	stop := make(chan struct{})
	made := make(chan []artifact.Version)
	go func() {
		var list []artifact.Version
		defer func() { made <- list }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			v, err := s.tryUp(t.Context(), "a", "new.bin", noise(large, uint64(i)))
			if err != nil {
				t.Error(err)
				return
			}
			list = append(list, v)
		}
	}()
	for range 5 {
		if err := s.CleanUploads(t.Context(), tenant, "a"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	kept := 0
	for _, v := range <-made {
		now := s.version("a", v.Attachment)
		if now.Cleaned() {
			continue
		}
		kept++
		if _, err := s.content(&now); err != nil {
			t.Errorf("content of a later upload: %v", err)
		}
		session := s.session("a")
		if _, err := os.Stat(filepath.Join(s.workspace(&session), filepath.FromSlash(v.Path))); err != nil {
			t.Errorf("file of a later upload: %v", err)
		}
	}
	if r := s.sound(); r.Versions != int64(kept) {
		t.Errorf("%d versions have bytes, want %d", r.Versions, kept)
	}
}

// A backup may be copying the blobs that a cleaning wants to delete.
func TestCleanWaitsForABackup(t *testing.T) {
	s := newLight(t, Options{})
	v := s.up("a", "secret.bin", noise(large, 1))
	release, err := s.sweeping.keep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CleanUploads(t.Context(), tenant, "a"); err != nil {
		t.Fatal(err)
	}
	if !s.has(v.Key) {
		t.Error("the blob went during a backup")
	}
	release()
	until(t, "the blob is deleted", func() bool { return !s.has(v.Key) })
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
