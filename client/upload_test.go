package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type upload struct {
	Name, MIME, Text string
	Length           int64 // of the request
}

// store answers an upload as the contract says.
func store(t *testing.T, w http.ResponseWriter, r *http.Request) []upload {
	var got []upload
	var answers []map[string]any
	add := func(name, kind string, body io.Reader) {
		text, err := io.ReadAll(body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		sum := sha256.Sum256(text)
		got = append(got, upload{name, kind, string(text), r.ContentLength})
		answers = append(answers, map[string]any{"attachment_id": "att_" + name, "name": name, "size": len(text), "sha256": hex.EncodeToString(sum[:])})
	}
	if r.Method == http.MethodPut {
		add(r.PathValue("name"), r.Header.Get("Content-Type"), r.Body)
	} else {
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return nil
		}
		for {
			p, err := form.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			add(p.FileName(), p.Header.Get("Content-Type"), p)
		}
	}
	answer := answers[0]
	if len(answers) > 1 {
		answer["attachments"] = append([]map[string]any{{}}, answers[1:]...)
		first := map[string]any{}
		for k, v := range answer {
			if k != "attachments" {
				first[k] = v
			}
		}
		answer["attachments"].([]map[string]any)[0] = first
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		t.Error(err)
	}
	return got
}

func TestUploadSendsOneForm(t *testing.T) {
	var got []upload
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { got = store(t, w, r) })
	name := `日"本\x.txt`
	var told []int64
	stored, err := c.Upload(t.Context(), "s", []File{
		{Name: name, Size: 3, Content: strings.NewReader("abc")},
		{Name: "b.bin", Size: 0, MIME: "x/y", Content: strings.NewReader("")},
		{Name: "c", Size: 2, Content: strings.NewReader("de and what was appended since")},
	}, func(n int64) { told = append(told, n) })
	if err != nil {
		t.Fatal(err)
	}
	length := got[0].Length
	if length <= 5 {
		t.Errorf("the request has no length: %d", length)
	}
	want := []upload{{name, "", "abc", length}, {"b.bin", "x/y", "", length}, {"c", "", "de", length}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(stored) != 3 || stored[0].Attachment != "att_"+name || stored[2].Size != 2 {
		t.Errorf("got %+v", stored)
	}
	if diff := cmp.Diff([]int64{3, 5}, told); diff != "" {
		t.Errorf("progress: %s", diff)
	}
}

func TestUploadOfUnknownSize(t *testing.T) {
	var got []upload
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { got = store(t, w, r) })
	stored, err := c.Upload(t.Context(), "s", []File{{Name: "x", Size: -1, Content: io.MultiReader(strings.NewReader("one "), strings.NewReader("two"))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]upload{{"x", "", "one two", -1}}, got); diff != "" {
		t.Error(diff)
	}
	if len(stored) != 1 || stored[0].Attachment != "att_x" {
		t.Errorf("got %+v", stored)
	}
}

func TestPutFile(t *testing.T) {
	var digest string
	var got []upload
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /api/uploads/s/{name}", func(w http.ResponseWriter, r *http.Request) {
		digest = r.Header.Get("Content-Digest")
		got = store(t, w, r)
	})
	c := serve(t, mux.ServeHTTP)
	sum := sha256.Sum256([]byte("bc"))
	seeker := strings.NewReader("abc")
	if _, err := seeker.ReadByte(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutFile(t.Context(), "s", File{Name: "a b/c", MIME: "x/y", Size: 2, Content: seeker}, nil); err != nil {
		t.Fatal(err)
	}
	if want := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"; digest != want {
		t.Errorf("digest %q, want %q", digest, want)
	}
	if diff := cmp.Diff([]upload{{"a b/c", "x/y", "bc", 2}}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := c.PutFile(t.Context(), "s", File{Name: "e", Size: 0, Content: strings.NewReader("")}, nil); err != nil {
		t.Errorf("empty file: %v", err)
	}
	if _, err := c.PutFile(t.Context(), "s", File{Name: "p", Size: -1, Content: io.MultiReader(strings.NewReader("z"))}, nil); err != nil || digest != "" {
		t.Errorf("pipe: error %v, digest %q", err, digest)
	}
}

func TestUploadComparesHashes(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		drain(r.Body)
		w.Write([]byte(`{"attachment_id":"att_1","name":"x","size":3,"sha256":"` + strings.Repeat("0", 64) + `"}`))
	})
	_, err := c.Upload(t.Context(), "s", []File{{Name: "x", Size: 3, Content: strings.NewReader("abc")}}, nil)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// A loss before the last byte left is safe to repeat, one after it is not.
func TestUploadInterrupted(t *testing.T) {
	size := 8 << 20
	for _, whole := range []bool{false, true} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if whole {
				drain(r.Body)
			} else {
				drain(io.LimitReader(r.Body, 1<<20))
			}
			panic(http.ErrAbortHandler)
		})
		_, err := c.Upload(t.Context(), "s", []File{{Name: "x", Size: int64(size), Content: bytes.NewReader(make([]byte, size))}}, nil)
		e, ok := errors.AsType[*Interrupted](err)
		if !ok {
			t.Fatalf("got %v, want an Interrupted error", err)
		}
		if e.Whole != whole || e.Sent < 1<<20 || whole && e.Sent != int64(size) {
			t.Errorf("server read all: %v; got %+v", whole, e)
		}
	}
}

// A refusal while the upload is on its way must not look like a lost connection.
func TestUploadRefusedMidway(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		drain(io.LimitReader(r.Body, 1<<20))
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		w.Write([]byte(`{"detail":"too large"}`))
	})
	const size = 64 << 20
	for range 10 {
		_, err := c.Upload(t.Context(), "s", []File{{Name: "x", Size: size, Content: io.LimitReader(zeros{}, size)}}, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 413 || e.Message != "too large" {
			t.Fatalf("got %v, want the server's 413", err)
		}
	}
}

// drain reads what comes; how it ends is the business of the other side.
func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestUploadOfUnreadableFile(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { drain(r.Body) })
	broken := errors.New("disk broke")
	for name, f := range map[string]File{
		"fails":   {Name: "x", Size: 9, Content: io.MultiReader(strings.NewReader("abc"), failing{broken})},
		"shrinks": {Name: "x", Size: 9, Content: strings.NewReader("abc")},
	} {
		_, err := c.Upload(t.Context(), "s", []File{f}, nil)
		if _, lost := errors.AsType[*Interrupted](err); err == nil || lost || !strings.Contains(err.Error(), "read x") {
			t.Errorf("%s: got %v, want an error of the file", name, err)
		}
		if name == "fails" && !errors.Is(err, broken) {
			t.Errorf("got %v, want it to wrap the cause", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
