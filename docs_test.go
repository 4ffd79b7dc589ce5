package vitrine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The examples in the documentation work. Each page gets a server, a data
// directory, a folder and a shell of its own. The lines after "$ " of console
// blocks are run, and what follows them is what they print; sh blocks are run,
// and go blocks, which are whole programs, and "# prints: " or "// prints: "
// says which lines come, in order. "…" stands for anything.

// An example is one command or block with the lines that it prints.
type example struct {
	line   int // in the page
	goCode bool
	script string
	prints []string
}

// follows reports whether the example goes on until it is stopped.
func (e example) follows() bool {
	return regexp.MustCompile(`curl -s?N |events \S+ .*-f\b`).MatchString(e.script)
}

// comments has how a comment begins in the blocks that are run as a whole.
var comments = map[string]string{"sh": "#", "go": "//"}

// asks reports whether the example waits for a person to let it in.
func (e example) asks() bool {
	return regexp.MustCompile(`vitrine login\n|LoginByDevice`).MatchString(e.script)
}

var userCode = regexp.MustCompile(`/device\?user_code=(\S+)`)

// examples reads the examples of a page.
func examples(text string) []example {
	var list []example
	kind := ""
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		printed, prints := strings.CutPrefix(line, comments[kind]+" prints: ")
		command, isCommand := strings.CutPrefix(line, "$ ")
		last := len(list) - 1
		switch {
		case isFence && kind != "":
			kind = ""
		case isFence:
			if kind = fence; kind == "" {
				kind = "plain"
			}
			if comments[kind] != "" {
				list = append(list, example{line: i + 2, goCode: kind == "go"})
			}
		case comments[kind] != "" && prints:
			list[last].prints = append(list[last].prints, printed)
		case comments[kind] != "":
			list[last].script += line + "\n"
		case kind == "console" && isCommand:
			list = append(list, example{line: i + 1, script: command + "\n"})
		case kind == "console" && line != "":
			list[last].prints = append(list[last].prints, line)
		}
	}
	return list
}

func TestExamplesAreFound(t *testing.T) {
	got := examples("x\n```sh\na \\\n  b\n# prints: 1…\n```\n```\n$ no\n```\n```console\n$ c\nout\n$ d\n```\n```go\ncode\n// prints: 2\n```\n")
	want := []example{
		{line: 3, script: "a \\\n  b\n", prints: []string{"1…"}},
		{line: 11, script: "c\n", prints: []string{"out"}},
		{line: 13, script: "d\n"},
		{line: 16, goCode: true, script: "code\n", prints: []string{"2"}},
	}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(example{})); diff != "" {
		t.Error(diff)
	}
}

// Links of one page to another lead somewhere, to the heading that they name.
func TestLinksLead(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
	}
	n := 0
	for _, page := range append(pages, "README.md", "ARCHITECTURE.md") {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(page), -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(link[1], "://") {
				continue
			}
			n++
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if text := read(target); anchor != "" && !slices.Contains(anchors(text), anchor) {
				t.Errorf("%s: %s leads to no heading", page, link[1])
			}
		}
	}
	if n < 25 {
		t.Errorf("only %d links were found", n)
	}
}

// anchors returns the names that the headings of a page have on the web.
func anchors(text string) []string {
	var list []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return list
}

// pattern returns a regular expression for an expected line.
func pattern(line string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
}

// unmet returns the first expected line that does not come, in order.
func unmet(prints []string, output string) string {
	lines := strings.Split(strings.ReplaceAll(output, "\r", ""), "\n")
	for _, want := range prints {
		p, found := pattern(want), false
		for len(lines) > 0 && !found {
			found = p.MatchString(lines[0])
			lines = lines[1:]
		}
		if !found {
			return want
		}
	}
	return ""
}

// needed fails or skips a test where a program is missing.
func needed(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("VITRINE_TEST_STRICT") != "" {
			t.Fatalf("%s is missing, and VITRINE_TEST_STRICT allows no skip", name)
		}
		t.Skipf("install %s to run the examples, or set VITRINE_TEST_STRICT to fail without it", name)
	}
}

var builtProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vitrine-docs-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "vitrine"), "./cmd/vitrine").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := builtProgram(); dir != "" && err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func TestExamples(t *testing.T) {
	needed(t, "bash", "curl", "unzip", "openssl")
	if _, err := builtProgram(); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, name := range append(pages, "README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list := examples(string(text))
		if len(list) == 0 {
			continue
		}
		ran += len(list)
		t.Run(name, func(t *testing.T) { newReader(t).try(name, list) })
	}
	if ran < 25 {
		t.Errorf("only %d examples were found", ran)
	}
}

