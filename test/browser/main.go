// Program browser tries a running server from a real Chromium: what a page of
// the server's own may do, what a page of a foreign site may not, and that
// nothing which was uploaded ever runs. It speaks the DevTools protocol over a
// pipe and needs no package. Start it with the script run; read cases.go first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	vitrine := flag.String("vitrine", "./vitrine", "the program to test")
	chromium := flag.String("chromium", "chromium", "the browser")
	verbose := flag.Bool("v", false, "show what browser and server say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	passed, failed, err := run(ctx, *vitrine, *chromium, *verbose)
	if err != nil {
		fmt.Fprintf(os.Stderr, "browser: %v\n", err)
		failed++
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		cancel()
		os.Exit(1) //nolint:gocritic // what is deferred was done: run has returned
	}
}

// run starts everything, runs every case and stops everything.
func run(ctx context.Context, vitrine, chromium string, verbose bool) (passed, failed int, err error) {
	dir, err := os.MkdirTemp("", "vitrine-browser-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &world{dir: dir}
	if verbose {
		w.log = os.Stderr
	}
	if w.server, err = startServer(ctx, vitrine, dir, w.log); err != nil {
		return 0, 0, err
	}
	defer func() { w.server.kill() }()
	if w.foreign, err = startForeign(); err != nil {
		return 0, 0, err
	}
	defer w.foreign.close()
	if w.browser, err = startBrowser(ctx, chromium, dir, w.log); err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, w.browser.close()) }()
	for _, c := range cases {
		begin := time.Now()
		if err := w.try(ctx, c); err != nil {
			failed++
			fmt.Printf("FAILED  %s\n        %v\n", c.name, err)
			continue
		}
		passed++
		fmt.Printf("ok      %s (%.1fs)\n", c.name, time.Since(begin).Seconds())
	}
	return passed, failed, ctx.Err()
}
