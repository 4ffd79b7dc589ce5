package main

import (
	"runtime"
)

type versionCmd struct {
	output
}

// Run prints the version and what it was built with.
func (c *versionCmd) Run(a *app) error {
	if c.JSON {
		return a.writeJSON(map[string]string{"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}
	return a.line("vitrine %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
