package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	pngHead  = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
	jpegHead = "\xff\xd8\xff\xe0\x00\x10JFIF\x00"
	pdfHead  = "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
	mp3Head  = "ID3\x04\x00\x00\x00\x00\x00\x23TSSE\x00\x00\x00\x0f\x00\x00\x03Lavf"
	mp4Head  = "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
	oggHead  = "OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"
	wavHead  = "RIFF\x24\x00\x00\x00WAVEfmt "
	svgHead  = `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`
	htmlHead = "  <!DOCTYPE html><script>alert(1)</script>"
)

func TestWhatIsShownInline(t *testing.T) {
	for _, c := range []struct {
		declared, head string
		inline         bool
	}{
		{"image/png", pngHead, true},
		{"IMAGE/PNG", pngHead, true},
		{"image/jpeg", jpegHead, true},
		{"image/gif", "GIF89a\x01\x00", true},
		{"image/webp", "RIFF\x24\x00\x00\x00WEBPVP8 ", true},
		{"image/x-icon", "\x00\x00\x01\x00\x01\x00\x10\x10", true},
		{"audio/mpeg", mp3Head, true},
		{"audio/wav", wavHead, true},
		{"audio/ogg", oggHead, true},
		{"audio/mp4", mp4Head, true},
		{"video/mp4", mp4Head, true},
		{"application/pdf", pdfHead, true},
		{"text/plain", "hello", true},
		{"text/plain", "", true},
		{"text/plain; charset=utf-8", "hello", true},
		{"text/markdown", "# hello", true},
		{"text/csv", "a,b\n1,2\n", true},
		{"text/plain", "#!/usr/bin/env python3\nprint()", true},
		{"application/json", `{"a":1}`, true},
		{"application/json", `{"cut": [1,2,`, true},

		{"image/png", jpegHead, false},
		{"image/png", htmlHead, false},
		{"image/png", svgHead, false},
		{"image/png", "", false},
		{"image/png", "hello", false},
		{"video/mp4", htmlHead, false},
		{"application/pdf", htmlHead, false},
		{"application/pdf", "hello", false},
		{"text/plain", pngHead, false},
		{"text/plain", htmlHead, false},
		{"text/plain", svgHead, false},
		{"text/markdown", "<html><body onload=alert(1)>", false},
		{"text/csv", "<?xml version=\"1.0\"?><a/>", false},
		{"application/json", "<script>alert(1)</script>", false},
		{"text/plain", "<?xml version=\"1.0\"?><html xmlns=\"http://www.w3.org/1999/xhtml\">", false},

		{"text/html", htmlHead, false},
		{"text/html", "hello", false},
		{"application/xhtml+xml", "<html/>", false},
		{"image/svg+xml", svgHead, false},
		{"image/svg+xml", pngHead, false},
		{"application/xml", "<a/>", false},
		{"text/xml", "<a/>", false},
		{"text/xsl", "hello", false},
		{"application/javascript", "alert(1)", false},
		{"text/javascript", "alert(1)", false},
		{"text/x-javascript", "alert(1)", false},
		{"text/css", "a{}", false},
		{"multipart/related", "MIME-Version: 1.0", false},
		{"message/rfc822", "From: a", false},
		{"application/octet-stream", "hello", false},
		{"application/zip", "PK\x03\x04", false},
		{"", "hello", false},
		{"text/plain\r\nX-Evil: 1", "hello", false},
	} {
		h := make(http.Header)
		safeContent(h, c.declared, "f", []byte(c.head), false)
		if got := strings.HasPrefix(h.Get("Content-Disposition"), "inline;"); got != c.inline {
			t.Errorf("%q holding %.20q: inline %v, want %v", c.declared, c.head, got, c.inline)
		}
		safeContent(h, c.declared, "f", []byte(c.head), true)
		if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment;") {
			t.Errorf("%q with download: %s", c.declared, h.Get("Content-Disposition"))
		}
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") {
			t.Errorf("%q with download: policy %q", c.declared, h.Get("Content-Security-Policy"))
		}
	}
}

