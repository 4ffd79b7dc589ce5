package crash

import (
	"os/exec"
	"syscall"
)

// tie makes the kernel end a child whose test was ended without a chance to.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
