package artifact

import (
	"path"
	"strings"
)

// OctetStream is the media type of bytes that nothing is known about.
const OctetStream = "application/octet-stream"

// contractTypes is the part of the extension table that the contract fixes
// (artifacts §9). It is never changed and does not depend on the host.
var contractTypes = map[string]string{
	".md": "text/markdown", ".txt": "text/plain", ".json": "application/json",
	".html": "text/html", ".css": "text/css", ".js": "application/javascript",
	".py": "text/x-python", ".svg": "image/svg+xml", ".xml": "application/xml",
	".yaml": "application/x-yaml", ".yml": "application/x-yaml", ".csv": "text/csv",
}

// types is the rest of the table, which the library does not know.
var types = map[string]string{
	".htm": "text/html", ".xhtml": "application/xhtml+xml", ".mjs": "application/javascript",
	".ts": "text/x-typescript", ".tsx": "text/x-typescript", ".jsx": "text/x-javascript",
	".go": "text/x-go", ".rs": "text/x-rust", ".c": "text/x-c", ".h": "text/x-c", ".cpp": "text/x-c++",
	".java": "text/x-java", ".rb": "text/x-ruby", ".sh": "application/x-sh", ".sql": "application/sql",
	".toml": "application/toml", ".ini": "text/plain", ".log": "text/plain", ".tsv": "text/tab-separated-values",
	".jsonl": "application/jsonl", ".ndjson": "application/x-ndjson", ".ipynb": "application/x-ipynb+json",
	".mhtml": "multipart/related", ".tex": "application/x-tex", ".rtf": "application/rtf",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
	".bmp": "image/bmp", ".ico": "image/x-icon", ".tif": "image/tiff", ".tiff": "image/tiff", ".avif": "image/avif",
	".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".flac": "audio/flac", ".m4a": "audio/mp4",
	".mp4": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime", ".avi": "video/x-msvideo", ".mkv": "video/x-matroska",
	".pdf": "application/pdf", ".zip": "application/zip", ".gz": "application/gzip", ".tgz": "application/gzip",
	".tar": "application/x-tar", ".bz2": "application/x-bzip2", ".xz": "application/x-xz", ".zst": "application/zstd",
	".7z": "application/x-7z-compressed", ".parquet": "application/vnd.apache.parquet", ".wasm": "application/wasm",
	".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".epub": "application/epub+zip",
	".docx":   "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx":   "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".pptx":   "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".sqlite": "application/vnd.sqlite3", ".db": OctetStream, ".bin": OctetStream,
}

// TypeByName returns the media type that the last extension of name stands
// for, without parameters, or "" where the table does not know it.
func TypeByName(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t, ok := contractTypes[ext]; ok {
		return t
	}
	return types[ext]
}

// LibraryType returns the media type that the contract gives a name of the
// library: its table and nothing else, so that ".htm" and ".gz" are bytes.
func LibraryType(name string) string {
	if t, ok := contractTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return OctetStream
}
