package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
)

// frame is one event of a stream of server-sent events.
type frame struct {
	id, event string
	data      []byte
}

// maxFrame bounds what a broken server can make a client keep.
const maxFrame = 16 << 20

// errStream is a bug of the server, which connecting again does not mend.
var errStream = errors.New("the stream of events is broken")

var errFrameTooLarge = fmt.Errorf("%w: an event is larger than %d MiB", errStream, maxFrame>>20)

// readFrame returns the next event that has data or an id. A frame counts only
// once its empty line has come: one that was cut off is an error. heard is told
// of every line, comments included.
func readFrame(r *bufio.Reader, heard func()) (frame, error) {
	var f frame
	for size := 0; ; {
		line, err := readLine(r, maxFrame-size)
		if err != nil {
			return frame{}, err
		}
		size += len(line)
		heard()
		if len(line) == 0 {
			if f.data == nil && f.id == "" {
				f, size = frame{}, 0
				continue
			}
			return f, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			f.id = string(value)
		case "event":
			f.event = string(value)
		case "data":
			if f.data != nil {
				f.data = append(f.data, '\n')
			}
			f.data = append(f.data, value...)
		}
	}
}

// readLine returns a line without its end. It is valid until the next read.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= limit {
			line, err = r.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if len(line) > limit {
		return nil, errFrameTooLarge
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}
