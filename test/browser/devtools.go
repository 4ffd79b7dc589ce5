package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// browser is a Chromium that is spoken to over a pipe: messages are JSON with a
// zero byte behind each.
type browser struct {
	cmd *exec.Cmd
	to  *os.File
	ctx context.Context //nolint:containedctx // the whole run's

	mu      sync.Mutex // guards all below
	last    int
	waiting map[int]chan message
	pages   map[string]*page // by DevTools session
	broken  error
}

// message is a command, its answer or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// foreignName is a host name that only this browser knows, as this machine.
const foreignName = "evil.example"

func startBrowser(ctx context.Context, program, dir string, log io.Writer) (*browser, error) {
	theirs, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--mute-audio", "--host-resolver-rules=MAP "+foreignName+" 127.0.0.1, MAP *."+foreignName+" 127.0.0.1",
		"--user-data-dir="+filepath.Join(dir, "profile"), "about:blank")
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "--no-sandbox") // it refuses root otherwise; the pages are ours
	}
	cmd.ExtraFiles = []*os.File{theirs, theirOut}
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	if err := errors.Join(theirs.Close(), theirOut.Close()); err != nil {
		return nil, err
	}
	b := &browser{cmd: cmd, to: to, ctx: ctx, waiting: map[int]chan message{}, pages: map[string]*page{}}
	go b.read(from) // ends with the browser
	return b, nil
}

// read hands on what the browser says until it ends.
func (b *browser) read(from *os.File) {
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		var m message
		if err == nil {
			err = json.Unmarshal(text[:len(text)-1], &m)
		}
		b.mu.Lock()
		switch {
		case err != nil:
			b.broken = fmt.Errorf("the browser ended: %w", err)
			for _, c := range b.waiting {
				close(c)
			}
			b.waiting = nil
		case m.ID != 0:
			if c := b.waiting[m.ID]; c != nil {
				c <- m
				delete(b.waiting, m.ID)
			}
		case b.pages[m.SessionID] != nil:
			b.pages[m.SessionID].happened(m)
		}
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// call sends a command and stores its result in out, which may be nil.
func (b *browser) call(session, method string, params, out any) error {
	text, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answered := make(chan message, 1)
	b.mu.Lock()
	if b.broken != nil {
		defer b.mu.Unlock()
		return b.broken
	}
	b.last++
	m := message{ID: b.last, SessionID: session, Method: method, Params: text}
	b.waiting[m.ID] = answered
	text, err = json.Marshal(m)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, ok := <-answered:
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser ended", method)
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case out != nil:
			return json.Unmarshal(m.Result, out)
		}
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s: no answer", method)
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// close ends the browser and all its processes.
func (b *browser) close() error {
	_ = b.call("", "Browser.close", struct{}{}, nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.cmd.Wait() // it may have been killed
	}()
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
	}
	err := syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	return errors.Join(err, b.to.Close())
}

// page is one tab, in a profile of its own.
type page struct {
	b       *browser
	session string
	context string

	mu       sync.Mutex // guards all below
	loads    chan struct{}
	requests map[string]string // URLs by request
	statuses map[string][]int  // answers as they came over the network, by request
}

// open opens an empty tab.
func (b *browser) open() (*page, error) {
	var made struct {
		BrowserContextID string `json:"browserContextId"`
	}
	if err := b.call("", "Target.createBrowserContext", map[string]any{}, &made); err != nil {
		return nil, err
	}
	err := b.call("", "Browser.setDownloadBehavior", map[string]any{"behavior": "deny", "browserContextId": made.BrowserContextID}, nil)
	if err != nil {
		return nil, err
	}
	var target struct {
		TargetID string `json:"targetId"`
	}
	err = b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": made.BrowserContextID}, &target)
	if err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p := &page{b: b, session: attached.SessionID, context: made.BrowserContextID, loads: make(chan struct{}, 64),
		requests: map[string]string{}, statuses: map[string][]int{}}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page.enable", "Runtime.enable", "Network.enable"} {
		if err := b.call(p.session, domain, struct{}{}, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *page) close() error {
	return p.b.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": p.context}, nil)
}

// happened notes an event. It must not call the browser.
func (p *page) happened(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case p.loads <- struct{}{}:
		default:
		}
	case "Network.requestWillBeSent":
		var e struct {
			RequestID string `json:"requestId"`
			Request   struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if json.Unmarshal(m.Params, &e) == nil {
			p.requests[e.RequestID] = e.Request.URL
		}
	case "Network.responseReceivedExtraInfo":
		// What came over the network, also where the page is not let see it.
		var e struct {
			RequestID  string `json:"requestId"`
			StatusCode int    `json:"statusCode"`
		}
		if json.Unmarshal(m.Params, &e) == nil {
			p.statuses[e.RequestID] = append(p.statuses[e.RequestID], e.StatusCode)
		}
	}
}

// answered returns the statuses with which a URL was answered.
func (p *page) answered(url string) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []int
	for request, statuses := range p.statuses {
		if p.requests[request] == url {
			all = append(all, statuses...)
		}
	}
	return all
}

// visit goes to a URL and waits until it has loaded. It reports whether the
// browser made a download of it instead.
func (p *page) visit(url string) (download bool, err error) {
	for len(p.loads) > 0 {
		<-p.loads
	}
	var r struct {
		ErrorText  string `json:"errorText"`
		IsDownload bool   `json:"isDownload"`
	}
	if err := p.b.call(p.session, "Page.navigate", map[string]any{"url": url}, &r); err != nil {
		return false, err
	}
	if r.IsDownload || r.ErrorText == "net::ERR_ABORTED" {
		return true, nil
	}
	if r.ErrorText != "" {
		return false, fmt.Errorf("visit %s: %s", url, r.ErrorText)
	}
	select {
	case <-p.loads:
		return false, nil
	case <-time.After(10 * time.Second):
		return false, fmt.Errorf("visit %s: it did not load", url)
	}
}

// eval runs the body of an async function in the page and stores what it
// returns in out, which may be nil.
func (p *page) eval(out any, body string, args ...any) error {
	text, err := json.Marshal(append([]any{}, args...))
	if err != nil {
		return err
	}
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err = p.b.call(p.session, "Runtime.evaluate", map[string]any{
		"expression": "(async (...args) => {\n" + body + "\n})(..." + string(text) + ")", "awaitPromise": true, "returnByValue": true,
	}, &r)
	switch {
	case err != nil:
		return err
	case r.ExceptionDetails != nil:
		return fmt.Errorf("in the page: %s %s", r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	case out != nil && r.Result.Value != nil:
		return json.Unmarshal(r.Result.Value, out)
	}
	return nil
}
