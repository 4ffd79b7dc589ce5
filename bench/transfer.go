package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// noise returns n bytes that do not compress, the same in every run.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{'v'}).Read(b)
	return b
}

const smallSize = 4 << 10

// smallUpload returns an operation that uploads 4 KiB, other ones each time.
func smallUpload(t *team, session string) operation {
	before, after := form("a.bin")
	request := make(map[*conn][]byte, len(t.conns))
	content := 0 // where it begins
	for _, c := range t.conns {
		body := slices.Concat([]byte(before), noise(smallSize), []byte(after))
		head := c.open("POST", "/api/uploads/"+session, int64(len(body)), nil, formType)
		content = len(head) + len(before)
		request[c] = append(head, body...)
	}
	return func(c *conn, n int64) error {
		r := request[c]
		binary.LittleEndian.PutUint64(r[content:], uint64(n))
		return c.do(r)
	}
}

func uploadSmall(ctx context.Context, b *bed) error {
	for _, n := range []int{1, 16, 64} {
		t, err := b.team(ctx, n)
		if err != nil {
			return err
		}
		took, u, err := b.during(ctx, t, pick(b.o.Quick, 200*time.Millisecond, 500*time.Millisecond), pick(b.o.Quick, 700*time.Millisecond, 3*time.Second),
			smallUpload(t, b.session()))
		t.close()
		if err != nil {
			return err
		}
		b.note(connections(n), value{"uploads/s", "1/s", float64(len(took)) / u.wall.Seconds()})
		b.note(connections(n), took.percentiles("")...)
		b.note(connections(n), b.cpuPer("upload", "µs", u, float64(len(took)))...)
		if b.sync > 0 {
			b.note(connections(n), value{"p50 ÷ sync", "×", took.quantile(.5) / (b.sync.Seconds() * 1e3)})
		}
	}
	return nil
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

func uploadLarge(ctx context.Context, b *bed) error {
	kinds := []string{"multipart", "raw PUT"}
	if b.round%2 == 1 { // neither always comes first
		slices.Reverse(kinds)
	}
	for _, kind := range kinds {
		c, err := dial(ctx, b.addr)
		if err != nil {
			return err
		}
		err = b.large(ctx, c, kind)
		c.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// large uploads one large file, after a smaller one that warms up.
func (b *bed) large(ctx context.Context, c *conn, kind string) error {
	const warmUp = 16 << 20
	session, block := b.session(), noise(1<<20)
	if err := c.sendLarge(session, kind, block, warmUp); err != nil {
		return err
	}
	size := b.o.LargeSize
	if err := b.touchMemory(2 * size); err != nil {
		return err
	}
	before := b.rest(ctx)
	m := b.meter()
	if err := c.sendLarge(session, kind, block, size); err != nil {
		return err
	}
	u := m.stop()
	b.note(kind, value{"rate", "MB/s", float64(size) / 1e6 / u.wall.Seconds()})
	b.note(kind, b.cpuPer("GiB", "s", u, float64(size)/(1<<30))...)
	b.note(kind, b.growth(before)...)
	return nil
}

// touchMemory writes a file and removes it, so that the memory in which the
// system keeps files has been used before. A virtual machine is given memory
// when it first touches it, which can take longer than the upload.
func (b *bed) touchMemory(size int64) (err error) {
	f, err := os.CreateTemp(b.o.Dir, "vitrine-bench-")
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		syncAll() // or the upload waits for it
	}()
	block := noise(1 << 20)
	for left := size; left > 0; left -= int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("write a file: %w", err)
		}
	}
	return nil
}

func (c *conn) sendLarge(session, kind string, block []byte, size int64) error {
	before, after := "", ""
	target, method, contentType := "/api/uploads/"+session+"/large.bin", "PUT", "Content-Type: application/octet-stream"
	if kind == "multipart" {
		before, after = form("large.bin")
		target, method, contentType = "/api/uploads/"+session, "POST", formType
	}
	head := c.open(method, target, size+int64(len(before)+len(after)), []byte(before), contentType)
	if err := c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write(head); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	for left := size; left > 0; {
		n, err := c.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return fmt.Errorf("send content: %w", err)
		}
		left -= int64(n)
	}
	if _, err := io.WriteString(c, after); err != nil {
		return fmt.Errorf("send content: %w", err)
	}
	_, err := c.finish()
	return err
}

