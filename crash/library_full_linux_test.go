package crash

import (
	"archive/zip"
	"bytes"
)

// crowded is larger than what is free on a disk that is called full.
const crowded = 300 << 10

// furnish writes an artifact in a row, and a large one with a history.
func (f *full) furnish() {
	f.t.Helper()
	f.library.login(f.t.Context())
	s := f.library.scribes[0]
	for _, size := range []int{100, 200 << 10} {
		w := newWork(textEdition(text(f.rng, size), "first"))
		path := s.free(f.rng)
		if !f.writes(saving(path, w, nil)) || !f.writes(s.edit(f.rng, path, s.stands[path])) {
			f.t.Fatal("a save to an empty disk was refused")
		}
	}
}

// writes sends a change of the library and reports whether it was made. Other
// than made or refused for want of room it must not be.
func (f *full) writes(a *attempt) bool {
	f.t.Helper()
	var got saved
	status, err := f.library.api.send(f.t.Context(), a.method, a.path, a.header, a.body, &got)
	if !f.srv.running() {
		f.t.Fatalf("the server ended on the full disk:\n%s", f.srv.log)
	}
	switch {
	case err == nil:
		if a.after != nil {
			f.library.scribes[0].apply(a, got.Data.ID)
		}
		f.stats.acked++
		return true
	case status == 507:
		f.stats.refused++
		return false
	}
	f.t.Fatalf("%s %s: %v\n%s", a.method, a.path, err, f.srv.log)
	return false
}

// cram tries to change the library on a full disk: what needs much room is
// refused, and nothing of it is kept. It returns what is to be sent again once
// there is room.
func (f *full) cram() []*attempt {
	f.t.Helper()
	s := f.library.scribes[0]
	var large string
	for path, w := range s.stands {
		if w.size > 100<<10 {
			large = path
		}
	}
	w := s.stands[large]
	big := func(mark string) edition { return textEdition(text(f.rng, crowded), mark) }
	adding := s.edit(f.rng, large, w)
	adding.body = map[string]any{"append": text(f.rng, crowded)}
	repeated := saving(s.free(f.rng), newWork(big("later")), nil, "Idempotency-Key", "later")
	for what, a := range map[string]*attempt{
		"save":             saving(s.free(f.rng), newWork(big("no")), nil),
		"replacement":      saving(large, w.next(big("no")), map[string]any{"overwrite": true}),
		"replacement, raw": {method: "PUT", path: libraryURL + "/raw" + large, body: noise(f.rng, crowded)},
		"edit":             adding,
		"restoration":      s.restore(f.rng, large, w),
		"copy":             s.duplicate(large, s.free(f.rng), w),
		"import":           f.importing(),
		"save with a key":  repeated,
	} {
		for range 2 {
			if f.writes(a) {
				f.t.Errorf("%s of %d bytes was taken with %d free", what, crowded, free(f.t, f.dir))
			}
		}
	}
	for path, w := range s.stands { // which may or may not find room
		if w.size < 100<<10 {
			f.writes(s.edit(f.rng, path, w))
			break
		}
	}
	return []*attempt{repeated, f.importing()}
}

// importing is the attempt to take in an archive with one file, beside the
// folder of the scribe.
func (f *full) importing() *attempt {
	f.t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	w, err := zw.CreateHeader(&zip.FileHeader{Name: "i.bin", Method: zip.Store})
	if err == nil {
		_, err = w.Write(noise(f.rng, crowded))
	}
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return &attempt{method: "POST", path: libraryURL + "/archive?prefix=/imported", body: b.Bytes()}
}

// empty deletes the library's artifacts, for which even a full disk may have
// room, and reports whether that was so.
func (f *full) empty() bool {
	f.t.Helper()
	s := f.library.scribes[0]
	for _, path := range s.paths() {
		if !f.writes(s.remove(f.rng, path, s.stands[path])) {
			return false
		}
	}
	return true
}
