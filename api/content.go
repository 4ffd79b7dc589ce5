package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/vitrine-hq/vitrine/artifact"
)

// sniffLength is how many first bytes of content safeContent wants to see.
const sniffLength = 3072

// Contents of agents and uploads are hostile, whatever they say they are. On
// the API's origin only these are shown, and only if their bytes agree.
var (
	shownImages = mediaTypes("image/png image/apng image/jpeg image/gif image/webp image/bmp image/x-icon " +
		"image/vnd.microsoft.icon image/tiff image/avif")
	shownMedia = mediaTypes("audio/mpeg audio/wav audio/x-wav audio/wave audio/vnd.wave audio/ogg audio/flac audio/x-flac audio/mp4 audio/x-m4a " +
		"audio/aac audio/webm video/mp4 video/webm video/ogg video/quicktime video/x-msvideo video/x-matroska")
	shownTexts = mediaTypes("text/plain text/markdown text/csv text/tab-separated-values text/x-python text/x-typescript text/x-go " +
		"text/x-rust text/x-c text/x-c++ text/x-java text/x-ruby text/x-log application/json")
	// active is what no text may look like, besides anything that ends in +xml.
	active = mediaTypes("text/html text/xml application/xml message/rfc822 multipart/related")
)

func mediaTypes(words string) map[string]bool {
	m := make(map[string]bool)
	for word := range strings.FieldsSeq(words) {
		m[word] = true
	}
	return m
}

const pdf = "application/pdf"

// The policies let a page of this server show the content in a frame, and the
// content do nothing. Browsers do not show PDFs in a sandbox, and run what is in
// them apart from every origin.
const (
	contentPolicy = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
	pdfPolicy = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

// safeContent sets the headers under which content leaves: its type, how it is
// to be shown and under which name, and what it may do. head is its beginning,
// of sniffLength bytes if it has them. It is shown inline where download is
// false and it can do no harm, and downloaded otherwise.
func safeContent(h http.Header, declared, name string, head []byte, download bool) {
	kind, policy := dispositionAttachment, contentPolicy
	mediaType, full := safeType(declared)
	if !download && harmless(mediaType, head) {
		kind = dispositionInline
		if mediaType == pdf {
			policy = pdfPolicy
		}
	}
	h.Set("Content-Type", full)
	h.Set("Content-Disposition", contentDisposition(kind, name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
}

// safeType returns a stored media type alone and with its parameters, fit for a
// header; texts without a charset are taken for UTF-8. What is malformed becomes
// application/octet-stream.
func safeType(declared string) (mediaType, full string) {
	mediaType, params, err := mime.ParseMediaType(declared)
	if err != nil || strings.Count(mediaType, "/") != 1 || len(declared) > 255 {
		return artifact.OctetStream, artifact.OctetStream
	}
	for _, value := range params {
		if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			return artifact.OctetStream, artifact.OctetStream
		}
	}
	if strings.HasPrefix(mediaType, "text/") && params["charset"] == "" {
		params["charset"] = "utf-8"
	}
	if full = mime.FormatMediaType(mediaType, params); full == "" {
		return artifact.OctetStream, artifact.OctetStream
	}
	return mediaType, full
}

// harmless reports whether content may be shown on the API's origin: its type is
// on the list and its first bytes agree.
func harmless(mediaType string, head []byte) bool {
	found := mimetype.Detect(head)
	switch {
	case shownImages[mediaType]:
		return ofType(found, mediaType)
	case shownMedia[mediaType]: // containers are told apart by what is in them, not by their type
		major, _, _ := strings.Cut(found.String(), "/")
		return major == "audio" || major == "video" || found.Is("application/ogg")
	case shownTexts[mediaType]:
		return ofType(found, "text/plain") && !looksActive(found)
	case mediaType == pdf:
		return ofType(found, pdf)
	}
	return false
}

// ofType reports whether found is of the type or a special case of it.
func ofType(found *mimetype.MIME, mediaType string) bool {
	for m := found; m != nil; m = m.Parent() {
		if m.Is(mediaType) {
			return true
		}
	}
	return false
}

func looksActive(found *mimetype.MIME) bool {
	for m := found; m != nil; m = m.Parent() {
		t, _, _ := strings.Cut(m.String(), ";")
		if active[t] || strings.HasSuffix(t, "+xml") {
			return true
		}
	}
	return false
}

// codeRequest returns a Denied error where a page asks for content in order to
// run it or to be styled by it: no type and no disposition forbids that.
func codeRequest(r *http.Request) error {
	switch dest := r.Header.Get("Sec-Fetch-Dest"); dest {
	case "script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "style", "xslt", "manifest":
		return artifact.Errorf(artifact.Denied, "Content is not served as %s", dest)
	}
	return nil
}

// contentWriter is a ResponseWriter for http.ServeContent, whose own errors then
// leave in the dialect's form.
type contentWriter struct {
	http.ResponseWriter
	d      *dialect
	r      *http.Request
	failed bool // the error was answered; what follows is its text
}

// contentWriter returns w for http.ServeContent.
func (d *dialect) contentWriter(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	return &contentWriter{ResponseWriter: w, d: d, r: r}
}

// Unwrap lets http.ResponseController reach the connection.
func (cw *contentWriter) Unwrap() http.ResponseWriter { return cw.ResponseWriter }

// WriteHeader answers an error itself and passes on every other status.
func (cw *contentWriter) WriteHeader(status int) {
	switch {
	case cw.failed:
		return
	case status < 400:
		cw.ResponseWriter.WriteHeader(status)
		return
	}
	cw.failed = true
	err := fmt.Errorf("serve content: status %d", status)
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		err = errBadRange
	case http.StatusPreconditionFailed:
		err = errStale
	}
	cw.d.fail(cw.ResponseWriter, cw.r, err)
}

// Write drops the text of an error.
func (cw *contentWriter) Write(p []byte) (int, error) {
	if cw.failed {
		return len(p), nil
	}
	return cw.ResponseWriter.Write(p)
}

// ReadFrom hands the source through, as that of recorder.
func (cw *contentWriter) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(cw.ResponseWriter, src)
}
