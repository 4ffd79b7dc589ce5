// Package scantest starts the clamd of this machine for tests. It is linked by
// tests only.
package scantest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Marker is what the clamd of a test finds. It knows nothing else.
const Marker = "vitrine-test-marker-0b5f7c"

// Found is the name under which it finds it.
const Found = "Vitrine.Test.Marker.UNOFFICIAL"

// What the clamd of a test looks at and what it receives, in bytes. Content
// between the two is not looked at, and it says so.
const (
	MaxFile   = 32 << 20
	MaxStream = 40 << 20
)

// Daemon is a clamd that ends with its test.
type Daemon struct {
	Address string // for scan.Open
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has
	output  *bytes.Buffer // to be read when it has ended
}

// Clamd starts a clamd on a socket of its own, with a signature of its own, and
// returns its address and the content that it finds. Without the program the test is
// skipped, or fails where VITRINE_TEST_STRICT is set.
func Clamd(t testing.TB) (address, marker string) {
	t.Helper()
	return Start(t).Address, Marker
}

// Start is Clamd for tests that end it themselves.
func Start(t testing.TB) *Daemon {
	t.Helper()
	program := find(t)
	// Not t.TempDir: the path of a socket has at most 107 bytes, and the names
	// of tests are long.
	dir, err := os.MkdirTemp("", "clamd") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	configure(t, dir)
	d := &Daemon{Address: "clamd://" + filepath.Join(dir, "socket"), ended: make(chan struct{}), output: new(bytes.Buffer)}
	d.cmd = exec.Command(program, "--config-file="+filepath.Join(dir, "clamd.conf"))
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends when clamd does, which Kill waits for
		defer close(d.ended)
		_ = d.cmd.Wait() // it is killed, or await tells
	}()
	t.Cleanup(d.Kill)
	d.await(t, filepath.Join(dir, "socket"))
	return d
}

// Kill ends the daemon as a crash does.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.ended
}

// find looks where Debian has the program, too, which is not on everybody's path.
func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"clamd", "/usr/sbin/clamd"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	if os.Getenv("VITRINE_TEST_STRICT") != "" {
		t.Fatal("install clamd (Debian package clamav-daemon): VITRINE_TEST_STRICT allows no skip")
	}
	t.Skip("install clamd (Debian package clamav-daemon) to run what scans")
	return ""
}

// configure writes a database of one signature, and a configuration that reads
// and writes nothing outside dir.
func configure(t testing.TB, dir string) {
	t.Helper()
	signature := fmt.Sprintf("Vitrine.Test.Marker:0:*:%s\n", hex.EncodeToString([]byte(Marker)))
	config := fmt.Sprintf(`Foreground yes
LocalSocket %[1]s/socket
DatabaseDirectory %[1]s/signatures
TemporaryDirectory %[1]s/tmp
StreamMaxLength %[2]d
MaxFileSize %[3]d
MaxScanSize %[3]d
AlertExceedsMax yes
SelfCheck 0
MaxThreads 4
`, dir, MaxStream, MaxFile)
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "signatures"), 0o700),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o700),
		os.WriteFile(filepath.Join(dir, "signatures", "test.ndb"), []byte(signature), 0o600),
		os.WriteFile(filepath.Join(dir, "clamd.conf"), []byte(config), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// await returns when the daemon takes connections.
func (d *Daemon) await(t testing.TB, socket string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-d.ended:
			t.Fatalf("clamd ended at once: %s", d.output)
		case <-deadline:
			d.Kill()
			t.Fatalf("clamd takes no connection after a minute: %v\n%s", err, d.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
