package main

import (
	"fmt"
	"slices"
	"strings"
)

// hostile is what a page of a foreign site tries. The server, not only the
// browser, must refuse it: what counts is the status on the network and that
// nothing was made.
var hostile = []testCase{
	{"foreign page: fetch reads nothing", foreignReads},
	{"foreign page: fetch writes nothing", foreignWrites},
	{"foreign page: WebSocket and EventSource are refused", foreignStreams},
	{"foreign page: a form that is sent writes nothing", foreignForm},
	{"foreign page: scripts, images and styles of the API are refused", foreignTags},
	{"page without an origin: refused", withoutOrigin},
	{"rebound DNS name: refused by its Host", rebound},
}

// refused fails unless every answer to a URL was one of the statuses.
func (p *page) refused(url string, allowed ...int) error {
	got := p.answered(url)
	if len(got) == 0 {
		return fmt.Errorf("%s was never answered", url)
	}
	for _, status := range got {
		if !slices.Contains(allowed, status) {
			return fmt.Errorf("%s was answered with %d", url, got)
		}
	}
	return nil
}

// unchanged runs f and fails if a session was made or changed meanwhile.
func (w *world) unchanged(f func() error) error {
	before, err := w.server.sessions()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := w.server.sessions()
	if err == nil && before != after {
		err = fmt.Errorf("sessions were %s and are %s", before, after)
	}
	return err
}

func (w *world) visitForeign(p *page) error {
	_, err := p.visit(w.foreign.at(foreignName, "/"))
	return err
}

func foreignReads(w *world, p *page) error {
	content, err := w.server.upload("secrets", "secret.txt", "text/plain", "secret")
	if err != nil {
		return err
	}
	if err := w.visitForeign(p); err != nil {
		return err
	}
	paths := []string{"/api/sessions", "/api/sessions/secrets/state", "/api/sessions/secrets/download", content, "/openapi.json"}
	var read []string
	err = p.eval(&read, `
		const [api, paths] = args, read = [];
		for (const path of paths) {
			for (const init of [{}, {mode: "no-cors"}, {credentials: "include"}]) {
				const text = await fetch(api + path, init).then(r => r.text(), () => "");
				if (text !== "") read.push(path + " " + JSON.stringify(init) + ": " + text.slice(0, 80));
			}
		}
		return read;`, w.server.url(""), paths)
	if err != nil {
		return err
	}
	if len(read) > 0 {
		return fmt.Errorf("it read %s", strings.Join(read, "; "))
	}
	for _, path := range paths {
		if err := p.refused(w.server.url(path), 403); err != nil {
			return err
		}
	}
	return nil
}

func foreignWrites(w *world, p *page) error {
	if err := w.visitForeign(p); err != nil {
		return err
	}
	err := w.unchanged(func() error {
		return p.eval(nil, `
			const [api] = args;
			const form = () => { const f = new FormData(); f.append("file", new File(["x"], "x.txt")); return f; };
			const tries = {
				form: ["/api/uploads/stolen", {method: "POST", body: form()}],
				blind: ["/api/uploads/stolen2", {method: "POST", body: form(), mode: "no-cors"}],
				plain: ["/api/sessions", {method: "POST", body: '{"session_id":"stolen"}', mode: "no-cors"}],
				put: ["/api/uploads/stolen/x.txt", {method: "PUT", body: "x"}],
				json: ["/api/sessions", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}],
				remove: ["/api/sessions/secrets", {method: "DELETE"}],
			};
			for (const [name, [path, init]] of Object.entries(tries)) {
				const r = await fetch(api + path, init).catch(() => null);
				if (r && r.type !== "opaque") throw new Error(name + " was answered with " + r.status);
			}
			navigator.sendBeacon(api + "/api/uploads/stolen3", form());
			await new Promise(r => setTimeout(r, 100));`, w.server.url(""))
	})
	if err != nil {
		return err
	}
	for _, path := range []string{"/api/uploads/stolen", "/api/uploads/stolen2", "/api/sessions", "/api/uploads/stolen/x.txt", "/api/sessions/secrets"} {
		if err := p.refused(w.server.url(path), 403, 400); err != nil { // 400 to a preflight
			return err
		}
	}
	return nil
}

func foreignStreams(w *world, p *page) error {
	if err := w.visitForeign(p); err != nil {
		return err
	}
	err := w.unchanged(func() error {
		return p.eval(nil, `
			const [host] = args;
			const outcome = (target, bad) => new Promise((resolve) => {
				target.onopen = () => resolve("opened");
				target.onmessage = () => resolve("received");
				target.onerror = () => resolve(bad());
				setTimeout(() => resolve("hangs"), 5000);
			});
			const ws = await outcome(new WebSocket("ws://" + host + "/ws"), () => "refused");
			const joined = await outcome(new WebSocket("ws://" + host + "/ws?session_id=secrets&after=0"), () => "refused");
			const source = new EventSource("http://" + host + "/api/sessions/secrets/events");
			const es = await outcome(source, () => source.readyState === 2 ? "refused" : "tries again");
			if (ws + joined + es !== "refusedrefusedrefused") throw new Error([ws, joined, es].join(", "));`, w.server.addr)
	})
	if err != nil {
		return err
	}
	return p.refused(w.server.url("/api/sessions/secrets/events"), 403)
}

