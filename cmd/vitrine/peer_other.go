//go:build !linux

package main

import "net"

// trustedPeer relies on the mode of the socket where the system is not Linux.
func trustedPeer(*net.UnixConn) error { return nil }