// reader does what a reader of a page does.
type reader struct {
	*testing.T
	dir string // where commands run
	env []string
	url string
}

// The first API key of each server, and how pages write it.
const (
	bootstrapKey = "tm_pf_default_ak_examples-of-the-documentation-only-0"
	shownKey     = "tm_pf_default_ak_…"
)

// newReader starts a server.
func newReader(t *testing.T) *reader {
	t.Helper()
	bin, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.MkdirTemp("", "v") // short: a socket's name is in it
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{T: t, dir: t.TempDir()}
	for _, name := range []string{"README.md", "LICENSE"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(os.Environ(), "HOME="+r.dir, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"VITRINE_LISTEN=127.0.0.1:0", "VITRINE_METRICS_LISTEN=127.0.0.1:0", "VITRINE_DATA="+data, "VITRINE_LOG_LEVEL=warn", "VITRINE_DEVICE_INTERVAL=1s")
	server := exec.Command(filepath.Join(bin, "vitrine"), "serve")
	server.Env = append(r.env, "VITRINE_BOOTSTRAP_KEY="+bootstrapKey)
	server.Dir, server.Stderr = r.dir, os.Stderr
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines, drained := bufio.NewReader(out), make(chan struct{})
	first, err := lines.ReadString('\n')
	go func() {
		defer close(drained)
		io.Copy(io.Discard, lines)
	}()
	t.Cleanup(func() {
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-drained // before Wait, which closes the pipe
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended badly: %v", err)
		}
		os.RemoveAll(data)
	})
	address := regexp.MustCompile(`http://\S+`).FindString(first)
	if err != nil || address == "" {
		t.Fatalf("the server says %q, %v", first, err)
	}
	r.url = address
	r.env = append(r.env, "VITRINE_SERVER="+address)
	return r
}

// try runs the examples of a page one after the other.
func (r *reader) try(page string, list []example) {
	r.Helper()
	for _, e := range list {
		switch {
		case strings.Contains(e.script, "git clone"):
			continue // it is where we are
		case strings.Contains(e.script, "vitrine serve"):
			continue // it runs
		}
		script := strings.NewReplacer("http://127.0.0.1:6400", r.url, "go run ./cmd/vitrine", "vitrine", shownKey, bootstrapKey).Replace(e.script)
		for i, line := range e.prints {
			e.prints[i] = strings.ReplaceAll(line, "http://127.0.0.1:6400", r.url)
		}
		if e.goCode {
			script = r.build(script, e)
		}
		output, err := r.run(script, e)
		if want := unmet(e.prints, output); want != "" || err != nil {
			r.Fatalf("%s:%d: %v\n%s\nprinted:\n%s\nmissing, in this order: %q", page, e.line, err, e.script, output, want)
		}
	}
}

// approve is the person at the browser: it sends the form that the page shows
// for a code.
func (r *reader) approve(code string) {
	resp, err := http.PostForm(r.url+"/device", url.Values{"user_code": {code}, "api_key": {bootstrapKey}, "action": {"approve"}})
	if err != nil {
		r.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.Errorf("approve %s: %s", code, resp.Status)
	}
}

// build compiles a program with this module and returns the command that runs
// it.
func (r *reader) build(program string, e example) string {
	name := filepath.Join(r.dir, fmt.Sprintf("example%d", e.line))
	if err := os.WriteFile(name+".go", []byte(program), 0o600); err != nil {
		r.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", name, name+".go").CombinedOutput(); err != nil {
		r.Fatalf("line %d: %v\n%s", e.line, err, out)
	}
	return name
}

// shell begins every script: for the reader of a page all of it is one shell,
// so what one example sets the next ones know.
const shell = `set -aeo pipefail
[ ! -f "$HOME/.set" ] || . "$HOME/.set"
trap '{ export -p; declare -f; } >"$HOME/.set"' EXIT
`

// run runs a script and returns what a terminal would show. One that goes on
// for ever is stopped as soon as everything expected came, and one that waits
// for a person to let it in gets one.
func (r *reader) run(script string, e example) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", shell+script)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, terminal, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = terminal, terminal
	err = cmd.Start()
	terminal.Close()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	buf := make([]byte, 64<<10)
	enough, asked := false, !e.asks()
	for err == nil && !enough {
		var n int
		n, err = out.Read(buf)
		text.Write(buf[:n])
		enough = e.follows() && unmet(e.prints, text.String()) == ""
		if code := userCode.FindStringSubmatch(text.String()); code != nil && !asked {
			asked = true
			r.approve(code[1])
		}
	}
	if enough {
		cancel()
		cmd.Wait() // killed, by us
		return text.String(), nil
	}
	if err := cmd.Wait(); err != nil {
		return text.String(), err
	}
	return text.String(), nil
}
