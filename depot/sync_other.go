//go:build !linux

package depot

// syncAll does nothing where there is no one call for it.
func syncAll() {}
