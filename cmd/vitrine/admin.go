package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// adminSocket is where a running server takes tasks on its data (extensions §6).
const adminSocket = "admin.sock"

// taskLine is one line of the answer to a task: how far it is, or how it ended.
type taskLine struct {
	Progress *taskProgress   `json:"progress,omitempty"`
	Done     bool            `json:"done,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

type taskProgress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// adminHandler does tasks for commands of this machine. Each answers with lines
// of JSON, the last of which has "done". A client that leaves ends its task.
func adminHandler(on holdings) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /admin/{task}", func(w http.ResponseWriter, r *http.Request) {
		var t task
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&t); err != nil {
			http.Error(w, "the task is not understood", http.StatusBadRequest)
			return
		}
		if t.Name = r.PathValue("task"); t.Name == "backup" && !filepath.IsAbs(t.Dir) {
			http.Error(w, "dir is not an absolute path", http.StatusBadRequest)
			return
		}
		answer(w, r, on, t)
	})
	return mux
}

// tellEvery is how often a task says how far it is.
const tellEvery = 200 * time.Millisecond

func answer(w http.ResponseWriter, r *http.Request, on holdings, t task) {
	w.Header().Set("Content-Type", "application/jsonl")
	lines := &taskLines{w: w}
	result, err := t.run(r.Context(), on, lines.tell)
	last := taskLine{Done: true}
	if err == nil {
		last.Result, err = json.Marshal(result)
	}
	if err != nil {
		last.Error = err.Error()
	}
	lines.write(last)
}

// taskLines writes the lines of an answer.
type taskLines struct {
	w http.ResponseWriter

	mu   sync.Mutex
	next time.Time
}

func (l *taskLines) tell(done, total int64) {
	l.mu.Lock()
	due := time.Now().After(l.next)
	l.mu.Unlock()
	if due {
		l.write(taskLine{Progress: &taskProgress{done, total}})
	}
}

// write does not tell of errors: the client has left, which ends the task.
func (l *taskLines) write(line taskLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = time.Now().Add(tellEvery)
	if err := json.NewEncoder(l.w).Encode(line); err == nil {
		_ = http.NewResponseController(l.w).Flush()
	}
}

// adminListener lets in processes of the owner and of root only.
type adminListener struct {
	*net.UnixListener
	path string
	dir  *os.File // of a long path, see shortSocket
}

// listenAdmin listens on a socket that only the owner can open. One that is
// there is left from a server that was killed: the caller holds the lock of the
// directory.
func listenAdmin(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old admin socket: %w", err)
	}
	short, dir, err := shortSocket(path)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on admin socket: %w", err), closeDir(dir))
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect admin socket: %w", err), l.Close(), closeDir(dir))
	}
	return &adminListener{l, path, dir}, nil
}

// Accept returns the next connection of a trusted process.
func (l *adminListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if trustedPeer(conn) == nil {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// Close stops listening and removes the socket.
func (l *adminListener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err // and the socket may be another server's by now
	}
	return errors.Join(err, os.Remove(l.path), closeDir(l.dir))
}

// maxSocketPath is what every system takes as the address of a socket.
const maxSocketPath = 100

// shortSocket returns an address for a socket whose path may be too long for
// one: it then leads through an open directory, which must stay open.
func shortSocket(path string) (string, *os.File, error) {
	if len(path) <= maxSocketPath {
		return path, nil, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, fmt.Errorf("open directory of the admin socket: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), dir, nil
}

func closeDir(dir *os.File) error {
	if dir == nil {
		return nil
	}
	return dir.Close()
}
