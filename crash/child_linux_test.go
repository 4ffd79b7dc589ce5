package crash

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// tie makes the kernel end a child whose test was ended without a chance to.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// written returns how many bytes this process has written to files.
func written(t testing.TB) int64 {
	t.Helper()
	_, n := moved(t)
	return n
}

// fetched returns how many bytes this process has read from files.
func fetched(t testing.TB) int64 {
	t.Helper()
	n, _ := moved(t)
	return n
}

func moved(t testing.TB) (read, wrote int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "rchar: %d\nwchar: %d", &read, &wrote); err != nil {
		t.Fatal(err)
	}
	return read, wrote
}