// foreignForm sends forms as a click would, which leaves the page.
func foreignForm(w *world, p *page) error {
	for i, kind := range []string{"multipart/form-data", "text/plain", "application/x-www-form-urlencoded"} {
		if err := w.visitForeign(p); err != nil {
			return err
		}
		target := w.server.url(fmt.Sprintf("/api/uploads/stolen-%d", i))
		err := w.unchanged(func() error {
			err := p.eval(nil, `
				const f = document.createElement("form");
				Object.assign(f, {method: "POST", action: args[0], enctype: args[1]});
				const i = Object.assign(document.createElement("textarea"), {name: "file", value: "x"});
				f.append(i); document.body.append(f);
				setTimeout(() => f.submit()); // the answer to this script must leave before the page does`, target, kind)
			if err != nil {
				return err
			}
			return until("the form's answer", func() (bool, error) { return len(p.answered(target)) > 0, nil })
		})
		if err == nil {
			err = p.refused(target, 403)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func foreignTags(w *world, p *page) error {
	image, err := w.server.upload("secrets", "pixel.gif", "image/gif", gif)
	if err != nil {
		return err
	}
	if err := w.visitForeign(p); err != nil {
		return err
	}
	err = p.eval(nil, `
		const [api, image] = args;
		const tag = (name, props) => new Promise(resolve => {
			const e = Object.assign(document.createElement(name), props);
			e.onload = () => resolve(name + " loaded " + (props.src || props.href));
			e.onerror = () => resolve("");
			document.body.append(e);
		});
		const bad = (await Promise.all([
			tag("script", {src: api + "/api/sessions"}), tag("img", {src: api + image}), tag("video", {src: api + image}),
			tag("link", {rel: "stylesheet", href: api + "/api/sessions"}),
		])).filter(x => x);
		if (bad.length) throw new Error(bad.join("; "));`, w.server.url(""), image)
	if err != nil {
		return err
	}
	return p.refused(w.server.url(image), 403)
}

// withoutOrigin tries from a sandboxed frame, whose origin is "null", in a page
// that by itself would be let in.
func withoutOrigin(w *world, p *page) error {
	if _, err := p.visit(w.foreign.at("127.0.0.1", "/")); err != nil {
		return err
	}
	var outcome string
	err := w.unchanged(func() error {
		return p.eval(&outcome, `
			const [api] = args;
			const said = new Promise(resolve => addEventListener("message", e => resolve(e.data)));
			const f = document.createElement("iframe");
			f.sandbox = "allow-scripts";
			f.srcdoc = "<script>(async () => {" +
				"const read = await fetch('" + api + "/api/sessions').then(() => 'read', () => 'refused');" +
				"const form = new FormData(); form.append('file', new File(['x'], 'x'));" +
				"const wrote = await fetch('" + api + "/api/uploads/null', {method: 'POST', body: form}).then(() => 'wrote', () => 'refused');" +
				"parent.postMessage(read + ' ' + wrote + ' ' + origin, '*');})()<\/script>";
			document.body.append(f);
			return said;`, w.server.url(""))
	})
	if err == nil && outcome != "refused refused null" {
		err = fmt.Errorf("outcome %q", outcome)
	}
	return err
}

// rebound comes under a foreign name that leads to the server itself, which
// makes the browser take both for one origin.
func rebound(w *world, p *page) error {
	_, port, _ := strings.Cut(w.server.addr, ":")
	origin := "http://" + foreignName + ":" + port
	if _, err := p.visit(origin + "/"); err != nil {
		return err
	}
	if err := p.refused(origin+"/", 403); err != nil {
		return err
	}
	return w.unchanged(func() error {
		return p.eval(nil, `
			const r = await fetch("/api/sessions");
			if (r.status !== 403) throw new Error("read: " + r.status);
			const form = new FormData(); form.append("file", new File(["x"], "x"));
			const up = await fetch("/api/uploads/rebound", {method: "POST", body: form});
			if (up.status !== 403) throw new Error("upload: " + up.status);
			const ws = new WebSocket("ws://" + location.host + "/ws");
			const opened = await new Promise(r => { ws.onopen = () => r(true); ws.onerror = () => r(false); });
			if (opened) throw new Error("the WebSocket opened");`)
	})
}
