package crash

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"os"
)

// sum returns the hash of bytes as the API writes it.
func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// sumFile returns the hash of a file.
func sumFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// noise returns n bytes that are like no others.
func noise(rng *rand.Rand, n int) []byte {
	var seed [32]byte
	for i := range 4 {
		binary.LittleEndian.PutUint64(seed[8*i:], rng.Uint64())
	}
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// form is the body of a multipart upload.
type form struct {
	kind string
	body []byte
}

// newForm returns a form with a part "file" for each of the contents.
func newForm(names []string, contents [][]byte) form {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i, name := range names {
		part, err := w.CreateFormFile("file", name)
		if err == nil {
			_, err = part.Write(contents[i])
		}
		if err != nil {
			panic(fmt.Sprint("write into memory: ", err))
		}
	}
	w.Close()
	return form{w.FormDataContentType(), b.Bytes()}
}

// zeros gives n bytes that compress and clone well, without holding them.
type pattern struct {
	left int64
	next byte
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.left)]
	for i := range b {
		b[i] = p.next
		p.next++
	}
	p.left -= int64(len(b))
	return len(b), nil
}
