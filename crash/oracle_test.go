package crash

import (
	"maps"
	"sync"
)

// oracle knows what a server was asked to keep in one session and what it said
// it has kept. It lives in the test's process, which nobody kills.
type oracle struct {
	id     string
	mortal bool // it is deleted and made again

	mu      sync.Mutex
	sent    map[string]*upload // uploads by the hash of each of their files
	ever    map[string]bool    // every hash that was sent, whatever came of it
	pending map[*upload]bool   // those whose outcome is not known
	acked   []kept             // uploads that were acknowledged, or were seen
	checked int                // how many of acked were read back since
	folders map[string]bool    // folders of attachments that were looked through
	told    map[int64]logEntry // entries that an answer told of
	disk    map[string]string  // workspace files as they are: path to hash
	written map[string]bool    // every hash a workspace file ever had
	scanned *scanned           // the last scan that was acknowledged
	deletes deletes
}

// upload is one request.
type upload struct {
	names, sums []string
}

// kept is a file that must be there.
type kept struct {
	id, name, sum string
	size, seq     int64
	owner         bool   // sent by the one who makes and deletes the session
	path          string // of one that was saved in the library instead
}

// scanned says that the log up to cursor tells of these workspace files.
type scanned struct {
	cursor int64
	files  map[string]string
}

// deletes is what is known of the life of a mortal session.
type deletes struct {
	exists  bool  // as far as answers tell
	unknown bool  // a creation or deletion has no answer yet
	dead    int64 // what was acknowledged up to this position must be gone
	born    int   // what the owner has in acked[born:] came after the last creation
}

func newOracle(id string, mortal bool) *oracle {
	return &oracle{
		id: id, mortal: mortal, sent: map[string]*upload{}, pending: map[*upload]bool{}, told: map[int64]logEntry{},
		disk: map[string]string{}, written: map[string]bool{}, ever: map[string]bool{}, folders: map[string]bool{},
	}
}

// begin notes an upload before it is sent.
func (o *oracle) begin(names []string, contents [][]byte) *upload {
	u := &upload{names: names}
	for _, c := range contents {
		u.sums = append(u.sums, sum(c))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range u.sums {
		o.sent[s], o.ever[s] = u, true
	}
	o.pending[u] = true
	return u
}

// refused notes that an upload was answered with an error: it must leave no trace.
func (o *oracle) refused(u *upload) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pending, u)
	for _, s := range u.sums {
		delete(o.sent, s)
	}
}

// acknowledged notes that an upload was answered with success, or was found
// whole in the log, which is as good.
func (o *oracle) acknowledged(u *upload, files []kept) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pending, u)
	o.acked = append(o.acked, files...)
}

// look notes an acknowledged scan of the workspace as it is now.
func (o *oracle) look(cursor int64, events []logEntry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.scanned = &scanned{cursor, maps.Clone(o.disk)}
	for _, e := range events {
		o.told[e.Seq] = e
	}
}

// write and remove note what was done to a workspace file.
func (o *oracle) write(path, sum string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.disk[path], o.written[sum] = sum, true
}

func (o *oracle) remove(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.disk, path)
}

// creating and deleting note a request before it is sent.
func (o *oracle) creating() { o.change(func(d *deletes) { d.unknown = true }) }
func (o *oracle) deleting() { o.change(func(d *deletes) { d.unknown = true }) }

func (o *oracle) created() {
	o.change(func(d *deletes) { d.unknown, d.exists, d.born = false, true, len(o.acked) })
}

// deleted notes that the session is gone, and with it all that was
// acknowledged before the request was sent: the first n of acked.
func (o *oracle) deleted(n int) {
	o.change(func(d *deletes) {
		d.unknown, d.exists = false, false
		for _, k := range o.acked[:n] {
			d.dead = max(d.dead, k.seq)
		}
		o.disk, o.scanned = map[string]string{}, nil
		o.told, o.folders = map[int64]logEntry{}, map[string]bool{}
	})
}

func (o *oracle) change(f func(*deletes)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.deletes)
}

func (o *oracle) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.acked)
}
