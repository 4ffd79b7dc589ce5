// Package main is the program vitrine: the server, and the commands that speak
// to one. A command is a struct with its flags and a Run method, one per file;
// what a use case does is in package depot, how HTTP is spoken in packages api
// and client. Read this file first, then run.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// version is set by the linker.
var version = ""

func init() {
	if info, ok := debug.ReadBuildInfo(); version == "" && ok {
		version = info.Main.Version
	}
	if version == "" {
		version = "unknown"
	}
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// app is what a command sees of the world around it.
type app struct {
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	terminal bool // stderr is one: people watch
}

// commands is the command line.
type commands struct {
	Serve   serveCmd   `cmd:"" group:"server" help:"Run the server."`
	Check   checkCmd   `cmd:"" group:"server" help:"Compare all bytes with what the database says of them."`
	Backup  backupCmd  `cmd:"" group:"server" help:"Copy everything to a folder while the server goes on."`
	Restore restoreCmd `cmd:"" group:"server" help:"Make a data directory from a backup."`
	Sweep   sweepCmd   `cmd:"" group:"server" help:"Delete what nothing refers to and what is too old."`

	Key    keyCmd    `cmd:"" group:"accounts" help:"Make, list and revoke API keys."`
	Tenant tenantCmd `cmd:"" group:"accounts" help:"Make, limit, suspend and delete tenants."`
	Login  loginCmd  `cmd:"" group:"accounts" help:"Log in to a server."`
	Logout logoutCmd `cmd:"" group:"accounts" help:"End the login to a server."`
	Audit  auditCmd  `cmd:"" group:"accounts" help:"Show who did what in a tenant."`

	Up     upCmd     `cmd:"" group:"files" help:"Upload files into a session."`
	Ls     lsCmd     `cmd:"" group:"files" help:"List sessions, or the files of one."`
	Get    getCmd    `cmd:"" group:"files" help:"Download files of a session."`
	Zip    zipCmd    `cmd:"" group:"files" help:"Download a session as a zip."`
	Events eventsCmd `cmd:"" group:"files" help:"Show what happened in a session, and what happens."`
	Rm     rmCmd     `cmd:"" group:"files" help:"Delete sessions, or artifacts of the library."`

	Save  saveCmd  `cmd:"" group:"library" help:"Save a file in the library."`
	Cat   catCmd   `cmd:"" group:"library" help:"Write an artifact of the library to standard output."`
	Files filesCmd `cmd:"" group:"library" help:"List the library."`

	Bench      benchCmd      `cmd:"" group:"other" help:"Measure a server."`
	Version    versionCmd    `cmd:"" group:"other" help:"Show the version."`
	Completion completionCmd `cmd:"" group:"other" help:"Write a completion script for a shell."`
}

const description = `Vitrine keeps the files of agents and workflows: it takes them in, tells who follows what changes, and gives them back.

  vitrine serve                      run the server
  vitrine up report.md -s demo       upload a file into the session "demo"
  vitrine events demo -f             follow what happens there
  vitrine save plan.md /docs/plan.md keep a file in the library`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second interrupt ends the program at once
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// exit carries the code of a help flag through kong, which has shown the help.
type exit int

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) (code int) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case exit:
			code = int(p)
		default:
			panic(p)
		}
	}()
	parser, err := a.parser(ctx)
	if err != nil {
		return a.fail(err)
	}
	switch {
	case len(args) == 0, args[0] == "help":
		args = []string{"--help"}
	case args[0] == "--version":
		args = []string{"version"}
	}
	line, err := parser.Parse(args)
	if err != nil {
		return a.misused(err)
	}
	return a.fail(line.Run())
}

func (a *app) parser(ctx context.Context) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("vitrine"),
		kong.Description(description),
		kong.DefaultEnvars("VITRINE"),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "server", Title: "Server:"},
			{Key: "accounts", Title: "Accounts:"},
			{Key: "files", Title: "Files of sessions, on a running server:"},
			{Key: "library", Title: "The library, on a running server:"},
			{Key: "other", Title: "Other:"},
		}),
		kong.Bind(a),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
}

// misused tells of a command line that was not understood.
func (a *app) misused(err error) int {
	hint := `see "vitrine --help"`
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			hint = fmt.Sprintf("see \"%s --help\"", node.FullPath())
		}
	}
	a.say("%v", err)
	a.say("hint: %s", hint)
	return exitUsage
}

// fail tells of an error and returns the exit code for it.
func (a *app) fail(err error) int {
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errSilent) {
		a.say("%v", explain(err))
	}
	if hint, ok := errors.AsType[*hinted](err); ok {
		a.say("hint: %s", hint.hint)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// say writes a line for people. Nobody is left to tell when that fails.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "vitrine: "+format+"\n", args...)
}
