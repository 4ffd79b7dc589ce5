package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// greet says where the server is and what to do next. It shows a key that was
// made at this start; one that was given it never shows.
func (s *server) greet(w io.Writer, at listening) error {
	data, err := filepath.Abs(s.c.Data)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", s.c.Data, err)
	}
	url := "http://" + at.api
	var b strings.Builder
	fmt.Fprintf(&b, "vitrine %s listens on %s\n  page     %s/\n  data     %s\n  metrics  http://%s/metrics\n", version, url, url, data, at.metrics)
	login := "vitrine login"
	if s.firstKey != "" {
		fmt.Fprintf(&b, "  key      %s (shown this once)\n", s.firstKey)
		login += " --key"
	}
	if near := s.c.nearest(at.api); near != defaultServer {
		login = "export VITRINE_SERVER=" + near + "\n  " + login
	}
	if s.access.api.Required {
		fmt.Fprintf(&b, `
Nobody gets in without a token. Log in, send a file, and follow what happens:
  %s
  echo '# Hello' | vitrine up - --name hello.md -s demo
  vitrine events demo -f
Keep a file in the library:
  echo '# Plan' | vitrine save - /plan.md
`, login)
	} else {
		fmt.Fprintf(&b, `
Anybody who reaches this port can read and write all sessions. Send a file, and follow what happens:
  echo '# Hello' | curl -T - %s/api/uploads/demo/hello.md
  curl -N %s/api/sessions/demo/events
The library needs a token. Log in, and keep a file in it:
  %s
  echo '# Plan' | vitrine save - /plan.md
`, url, url, login)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("say where the server is: %w", err)
	}
	return nil
}
