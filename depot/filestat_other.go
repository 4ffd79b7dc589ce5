//go:build !linux

package depot

import "io/fs"

func statOf(info fs.FileInfo) fileStat {
	return fileStat{size: info.Size(), mtime: info.ModTime().UnixNano()}
}

const openFlags = 0

func remoteFS(string) bool { return false }
