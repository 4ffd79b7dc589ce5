package depot

import "syscall"

// syncAll makes everything that was written durable, on all file systems.
func syncAll() { syscall.Sync() }
