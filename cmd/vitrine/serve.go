package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/vitrine-hq/vitrine/depot"
)

// defaultMetricsListen must be what the tag of MetricsListen says.
const defaultMetricsListen = "127.0.0.1:6402"

// place says where a server's data is.
type place struct {
	Data string `type:"path" default:"./vitrine-data" placeholder:"DIR" help:"Data directory, with vitrine.db, blobs/ and WareHouse/. The server makes it if it is missing (default: ./vitrine-data)."`
	DB   string `name:"db" placeholder:"URL" help:"Database: postgres://user@host/name, or sqlite for the embedded one in the data directory (default)."`
}

// AfterApply makes the default of --db the empty text.
func (p *place) AfterApply() error {
	switch {
	case p.DB == "sqlite":
		p.DB = ""
	case p.DB != "" && !strings.HasPrefix(p.DB, "postgres://") && !strings.HasPrefix(p.DB, "postgresql://"):
		return fmt.Errorf("--db is neither sqlite nor an address that begins with postgres://")
	}
	return nil
}

// lifetimes say how long things are kept.
type lifetimes struct {
	Retention  age   `default:"never" placeholder:"AGE" help:"Delete sessions in which nothing happened for so long, such as 30d (default: never)."`
	KeepEvents count `default:"all" placeholder:"N" help:"Log entries kept per session; cursors older than that expire (default: all)."`
	SweepGrace age   `default:"24h" placeholder:"AGE" help:"Age from which bytes that nothing refers to are deleted; longer than any upload may take (default: 24h)."`
}

// serveCmd is vitrine serve; its Run is in run.go.
type serveCmd struct {
	Listen string `default:"127.0.0.1:6400" placeholder:"HOST:PORT" help:"Address of the API and the page. Port 0 takes a free one (default: 127.0.0.1:6400)."`
	place
	ImplicitSessions bool `default:"true" negatable:"" help:"The first upload to a new id makes the session."`

	MaxUpload         size          `default:"none" placeholder:"SIZE" help:"Largest file of an upload, such as 10MiB (default: none)."`
	UploadIdleTimeout time.Duration `default:"60s" placeholder:"TIME" help:"An upload that sends nothing for so long is cut off (default: 60s)."`
	UploadTimeout     time.Duration `default:"6h" placeholder:"TIME" help:"The longest that one upload may take (default: 6h)."`
	InlineLimit       size          `default:"16KiB" placeholder:"SIZE" help:"Contents up to this size are kept in the database instead of files (default: 16KiB)."`
	DataURILimit      size          `name:"data-uri-limit" default:"20MiB" placeholder:"SIZE" help:"Contents up to this size are part of what an artifact's description says (default: 20MiB)."`
	ExposeLocalPaths  bool          `help:"Show absolute paths of this machine in answers."`

	scanSettings

	lifetimes
	AutoClean truth `env:"VITRINE_AUTO_CLEAN,MAC_AUTO_CLEAN_ATTACHMENTS" help:"Delete the bytes of uploads when their session is left; outputs stay."`

	Watch  bool     `default:"true" negatable:"" help:"Notice changes in workspaces at once; without it they are noticed when somebody looks."`
	Ignore []string `default:".git,node_modules,.venv,__pycache__" placeholder:"NAME" help:"Names of folders in workspaces that are never captured, at any depth (default: ${default})."`

	accessSettings
	CORSOrigins   []string `name:"cors-origins" env:"VITRINE_CORS_ORIGINS,CORS_ALLOW_ORIGINS" placeholder:"ORIGIN" help:"Origins of web pages that may use the API, with credentials."`
	MetricsListen string   `default:"127.0.0.1:6402" placeholder:"HOST:PORT" help:"Address of /metrics. If the default is taken, a free port is used (default: 127.0.0.1:6402)."`

	LogFormat string `default:"auto" enum:"auto,text,json" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal (default: auto)."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least important messages that are shown: debug, info, warn or error (default: info)."`
}

// Help is the long help.
func (c *serveCmd) Help() string {
	return `Everything is in the data directory; the server can be killed at any moment and finds there what it has acknowledged. It prints its address first, and then one line of log per request.

The first start makes the first tenant and prints an API key, this once. With VITRINE_BOOTSTRAP_KEY set that key is used instead, and not printed.

Examples:

  vitrine serve
  vitrine serve --listen 127.0.0.1:7000 --data /srv/vitrine
  vitrine serve --retention 30d --max-upload 2GiB
  vitrine serve --listen 127.0.0.1:6400 --public-url https://vitrine.example --trusted-proxy 127.0.0.1
  vitrine serve --db postgres://vitrine@db.example/vitrine`
}

// Validate refuses settings that endanger data or cannot be meant.
func (c *serveCmd) Validate() error {
	if c.UploadIdleTimeout <= 0 || c.UploadTimeout <= 0 {
		return fmt.Errorf("--upload-idle-timeout and --upload-timeout must be above 0")
	}
	if time.Duration(c.SweepGrace) < c.UploadTimeout {
		return fmt.Errorf("--sweep-grace is shorter than --upload-timeout: the sweeper would delete uploads in the making")
	}
	return nil
}

// depotOptions returns the settings of the use cases.
func (c *serveCmd) depotOptions(dir *dataDir, log *slog.Logger) depot.Options {
	inline := int64(c.InlineLimit)
	if inline == 0 {
		inline = -1 // the depot takes 0 for its default
	}
	o := c.options(dir, log)
	o.InlineLimit, o.MaxUpload, o.Implicit = inline, int64(c.MaxUpload), c.ImplicitSessions
	o.Ignore, o.Watch, o.AutoClean, o.ExposePaths = c.Ignore, c.Watch, bool(c.AutoClean), c.ExposeLocalPaths
	return o
}

// options returns the settings that commands beside the server need too.
func (l *lifetimes) options(dir *dataDir, log *slog.Logger) depot.Options {
	return depot.Options{
		WareHouse: dir.wareHouse(), KeepEvents: int64(l.KeepEvents), Retention: time.Duration(l.Retention),
		SweepGrace: time.Duration(l.SweepGrace), Log: log,
	}
}

// logger returns the log of the server.
func (c *serveCmd) logger(w io.Writer) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, usage("--log-level: %v", err)
	}
	o.Level = level
	file, isFile := w.(*os.File)
	if c.LogFormat == "text" || c.LogFormat == "auto" && isFile && term.IsTerminal(int(file.Fd())) {
		return slog.New(slog.NewTextHandler(w, &o)), nil
	}
	return slog.New(slog.NewJSONHandler(w, &o)), nil
}

// absolute returns where the data directory is for another process.
func (p *place) absolute() (string, error) {
	abs, err := filepath.Abs(p.Data)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", p.Data, err)
	}
	return abs, nil
}
