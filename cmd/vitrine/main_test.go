package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vitrine-hq/vitrine/client"
)

// capture returns an app without a terminal and what it writes.
func capture() (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &app{stdin: strings.NewReader(""), stdout: stdout, stderr: stderr}, stdout, stderr
}

// Each flag can be set by a variable of its name, and says what it does.
func TestFlagsHaveVariablesAndHelp(t *testing.T) {
	a, _, _ := capture()
	parser, err := a.parser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, n := range parser.Model.Leaves(false) {
		if !strings.HasSuffix(n.Help, ".") {
			t.Errorf("%s: its help is %q", n.Name, n.Help)
		}
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue
			}
			seen++
			want := "VITRINE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if !slices.Contains(f.Envs, want) {
				t.Errorf("%s --%s has the variables %q, want %s", n.Name, f.Name, f.Envs, want)
			}
			if !strings.HasSuffix(f.Help, ".") || len(f.Help) < 10 {
				t.Errorf("%s --%s: its help is %q", n.Name, f.Name, f.Help)
			}
		}
		for _, p := range n.Positional {
			if !strings.HasSuffix(p.Help, ".") {
				t.Errorf("%s <%s>: its help is %q", n.Name, p.Name, p.Help)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d flags were looked at", seen)
	}
}

// parse returns what a command line sets, with the variables of env.
func parse(t *testing.T, env map[string]string, args ...string) (*commands, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	a, _, _ := capture()
	parser, err := a.parser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	line, err := parser.Parse(args)
	if err != nil {
		return nil, err
	}
	return line.Model.Target.Addr().Interface().(*commands), nil
}

func TestServeDefaults(t *testing.T) {
	c, err := parse(t, nil, "serve")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Serve
	if s.Listen != "127.0.0.1:6400" || s.DB != "" || !s.ImplicitSessions || !s.Watch || bool(s.AutoClean) || s.MaxUpload != 0 ||
		s.InlineLimit != 16<<10 || s.DataURILimit != 20<<20 || s.Retention != 0 || s.KeepEvents != 0 || s.Auth != "auto" ||
		s.MetricsListen != defaultMetricsListen || s.ExposeLocalPaths || s.Scan != "" || s.ScanMode != "hold" || s.ScanFailure != "refuse" {
		t.Errorf("got %+v", s)
	}
	if diff := cmp.Diff([]string{".git", "node_modules", ".venv", "__pycache__"}, s.Ignore); diff != "" {
		t.Error(diff)
	}
}

func TestServeVariables(t *testing.T) {
	c, err := parse(t, map[string]string{
		"VITRINE_LISTEN": "127.0.0.1:1", "VITRINE_DB": "sqlite", "VITRINE_IMPLICIT_SESSIONS": "false", "VITRINE_MAX_UPLOAD": "10MiB",
		"VITRINE_RETENTION": "30d", "VITRINE_KEEP_EVENTS": "all", "CORS_ALLOW_ORIGINS": "http://a,http://b", "VITRINE_IGNORE": "x",
	}, "serve", "--listen", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Serve
	if s.Listen != "127.0.0.1:2" {
		t.Errorf("the flag does not win: %s", s.Listen)
	}
	if s.DB != "" || s.ImplicitSessions || s.MaxUpload != 10<<20 || time.Duration(s.Retention) != 30*24*time.Hour {
		t.Errorf("got %+v", s)
	}
	if diff := cmp.Diff([]string{"http://a", "http://b"}, s.CORSOrigins); diff != "" {
		t.Error(diff)
	}
}

// The older name of the switch is truthy as it always was: anything else is off.
func TestAutoClean(t *testing.T) {
	for value, want := range map[string]truth{"1": true, "true": true, strings.Repeat(" ", 2) + "YES ": true, "Yes": true, "0": false, "on": false, "": false, "false": false, "maybe": false} {
		t.Run(value, func(t *testing.T) {
			c, err := parse(t, map[string]string{"MAC_AUTO_CLEAN_ATTACHMENTS": value}, "serve")
			if err != nil {
				t.Fatal(err)
			}
			if c.Serve.AutoClean != want {
				t.Errorf("%q: got %v", value, c.Serve.AutoClean)
			}
		})
	}
	for arg, want := range map[string]truth{"--auto-clean": true, "--auto-clean=true": true, "--auto-clean=false": false} {
		c, err := parse(t, nil, "serve", arg)
		if err != nil {
			t.Fatal(err)
		}
		if c.Serve.AutoClean != want {
			t.Errorf("%s: got %v", arg, c.Serve.AutoClean)
		}
	}
}

func TestMessages(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
		code int
	}{
		"none":        {nil, "", exitDone},
		"plain":       {errors.New("open x: denied"), "vitrine: open x: denied\n", exitFailed},
		"lower case":  {&client.Error{Status: 418, Message: "Session is odd."}, "vitrine: session is odd. (418)\n", exitFailed},
		"abbreviated": {errors.New("URL is odd"), "vitrine: URL is odd\n", exitFailed},
		"hint":        {withHint(errors.New("no"), "say %s", "yes"), "vitrine: no\nvitrine: hint: say yes\n", exitFailed},
		"usage":       {withHint(usage("what"), "that"), "vitrine: what\nvitrine: hint: that\n", exitUsage},
		"silent":      {errSilent, "", exitFailed},
		"no session": {inSession(&client.Error{Status: 404, Message: "Session not found"}, "build-7"),
			"vitrine: no session \"build-7\"\nvitrine: hint: list sessions with \"vitrine ls\"\n", exitFailed},
		"server's fault": {&client.Error{Status: 500, Message: "An internal server error occurred", CorrelationID: "c1"},
			"vitrine: an internal server error occurred (500), request c1\n", exitFailed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, stdout, stderr := capture()
			if code := a.fail(tt.err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.want, stderr.String()); diff != "" || stdout.Len() > 0 {
				t.Errorf("%s\nstdout: %q", diff, stdout)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{
		"version": exitDone, "serve --help": exitDone, "": exitDone, "nothing": exitUsage, "ls --nothing": exitUsage,
		"up x": exitUsage, "get s": exitUsage, "ls --at 3": exitUsage, "ls --server x": exitUsage, "ls x/y": exitUsage,
		"up missing -s s": exitFailed, "check --data /missing": exitFailed,
	} {
		a, _, stderr := capture()
		if got := a.run(t.Context(), strings.Fields(line)); got != want {
			t.Errorf("vitrine %s: exit code %d, want %d\n%s", line, got, want, stderr)
		}
	}
}

func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"a b.txt": "a b.txt", "日本.md": "日本.md", "": `""`, "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`, "a\u202eb": `"a\u202eb"`, "\xff": `"\xff"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s, want %s", name, got, want)
		}
	}
}