// flat uploads many files into one session: what the last ones cost beside the
// first. Another session warms the server up before.
func flat(ctx context.Context, b *bed) error {
	all, part := pick(b.o.Quick, int64(3000), 10_000), pick(b.o.Quick, int64(300), 1000)
	t, err := b.team(ctx, 16)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.count(ctx, part, smallUpload(t, b.session())); err != nil {
		return err
	}
	b.settle(ctx)
	op := smallUpload(t, b.session())
	measured := func(n int64) (usage, error) {
		m := b.meter()
		err := t.count(ctx, n, op)
		return m.stop(), err
	}
	first, err := measured(part)
	if err != nil {
		return err
	}
	if _, err := measured(all - 2*part); err != nil {
		return err
	}
	last, err := measured(part)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("the last %d of %d", part, all)
	b.note("the first "+fmt.Sprint(part), value{"time/upload", "µs", first.wall.Seconds() * 1e6 / float64(part)})
	b.note("the first "+fmt.Sprint(part), b.cpuPer("upload", "µs", first, float64(part))...)
	b.note(name, value{"time/upload", "µs", last.wall.Seconds() * 1e6 / float64(part)})
	b.note(name, b.cpuPer("upload", "µs", last, float64(part))...)
	b.note(name, value{"time ÷ first", "×", last.wall.Seconds() / first.wall.Seconds()})
	if b.server.known() {
		b.note(name, value{"CPU ÷ first", "×", last.server.Seconds() / first.server.Seconds()})
	}
	return nil
}

func downloadSmall(ctx context.Context, b *bed) error {
	session := b.session()
	target, err := b.uploadOne(ctx, session, noise(64<<10))
	if err != nil {
		return err
	}
	for _, n := range []int{1, 16} {
		t, err := b.team(ctx, n)
		if err != nil {
			return err
		}
		request := t.conns[0].request("GET", target, "")
		took, u, err := b.during(ctx, t, pick(b.o.Quick, 100*time.Millisecond, 300*time.Millisecond), pick(b.o.Quick, 500*time.Millisecond, 2*time.Second),
			func(c *conn, _ int64) error { return c.do(request) })
		t.close()
		if err != nil {
			return err
		}
		b.note(connections(n), value{"downloads/s", "1/s", float64(len(took)) / u.wall.Seconds()})
		b.note(connections(n), took.percentiles("")...)
		b.note(connections(n), b.cpuPer("download", "µs", u, float64(len(took)))...)
	}
	return nil
}

// zip measures the download of a whole session.
func zip(ctx context.Context, b *bed) error {
	session, files := b.session(), pick(b.o.Quick, int64(300), 1000)
	if err := b.fill(ctx, session, files); err != nil {
		return err
	}
	c, err := dial(ctx, b.addr)
	if err != nil {
		return err
	}
	defer c.close()
	request := c.request("GET", "/api/sessions/"+session+"/download", "")
	before := b.rest(ctx)
	m := b.meter()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	a, err := c.head()
	if err == nil && a.status != 200 {
		err = fmt.Errorf("status %d", a.status)
	}
	if err == nil {
		_, err = c.r.Peek(1)
	}
	if err != nil {
		return err
	}
	first := time.Since(m.begin)
	n, err := c.drain(a)
	if err != nil {
		return err
	}
	u := m.stop()
	name := fmt.Sprintf("%d files", files)
	b.note(name, value{"first byte", "ms", first.Seconds() * 1e3}, value{"total", "s", u.wall.Seconds()},
		value{"content", "MB/s", float64(files*zipFile) / 1e6 / u.wall.Seconds()},
		value{"zip ÷ content", "×", float64(n) / float64(files*zipFile)})
	b.note(name, b.cpuPer("GiB", "s", u, float64(files*zipFile)/(1<<30))...)
	b.note(name, b.growth(before)...)
	return nil
}

const zipFile = 100 << 10

// fill uploads files, every other one of text that compresses.
func (b *bed) fill(ctx context.Context, session string, files int64) error {
	t, err := b.team(ctx, 4)
	if err != nil {
		return err
	}
	defer t.close()
	random, text := noise(zipFile), words(zipFile)
	return t.count(ctx, files, func(c *conn, n int64) error {
		content := random
		if n%2 == 0 {
			content = text
		}
		content = bytes.Clone(content)
		copy(content, fmt.Sprintf("%08d", n))
		name := fmt.Sprintf("/api/uploads/%s/file-%04d.bin", session, n)
		return c.do(c.open("PUT", name, int64(len(content)), content, "Content-Type: application/octet-stream"))
	})
}

// words returns n bytes of text, made of a few thousand words.
func words(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	vocabulary := make([]string, 4000)
	for i := range vocabulary {
		word := make([]byte, 2+r.IntN(9))
		for j := range word {
			word[j] = byte('a' + r.IntN(26))
		}
		vocabulary[i] = string(word)
	}
	var b []byte
	for len(b) < n {
		b = append(b, vocabulary[r.IntN(len(vocabulary))]+" "...)
	}
	return b[:n]
}
