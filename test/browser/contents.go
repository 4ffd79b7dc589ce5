package main

import (
	"fmt"
	"strings"
	"time"
)

// contents are uploads that want to run. Wherever they are opened on the API's
// origin, their scripts must not run and nothing of theirs may be fetched.
var contents = []testCase{
	{"control: the payload does run on a site that lets it", payloadRuns},
	{"contents: HTML, SVG, XML and polyglots do not run when opened", doNotRun},
	{"contents: they do not run in a frame of the server's own page", doNotRunFramed},
	{"contents: text is not taken as script, style or worker", notCode},
	{"contents: a picture and a text are shown", areShown},
}

const gif = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// payload is script that tells in every way it can that it ran.
func (w *world) payload(name string) string {
	beacon := w.foreign.at("127.0.0.1", "/beacon/"+name)
	return fmt.Sprintf(`document.title="pwned";new Image().src=%q;fetch(%q,{mode:"no-cors"});try{top.pwned=1}catch(e){};`,
		beacon, beacon)
}

type hostileFile struct{ name, contentType, content string }

// files returns uploads that would run if the server let them.
func (w *world) files(stylesheet string) []hostileFile {
	script := func(name string) string { return "<script>" + w.payload(name) + "</script>" }
	page := func(name string) string {
		return "<!doctype html><title>quiet</title><body>" + script(name) +
			`<img src="` + w.foreign.at("127.0.0.1", "/beacon/img-"+name) + `"><meta http-equiv="refresh" content="0;url=` +
			w.foreign.at("127.0.0.1", "/beacon/refresh-"+name) + `">`
	}
	svg := func(name string) string {
		return `<svg xmlns="http://www.w3.org/2000/svg" onload='` + w.payload(name) + `'><script><![CDATA[` + w.payload(name) + `]]></script></svg>`
	}
	return []hostileFile{
		{"a.html", "text/html", page("html")},
		{"b.html", "", page("html-by-name")},
		{"c.html", "text/HTML; charset=utf-8", page("html-upper")},
		{"d.txt", "text/plain", page("html-as-text")},
		{"e.txt", "text/plain; charset=utf-7", "+ADw-script+AD4-" + w.payload("utf7") + "+ADw-/script+AD4-"},
		{"f.png", "image/png", page("html-as-png")},
		{"g", "", page("html-without-name")},
		{"h.bin", "application/octet-stream", page("html-as-bytes")},
		{"i.xhtml", "application/xhtml+xml", `<html xmlns="http://www.w3.org/1999/xhtml"><body><script>` + w.payload("xhtml") + `</script></body></html>`},
		{"j.svg", "image/svg+xml", svg("svg")},
		{"k.svg", "", svg("svg-by-name")},
		{"l.jpg", "image/jpeg", svg("svg-as-jpeg")},
		{"m.xml", "text/xml", `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="` + strings.ReplaceAll(stylesheet, "&", "&amp;") + `"?><r/>`},
		{"n.xml", "application/xml", `<r xmlns:h="http://www.w3.org/1999/xhtml"><h:script>` + w.payload("xml") + `</h:script></r>`},
		{"o.gif", "image/gif", "GIF89a/*" + page("gif-html") + "*/=1;" + w.payload("gif-js")},
		{"p.pdf", "application/pdf", "%PDF-1.4\n" + page("pdf-html")},
		{"q.mhtml", "multipart/related", "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n" + page("mhtml") + "\r\n--b--"},
		{"r.js", "text/javascript", w.payload("js")},
		{"s.csv", "text/csv", page("html-as-csv")},
		{"t.json", "application/json", page("html-as-json")},
		{"u.md", "text/markdown", "# hi\n" + page("html-in-markdown")},
		{"v.html", "text/html\r\n\tx", page("html-odd-type")},
	}
}

func (w *world) xslt() string {
	return `<?xml version="1.0"?><xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">` +
		`<html><body><script>` + w.payload("xslt") + `</script></body></html></xsl:template></xsl:stylesheet>`
}

// quiet fails if something ran in the page.
func (w *world) quiet(p *page, name string) error {
	time.Sleep(120 * time.Millisecond) // for what is on its way
	if hits := w.foreign.beacons(); len(hits) > 0 {
		return fmt.Errorf("%s ran: %q", name, hits)
	}
	var title string
	if err := p.eval(&title, `return document.title + (window.pwned ? "pwned" : "")`); err != nil {
		return err
	}
	if strings.Contains(title, "pwned") {
		return fmt.Errorf("%s set the title to %q", name, title)
	}
	return nil
}

