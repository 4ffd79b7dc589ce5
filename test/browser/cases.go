package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// testCase is one thing that must hold. It gets an empty tab.
type testCase struct {
	name string
	run  func(*world, *page) error
}

var cases = slices.Concat(friendly, consent, shared, hostile, contents)

// friendly is what a page of the server, or of a neighbour on this machine, may do.
var friendly = []testCase{
	{"own page: it opens, and its links are the server's", landing},
	{"own page: WebSocket, upload by form, workspace change, download", wholeRound},
	{"own page: EventSource comes back after a crash without gap or repeat", comesBack},
	{"neighbour on localhost: reads and uploads by CORS, without credentials", neighbour},
}

func landing(w *world, p *page) error {
	if _, err := p.visit(w.server.url("/")); err != nil {
		return err
	}
	var page struct{ Title, Links string }
	err := p.eval(&page, `return {Title: document.title, Links: [...document.links].map(l => l.pathname).join(" ")}`)
	if err != nil {
		return err
	}
	if page.Title != "Vitrine" || !strings.Contains(page.Links, "/openapi.json") {
		return fmt.Errorf("the page says %+v", page)
	}
	return nil
}

// home opens the server's page so that scripts of ours, which are not the
// page's, may use the network in its name.
func (w *world) home(p *page) error {
	if err := p.b.call(p.session, "Page.setBypassCSP", map[string]bool{"enabled": true}, nil); err != nil {
		return err
	}
	_, err := p.visit(w.server.url("/"))
	return err
}

// Functions that the cases' scripts share.
const frames = `
const frames = [];
let wake = () => {};
const frame = async (type) => {
	for (let i = 0; i < 400; i++) {
		const at = frames.findIndex(f => f.type === type);
		if (at >= 0) return frames.splice(at, 1)[0];
		await new Promise(r => { wake = r; setTimeout(r, 25); });
	}
	throw new Error("no frame " + type + " among " + JSON.stringify(frames));
};
const hex = b => [...new Uint8Array(b)].map(x => x.toString(16).padStart(2, "0")).join("");
`

func wholeRound(w *world, p *page) error {
	if err := w.home(p); err != nil {
		return err
	}
	var session string
	err := p.eval(&session, frames+`
		const ws = new WebSocket("ws://" + location.host + "/ws");
		ws.onmessage = m => { frames.push(JSON.parse(m.data)); wake(); };
		const hello = await frame("connection");
		Object.assign(window, {ws, frame, hex});
		ws.send(JSON.stringify({type: "ping"}));
		await frame("pong");
		return hello.data.session_id;`)
	if err != nil {
		return err
	}
	content := strings.Repeat("höhö\n", 5000)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	err = p.eval(nil, `
		const [session, content, sum] = args;
		const form = new FormData();
		form.append("file", new File([content], "spec ü.md", {type: "text/markdown"}));
		const made = await (await fetch("/api/uploads/" + session, {method: "POST", body: form})).json();
		if (made.sha256 !== sum || made.name !== "spec ü.md") throw new Error("uploaded: " + JSON.stringify(made));
		const told = await window.frame("attachment_uploaded");
		if (told.data.attachment_id !== made.attachment_id || told.seq !== 1) throw new Error("told: " + JSON.stringify(told));
		const got = await (await fetch("/api/sessions/" + session + "/artifacts/" + made.attachment_id + "?mode=stream")).arrayBuffer();
		if (window.hex(await crypto.subtle.digest("SHA-256", got)) !== sum) throw new Error("other bytes came back");
		const meta = await (await fetch("/api/sessions/" + session + "/artifacts/" + made.attachment_id)).json();
		const inlined = await (await fetch(meta.data_uri)).text();
		if (inlined !== content) throw new Error("data_uri has other bytes");`, session, content, sum)
	if err != nil {
		return err
	}
	if err := w.server.write(session, "out/result.json", `{"ok":true}`); err != nil {
		return err
	}
	return p.eval(nil, `
		const [session] = args;
		const scan = await fetch("/api/sessions/" + session + "/scan", {method: "POST"});
		if (scan.status !== 200) throw new Error("scan: " + scan.status + await scan.text());
		const told = await window.frame("artifact_created");
		const e = told.data.events[0];
		if (told.data.events.length !== 1 || e.relative_path !== "out/result.json" || told.seq !== 2)
			throw new Error("told: " + JSON.stringify(told));
		const got = await (await fetch("/api/sessions/" + session + "/artifacts/" + e.artifact_id + "?mode=stream")).json();
		if (got.ok !== true) throw new Error("content: " + JSON.stringify(got));
		window.ws.close();`, session)
}

