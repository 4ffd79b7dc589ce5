package scan_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/vitrine-hq/vitrine/scan"
	"github.com/vitrine-hq/vitrine/scan/scantest"
)

// What a real clamd says.
func TestDaemon(t *testing.T) {
	address, marker := scantest.Clamd(t)
	s := open(t, address)
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	clean, infected := scan.Verdict{Clean: true}, scan.Verdict{Found: scantest.Found}
	for _, test := range []struct {
		name    string
		content io.Reader
		want    scan.Verdict
	}{
		{"empty", strings.NewReader(""), clean},
		{"clean", strings.NewReader("nothing to see"), clean},
		{"almost", strings.NewReader(marker[1:]), clean},
		{"marker", strings.NewReader(marker), infected},
		{"deep", io.MultiReader(zeros(30<<20), strings.NewReader(marker), zeros(1<<20)), infected},
		{"large", zeros(30 << 20), clean},
	} {
		if v, err := s.Scan(t.Context(), test.name, test.content); err != nil || v != test.want {
			t.Errorf("%s: Scan = %+v, %v, want %+v", test.name, v, err, test.want)
		}
	}
}

// The marker is in all that is too large, so that a clamd which looked at the
// beginning only would call it clean.
func TestDaemonLimits(t *testing.T) {
	address, marker := scantest.Clamd(t)
	s := open(t, address)
	for _, size := range []int64{scantest.MaxFile + 1, scantest.MaxStream + 1, 2 * scantest.MaxStream} {
		v, err := s.Scan(t.Context(), "large", io.MultiReader(zeros(size), strings.NewReader(marker)))
		if v != (scan.Verdict{}) || !errors.Is(err, scan.ErrTooLarge) {
			t.Errorf("%d bytes: Scan = %+v, %v, want ErrTooLarge", size, v, err)
		}
	}
	if v, err := s.Scan(t.Context(), "small", strings.NewReader(marker)); err != nil || v.Found != scantest.Found {
		t.Errorf("afterwards: Scan = %+v, %v", v, err)
	}
}

func TestDaemonKilledMidway(t *testing.T) {
	d := scantest.Start(t)
	s := open(t, d.Address)
	kill := readerFunc(func([]byte) (int, error) {
		d.Kill()
		return 0, io.EOF
	})
	for _, rest := range []int64{0, 10 << 20} { // the second finds it gone
		v, err := s.Scan(t.Context(), "f", io.MultiReader(zeros(1<<20), kill, zeros(rest)))
		if err == nil || v != (scan.Verdict{}) {
			t.Errorf("Scan = %+v, %v, want an error", v, err)
		}
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("Ping of a killed clamd = nil")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestDaemonAtTheSameTime(t *testing.T) {
	address, marker := scantest.Clamd(t)
	s := open(t, address)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			content := strings.Repeat("x", 100_000+i)
			if i%2 == 0 {
				content += marker
			}
			v, err := s.Scan(t.Context(), "f", strings.NewReader(content))
			if err != nil || v.Clean != (i%2 == 1) {
				t.Errorf("%d: Scan = %+v, %v", i, v, err)
			}
		})
	}
	wg.Wait()
}
