//go:build !linux

package crash

import (
	"os/exec"
	"testing"
)

func tie(*exec.Cmd) {}

func written(testing.TB) int64 { return 0 }

func fetched(testing.TB) int64 { return 0 }