func TestContentHeaders(t *testing.T) {
	h := make(http.Header)
	safeContent(h, "image/png", "a.png", []byte(pngHead), false)
	want := http.Header{
		"Content-Type":                 {"image/png"},
		"Content-Disposition":          {`inline; filename="a.png"; filename*=UTF-8''a.png`},
		"X-Content-Type-Options":       {"nosniff"},
		"Content-Security-Policy":      {contentPolicy},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Referrer-Policy":              {"no-referrer"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	safeContent(h, "application/pdf", "a.pdf", []byte(pdfHead), false)
	if got := h.Get("Content-Security-Policy"); got != pdfPolicy || strings.Contains(got, "script-src") {
		t.Errorf("policy of a PDF: %q", got)
	}
}

func TestSafeType(t *testing.T) {
	for declared, want := range map[string]string{
		"text/plain":                        "text/plain; charset=utf-8",
		"text/html":                         "text/html; charset=utf-8",
		"Text/Plain; Charset=ISO-8859-1":    "text/plain; charset=ISO-8859-1",
		"image/png":                         "image/png",
		"application/json":                  "application/json",
		`multipart/related; boundary="a b"`: `multipart/related; boundary="a b"`,
		"":                                  "application/octet-stream",
		"png":                               "application/octet-stream",
		"a/b/c":                             "application/octet-stream",
		"text/plain\r\nX-Evil: 1":           "application/octet-stream",
		"text/plain; a=\"\r\n\"":            "application/octet-stream",
		"text/plain; =":                     "application/octet-stream",
		"text/пример":                       "application/octet-stream",
		"text/" + strings.Repeat("x", 300):  "application/octet-stream",
		"text/plain; charset=\"\x00\"":      "application/octet-stream",
	} {
		_, got := safeType(declared)
		if got != want {
			t.Errorf("safeType(%q) = %q, want %q", declared, got, want)
		}
	}
}

func TestCodeRequests(t *testing.T) {
	for dest, refused := range map[string]bool{
		"script": true, "worker": true, "serviceworker": true, "style": true,
		"": false, "empty": false, "image": false, "document": false, "iframe": false, "video": false,
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		if dest != "" {
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
		if err := codeRequest(r); (err != nil) != refused {
			t.Errorf("Sec-Fetch-Dest %q: %v", dest, err)
		}
	}
}

// http.ServeContent writes plain text for its own errors; clients get JSON.
func TestErrorsOfServeContent(t *testing.T) {
	d, _ := testDialect()
	h := func(w http.ResponseWriter, r *http.Request) (any, error) {
		safeContent(w.Header(), "text/plain", "f", []byte("hello"), false)
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(d.contentWriter(w, r), r, "", time.Unix(1, 0), strings.NewReader("hello"))
		return nil, nil
	}
	mux := table{{method: "GET", pattern: "/x", h: h}}.mux(d)
	for _, c := range []struct {
		header, value string
		status        int
		body          string
	}{
		{"Range", "bytes=1-2", 206, "el"},
		{"If-None-Match", `"x"`, 304, ""},
		{"X-Nothing", "", 200, "hello"},
		{"Range", "bytes=9-", 416, "RANGE_NOT_SATISFIABLE"},
		{"If-Match", `"y"`, 412, "PRECONDITION_FAILED"},
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.Header.Set(c.header, c.value)
		w := do(mux, r)
		if w.Code != c.status {
			t.Errorf("%s %s: status %d, want %d", c.header, c.value, w.Code, c.status)
		}
		if c.status < 400 {
			if w.Body.String() != c.body {
				t.Errorf("%s %s: body %q, want %q", c.header, c.value, w.Body, c.body)
			}
			continue
		}
		if e, _ := decodeBody(t, w)["error"].(map[string]any); e["code"] != c.body {
			t.Errorf("%s %s: error %v, want %s", c.header, c.value, e, c.body)
		}
		if c.status == 416 && w.Header().Get("Content-Range") != "bytes */5" {
			t.Errorf("Content-Range = %q", w.Header().Get("Content-Range"))
		}
	}
}
