package depot

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/artifact"
)

// large is more than lives in a row.
const large = 40 << 10

func TestCheckOfASoundStore(t *testing.T) {
	s := newStand(t, t.TempDir(), Options{})
	s.up("a", "small.txt", []byte("small"))
	s.up("a", "empty.txt", nil)
	s.up("b", "large.bin", noise(large, 1))
	s.write("b", "out.txt", prose(large))
	s.up("gone", "x.bin", noise(large, 2))
	if err := s.DeleteSession(t.Context(), tenant, "gone"); err != nil {
		t.Fatal(err)
	}
	orphan, err := s.bucket.Put(t.Context(), strings.NewReader("nobody names me"), 0)
	if err != nil {
		t.Fatal(err)
	}
	var told []int64
	got, err := s.Check(t.Context(), true, func(done, total int64) { told = append(told, done, total) })
	if err != nil {
		t.Fatal(err)
	}
	if got.Orphans < 1 || got.OrphanBytes < orphan.Size {
		t.Errorf("orphans = %d of %d bytes, want at least the one of %d", got.Orphans, got.OrphanBytes, orphan.Size)
	}
	got.Orphans, got.OrphanBytes, got.Pending = 0, 0, 0 // the purge is under way
	want := Report{Sessions: 2, Entries: 4, Versions: 4, Bytes: 2*large + 5, Faults: []string{}, Deep: true}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]int64{4, 4}, told); d != "" {
		t.Errorf("progress (-want +got):\n%s", d)
	}
}

func TestCheckFindsFaults(t *testing.T) {
	tests := []struct {
		name     string
		deepOnly bool
		want     string
		harm     func(s *stand, small, large artifact.Version)
	}{
		{"missing blob", false, "entry 2: its bytes are missing", func(s *stand, _, v artifact.Version) {
			if err := os.Remove(s.blobFile(v.Key)); err != nil {
				s.Fatal(err)
			}
		}},
		{"truncated blob", false, "differ from what was stored", func(s *stand, _, v artifact.Version) {
			if err := os.Truncate(s.blobFile(v.Key), v.Size-1); err != nil {
				s.Fatal(err)
			}
		}},
		{"longer blob", false, "differ from what was stored", func(s *stand, _, v artifact.Version) {
			if err := os.Truncate(s.blobFile(v.Key), v.Size+1); err != nil {
				s.Fatal(err)
			}
		}},
		{"flipped bit", true, "hash", func(s *stand, _, v artifact.Version) {
			b := noise(large, 1)
			b[large/2] ^= 1
			if err := os.WriteFile(s.blobFile(v.Key), b, 0o600); err != nil {
				s.Fatal(err)
			}
		}},
		{"missing small content", false, "entry 1: its content is missing", func(s *stand, _, _ artifact.Version) {
			s.exec("DELETE FROM contents")
		}},
		{"changed small content", false, "another hash", func(s *stand, _, _ artifact.Version) {
			s.exec("UPDATE contents SET bytes = CAST('smelt' AS BLOB)")
		}},
		{"shortened small content", false, "has 3 bytes, not 5", func(s *stand, _, _ artifact.Version) {
			s.exec("UPDATE contents SET bytes = CAST('sma' AS BLOB)")
		}},
		{"unnamed small content", false, "named by no version", func(s *stand, _, _ artifact.Version) {
			s.exec("INSERT INTO contents (owner, n, bytes) SELECT key, 99, CAST('x' AS BLOB) FROM sessions")
		}},
		{"gap in a log", false, "should hold 3", func(s *stand, _, _ artifact.Version) {
			s.exec("DELETE FROM events WHERE seq = 2")
		}},
		{"workspace file that names nothing", false, "name no bytes", func(s *stand, _, _ artifact.Version) {
			s.exec("UPDATE events SET blob = '' WHERE seq = 3")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t, t.TempDir(), Options{})
			small := s.up("a", "small.txt", []byte("small"))
			big := s.up("a", "large.bin", noise(large, 1))
			s.write("a", "out.bin", noise(large, 2))
			s.sound()
			tt.harm(s, small, big)
			for _, deep := range []bool{false, true} {
				r, err := s.Check(t.Context(), deep, nil)
				if err != nil {
					t.Fatal(err)
				}
				found := slices.ContainsFunc(r.Faults, func(f string) bool { return strings.Contains(f, tt.want) })
				if want := deep || !tt.deepOnly; found != want {
					t.Errorf("deep %t: faults = %q; one with %q: %t, want %t", deep, r.Faults, tt.want, found, want)
				}
			}
		})
	}
}

func TestReportIsBounded(t *testing.T) {
	c := &check{}
	for range maxFaults + 7 {
		c.fault("fault")
	}
	if len(c.report.Faults) != maxFaults || c.report.Omitted != 7 {
		t.Errorf("%d faults told and %d omitted, want %d and 7", len(c.report.Faults), c.report.Omitted, maxFaults)
	}
}
