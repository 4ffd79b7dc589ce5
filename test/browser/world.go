package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// world is what every case finds.
type world struct {
	dir     string
	log     io.Writer
	server  *server
	foreign *foreign
	browser *browser
}

// try runs one case in a tab of its own.
func (w *world) try(ctx context.Context, c testCase) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := w.browser.open()
	if err != nil {
		return err
	}
	w.foreign.forget()
	return errors.Join(c.run(w, p), p.close())
}

// server is the program that is tested.
type server struct {
	cmd     *exec.Cmd
	program string
	data    string
	addr    string // host:port
	log     io.Writer
}

var listens = regexp.MustCompile(`listens on http://([^\s/]+)`)

func startServer(ctx context.Context, program, dir string, log io.Writer) (*server, error) {
	s := &server{program: program, data: filepath.Join(dir, "data"), addr: "127.0.0.1:0", log: log}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// start starts the server, on the port that it had before if it had one.
func (s *server) start(ctx context.Context) error {
	s.cmd = exec.CommandContext(ctx, s.program, "serve", "--listen", s.addr, "--metrics-listen", "127.0.0.1:0", "--data", s.data)
	s.cmd.Env = append(os.Environ(), "VITRINE_BOOTSTRAP_KEY="+bootstrapKey)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := listens.FindStringSubmatch(line)
	if m == nil {
		s.kill()
		return fmt.Errorf("the server did not start: %q, %w", line, err)
	}
	s.addr = m[1]
	return nil
}

// kill ends the server as a crash would.
func (s *server) kill() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait()
	}
}

func (s *server) url(path string) string { return "http://" + s.addr + path }

// do sends a request from outside the browser and reads a JSON answer.
func (s *server) do(method, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequest(method, s.url(path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// upload uploads a file, as the type that it is said to be, and returns where
// its content can be read.
func (s *server) upload(session, name, contentType, content string) (string, error) {
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename=%q`, name)}}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	part, err := m.CreatePart(h)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(part, content); err != nil {
		return "", err
	}
	if err := m.Close(); err != nil {
		return "", err
	}
	var made struct {
		AttachmentID string `json:"attachment_id"`
	}
	if err := s.do("POST", "/api/uploads/"+session, m.FormDataContentType(), form.Bytes(), &made); err != nil {
		return "", err
	}
	return "/api/sessions/" + session + "/artifacts/" + made.AttachmentID + "?mode=stream", nil
}

// sessions returns the ids of all sessions, in one text.
func (s *server) sessions() (string, error) {
	var list struct {
		Sessions []struct {
			ID  string `json:"session_id"`
			Seq int    `json:"last_seq"`
		} `json:"sessions"`
	}
	err := s.do("GET", "/api/sessions?limit=100", "", nil, &list)
	return fmt.Sprint(list.Sessions), err
}

// workspace returns the folder of a session in which files are captured.
func (s *server) workspace(session string) string {
	return filepath.Join(s.data, "WareHouse", "session_"+session, "code_workspace")
}

func (s *server) write(session, name, content string) error {
	path := filepath.Join(s.workspace(session), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

// foreign is a web server that has nothing to do with the tested one. It serves
// pages, and notes who comes to /beacon/….
type foreign struct {
	srv  *http.Server
	port string

	mu    sync.Mutex // guards all below
	pages map[string]string
	hits  []string
}

func startForeign() (*foreign, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	f := &foreign{port: port, pages: map[string]string{"/": "<!doctype html><title>foreign</title>"}}
	f.srv = &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go f.srv.Serve(l) //nolint:errcheck // close ends it
	return f, nil
}

func (f *foreign) close() { _ = f.srv.Close() }

func (f *foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/beacon") {
		f.hits = append(f.hits, r.URL.RequestURI())
		w.Header().Set("Access-Control-Allow-Origin", "*")
		return
	}
	text, ok := f.pages[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, text)
}

// at is the address of a page of this server under a host name.
func (f *foreign) at(host, path string) string { return "http://" + host + ":" + f.port + path }

func (f *foreign) serve(path, html string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pages[path] = html
}

func (f *foreign) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits = nil
}

func (f *foreign) beacons() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// until waits for a condition that another process makes true.
func until(what string, ok func() (bool, error)) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("waited in vain: " + what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
