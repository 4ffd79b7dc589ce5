package main

import "strings"

// shared is what a person sees who was sent the address of a session.
var shared = []testCase{
	{"share: names are whole on a narrow screen, and long ones do not widen it", shareIsNarrow},
}

func shareIsNarrow(w *world, p *page) error {
	upload := func(name, contentType string) error {
		_, err := w.server.upload("shared", name, contentType, "for a phone")
		return err
	}
	var made struct {
		URL string `json:"url"`
	}
	look := func(script string) func() error {
		return func() error {
			if _, err := p.visit(made.URL); err != nil {
				return err
			}
			return p.eval(nil, `
				const wide = document.documentElement.scrollWidth;
				if (wide > 360) throw new Error("the page is " + wide + " wide");
				const lines = [...document.querySelectorAll("td a")].map(a => a.getClientRects().length);`+script)
		}
	}
	return first(
		func() error { return upload("README.md", "text/markdown") },
		func() error { return upload("slides.pptx", "application/octet-stream") },
		func() error {
			return w.server.do("POST", "/api/sessions/shared/shares", "application/json", []byte(`{"expires_in":3600}`), &made)
		},
		p.narrow,
		look(`if (lines.join() !== "1,1") throw new Error("names are in so many lines: " + lines);`),
		func() error { return upload(strings.Repeat("x", 90)+".txt", "text/plain") },
		look(`if (lines.length !== 3 || lines[2] < 2) throw new Error("names are in so many lines: " + lines);`),
	)
}