// comesBack kills the server under an EventSource, which reconnects by itself
// with its Last-Event-ID.
func comesBack(w *world, p *page) error {
	const session = "comes-back"
	send := func(from, to int) error {
		for i := from; i <= to; i++ {
			if _, err := w.server.upload(session, fmt.Sprintf("%d.txt", i), "text/plain", fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}
	seen := func(n int) error {
		return until(fmt.Sprintf("%d events", n), func() (bool, error) {
			var got int
			err := p.eval(&got, `return window.seen.length`)
			return got >= n, err
		})
	}
	if err := send(1, 3); err != nil {
		return err
	}
	if err := w.home(p); err != nil {
		return err
	}
	err := p.eval(nil, `
		window.seen = []; window.opened = 0;
		const es = new EventSource("/api/sessions/"+args[0]+"/events");
		es.onopen = () => window.opened++;
		es.addEventListener("attachment_uploaded", e => {
			const d = JSON.parse(e.data);
			window.seen.push({seq: d.seq, id: e.lastEventId, name: d.data.file_name});
		});`, session)
	if err != nil {
		return err
	}
	crash := func() error {
		w.server.kill()
		return w.server.start(p.b.ctx)
	}
	for _, step := range []func() error{
		func() error { return seen(3) }, func() error { return send(4, 5) }, func() error { return seen(5) },
		crash, func() error { return send(6, 8) }, func() error { return seen(8) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return p.sawAll(8)
}

// sawAll fails unless the page's EventSource came back and saw each of n events
// once, in order.
func (p *page) sawAll(n int) error {
	var got struct {
		Opened int
		Seen   []struct {
			Seq      int
			ID, Name string
		}
	}
	if err := p.eval(&got, `return {Opened: window.opened, Seen: window.seen}`); err != nil {
		return err
	}
	for i, e := range got.Seen {
		if e.Seq != i+1 || e.Name != fmt.Sprintf("%d.txt", i+1) || !strings.HasPrefix(e.ID, fmt.Sprintf("%d@", i+1)) {
			return fmt.Errorf("event %d is %+v", i+1, e)
		}
	}
	if got.Opened < 2 || len(got.Seen) != n {
		return fmt.Errorf("opened %d times, %d events", got.Opened, len(got.Seen))
	}
	return nil
}

func neighbour(w *world, p *page) error {
	if _, err := p.visit(w.foreign.at("localhost", "/")); err != nil {
		return err
	}
	return p.eval(nil, `
		const [api] = args;
		const form = new FormData();
		form.append("file", new File(["x"], "x.txt", {type: "text/plain"}));
		const up = await fetch(api + "/api/uploads/neighbour", {method: "POST", body: form});
		if (up.status !== 200) throw new Error("upload: " + up.status);
		const put = await fetch(api + "/api/uploads/neighbour/y.txt", {method: "PUT", body: "y"}); // with a preflight
		if (put.status !== 200) throw new Error("put: " + put.status);
		const shown = await (await fetch(api + "/api/sessions/neighbour")).json();
		if (shown.last_seq !== 2) throw new Error("session: " + JSON.stringify(shown));
		const withCookies = await fetch(api + "/api/sessions", {credentials: "include"}).then(() => "read", () => "refused");
		if (withCookies !== "refused") throw new Error("with credentials: " + withCookies);`, w.server.url(""))
}
