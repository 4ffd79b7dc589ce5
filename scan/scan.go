// Package scan asks a virus scanner about bytes: clamd over a socket, or a
// command that reads them. It decides nothing: who may see what has not been
// looked at, and what becomes of what was found, is its callers' business.
//
// A verdict is clean only if the scanner was given every byte and then said
// so. Whatever goes wrong on the way is an error.
package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"unicode"
)

// ErrTooLarge is the error of a Scan that was given more than the scanner
// looks at.
var ErrTooLarge = errors.New("more than the scanner looks at")

// Verdict is what a scanner says of some bytes.
type Verdict struct {
	Clean bool
	Found string // the name of what was found: printable, at most 200 bytes, not empty unless Clean
}

// A Scanner looks at bytes. Its methods may be called at the same time.
type Scanner interface {
	// Scan gives the scanner what r has until io.EOF. Memory is constant
	// whatever the size. The name is for errors only. They are ErrTooLarge, or
	// r's own where r failed, or ctx's, or say what the scanner did. A Read
	// that waits is not interrupted by ctx.
	Scan(ctx context.Context, name string, r io.Reader) (Verdict, error)

	// Ping returns an error if the scanner is not there or does not work.
	Ping(ctx context.Context) error
}

// Open returns the scanner at an address, or an error that says what is wrong
// with the address. It does not call the scanner; Ping does.
//
//	clamd:///run/clamav/clamd.ctl   the clamd that listens on a Unix socket
//	clamd://host:3310               the one that listens on TCP
//	exec:CMD ARG…                   a command, split into words at spaces; there is no shell
//
// A clamd calls clean what is beyond its own limits (MaxFileSize, MaxScanSize
// and others) without a look, unless its configuration has AlertExceedsMax; then
// that is ErrTooLarge.
//
// A command gets the bytes on its standard input and has to read them all. It
// exits with 0 if they are clean, and with 1 if it found something, whose name
// is the first line of its output. Everything else is an error.
func Open(address string) (Scanner, error) {
	kind, rest, _ := strings.Cut(address, ":")
	switch kind {
	case "clamd":
		return openClamd(address, rest)
	case "exec":
		return openCommand(address, rest)
	}
	return nil, fmt.Errorf("scanner %q: neither clamd://… nor exec:…", address)
}

func openClamd(address, rest string) (Scanner, error) {
	where, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return nil, fmt.Errorf("scanner %q: clamd: is followed by two slashes", address)
	}
	if strings.HasPrefix(where, "/") {
		if strings.HasSuffix(where, "/") {
			return nil, fmt.Errorf("scanner %q: names a folder, not a socket", address)
		}
		return clamd{network: "unix", address: where}, nil
	}
	host, port, err := net.SplitHostPort(where)
	switch n, bad := strconv.ParseUint(port, 10, 16); {
	case where == "":
		return nil, fmt.Errorf("scanner %q: names no socket and no host", address)
	case err != nil:
		return nil, fmt.Errorf("scanner %q: must be a host and a port, as in clamd://localhost:3310: %w", address, err)
	case host == "":
		return nil, fmt.Errorf("scanner %q: names no host", address)
	case bad != nil || n == 0:
		return nil, fmt.Errorf("scanner %q: the port must be a number from 1 to 65535", address)
	}
	return clamd{network: "tcp", address: where}, nil
}

func openCommand(address, rest string) (Scanner, error) {
	words := strings.Fields(rest)
	if len(words) == 0 {
		return nil, fmt.Errorf("scanner %q: names no command", address)
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil, fmt.Errorf("scanner %q: %w", address, err)
	}
	return command{path: path, args: words[1:]}, nil
}

// found returns the verdict on bytes in which a scanner found name.
func found(name string) Verdict {
	if name = printable(name, 200); name == "" {
		name = "unnamed"
	}
	return Verdict{Found: name}
}

// printable returns text as one line that is fit for logs and JSON, cut to at
// most limit bytes.
func printable(text string, limit int) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(text) {
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if b.Len()+len(string(r)) > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
