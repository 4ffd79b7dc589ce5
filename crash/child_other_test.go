//go:build !linux

package crash

import "os/exec"

func tie(*exec.Cmd) {}