// payloadRuns shows that the cases below can fail.
func payloadRuns(w *world, p *page) error {
	w.foreign.serve("/runs", "<!doctype html><script>"+w.payload("control")+"</script>")
	if _, err := p.visit(w.foreign.at(foreignName, "/runs")); err != nil {
		return err
	}
	return until("the beacon", func() (bool, error) { return len(w.foreign.beacons()) > 0, nil })
}

func doNotRun(w *world, p *page) error {
	stylesheet, err := w.server.upload("hostile", "style.xsl", "text/xsl", w.xslt())
	if err != nil {
		return err
	}
	for _, f := range w.files(stylesheet) {
		path, err := w.server.upload("hostile", f.name, f.contentType, f.content)
		if err != nil {
			return fmt.Errorf("upload %s: %w", f.name, err)
		}
		download, err := p.visit(w.server.url(path))
		if err != nil {
			return err
		}
		if err := w.quiet(p, f.name); err != nil {
			return err
		}
		if download {
			continue
		}
		var kind string
		if err := p.eval(&kind, `return document.contentType`); err != nil {
			return err
		}
		if strings.Contains(kind, "html") && kind != "text/html" || strings.Contains(kind, "xml") {
			return fmt.Errorf("%s is shown as %s", f.name, kind)
		}
		var rendered bool // did its markup become elements?
		if err := p.eval(&rendered, `return document.querySelector("script, svg, meta[http-equiv]") !== null`); err != nil {
			return err
		}
		if rendered {
			return fmt.Errorf("%s is rendered as %s", f.name, kind)
		}
	}
	return nil
}

func doNotRunFramed(w *world, p *page) error {
	if err := w.home(p); err != nil {
		return err
	}
	for _, f := range w.files("/nothing") {
		path, err := w.server.upload("hostile", f.name, f.contentType, f.content)
		if err != nil {
			return err
		}
		err = p.eval(nil, `
			for (const tag of ["iframe", "embed", "object", "img"]) {
				const e = document.createElement(tag);
				e[tag === "object" ? "data" : "src"] = args[0];
				document.body.append(e);
			}`, path)
		if err != nil {
			return err
		}
	}
	return w.quiet(p, "a frame")
}

func notCode(w *world, p *page) error {
	var paths []string
	for _, f := range []hostileFile{
		{"a.txt", "text/plain", w.payload("script-as-text")}, {"b.js", "text/javascript", w.payload("script")},
		{"c.json", "application/json", w.payload("script-as-json")}, {"d.css", "text/css", "body{color:red}"},
		{"e.gif", "image/gif", "GIF89a=1;" + w.payload("script-as-gif")},
	} {
		path, err := w.server.upload("hostile", f.name, f.contentType, f.content)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	for _, visit := range []func() error{
		func() error { return w.home(p) },
		func() error { _, err := p.visit(w.foreign.at("localhost", "/")); return err },
	} {
		if err := visit(); err != nil {
			return err
		}
		err := p.eval(nil, `
			const [api, paths] = args, bad = [];
			const tag = (name, props) => new Promise(resolve => {
				const e = Object.assign(document.createElement(name), props);
				e.onload = () => { bad.push(name + " loaded " + JSON.stringify(props)); resolve(); };
				e.onerror = resolve;
				document.body.append(e);
			});
			for (const path of paths) {
				await tag("script", {src: api + path});
				await tag("script", {src: api + path, type: "module"});
				await tag("link", {rel: "stylesheet", href: api + path});
				await import(api + path).then(() => bad.push("import " + path), () => {});
				if (location.origin === api) {
					await new Promise(resolve => {
						const worker = new Worker(path);
						worker.onerror = resolve;
						setTimeout(resolve, 500);
					});
					await navigator.serviceWorker.register(path).then(() => bad.push("service worker " + path), () => {});
				}
			}
			if (bad.length) throw new Error(bad.join("; "));`, w.server.url(""), paths)
		if err != nil {
			return err
		}
		if err := w.quiet(p, "code"); err != nil {
			return err
		}
	}
	return nil
}

// areShown is the other side: what is harmless can be looked at.
func areShown(w *world, p *page) error {
	for _, f := range []hostileFile{{"pixel.gif", "image/gif", gif}, {"a.txt", "text/plain", "hello"}, {"b.md", "text/markdown", "# hello"}} {
		path, err := w.server.upload("shown", f.name, f.contentType, f.content)
		if err != nil {
			return err
		}
		download, err := p.visit(w.server.url(path))
		if err != nil {
			return err
		}
		if download && f.contentType != "text/markdown" { // Chromium downloads markdown by itself
			return fmt.Errorf("%s is downloaded", f.name)
		}
	}
	return nil
}
